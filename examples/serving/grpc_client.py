"""Asks TensorFlow Serving for detections over gRPC. Needs tensorflow-serving-api.

    python grpc_client.py photo.jpg other.webp --server localhost:8500 --model detector

Prints one line of JSON per image: its name, whether it could be read, and what was found. Sends all
images in one request. They may differ in size and format.
"""

import argparse
import json
import pathlib

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

SECONDS = 60


def predict(server: str, model: str, images: list[bytes]) -> dict:
    """Detections of encoded images: arrays by output name, one row per image.

    Args:
        server: address of the gRPC port, "localhost:8500".
        model: name under which the server knows the model.
        images: JPEG, PNG, WebP, BMP or GIF files.
    """
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = "serving_default"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(images))
    # The default limit of an answer is 4 MB: thousands of images.
    with grpc.insecure_channel(server) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        try:
            answer = stub.Predict(request, timeout=SECONDS)
        except grpc.RpcError as error:
            raise SystemExit(f"{error.code().name}: {error.details()}") from error
    return {name: tf.make_ndarray(value) for name, value in answer.outputs.items()}


def above(found: dict, row: int, threshold: float, names: list[str]) -> list[dict]:
    """The detections of one image with a score above `threshold`, with class names if known."""
    detections = []
    for k in range(found["num_detections"][row]):
        label, score = int(found["labels"][row, k]), float(found["scores"][row, k])
        if score > threshold:
            name, box = names[label] if names else label, found["boxes"][row, k].tolist()
            detections.append({"name": name, "score": score, "box": box})
    return detections


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+", type=pathlib.Path)
    parser.add_argument("--server", default="localhost:8500")
    parser.add_argument("--model", default="detector")
    parser.add_argument("--labels", type=pathlib.Path, help="assets/labels.txt of the SavedModel")
    parser.add_argument("--threshold", type=float, default=0.3)
    options = parser.parse_args()
    names = options.labels.read_text(encoding="utf-8").splitlines() if options.labels else []
    found = predict(options.server, options.model, [path.read_bytes() for path in options.images])
    for row, path in enumerate(options.images):
        detections, valid = above(found, row, options.threshold, names), bool(found["valid"][row])
        print(json.dumps({"image": path.name, "valid": valid, "detections": detections}))


if __name__ == "__main__":
    main()
