"""The images on which an export is checked."""

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

NUM_SYNTHETIC = 8


@dataclasses.dataclass
class Evidence:
    """Images of a check, read one at a time.

    Args:
        source: "synthetic", "given" or "labelled".
        images: uint8 arrays `(height, width, 3)`; with a data set, its paths.
        dataset: the data set of labelled images.
        channels: 3, or 1: every image is converted to grey, and its three channels are equal.
        unread: a sentence for each image that did not decode, filled while reading.
    """

    source: str
    images: tuple
    dataset: Dataset | None = None
    channels: int = 3
    unread: list[str] = dataclasses.field(default_factory=list)

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[tuple[np.ndarray, dict | None]]:
        """Yields pairs of an image and its objects.

        The objects have the form of `metrics.coco.coco_metrics`; None without labels.
        """
        for i, image in enumerate(self.images):
            if self.dataset is None:
                yield as_shown(image, self.channels), None
                continue
            try:
                pixels = read_image(image)
            except DataError as error:
                sentence = f"left out: {error}"
                if sentence not in self.unread:  # the int8 export reads them several times
                    self.unread.append(sentence)
                continue
            yield as_shown(pixels, self.channels), self.dataset.ground_truth([i])[0]


def fill_of(model: Detector, channels: int = 3) -> tuple:
    """Returns the padding colour of letterboxed images, one number per channel of RGB."""
    return fill_for(model.normalization.fill_color, channels)


def check_images(images: Any, model: Detector, channels: int = 3) -> Evidence:
    """Returns the images on which the export of a model is checked.

    Args:
        images: a labelled `keras_det.data.Dataset` with the model's classes; or uint8 arrays,
            paths or encoded bytes, one or a list; None for synthetic images.
        model: the detector.
        channels: 3, or 1 for an export that takes grey images.

    Raises:
        DataError: an empty list, an image that does not decode, or other classes.
    """
    if images is None:
        size = max(model.image_size) * 5 // 4
        synthetic = tuple(drawn_images(NUM_SYNTHETIC, size=size, seed=0))
        return Evidence("synthetic", synthetic, channels=channels)
    labelled = isinstance(images, Dataset)
    if labelled:
        listed = tuple(images.image_paths)
    else:
        listed = tuple(images) if isinstance(images, (list, tuple)) else (images,)
    if not listed:
        raise DataError(
            "`images` must hold at least one image for the check of the export. Received: none. "
            "Give some real images, or None for synthetic ones."
        )
    if not labelled:
        return Evidence("given", tuple(map(as_image, listed)), channels=channels)
    try:
        model.check_dataset(images)
    except ValueError as error:
        raise DataError(str(error)) from None
    return Evidence("labelled", listed, images, channels)
