"""Exported files as detectors: the part of `Detector` that `keras-det predict` needs."""

import json
import os
import pathlib

import numpy as np

from keras_det.errors import DataError

NO_BOXES = (
    "A {kind} file must give boxes. Received: {path}, which gives raw outputs. Export it with "
    'postprocess="{postprocess}".'
)


class SavedModel:
    """A SavedModel of `keras_det.export`, through its signature for images of any size."""

    engine = "tensorflow"

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


class FileModel:
    """A file whose network takes images of one size, and what is done before and after it.

    Subclasses set `class_names`, `preprocessing` (how images are resized) and define `run`, from
    uint8 `(1, height, width, 3)` to detections in pixels of that input.
    """

    def detect(self, image: np.ndarray, score_threshold: float) -> dict:
        """As `Detector.detect` for one uint8 image."""
        from keras_det.data.resize import resize_image
        from keras_det.export.accuracy import in_original_pixels
        from keras_det.export.evidence import as_shown

        policy = {
            "mode": self.preprocessing["resize_mode"],
            "size": tuple(self.preprocessing["image_size"]),
        }
        channels = self.preprocessing.get("channels", 3)
        shown = as_shown(image, channels)
        pixels, transform = resize_image(shown, policy, self.preprocessing["fill_color"])
        found = self.run(pixels[None, ..., :channels])
        found = in_original_pixels(found, transform, image.shape)
        return _trimmed(found, self.class_names, score_threshold)


class LiteModel(FileModel):
    """A TFLite file of `keras_det.export`; its certificate says how images are resized."""

    engine = "litert"

    def __init__(self, path: pathlib.Path):
        from keras_det.export.split import tail_of

        certificate = path.with_name(f"{path.name}.certificate.json")
        interpreter = litert_interpreter(path)
        try:
            content = json.loads(certificate.read_text(encoding="utf-8"))
            self.class_names = list(content["class_names"])
            self.preprocessing = content["preprocessing"]
            # The runner is only valid while its interpreter lives.
            files = [path, tail_of(path)] if tail_of(path).exists() else [path]
            self.interpreters = [
                interpreter(model_path=str(file), num_threads=cores()) for file in files
            ]
            self.runners = [each.get_signature_runner() for each in self.interpreters]
        except (FileNotFoundError, KeyError, ValueError) as error:
            raise DataError(
                f"A .tflite file must be whole and lie beside {certificate.name}. Received: "
                f"{path} ({error}). Export it again with `keras-det export`."
            ) from error
        if not {"boxes", "locations"} & set(self.runners[-1].get_output_details()):
            raise DataError(NO_BOXES.format(kind=".tflite", path=path, postprocess="builtin"))

    def run(self, pixels) -> dict:
        """Detections of `(1, height, width, 3)` uint8."""
        kind = self.runners[0].get_input_details()["images"]["dtype"]
        found = {"images": pixels.astype(kind)}
        for runner in self.runners:  # a body, then its tail
            found = dict(runner(**found))
        if "locations" in found:
            from keras_det.export.mediapipe import as_detections

            found = as_detections(found, self.preprocessing["image_size"])
        return found


class OnnxModel(FileModel):
    """An ONNX file of `keras_det.export`, which also says how images are resized."""

    engine = "onnx"

    def __init__(self, path: pathlib.Path):
        self.session = onnx_session(path)
        try:
            properties = self.session.get_modelmeta().custom_metadata_map
            self.class_names = json.loads(properties["class_names"])
            self.preprocessing = json.loads(properties["preprocessing"])
        except (KeyError, ValueError) as error:
            raise DataError(
                "An .onnx file must hold the properties class_names and preprocessing. Received: "
                f"{path} ({error}). Give one that `keras-det export` wrote."
            ) from error
        self.names = [output.name for output in self.session.get_outputs()]
        if "boxes" not in self.names:
            raise DataError(NO_BOXES.format(kind=".onnx", path=path, postprocess="nms"))

    def run(self, pixels) -> dict:
        """Detections of `(1, height, width, 3)` uint8."""
        return dict(zip(self.names, self.session.run(self.names, {"images": pixels}), strict=True))


def cores() -> int:
    """How many processor cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def litert_interpreter(what):
    """LiteRT's interpreter class; DataError naming what needs it where it is not installed."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise DataError(
            f"A .tflite file needs the package ai-edge-litert. Received: {what}, without it. "
            'Install it with pip install "keras-det[edge]".'
        ) from None
    return Interpreter


def onnx_session(model):
    """An ONNX Runtime session on the CPU of a path or a file's bytes; DataError where it fails."""
    try:
        import onnxruntime
    except ImportError:
        raise DataError(
            "An .onnx file needs the package onnxruntime. Received: "
            f"{'a network' if isinstance(model, bytes) else model}, without it. Install it with "
            'pip install "keras-det[onnx]".'
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    options.log_severity_level = 3
    content = model if isinstance(model, bytes) else str(model)
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own kinds, one for each reason
        raise DataError(
            f"An .onnx file must be whole. Received: {model if content is not model else 'bytes'} "
            f"({error}). Export it again with `keras-det export`."
        ) from error


def _trimmed(found: dict, class_names, score_threshold: float) -> dict:
    """Detections of a batch of one as `Detector.detect` gives them."""
    count = int(found["num_detections"][0])
    keep = found["scores"][0, :count] > score_threshold
    result = {name: found[name][0, :count][keep] for name in ("boxes", "scores", "labels")}
    names = [class_names[label] for label in result["labels"]]
    return {**result, "num_detections": len(names), "class_names": names}
