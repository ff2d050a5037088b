"""`load_exported`: opens an exported file as a detector."""

import json
import os
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from keras_det.data.resize import Transform, resize_image
from keras_det.errors import DataError, suggest_path
from keras_det.files import opening, other_kind, read_bytes, read_object
from keras_det.names import OPENVINO_FILE
from keras_det.runtime.detections import in_original_pixels, trim
from keras_det.runtime.facts import (
    check_digest,
    checked_mode,
    checked_names,
    checked_size,
    checked_threshold,
    checked_thresholds,
)
from keras_det.runtime.libraries import cores, litert_interpreter
from keras_det.runtime.lite_model import TAIL_SUFFIX, LiteModel, tail_of
from keras_det.runtime.onnx_model import OnnxModel
from keras_det.runtime.openvino_model import OpenVinoModel
from keras_det.runtime.pixels import as_shown
from keras_det.runtime.running import Runner, RunningDetector, named
from keras_det.runtime.saved_model import LABELS, THRESHOLDS, SavedModel
from keras_det.types import Detections
from keras_det.words import counted

SUFFIXES = (".tflite", ".onnx")
ONNX_ENGINES = ("onnx", "openvino")
RUNS, AGAIN = "An exported file must run", "Export the model again with `keras-det export`."
# Raw outputs of a SavedModel whose last axis has one place per class.
COUNTING = ("class_logits", "top_left_heatmaps")
NO_BOXES = (
    "An exported file must return boxes. Received: {path}, which returns raw outputs. Export the "
    'model with postprocess="{postprocess}".'
)


class ExportedDetector(RunningDetector):
    """A detector in an exported file, with the method `detect` of a Keras detector.

    `load_exported` returns one.

    Attributes:
        path: the file or folder.
        engine: the library that runs it: "litert", "onnx", "openvino" or "tensorflow".
        class_names: index k means `class_names[k]`.
        image_size: (height, width) of the network's input in pixels.
        score_threshold: threshold of the decoder in the file; None if it is not known.
        score_thresholds: `score_thresholds` of the model that was exported: the score of each class
            above which a detection is worth showing; None where they were not measured. `detect`
            does not use them.
    """

    def __init__(
        self,
        path: pathlib.Path,
        class_names: list[str],
        image_size: tuple[int, int],
        score_threshold: float | None,
        score_thresholds: list[float] | None = None,
    ):
        self.path, self.class_names = path, list(class_names)
        self.image_size = image_size
        self.score_threshold, self.score_thresholds = score_threshold, score_thresholds

    def __repr__(self) -> str:
        height, width = self.image_size
        names = ", ".join(self.class_names[:4]) + (", …" if len(self.class_names) > 4 else "")
        return (
            f"<ExportedDetector {self.path.name}: {self.engine}, {height} x {width} pixels, "
            f"{counted(len(self.class_names), 'class', 'classes')} ({names})>"
        )

    def check_threshold(self, score_threshold: float | None) -> None:
        super().check_threshold(score_threshold)
        if score_threshold is None or self.score_threshold is None:
            return
        if score_threshold < self.score_threshold:
            raise ValueError(
                f"`score_threshold` must be at least {self.score_threshold:g}, the threshold of "
                f"the decoder in the file. Received: {score_threshold:g} for {self.path}. Leave "
                "`score_threshold` out to get all detections of the file."
            )


class FileDetector(ExportedDetector):
    """A model whose network has one input size: TFLite, ONNX, OpenVINO. Images are resized here.

    Args:
        path: of the file or folder.
        engine: "litert", "onnx" or "openvino".
        runner: runs the file.
        facts: `class_names`, `preprocessing`, `decoding` and, optional, `score_thresholds`, as in a
            certificate.

    Raises:
        DataError: a fact is wrong, or the network's input has another size.
        AttributeError, KeyError, TypeError: facts are missing.
    """

    def __init__(self, path: pathlib.Path, engine: str, runner: Runner, facts: dict[str, Any]):
        preprocessing = facts["preprocessing"]
        names = checked_names(facts["class_names"], path)
        super().__init__(
            path,
            names,
            checked_size(preprocessing["image_size"], runner.image_size, path),
            checked_threshold(facts["decoding"].get("score_threshold"), path),
            checked_thresholds(facts.get("score_thresholds"), names, path),
        )
        self.engine, self.runner = engine, runner
        mode = checked_mode(preprocessing["resize_mode"], path)
        self.resize_policy = {"mode": mode, "size": self.image_size}
        self.fill_color = tuple(preprocessing["fill_color"])

    def _detect(self, image: np.ndarray, score_threshold: float | None) -> Detections:
        pixels, transform = self.prepare(image)
        with opening(self.path, RUNS, AGAIN):
            outputs = self.runner.run(pixels[None])
        return self.finish(outputs, transform, image.shape, score_threshold)

    def prepare(self, image: np.ndarray) -> tuple[np.ndarray, Transform]:
        """Returns the network's input, uint8 `(height, width, 3)`, and how the image got there."""
        shown = as_shown(image, self.runner.channels)
        return resize_image(shown, self.resize_policy, self.fill_color)

    def finish(
        self,
        outputs: dict[str, np.ndarray],
        transform: Transform,
        shape: Sequence[int],
        score_threshold: float | None = None,
    ) -> Detections:
        """Returns the detections of an image from the outputs of `runner` for it.

        Args:
            outputs: detections of a batch of one, in pixels of the network's input.
            transform: of `prepare`.
            shape: (height, width, …) of the image.
            score_threshold: only detections with a higher score are kept. Default: all.
        """
        found = in_original_pixels(trim(outputs), transform, shape)
        return named(found, self.class_names, score_threshold, self.path)


class FolderDetector(ExportedDetector):
    """A SavedModel. It resizes images itself."""

    engine = "tensorflow"

    def __init__(
        self,
        path: pathlib.Path,
        model: SavedModel,
        class_names: list[str],
        image_size: tuple[int, int],
        score_threshold: float | None,
        score_thresholds: list[float] | None = None,
    ):
        super().__init__(path, class_names, image_size, score_threshold, score_thresholds)
        self.model = model

    def _detect(self, image: np.ndarray, score_threshold: float | None) -> Detections:
        with opening(self.path, RUNS, AGAIN):
            found = trim(self.model.run("images", images=image[None]))
        return named(found, self.class_names, score_threshold, self.path)


def load_exported(path: str | os.PathLike, engine: str | None = None) -> ExportedDetector:
    """Opens an exported file for `detect`.

        keras_det.load_exported("model.tflite").detect("photo.jpg", score_threshold=0.3)

    Images are read and resized as in `Detector.detect`, and the result has the same form. The
    decoder is the one in the file. A `.tflite` file needs its `.certificate.json` in the same
    folder, and after postprocess="split" also its `.tail.tflite`.

    Args:
        path: a `.tflite` or `.onnx` file, or the folder of a SavedModel or of an export for
            OpenVINO, written by `keras_det.export`.
        engine: of an `.onnx` file: "onnx", the default, or "openvino". The others have one engine.

    Raises:
        ValueError: this engine does not run the file.
        DataError: there is no such file; it is damaged or returns raw outputs; a file that it
            needs is missing; a file is not the one that the certificate beside it describes; what
            the file says about itself is wrong; or the package that runs it is not installed.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise DataError(
            f"An exported file must exist. Received: {path}.{suggest_path(path)} Export a "
            "model with keras_det.export or `keras-det export`."
        )
    refuse_other_kinds(path)
    if engine is not None and not (path.suffix == ".onnx" and engine in ONNX_ENGINES):
        raise ValueError(
            f"`engine` must be one of {', '.join(ONNX_ENGINES)}, and only for .onnx files. "
            f"Received: {engine!r} for {path}. Leave it out."
        )
    if (path / OPENVINO_FILE).exists():
        return _open_onnx(path, "openvino")
    if path.is_dir():
        return _open_saved_model(path)
    if path.name.endswith(TAIL_SUFFIX):
        raise DataError(
            "The second file of a split export cannot be opened alone. Received: "
            f"{path}. Give {path.name.removesuffix(TAIL_SUFFIX)}, the first file, in the same "
            "folder."
        )
    if path.suffix == ".tflite":
        return _open_tflite(path)
    if path.suffix == ".onnx":
        return _open_onnx(path, engine or "onnx")
    keras = ' Open it with keras_det.load_model("…").' if path.suffix == ".keras" else ""
    raise DataError(
        f"An exported file must be a {' or '.join(SUFFIXES)} file or the folder of a SavedModel. "
        f"Received: {path}.{keras or ' Export a model with keras_det.export.'}"
    )


def _open_tflite(path: pathlib.Path) -> ExportedDetector:
    interpreter = litert_interpreter(path)
    certificate = certificate_of(path)
    try:
        facts = json.loads(read_bytes(certificate).decode())
        files, settings = [path], facts["settings"]
        check_digest(path, facts["sha256"], certificate.name)
        if settings["postprocess"] == "split":
            files.append(_tail_beside(path))
            if "tail_sha256" in settings:
                check_digest(files[1], settings["tail_sha256"], certificate.name)
        runner = LiteModel(*files, interpreter=interpreter, threads=cores())
        detector = FileDetector(path, "litert", runner, facts)
    except DataError:
        raise
    except Exception as error:  # the interpreter raises several kinds for a damaged file
        raise DataError(
            f"A .tflite file and {certificate.name} must be in the same folder, both undamaged. "
            f"Received: {path} ({error}). Copy the certificate there, or export the model again "
            "with `keras-det export`."
        ) from error
    _check_boxes(runner.runners[-1].get_output_details(), path, "builtin")
    return detector


def _tail_beside(path: pathlib.Path) -> pathlib.Path:
    tail = tail_of(path)
    if not tail.exists():
        raise DataError(
            'The two files of an export with postprocess="split" must be in the same folder. '
            f"Received: {path}, without {tail.name}. Copy that file there too."
        )
    return tail


def _open_onnx(path: pathlib.Path, engine: str) -> ExportedDetector:
    """Opens an ONNX file, or the folder of an export for OpenVINO."""
    _check_certified(path)
    runner: OnnxModel | OpenVinoModel
    runner = OpenVinoModel(path, cores()) if engine == "openvino" else OnnxModel(path, cores())
    try:
        detector = FileDetector(path, engine, runner, runner.properties())
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            "A model must have the properties class_names, preprocessing and decoding. "
            f"Received: {path} ({error}). Give a file that `keras-det export` wrote."
        ) from error
    _check_boxes(runner.names, path, "nms")
    return detector


def _check_certified(path: pathlib.Path) -> None:
    """DataError for another file or folder than the certificate beside it describes.

    The certificate is optional here: these exports say all about themselves.
    """
    certificate = certificate_of(path)
    if os.path.lexists(certificate):
        cure = "Copy the certificate of this export there, or remove it."
        stated = read_object(certificate, cure).get("sha256")
        check_digest(path, stated, certificate.name)


def _open_saved_model(folder: pathlib.Path) -> ExportedDetector:
    for file in folder.rglob("*"):
        refuse_other_kinds(file)
    if not (folder / "saved_model.pb").is_file():
        raise DataError(
            f"The folder of a SavedModel must contain saved_model.pb. Received: {folder}. Give the "
            'folder that keras_det.export.saved_model wrote: "served/1", not "served".'
        )
    _check_certified(folder)
    model, labels = SavedModel(folder), folder / LABELS
    if not {"images", "raw"} <= set(model.signatures) or not labels.is_file():
        raise DataError(
            "A SavedModel must have the signatures `images` and `raw`, and assets/labels.txt. "
            f"Received: {folder}. Give a SavedModel that `keras-det export` wrote."
        )
    rule = "The signature `raw` of a SavedModel must take `images` with four dimensions"
    with opening(folder, rule, "Give a SavedModel that `keras-det export` wrote."):
        size = list(model.signatures["raw"].structured_input_signature[1]["images"].shape)[1:3]
    names = _names_in(labels, model.signatures["raw"].structured_outputs)
    return FolderDetector(
        folder,
        model,
        names,
        checked_size(size, size, folder),
        checked_threshold(_threshold_beside(folder), folder),
        checked_thresholds(_thresholds_in(folder), names, folder),
    )


def _names_in(labels: pathlib.Path, outputs: Mapping[str, Any]) -> list[str]:
    """The class names of a SavedModel: as many as its raw outputs have, whose last axis counts."""
    rule = "The file of class names must"
    with opening(labels, f"{rule} be UTF-8 text", AGAIN):
        names = checked_names(read_bytes(labels).decode().splitlines(), labels)
    counts = {outputs[name].shape[-1] for name in COUNTING if name in outputs}
    if wrong := counts - {len(names), None}:
        raise DataError(
            f"{rule} have one line for each of the {wrong.pop()} classes of the model. Received: "
            f"{counted(len(names), 'line')} in {labels}. {AGAIN}"
        )
    return names


def _threshold_beside(folder: pathlib.Path) -> Any:
    """Returns the score threshold of the certificate; None without one, which is optional here."""
    try:
        text = read_bytes(certificate_of(folder)).decode()
        return json.loads(text)["decoding"]["score_threshold"]
    except (OSError, KeyError, TypeError, ValueError, RecursionError):
        return None


def _thresholds_in(folder: pathlib.Path) -> Any:
    """Returns the score thresholds of the classes; None for an export of an earlier version."""
    file = folder / THRESHOLDS
    rule = "The file of score thresholds must be JSON"
    with opening(file, rule, AGAIN):
        return json.loads(read_bytes(file).decode()) if file.exists() else None


def certificate_of(path: pathlib.Path) -> pathlib.Path:
    """The certificate that is written beside an export."""
    return path.with_name(f"{path.name}.certificate.json")


def refuse_other_kinds(path: pathlib.Path) -> None:
    """DataError for a named pipe or a device: a library would wait for it without end."""
    if path.exists() and (kind := other_kind(path.stat().st_mode)):
        raise DataError(
            f"An exported file must be a regular file. Received: {path}, which is {kind}. Give a "
            "file that `keras-det export` wrote."
        )


def _check_boxes(outputs: Collection[str], path: pathlib.Path, postprocess: str) -> None:
    if not {"boxes", "locations"} & set(outputs):
        raise DataError(NO_BOXES.format(path=path, postprocess=postprocess))
