"""Exported files as detectors: the part of `Detector` that `keras-det predict` needs."""

import json
import pathlib

import numpy as np

from keras_det.errors import DataError


class SavedModel:
    """A SavedModel of `keras_det.export`, through its signature for images of any size."""

    def __init__(self, folder: pathlib.Path):
        import tensorflow as tf

        self.loaded = tf.saved_model.load(str(folder))
        self.signature = self.loaded.signatures.get("images")
        labels = folder / "assets" / "labels.txt"
        if self.signature is None or not labels.is_file():
            raise DataError(
                "A SavedModel must have the signature `images` and assets/labels.txt. Received: "
                f"{folder}. Give one that `keras-det export` wrote."
            )
        self.class_names = labels.read_text(encoding="utf-8").splitlines()

    def detect(self, image: np.ndarray, score_threshold: float) -> dict:
        """As `Detector.detect` for one uint8 image."""
        import tensorflow as tf

        found = self.signature(images=tf.constant(image[None]))
        found = {name: value.numpy() for name, value in found.items()}
        return _trimmed(found, self.class_names, score_threshold)


class LiteModel:
    """A TFLite file of `keras_det.export`; its certificate says how images are resized."""

    def __init__(self, path: pathlib.Path):
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:
            raise DataError(
                "A .tflite file needs the package ai-edge-litert. Received: "
                f'{path}, without it. Install it with pip install "keras-det[edge]".'
            ) from None
        certificate = path.with_name(f"{path.name}.certificate.json")
        try:
            content = json.loads(certificate.read_text(encoding="utf-8"))
            self.class_names = list(content["class_names"])
            self.preprocessing = content["preprocessing"]
            # The runner is only valid while its interpreter lives.
            self.interpreter = Interpreter(model_path=str(path))
            self.run = self.interpreter.get_signature_runner()
        except (FileNotFoundError, KeyError, ValueError) as error:
            raise DataError(
                f"A .tflite file must be whole and lie beside {certificate.name}. Received: "
                f"{path} ({error}). Export it again with `keras-det export`."
            ) from error
        if not {"boxes", "locations"} & set(self.run.get_output_details()):
            raise DataError(
                f"A .tflite file must give boxes. Received: {path}, which gives raw outputs. "
                'Export it with postprocess="builtin".'
            )

    def detect(self, image: np.ndarray, score_threshold: float) -> dict:
        """As `Detector.detect` for one uint8 image."""
        from keras_det.data.resize import resize_image

        policy = {
            "mode": self.preprocessing["resize_mode"],
            "size": tuple(self.preprocessing["image_size"]),
        }
        pixels, transform = resize_image(image, policy, self.preprocessing["fill_color"])
        found = dict(self.run(images=pixels[None]))
        if "locations" in found:
            from keras_det.export.mediapipe import as_detections

            found = as_detections(found, policy["size"])
        boxes = transform.inverse().apply(found["boxes"])
        found["boxes"] = np.clip(boxes, 0, np.float32([image.shape[1], image.shape[0]] * 2))
        return _trimmed(found, self.class_names, score_threshold)


def _trimmed(found: dict, class_names, score_threshold: float) -> dict:
    """Detections of a batch of one as `Detector.detect` gives them."""
    count = int(found["num_detections"][0])
    keep = found["scores"][0, :count] > score_threshold
    result = {name: found[name][0, :count][keep] for name in ("boxes", "scores", "labels")}
    names = [class_names[label] for label in result["labels"]]
    return {**result, "num_detections": len(names), "class_names": names}
