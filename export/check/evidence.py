"""The images that an export is checked on."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_det.data import Dataset
from keras_det.data.image import as_image, read_image
from keras_det.data.shapes import drawn_images
from keras_det.errors import DataError
from keras_det.models import Detector
from keras_det.runtime.pixels import as_shown, fill_for

NUM_DRAWN = 8


@dataclasses.dataclass
class Evidence:
    """Images of a check, read one at a time.

    Args:
        source: "drawn", "given" or "labelled".
        images: uint8 arrays `(height, width, 3)`; with a data set, its paths.
        dataset: where the images are labelled.
        channels: 3, or 1: every image is turned grey, and its three channels are equal.
        unread: sentences on images that did not decode, filled while reading.
    """

    source: str
    images: tuple
    dataset: Dataset | None = None
    channels: int = 3
    unread: list[str] = dataclasses.field(default_factory=list)

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[tuple[np.ndarray, dict | None]]:
        """Pairs of an image and its objects as `metrics.coco.coco_metrics` takes them, or None."""
        for i, image in enumerate(self.images):
            if self.dataset is None:
                yield as_shown(image, self.channels), None
                continue
            try:
                pixels = read_image(image)
            except DataError as error:
                sentence = f"left out: {error}"
                if sentence not in self.unread:  # int8 goes through them several times
                    self.unread.append(sentence)
                continue
            yield as_shown(pixels, self.channels), self.dataset.ground_truth([i])[0]


def fill_of(model: Detector, channels: int = 3) -> tuple:
    """What surrounds a letterboxed image in the network's input, one number per channel of RGB."""
    return fill_for(model.normalization.fill_color, channels)


def check_images(images: Any, model: Detector, channels: int = 3) -> Evidence:
    """The images of the check of a model's export.

    Args:
        images: a labelled `keras_det.data.Dataset` with the model's classes; a list of uint8
            arrays, paths or encoded bytes; one of them; None draws some.
        model: the detector.
        channels: 3, or 1 for an export that takes grey images.

    Raises:
        DataError: an empty list, an image that does not decode, or other classes.
    """
    if images is None:
        size = max(model.image_size) * 5 // 4
        drawn = tuple(drawn_images(NUM_DRAWN, size=size, seed=0))
        return Evidence("drawn", drawn, channels=channels)
    if isinstance(images, Dataset):
        images_of, source = images.image_paths, "labelled"
    else:
        images_of = images if isinstance(images, (list, tuple)) else [images]
        source = "given"
    if not len(images_of):
        raise DataError(
            "`images` must hold at least one image for the check of the export. Received: none. "
            "Give some real images, or None for drawn ones."
        )
    if source == "given":
        return Evidence(source, tuple(map(as_image, images_of)), channels=channels)
    try:
        model.check_dataset(images)
    except ValueError as error:
        raise DataError(str(error)) from None
    return Evidence(source, tuple(images_of), images, channels)
