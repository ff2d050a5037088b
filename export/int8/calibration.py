"""The images that say which numbers occur between the layers of a network."""

import warnings
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

from keras_det.data import Dataset
from keras_det.data.image import as_image
from keras_det.data.resize import resize_image
from keras_det.errors import DataError
from keras_det.export.check.evidence import fill_of
from keras_det.models import Detector
from keras_det.runtime.pixels import as_shown

# Ranges of 25, 50 and 200 images of BCCD gave the same errors; more only take time.
NUM_IMAGES = 200
# Percent of the images whose extremes may lie outside the range of a tensor.
BEYOND = 10


def calibration_pixels(
    calibration: Any, model: Detector, channels: int = 3
) -> tuple[list[np.ndarray], list[str]]:
    """The network's inputs that ranges are measured on, resized as the model says.

    A black and a white image are always among them: whatever a camera gives lies between, and the
    network's input then covers exactly 0..255.

    Args:
        calibration: `keras_det.data.Dataset`, or a list of uint8 arrays, paths or encoded bytes;
            of more than 200 images, 200 evenly spread over them are taken.
        model: the detector.
        channels: 3, or 1 for grey images.

    Returns:
        `(pixels, notes)`: uint8 arrays `(1, height, width, channels)`; sentences on images that did
        not decode and were left out, as in training.

    Raises:
        DataError: no images, or none that decodes.
    """
    images = _listed(calibration)
    count = min(NUM_IMAGES, len(images))
    pixels, notes = [], []
    for i in range(count):
        try:
            image = as_image(images[i * len(images) // count])
        except DataError as error:
            notes.append(f"left out of the calibration: {error}")
            continue
        shown = as_shown(image, channels)
        resized, _ = resize_image(shown, model.resize_policy, fill_of(model, channels))
        pixels.append(resized[None, ..., :channels])
    if not pixels:
        raise DataError(
            "At least one image of `calibration` must decode. Received: "
            f"{len(images)} images; {notes[0] if notes else 'nothing to read'}. Give images of the "
            "training set."
        )
    return [*pixels, np.zeros_like(pixels[0]), np.full_like(pixels[0], 255)], notes


def check_given(calibration: Any) -> None:
    """DataError without images; a default of drawn ones would be a trap."""
    if calibration is None:
        raise DataError(
            'quantize="int8" needs `calibration`, images of the kind that the model will see. '
            "Received: None. Give the training set, a keras_det.data.Dataset or a list of images; "
            "100 to 200 of them are enough."
        )


def _listed(calibration: Any) -> Sequence:
    if isinstance(calibration, Dataset):
        return calibration.image_paths
    return calibration if isinstance(calibration, (list, tuple)) else [calibration]


def observed_ranges(
    content: bytes, names: Iterable[str], exact: Collection[str], pixels: Iterable[np.ndarray]
) -> dict[str, tuple[float, float]]:
    """Which numbers a tensor of a TFLite file has to hold.

    Of the smallest and the largest number in each image, those that one image in ten goes beyond:
    the few numbers outside are clipped, and all others are rounded less than with the extremes of
    all images (Lite0 on BCCD: class logits off by 0.046 standard deviations instead of 0.051).

    Args:
        content: a float32 TFLite file with one input and one subgraph.
        names: of the tensors.
        exact: names of those among them that take the extremes of all images: pixels.
        pixels: arrays for the input.

    Returns:
        By name of the tensor its range `(low, high)`.
    """
    interpreter = preserving(content)
    (given,) = interpreter.get_input_details()
    indices = {each["name"]: each["index"] for each in interpreter.get_tensor_details()}
    found: dict[str, list[tuple]] = {name: [] for name in names}
    for image in pixels:
        interpreter.set_tensor(given["index"], image.astype(given["dtype"]))
        interpreter.invoke()
        for name, rows in found.items():
            values = interpreter.get_tensor(indices[name])
            rows.append((values.min(), values.max()))
    ranges = {}
    for name, rows in found.items():
        lows, highs = np.array(rows, np.float32).T
        beyond = 0 if name in exact else BEYOND
        ranges[name] = (
            float(np.percentile(lows, beyond)),
            float(np.percentile(highs, 100 - beyond)),
        )
    return ranges


def preserving(content: bytes) -> Any:
    """An interpreter, its tensors allocated, that keeps what it computes between the layers."""
    from ai_edge_litert.interpreter import Interpreter

    with warnings.catch_warnings():
        # Its memory is what is wanted here.
        warnings.filterwarnings("ignore", message=".*experimental_preserve_all_tensors")
        interpreter = Interpreter(model_content=content, experimental_preserve_all_tensors=True)
        interpreter.allocate_tensors()
    return interpreter
