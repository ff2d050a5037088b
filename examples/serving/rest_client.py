"""Asks TensorFlow Serving for detections over REST. Needs only Python.

    python rest_client.py photo.jpg other.webp --server http://localhost:8501 --model detector

Prints one line of JSON per image: its name, whether it could be read, and what was found. Sends all
images in one request. They may differ in size and format.
"""

import argparse
import base64
import json
import pathlib
import urllib.error
import urllib.request


def predict(server: str, model: str, images: list[bytes]) -> list[dict]:
    """Detections of encoded images, one dict per image.

    Args:
        server: address of the REST port, "http://localhost:8501".
        model: name under which the server knows the model.
        images: JPEG, PNG, WebP, BMP or GIF files.
    """
    rows = [{"b64": base64.b64encode(image).decode()} for image in images]
    request = urllib.request.Request(
        f"{server}/v1/models/{model}:predict",
        json.dumps({"signature_name": "serving_default", "instances": rows}).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["predictions"]
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{error.code}: {json.load(error)['error']}") from error


def above(row: dict, threshold: float, names: list[str]) -> list[dict]:
    """The detections with a score above `threshold`, with class names if known."""
    found = []
    for k in range(row["num_detections"]):
        label, score = row["labels"][k], row["scores"][k]
        if score > threshold:
            name = names[label] if names else label
            found.append({"name": name, "score": score, "box": row["boxes"][k]})
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+", type=pathlib.Path)
    parser.add_argument("--server", default="http://localhost:8501")
    parser.add_argument("--model", default="detector")
    parser.add_argument("--labels", type=pathlib.Path, help="assets/labels.txt of the SavedModel")
    parser.add_argument("--threshold", type=float, default=0.3)
    options = parser.parse_args()
    names = options.labels.read_text(encoding="utf-8").splitlines() if options.labels else []
    rows = predict(options.server, options.model, [path.read_bytes() for path in options.images])
    for path, row in zip(options.images, rows, strict=True):
        found = above(row, options.threshold, names)
        print(json.dumps({"image": path.name, "valid": row["valid"], "detections": found}))


if __name__ == "__main__":
    main()
