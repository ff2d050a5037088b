"""Calibration data: images, and the ranges of the activations that they give."""

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
from keras_det.words import counted

# Ranges of 25, 50 and 200 images of BCCD gave the same errors. More images only take time.
NUM_IMAGES = 200
# Percentage of the images whose extremes may lie outside the range of a tensor.
BEYOND = 10


def calibration_pixels(
    calibration: Any, model: Detector, channels: int = 3
) -> tuple[list[np.ndarray], list[str]]:
    """Returns the calibration images as inputs of the network.

    A black and a white image are added. All pixels of a camera lie between them, so the range of
    the network's input is exactly 0..255.

    Args:
        calibration: `keras_det.data.Dataset`, or a list of uint8 arrays, paths or encoded bytes. At
            most 200 evenly spread images are used.
        model: the detector; its resize mode is used.
        channels: 3, or 1 for grey images.

    Returns:
        `(pixels, notes)`: uint8 arrays `(1, height, width, channels)`; and a sentence for each
        image that did not decode. Such images are left out, as in training.

    Raises:
        DataError: there are no images, or none decodes.
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
            "At least one image of `calibration` must be readable. Received: "
            f"{counted(len(images), 'image')}; {notes[0] if notes else 'nothing to read'}. Give "
            "images of the training set."
        )
    return [*pixels, np.zeros_like(pixels[0]), np.full_like(pixels[0], 255)], notes


def _listed(calibration: Any) -> Sequence:
    if isinstance(calibration, Dataset):
        return calibration.image_paths
    return calibration if isinstance(calibration, (list, tuple)) else [calibration]


def observed_ranges(
    content: bytes, names: Iterable[str], exact: Collection[str], pixels: Iterable[np.ndarray]
) -> dict[str, tuple[float, float]]:
    """Returns the ranges of tensors of a TFLite file.

    For each tensor, every image has a smallest and a largest value. At each end of the range, one
    image in ten has values outside it. These few values are clipped, and all others are rounded
    less than with the extremes of all images (Lite0 on BCCD: class logits differ by 0.046 standard
    deviations instead of 0.051).

    Args:
        content: a float32 TFLite file with one input and one subgraph.
        names: of the tensors.
        exact: names of tensors whose range covers the values of all images: those of pixels.
        pixels: arrays for the input.

    Returns:
        The range `(low, high)` by name of the tensor.
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
    """Returns an interpreter with allocated tensors, which keeps the values of all tensors."""
    from ai_edge_litert.interpreter import Interpreter

    with warnings.catch_warnings():
        # The warning is about memory. All tensors are needed here.
        warnings.filterwarnings("ignore", message=".*experimental_preserve_all_tensors")
        interpreter = Interpreter(model_content=content, experimental_preserve_all_tensors=True)
        interpreter.allocate_tensors()
    return interpreter
