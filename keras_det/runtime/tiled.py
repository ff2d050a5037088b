"""Detection in overlapping tiles, for small objects in large images."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from keras_det.names import TILE_OVERLAP
from keras_det.runtime.running import for_each, named
from keras_det.runtime.wrapped import WrappedDetector
from keras_det.types import Detections, Image, Images, Size
from keras_det.video.seen import unremembered

SMALLEST = 32  # pixels, of a tile's side
MOST_OVERLAP = 0.8  # share of a tile
# A box is taken as cut if it ends this near to an edge of its tile that lies inside the image:
# within this share of the tile's side, or within so many pixels.
EDGE_SHARE, LEAST_EDGE = 0.01, 2.0
SAME, INSIDE = 0.5, 0.5  # IoU of two boxes of one object; share of a cut box inside another box
# (top, left, bottom, right) in pixels.
Window = tuple[int, int, int, int]


class TiledDetector(WrappedDetector):
    """Detects in overlapping tiles of each image, and in the whole image.

    The network sees a large image in more detail, tile by tile. An object that is cut by the edge
    of a tile lies whole in the next tile if it is smaller than the overlap. Larger objects are
    found in the whole image. Boxes of one object from different tiles are merged: a box of the
    whole object is preferred to a cut one, and then the box with the highest score.

    All other attributes are those of the detector.

    Args:
        detector: a Keras detector, or what `load_exported` returns.
        tile: side of the tiles in pixels of the image, or (height, width). Default: the size of the
            network's input, so that nothing is scaled down.
        overlap: smallest share of a tile that its neighbour also covers, from 0 to 0.8.
        whole: bool. True also detects in the whole image, for objects larger than the overlap.

    Raises:
        ValueError: `tile` is below 32 pixels, or `overlap` is out of range.
    """

    def __init__(
        self,
        detector: Any,
        tile: int | Size | None = None,
        overlap: float = TILE_OVERLAP,
        whole: bool = True,
    ) -> None:
        size = detector.image_size if tile is None else tile
        sides = (size, size) if isinstance(size, int | np.integer) else tuple(size)
        if len(sides) != 2 or not all(side == int(side) >= SMALLEST for side in sides):
            raise ValueError(
                f"`tile` must be a whole number of at least {SMALLEST} pixels, or a pair of these. "
                f"Received: {tile!r}. Leave it out for the size of the network's input."
            )
        if not 0 <= overlap <= MOST_OVERLAP:
            raise ValueError(
                f"`overlap` must lie in 0..0.8. Received: {overlap!r}. The default is "
                f"{TILE_OVERLAP:g}."
            )
        super().__init__(detector)
        self.overlap, self.whole = float(overlap), whole
        self.tile: Size = (int(sides[0]), int(sides[1]))

    def detect(
        self, images: Image | Images, batch_size: int = 8, **settings: Any
    ) -> Detections | list[Detections]:
        """Finds objects in images of any size; takes and returns what the detector's `detect` does.

        Args:
            images: one image or several, as for the detector.
            batch_size: tiles that go through the network of a Keras detector together.
            **settings: of the detector's `detect`. `max_detections` applies to each tile.
        """
        own = getattr(self.detector, "score_thresholds", None)
        return for_each(images, lambda image: self._detect(image, batch_size, settings), own)

    def _detect(self, pixels: np.ndarray, batch_size: int, settings: dict[str, Any]) -> Detections:
        height, width = pixels.shape[:2]
        windows = list(tiles(height, width, self.tile, self.overlap))
        if len(windows) > 1 and self.whole:
            windows.append((0, 0, height, width))
        crops = [
            np.ascontiguousarray(pixels[top:bottom, left:right])
            for top, left, bottom, right in windows
        ]
        if not hasattr(self.detector, "engine"):
            settings = {**settings, "batch_size": batch_size}
        with unremembered():
            found = self.detector.detect(crops, **settings)
        boxes, scores, labels = merged(found, windows, (height, width))
        return named({"boxes": boxes, "scores": scores, "labels": labels}, self.class_names)


def tiles(height: int, width: int, tile: Size, overlap: float) -> Iterator[Window]:
    """The windows that cover an image, row by row, as evenly spaced as whole pixels allow.

    Neighbours have at least the share `overlap` of a tile in common. A side that is shorter than
    the tile has one window.

    Args:
        height, width: of the image.
        tile: (height, width) of a window.
        overlap: from 0 to below 1.
    """
    for top in _starts(height, tile[0], overlap):
        for left in _starts(width, tile[1], overlap):
            yield top, left, min(top + tile[0], height), min(left + tile[1], width)


def _starts(length: int, side: int, overlap: float) -> list[int]:
    if length <= side:
        return [0]
    step = max(1, math.floor(side * (1 - overlap)))
    count = math.ceil((length - side) / step) + 1
    return [round(i * (length - side) / (count - 1)) for i in range(count)]


def merged(
    found: Sequence[Detections], windows: Sequence[Window], size: Size
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes, scores and labels in the image, from the detections of its windows.

    Whole boxes come first, then cut ones, each by score. A box is left out if its IoU with a kept
    box of the same class from another window is at least 0.5. A cut box is also left out if at
    least half of it lies inside such a box. Boxes of one window do not suppress each other: the
    detector has already done that.

    Args:
        found: detections of each window, in its pixels.
        windows: where they lie in the image.
        size: (height, width) of the image.

    Returns:
        `boxes` float32 `(n, 4)` xyxy, `scores` float32 `(n,)` from high to low, `labels` int32
        `(n,)`.
    """
    parts = [np.reshape(each["boxes"], (-1, 4)) for each in found]
    places = list(zip(parts, windows, strict=True))
    boxes = np.concatenate([part + _offset(place) for part, place in places]).astype("float32")
    scores = np.concatenate([np.reshape(f["scores"], -1) for f in found]).astype("float32")
    labels = np.concatenate([np.reshape(f["labels"], -1) for f in found]).astype("int32")
    window = np.repeat(np.arange(len(windows)), [len(part) for part in parts])
    cut = np.concatenate([_is_cut(part, place, size) for part, place in places])
    kept = np.zeros(len(scores), bool)
    places_in_order = np.lexsort((-scores, cut)).tolist()
    for i in places_in_order:
        others = kept & (labels == labels[i]) & (window != window[i])
        kept[i] = not _is_known(boxes[i], boxes[others], bool(cut[i]))
    order = sorted((i for i in places_in_order if kept[i]), key=lambda k: -scores[k])
    return boxes[order], scores[order], labels[order]


def _offset(window: Window) -> np.ndarray:
    return np.array([window[1], window[0], window[1], window[0]], "float32")


def _is_cut(boxes: np.ndarray, window: Window, size: Size) -> np.ndarray:
    """bool `(n,)`: which boxes, in pixels of the window, end at an edge inside the image."""
    top, left, bottom, right = window
    height, width = bottom - top, right - left
    x, y = (max(LEAST_EDGE, EDGE_SHARE * side) for side in (width, height))
    return (
        ((boxes[:, 0] < x) & (left > 0))
        | ((boxes[:, 1] < y) & (top > 0))
        | ((boxes[:, 2] > width - x) & (right < size[1]))
        | ((boxes[:, 3] > height - y) & (bottom < size[0]))
    )


def _is_known(box: np.ndarray, others: np.ndarray, cut: bool) -> bool:
    """Whether one of the other boxes belongs to the same object."""
    low, high = np.maximum(others[:, :2], box[:2]), np.minimum(others[:, 2:], box[2:])
    common = np.clip(high - low, 0, None).prod(axis=1)
    own = float(np.prod(box[2:] - box[:2]))
    union = own + (others[:, 2:] - others[:, :2]).prod(axis=1) - common
    same = common >= SAME * np.maximum(union, 1e-9)
    return bool((same | (cut & (common >= INSIDE * max(own, 1e-9)))).any())
