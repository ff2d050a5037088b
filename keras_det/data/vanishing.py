"""Objects that become smaller than a pixel on the way to the network, from the boxes alone."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from keras_det.data.augment import AUGMENTS, MIN_VISIBLE_SIDE, Augment
from keras_det.data.dataset import Dataset, image_of_objects
from keras_det.data.resize import check_policy
from keras_det.types import Size
from keras_det.words import counted

Sides: TypeAlias = np.ndarray

# A training that loses a larger share of its objects is warned of.
MAX_LOST = 0.1
# What is said of a training without targets.
NO_OBJECTS = (
    "The training data has no object to learn: the images have none, or only crowd objects."
)
NO_OBJECTS_CURE = "Check the annotations, the split and the class names."
# Share that may be lost with the image size or the tiles that a message proposes.
ALLOWED_LOST = 0.01
# Objects with a shorter side are hardly ever detected: half a cell of the finest usual level, P3.
SMALL_SIDE = 4.0
# Proposed sides are multiples of this, and an image size is proposed up to the largest.
SIZE_STEP, LARGEST_SIZE = 32, 1536


def input_scales(image_sizes: np.ndarray, size: Size, mode: str) -> np.ndarray:
    """Input pixels per original pixel, as the pipeline resizes without augmentation.

    Args:
        image_sizes: int `(images, 2)`, (height, width) of the original images in pixels.
        size: (height, width) of the network's input in pixels.
        mode: "letterbox", "stretch" or "mediapipe".

    Returns:
        float64 `(images, 2)`, scale of x and of y.
    """
    mode, (full_height, full_width) = check_policy({"mode": mode, "size": size})
    height, width = np.maximum(np.asarray(image_sizes, np.int64).reshape(-1, 2), 1).T
    if mode == "letterbox":  # the integers of `resized_size`
        tall = full_height * width <= full_width * height
        across = np.maximum((2 * width * full_height + height) // (2 * height), 1)
        down = np.maximum((2 * height * full_width + width) // (2 * width), 1)
        new_height, new_width = (
            np.where(tall, full_height, down),
            np.where(tall, across, full_width),
        )
    else:
        new_height, new_width = np.full_like(height, full_height), np.full_like(width, full_width)
    return np.stack([new_width / width, new_height / height], axis=1)


def input_boxes(dataset: Dataset, size: Size, mode: str) -> np.ndarray:
    """The boxes of all objects in pixels of the network's input, without augmentation.

    Args:
        dataset: `Dataset`.
        size, mode: as of `input_scales`.

    Returns:
        float64 `(objects, 4)`, xyxy.
    """
    scales = input_scales(dataset.image_sizes, size, mode)[image_of_objects(dataset)]
    return dataset.boxes * np.tile(scales, (1, 2))


def shown_boxes(dataset: Dataset, size: Size, mode: str, augment: Augment) -> np.ndarray:
    """`input_boxes` as the training shows them: in tiles where the augmentation has `TileCrop`.

    Each object then lies in a window of the tile's size, or in the image where that is smaller. Its
    centre is taken modulo the input's size.
    """
    if augment.tile is None:
        return input_boxes(dataset, size, mode)
    windows = np.minimum(dataset.image_sizes, augment.tile.sides(size))
    scales = input_scales(windows, size, mode)[image_of_objects(dataset)]
    boxes = dataset.boxes * np.tile(scales, (1, 2))
    input_sides = np.array(size[::-1], np.float64)
    corner = np.floor((boxes[:, :2] + boxes[:, 2:]) / 2 / input_sides) * input_sides
    moved: np.ndarray = boxes - np.tile(corner, (1, 2))
    return moved


def lost_in_tiles(sides: Sides, in_tile: Sides, augment: Augment) -> np.ndarray:
    """`lost_shares` with `TileCrop`: a window larger by a factor shows its objects smaller by it.

    Args:
        sides: as of `lost_shares`, of whole images.
        in_tile: `(objects,)`, the same in a window before the random factor.
        augment: the augmentation, with `tile`.
    """
    if augment.tile is None:
        raise ValueError("`augment` must have a TileCrop. Received: none. Use `lost_shares`.")
    low, high = augment.tile.scale
    largest = np.maximum(np.asarray(in_tile, np.float64), 0.0) / MIN_VISIBLE_SIDE
    if low == high:
        lost = (largest < low).astype(np.float64)
    else:
        lost = np.clip((high - largest) / (high - low), 0.0, 1.0)
    share = augment.tile.probability
    found: np.ndarray = share * lost + (1 - share) * lost_shares(sides, augment)
    return found


def lost_shares(sides: Sides, augment: Augment) -> np.ndarray:
    """Share of the draws of the augmentation in which an object is below a pixel.

    With scale jitter or a mosaic `augment.stays` drops such an object; the network then learns it
    as background. The scale is drawn from `augment.scales`. Objects that the random window leaves
    out do not count: they are not in the picture.

    Args:
        sides: `(objects,)`, the shorter side of every object after resizing, input pixels.
        augment: the augmentation.

    Returns:
        float64 `(objects,)` in 0..1.
    """
    with np.errstate(divide="ignore"):
        vanishing = MIN_VISIBLE_SIDE / np.maximum(np.asarray(sides, np.float64), 0.0)
    lost = np.zeros(len(vanishing))
    for share, low, high in augment.scales:
        if low == high:
            lost += share * (vanishing > low)
        else:
            lost += share * np.clip((vanishing - low) / (high - low), 0.0, 1.0)
    return lost


@dataclass(frozen=True)
class Vanishing:
    """How many objects of a data set become too small for the network's input.

    Attributes:
        objects: number of objects that should become targets: all without crowd.
        below_pixel: of these, with a side below one pixel after resizing.
        small: with a side of at least one pixel, but below `SMALL_SIDE`.
        lost: number that an epoch loses on average by resizing and augmentation together.
        size: (height, width) of the network's input.
        augment: the augmentation.
        needed_size: (height, width) at which at most `allowed` is lost. None: no reasonable size is
            enough, or almost nothing is lost.
        tile: side in original pixels of square tiles that have the same effect. None: as above.
        milder: name of an augmentation that shrinks less and loses at most `allowed`, or None.
        allowed: share that the three may lose: `ALLOWED_LOST`, or `MAX_LOST` where that is too few.
    """

    objects: int
    below_pixel: int
    small: int
    lost: float
    size: Size
    augment: Augment
    needed_size: Size | None = None
    tile: int | None = None
    milder: str | None = None
    allowed: float = ALLOWED_LOST

    @property
    def share(self) -> float:
        """Share of the objects that an epoch loses, 0..1."""
        return self.lost / self.objects if self.objects else 0.0

    @property
    def title(self) -> str:
        """How many objects vanish, and what that means, in one sentence."""
        height, width = self.size
        low, high = self.augment.scale_range
        if self.augment.tile:
            return (
                f"{_percent(self.share)} of {counted(self.objects, 'object')} are smaller than 1 "
                f"pixel in an input of {height}x{width} that shows a tile or the whole image: they "
                "are left out and learned as background."
            )
        if low == high:
            verb = "is" if self.below_pixel == 1 else "are"
            return (
                f"{self.below_pixel} of {counted(self.objects, 'object')} {verb} smaller than 1 "
                f"pixel in an input of {height}x{width}: nothing can be learned from them."
            )
        return (
            f"{_percent(self.share)} of {counted(self.objects, 'object')} are smaller than 1 pixel "
            f"in an input of {height}x{width} with scale jitter {low:g} to {high:g}: they are left "
            "out and learned as background."
        )

    @property
    def cure(self) -> str:
        """What to change, in one sentence."""
        ways = []
        if self.milder is not None:
            ways.append(f'use augment="{self.milder}" (--augment {self.milder})')
        if self.needed_size is not None:
            height, width = self.needed_size
            ways.append(f"raise the image size to {height}x{width} (--image-size {height}x{width})")
        if self.tile is not None:
            ways.append(f"cut the images into tiles of at most {self.tile} pixels")
        if not ways and self.augment.tile:
            ways.append("use smaller tiles, or a higher `probability` of TileCrop")
        if not ways:
            ways.append("check the boxes: they are too small in the images themselves")
        text = ", or ".join(ways)
        text = f"{text[0].upper()}{text[1:]}."
        fixed = self.milder or self.needed_size or self.tile
        return f"{text} Then at most {self.allowed:.0%} are lost." if fixed else text


def find_vanishing(
    dataset: Dataset, size: Size, mode: str, augment: Augment = AUGMENTS["none"]
) -> Vanishing:
    """Computes what resizing and augmentation make too small, for all objects without crowd.

    Args:
        dataset: `Dataset`.
        size: (height, width) of the network's input in pixels.
        mode: "letterbox", "stretch" or "mediapipe".
        augment: the augmentation of the training.
    """
    kept = ~dataset.crowd
    size = (int(size[0]), int(size[1]))
    sides = _shorter(input_boxes(dataset, size, mode)[kept])
    shown = _shorter(shown_boxes(dataset, size, mode, augment)[kept])
    tiled = augment.tile is not None
    shares = lost_in_tiles(sides, shown, augment) if tiled else lost_shares(sides, augment)
    lost = float(shares.sum())
    below = int((shown < MIN_VISIBLE_SIDE).sum())
    small = int((shown < SMALL_SIDE).sum()) - below
    found = Vanishing(len(sides), below, small, lost, size, augment)
    if found.share <= ALLOWED_LOST or tiled:
        return found
    original = _shorter(dataset.boxes[kept].astype(np.float64))
    for allowed in (ALLOWED_LOST, MAX_LOST):
        ways: dict[str, Any] = {
            "needed_size": _needed_size(sides, augment, size, allowed),
            "tile": _tile(original, augment, size, allowed),
            "milder": _milder(sides, augment, allowed),
        }
        if any(way is not None for way in ways.values()) or found.share <= MAX_LOST:
            return replace(found, allowed=allowed, **ways)
    return found


def target_warnings(vanishing: Vanishing) -> list[str]:
    """Sentences for a training whose targets are empty or mostly vanish; often none."""
    if not vanishing.objects:
        return [f"{NO_OBJECTS} {NO_OBJECTS_CURE}"]
    if vanishing.share > MAX_LOST:
        return [f"{vanishing.title} {vanishing.cure}"]
    return []


def warn_of_vanishing(pipeline: Any) -> bool:
    """Warns of a pipeline whose training stream has no targets, or loses many of them.

    Args:
        pipeline: `Pipeline`.

    Returns:
        True, so that the caller knows that it is done.
    """
    found = find_vanishing(pipeline.dataset, pipeline.size, pipeline.mode, pipeline.augment)
    for line in target_warnings(found):
        warnings.warn(line, stacklevel=4)
    return True


def _shorter(boxes: np.ndarray) -> Sides:
    return np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])


def _percent(share: float) -> str:
    """A share in words: never 0% or 100% where some or not all are meant."""
    if 0 < share < 0.01:
        return "Less than 1%"
    return "Nearly all" if 0.995 <= share < 1 else f"{share:.0%}"


def _factor(sides: Sides, augment: Augment, allowed: float) -> float:
    """Smallest factor on the sides with which at most `allowed` is lost; inf if none is."""
    low, high = 0.0, 1.0
    while lost_shares(sides * high, augment).mean() > allowed:
        low, high = high, 2 * high
        if high > 1e4:
            return float("inf")
    for _ in range(20):
        middle = (low + high) / 2
        if lost_shares(sides * middle, augment).mean() > allowed:
            low = middle
        else:
            high = middle
    return high


def _needed_size(sides: Sides, augment: Augment, size: Size, allowed: float) -> Size | None:
    factor = _factor(sides, augment, allowed)
    if factor * max(size) > LARGEST_SIZE:
        return None
    height, width = (int(-(-side * factor // SIZE_STEP)) * SIZE_STEP for side in size)
    return height, width


def _tile(original: Sides, augment: Augment, size: Size, allowed: float) -> int | None:
    """Side of square tiles; None where they would have to be enlarged to the network's input."""
    tile = min(size) / _factor(original, augment, allowed)
    return int(tile) if tile >= min(size) else None


def _milder(sides: Sides, augment: Augment, allowed: float) -> str | None:
    names: Sequence[str] = ("ssj", "flip") if augment.scale_range != (1.0, 1.0) else ()
    for name in names:
        other = AUGMENTS[name]
        gentler = other.scale[0] > augment.scale_range[0]
        if gentler and lost_shares(sides, other).mean() <= allowed:
            return name
    return None
