"""Compares the annotated sizes of images with their files."""

import numpy as np

from keras_det.data.image import read_size
from keras_det.data.raw import RawAnnotations, ReadOptions


def check_sizes(raw: RawAnnotations, options: ReadOptions, paths: list[str]) -> None:
    """Completes `raw.image_sizes` from the images where the annotation gives none.

    Args:
        raw: `image_sizes` is completed.
        options: `sizes`, what to do where they differ.
        paths: one image per entry.

    Raises:
        DataError: an image whose size is needed cannot be read.
    """
    for i in np.flatnonzero((raw.image_sizes <= 0).any(axis=1)):
        raw.image_sizes[i] = read_size(paths[i])
