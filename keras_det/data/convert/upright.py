"""Boxes that were drawn on the stored pixels of a turned image, as they lie in the upright one."""

import numpy as np

from keras_det.data.dataset import Dataset
from keras_det.data.image import read_header
from keras_det.data.orientation import (
    COLUMNS_REVERSED,
    ROWS_REVERSED,
    TRANSPOSED,
    stays_stored,
)


def upright_boxes(dataset: Dataset, index: int) -> tuple[np.ndarray, tuple[int, int], bool]:
    """The boxes of one image in the upright image.

    Returns:
        `(boxes, (height, width) of the upright image, whether the boxes were turned)`; boxes are
        float64 `(n, 4)` xyxy.

    Raises:
        DataError: the image cannot be read.
    """
    rows = dataset.rows(index)
    boxes = dataset.boxes[rows].astype(np.float64)
    height, width = dataset.image_sizes[index].tolist()
    header = read_header(dataset.image_paths[index])
    undecided = bool(np.asarray(dataset.stored_pixels)[index])
    stays = stays_stored(header.size, header.orientation, (height, width), undecided)
    if header.orientation == 1 or not stays:
        return boxes, (height, width), False
    return (*turned_boxes(boxes, (height, width), header.orientation), True)


def turned_boxes(
    boxes: np.ndarray, size: tuple[int, int], orientation: int
) -> tuple[np.ndarray, tuple[int, int]]:
    """Boxes on stored pixels of this size, in the upright image, and its (height, width).

    The same steps as `orientation.turned` takes with pixels.
    """
    height, width = size
    if orientation in TRANSPOSED:
        boxes, height, width = boxes[:, [1, 0, 3, 2]], width, height
    if orientation in COLUMNS_REVERSED:
        boxes = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)
    if orientation in ROWS_REVERSED:
        boxes = np.stack([boxes[:, 0], height - boxes[:, 3], boxes[:, 2], height - boxes[:, 1]], 1)
    return boxes, (height, width)
