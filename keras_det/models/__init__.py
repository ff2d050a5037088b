"""The published detectors, one constructor each, and the loader of saved detectors."""

import inspect
import os
import pathlib
from typing import Any

from keras_det.errors import DataError, suggest, suggest_path
from keras_det.files import why_no_file
from keras_det.models.anchor_detector import AnchorDetector as AnchorDetector
from keras_det.models.cornernet import CornerNet as CornerNet
from keras_det.models.detector import Detector as Detector
from keras_det.models.efficientdet import EfficientDet as EfficientDet
from keras_det.models.opening import open_saved
from keras_det.models.retinanet import RetinaNet as RetinaNet
from keras_det.names import EXPORTED_FOLDERS
from keras_det.names import MODEL_NAMES as MODEL_NAMES
from keras_det.quantization import quantize_aware as quantize_aware

# The constructor and the variant for each name on the command line.
_BUILDERS: dict[str, tuple[type[EfficientDet] | type[RetinaNet] | type[CornerNet], str]] = {
    **{f"efficientdet_{variant}": (EfficientDet, variant) for variant in EfficientDet.variants},
    **{f"retinanet_{variant}": (RetinaNet, variant) for variant in RetinaNet.variants},
    **{f"cornernet_{variant}": (CornerNet, variant) for variant in CornerNet.variants},
}
# Advice for names that resemble none of these, such as those of other packages' models.
START = (
    " The package has EfficientDet, RetinaNet and CornerNet. Start with 'efficientdet_lite0' for a "
    "phone or a CPU, with 'efficientdet_d0' for a GPU."
)


def build_model(name: str, **kwargs: Any) -> Detector:
    """Builds a detector by its name on the command line.

    Args:
        name: one of `MODEL_NAMES`, e.g. "efficientdet_lite0".
        **kwargs: arguments of the model's constructor.

    Raises:
        DataError: there is no such model (the message names the nearest one), or the model does not
            accept an argument.
    """
    if name not in _BUILDERS:
        raise DataError(
            f"The model must be one of {', '.join(MODEL_NAMES)}. Received: {name!r}."
            f"{suggest(name, MODEL_NAMES) or START} `keras-det info` lists them."
        )
    builder, variant = _BUILDERS[name]
    accepted = inspect.signature(builder).parameters
    for argument in kwargs:
        if argument not in accepted:
            raise DataError(
                f"{name} has no argument {argument}. Received: {argument}={kwargs[argument]!r}. "
                "Leave it out, or choose a model that has this argument."
            )
    try:
        return builder(variant, **kwargs)
    except ValueError as error:
        raise DataError(str(error)) from error


def model_class(name: str) -> type[Detector]:
    """The class of a model by its name on the command line; `Detector` for an unknown name."""
    return _BUILDERS[name][0] if name in _BUILDERS else Detector


def load_model(path: str | os.PathLike) -> Detector:
    """Loads a detector that was saved with `model.save("x.keras")`, with its optimizer.

    Loading reads this file only. It fetches nothing and writes nothing. After `import keras_det`,
    `keras.saving.load_model` loads the file too, with fewer checks.

    Args:
        path: the `.keras` file.

    Raises:
        DataError: the file is missing, damaged or not a `.keras` file; its weights are not finite;
            it names weights to fetch, reads other files, or holds layers that run code when they
            are built.
    """
    path = pathlib.Path(path)
    if not path.is_file() or path.suffix != ".keras":
        raise DataError(
            f"A saved model must be an existing .keras file. Received: {path}"
            f"{'' if path.is_file() else why_no_file(path)}. {_advice(path)}"
        )
    return open_saved(path)


def _advice(path: pathlib.Path) -> str:
    """What to give instead of a path that is not a `.keras` file."""
    for name in ("best.keras", "last.keras"):
        if (path / name).is_file():
            return f"Give {path / name}."
    if (path / "config.json").is_file():
        return "Load a preset with keras_det.models.Detector.from_preset."
    if path.suffix in (".tflite", ".onnx") or any(
        (path / name).is_file() for name in EXPORTED_FOLDERS
    ):
        return "Open an exported file with keras_det.load_exported."
    if path.suffix in (".h5", ".hdf5") and path.is_file():
        return (
            "An HDF5 file holds only the weights of a detector. Build the same model, load them "
            'with model.load_weights(path), and write it with model.save("x.keras").'
        )
    near = "" if os.path.lexists(path) else suggest_path(path)
    return f"{near} Give the file that model.save or `keras-det train` wrote.".strip()
