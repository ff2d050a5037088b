"""`load_exported`: an exported file as a detector."""

import json
import os
import pathlib
from typing import Any, Protocol

import numpy as np

from keras_det.data.resize import resize_image
from keras_det.errors import DataError, suggest
from keras_det.runtime.detections import in_original_pixels, trim
from keras_det.runtime.libraries import cores, litert_interpreter
from keras_det.runtime.lite_model import TAIL_SUFFIX, LiteModel, tail_of
from keras_det.runtime.onnx_model import OnnxModel
from keras_det.runtime.pixels import as_shown
from keras_det.runtime.running import RunningDetector, named
from keras_det.runtime.saved_model import LABELS, SavedModel

SUFFIXES = (".tflite", ".onnx")
NO_BOXES = (
    "A {kind} file must give boxes. Received: {path}, which gives raw outputs. Export it with "
    'postprocess="{postprocess}".'
)


class ExportedDetector(RunningDetector):
    """A detector in an exported file, with the `detect` of a Keras detector.

    `load_exported` makes them.

    Attributes:
        path: the file or folder.
        engine: what runs it: "litert", "onnx" or "tensorflow".
        class_names: index k means `class_names[k]`.
        image_size: (height, width) of the network's input in pixels.
        score_threshold: what the decoder in the file leaves out; None where it is not known.
    """

    def __init__(
        self,
        path: pathlib.Path,
        class_names: list[str],
        image_size: tuple[int, int],
        score_threshold: float | None,
    ):
        self.path, self.class_names = path, list(class_names)
        self.image_size = image_size
        self.score_threshold = score_threshold

    def __repr__(self) -> str:
        height, width = self.image_size
        names = ", ".join(self.class_names[:4]) + (", …" if len(self.class_names) > 4 else "")
        return (
            f"<ExportedDetector {self.path.name}: {self.engine}, {height} x {width} pixels, "
            f"{len(self.class_names)} classes ({names})>"
        )

    def check_threshold(self, score_threshold: float | None) -> None:
        super().check_threshold(score_threshold)
        if score_threshold is None or self.score_threshold is None:
            return
        if score_threshold < self.score_threshold:
            raise ValueError(
                f"`score_threshold` must be at least {self.score_threshold:g}, that of the decoder "
                f"inside the file. Received: {score_threshold:g} for {self.path}. Leave it out for "
                "all that the file finds."
            )


class Runner(Protocol):
    """What runs a network of one input size: `LiteModel` or `OnnxModel`."""

    channels: int

    def run(self, pixels: np.ndarray) -> dict[str, np.ndarray]: ...


class FileDetector(ExportedDetector):
    """A file whose network takes images of one size, which are resized before it.

    Args:
        path: of the file.
        engine: "litert" or "onnx".
        runner: what runs it.
        facts: `class_names`, `preprocessing` and `decoding`, as certificates hold them.

    Raises:
        KeyError, TypeError, ValueError: facts are missing or wrong.
    """

    def __init__(self, path: pathlib.Path, engine: str, runner: Runner, facts: dict[str, Any]):
        preprocessing = facts["preprocessing"]
        height, width = preprocessing["image_size"]
        super().__init__(
            path,
            facts["class_names"],
            (height, width),
            facts["decoding"].get("score_threshold"),
        )
        self.engine, self.runner = engine, runner
        self.resize_policy = {"mode": preprocessing["resize_mode"], "size": self.image_size}
        self.fill_color = tuple(preprocessing["fill_color"])

    def _detect(self, image: np.ndarray, score_threshold: float | None) -> dict:
        shown = as_shown(image, self.runner.channels)
        pixels, transform = resize_image(shown, self.resize_policy, self.fill_color)
        found = trim(self.runner.run(pixels[None]))
        found = in_original_pixels(found, transform, image.shape)
        return named(found, self.class_names, score_threshold)


class FolderDetector(ExportedDetector):
    """A SavedModel, which resizes images itself."""

    engine = "tensorflow"

    def __init__(
        self,
        path: pathlib.Path,
        model: SavedModel,
        class_names: list[str],
        image_size: tuple[int, int],
        score_threshold: float | None,
    ):
        super().__init__(path, class_names, image_size, score_threshold)
        self.model = model

    def _detect(self, image: np.ndarray, score_threshold: float | None) -> dict:
        found = trim(self.model.run("images", images=image[None]))
        return named(found, self.class_names, score_threshold)


def load_exported(path: str | os.PathLike) -> ExportedDetector:
    """Opens an exported file for `detect`.

        keras_det.load_exported("model.tflite").detect("photo.jpg", score_threshold=0.3)

    Images are read and resized, and boxes are given, as `Detector.detect` does it; the decoder is
    the one inside the file. A `.tflite` file must lie beside its `.certificate.json`, and one
    exported with postprocess="split" beside its tail.

    Args:
        path: a `.tflite` or `.onnx` file, or the folder of a SavedModel, written by
            `keras_det.export`.

    Raises:
        DataError: there is no such file, it is damaged or gives raw outputs, or what must lie
            beside it is missing; or the package that runs it is not installed.
    """
    path = pathlib.Path(path)
    if not path.exists():
        near = os.listdir(path.parent) if path.parent.is_dir() else []
        raise DataError(
            f"An exported file must exist. Received: {path}.{suggest(path.name, near)} Write one "
            "with keras_det.export or `keras-det export`."
        )
    if path.is_dir():
        return _open_saved_model(path)
    if path.name.endswith(TAIL_SUFFIX):
        raise DataError(
            f"The second file of a split export is opened with its first. Received: {path}. Give "
            f"{path.name.removesuffix(TAIL_SUFFIX)}, beside which it lies."
        )
    if path.suffix == ".tflite":
        return _open_tflite(path)
    if path.suffix == ".onnx":
        return _open_onnx(path)
    keras = ' Open it with keras_det.load_model("…").' if path.suffix == ".keras" else ""
    raise DataError(
        f"An exported file must be a {' or '.join(SUFFIXES)} file or a SavedModel's folder. "
        f"Received: {path}.{keras or ' Write one with keras_det.export.'}"
    )


def _open_tflite(path: pathlib.Path) -> ExportedDetector:
    interpreter = litert_interpreter(path)
    certificate = path.with_name(f"{path.name}.certificate.json")
    try:
        facts = json.loads(certificate.read_text(encoding="utf-8"))
        files = [path]
        if facts["settings"]["postprocess"] == "split":
            files.append(_tail_beside(path))
        runner = LiteModel(*files, interpreter=interpreter, threads=cores())
        detector = FileDetector(path, "litert", runner, facts)
    except DataError:
        raise
    # A damaged file is a ValueError or a RuntimeError of the interpreter.
    except (OSError, KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"A .tflite file must be whole and lie beside {certificate.name}. Received: "
            f"{path} ({error}). Export it again with `keras-det export`."
        ) from error
    _check_boxes(runner.runners[-1].get_output_details(), ".tflite", path, "builtin")
    return detector


def _tail_beside(path: pathlib.Path) -> pathlib.Path:
    tail = tail_of(path)
    if not tail.exists():
        raise DataError(
            f'A file exported with postprocess="split" must lie beside its second file. Received: '
            f"{path}, without {tail.name}. Copy that file there too."
        )
    return tail


def _open_onnx(path: pathlib.Path) -> ExportedDetector:
    runner = OnnxModel(path, cores())
    try:
        detector = FileDetector(path, "onnx", runner, runner.properties())
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(
            "An .onnx file must hold the properties class_names and preprocessing. Received: "
            f"{path} ({error}). Give one that `keras-det export` wrote."
        ) from error
    _check_boxes(runner.names, ".onnx", path, "nms")
    return detector


def _open_saved_model(folder: pathlib.Path) -> ExportedDetector:
    if not (folder / "saved_model.pb").is_file():
        raise DataError(
            f"A SavedModel's folder must hold saved_model.pb. Received: {folder}. Give the folder "
            'that keras_det.export.saved_model wrote, "served/1" and not "served".'
        )
    model, labels = SavedModel(folder), folder / LABELS
    if not {"images", "raw"} <= set(model.signatures) or not labels.is_file():
        raise DataError(
            "A SavedModel must have the signatures `images` and `raw`, and assets/labels.txt. "
            f"Received: {folder}. Give one that `keras-det export` wrote."
        )
    shape = model.signatures["raw"].structured_input_signature[1]["images"].shape
    names = labels.read_text(encoding="utf-8").splitlines()
    return FolderDetector(
        folder, model, names, (int(shape[1]), int(shape[2])), _threshold_beside(folder)
    )


def _threshold_beside(folder: pathlib.Path) -> float | None:
    """The score threshold that a certificate knows; a SavedModel also runs without one."""
    try:
        text = folder.with_name(f"{folder.name}.certificate.json").read_text(encoding="utf-8")
        return float(json.loads(text)["decoding"]["score_threshold"])
    except (OSError, KeyError, TypeError, ValueError):
        return None


def _check_boxes(outputs, kind: str, path: pathlib.Path, postprocess: str) -> None:
    if not {"boxes", "locations"} & set(outputs):
        raise DataError(NO_BOXES.format(kind=kind, path=path, postprocess=postprocess))
