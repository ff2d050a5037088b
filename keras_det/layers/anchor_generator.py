"""Anchors: the fixed reference boxes that an anchor head classifies and refines."""

import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import keras
import numpy as np

from keras_det.names import MAX_ANCHOR_SCALE, MAX_LEVEL, MIN_ANCHOR_SCALE
from keras_det.types import Config, ImageSize, Shape, Size, Tensor


def _height_and_width(image_size: ImageSize) -> Size:
    pair = tuple(image_size) if isinstance(image_size, Iterable) else (image_size, image_size)
    if len(pair) != 2 or any(side is None or side < 1 for side in pair):
        raise ValueError(
            "`image_size` must be a positive int or a pair (height, width) of them. Received: "
            f"{image_size!r}. Give the size of the network's input in pixels."
        )
    return int(pair[0]), int(pair[1])


def _as_tuple(values: Any) -> Any:
    """A collection as a tuple; anything else unchanged, for the check to refuse."""
    return tuple(values) if isinstance(values, Iterable) else values


def _is_in(value: object, least: float, most: float) -> bool:
    """Whether it is a number from `least` to `most`; a bool does not count."""
    is_real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return is_real and least <= value <= most  # type: ignore[operator]


ANCHOR_SCALE, NUM_OCTAVES = 4.0, 3  # of the original EfficientDet
# Far beyond any anchor that fits an object: such a number is an error, or from a damaged file.
MAX_OCTAVES, MAX_RATIO = 100, 1_000
SMALLEST, LARGEST = 0.001, 1_000_000  # sides of anchors in pixels


@keras.saving.register_keras_serializable(package="keras_det")
class AnchorGenerator(keras.layers.Layer):
    """Places `num_octaves * len(aspect_ratios)` anchors in every cell of every pyramid level.

    As in the original EfficientDet, on each axis

        stride = image size / feature size
        centre = (i + 0.5) * stride
        side   = anchor_scale * stride * 2^(octave / num_octaves), octave = 0 .. num_octaves - 1

    and then width = side * sqrt(aspect), height = side / sqrt(aspect). The stride is `2**level`
    where that divides the image size. Elsewhere it is a fraction: 320 / 3 = 106.7 for P7 of a
    320-pixel image. Anchors are computed in float64, rounded to float32 once, and not clipped to
    the image. For torchvision's anchors give `sizes` in pixels, `offset=0` and `integer=True`.

    Args:
        levels: ints, ascending. Pyramid levels, finest first.
        anchor_scale: float, 0.001 to 1,000. Side of the smallest square anchor, in strides.
            Default: 4.0.
        num_octaves: int, 1 to 100. Sizes per octave ("num_scales" of the original). Default: 3.
        aspect_ratios: floats, 1/1,000 to 1,000, **width / height** (torchvision, detectron2:
            height / width).
        sizes: None, or one tuple of sides in pixels per level, all of the same length, instead of
            `anchor_scale` and `num_octaves`.
        offset: float from -1 to 1. Centres lie at `(i + offset) * stride`.
        integer: bool. True floors strides to integers and rounds half sides to integers (ties to
            even), in float32, as torchvision does.

    Call arguments:
        images: `(batch, height, width, channels)` with a known height and width; only the shape
            is read.

    Returns:
        `(num_anchors, 4)` float32 anchors, xyxy pixels, in the order level, row, column, scale,
        aspect ratio.

    Raises:
        ValueError: a value is out of its range, or `sizes` is given with `anchor_scale` or
            `num_octaves`.
    """

    def __init__(
        self,
        levels: Sequence[int] = (3, 4, 5, 6, 7),
        anchor_scale: float | None = None,
        num_octaves: int | None = None,
        aspect_ratios: Sequence[float] = (1.0, 2.0, 0.5),
        sizes: Sequence[Sequence[float]] | None = None,
        offset: float = 0.5,
        integer: bool = False,
        **kwargs: Any,
    ) -> None:
        # Only the shape of the images is read, so do not cast them to half precision.
        super().__init__(**{"autocast": False, "trainable": False, **kwargs})
        self.levels: tuple[int, ...] = _as_tuple(levels)
        if sizes is None:
            anchor_scale = ANCHOR_SCALE if anchor_scale is None else anchor_scale
            num_octaves = NUM_OCTAVES if num_octaves is None else num_octaves
        # None where `sizes` are given.
        self.anchor_scale: Any = anchor_scale
        self.num_octaves: Any = num_octaves
        self.aspect_ratios: tuple[float, ...] = _as_tuple(aspect_ratios)
        self.sizes = None if sizes is None else tuple(tuple(sides) for sides in sizes)
        self.offset = offset
        self.integer = integer
        self._check()

    def _check(self) -> None:
        is_tuple = isinstance(self.levels, tuple) and len(self.levels) > 0
        whole = is_tuple and all(isinstance(level, numbers.Integral) for level in self.levels)
        ascending = whole and list(self.levels) == sorted(set(self.levels))
        if not ascending or not 0 <= self.levels[0] <= self.levels[-1] <= MAX_LEVEL:
            raise ValueError(
                "`levels` must be ascending pyramid levels, finest first, of at most "
                f"{MAX_LEVEL}. Received: levels={self.levels!r:.200}. Give each level once, such "
                "as (3, 4, 5, 6, 7)."
            )
        self._check_scale()
        ratios = self.aspect_ratios if isinstance(self.aspect_ratios, tuple) else ()
        if not ratios or not all(_is_in(ratio, 1 / MAX_RATIO, MAX_RATIO) for ratio in ratios):
            raise ValueError(
                "`aspect_ratios` must hold one or more positive numbers, width / height, from "
                f"1/{MAX_RATIO} to {MAX_RATIO}. Received: "
                f"aspect_ratios={self.aspect_ratios!r:.200}. "
                "The default is (1.0, 2.0, 0.5)."
            )
        if self.sizes is not None:
            self._check_sizes(self.sizes)

    def _check_scale(self) -> None:
        scale, octaves = self.anchor_scale, self.num_octaves
        whole = isinstance(octaves, numbers.Integral) and _is_in(octaves, 1, MAX_OCTAVES)
        fits = scale is None or _is_in(scale, MIN_ANCHOR_SCALE, MAX_ANCHOR_SCALE)
        if not fits or not (octaves is None or whole):
            raise ValueError(
                f"`anchor_scale` must be a number from {MIN_ANCHOR_SCALE} to {MAX_ANCHOR_SCALE}, "
                f"and `num_octaves` a whole number from 1 to {MAX_OCTAVES}. Received: "
                f"anchor_scale={scale!r:.40}, num_octaves={octaves!r:.40}. The original "
                "EfficientDet uses 4.0 and 3."
            )
        if not _is_in(self.offset, -1, 1):
            raise ValueError(
                "`offset` must be a number from -1 to 1, in strides. Received: "
                f"offset={self.offset!r:.40}. The default is 0.5, the middle of a cell."
            )

    def _check_sizes(self, sizes: tuple[tuple[float, ...], ...]) -> None:
        scale, octaves = self.anchor_scale, self.num_octaves
        if scale is not None or octaves is not None:
            raise ValueError(
                "`sizes` must be given without `anchor_scale` and `num_octaves`, which compute "
                f"sizes. Received: sizes={sizes!r}, anchor_scale={scale!r}, "
                f"num_octaves={octaves!r}. Leave out `sizes`, or the other two."
            )
        if (
            len(sizes) != len(self.levels)
            or len({len(sides) for sides in sizes}) != 1
            or not all(_is_in(side, SMALLEST, LARGEST) for sides in sizes for side in sides)
            or not 1 <= len(sizes[0]) <= MAX_OCTAVES
        ):
            raise ValueError(
                f"`sizes` must hold one tuple of positive sides for each level of {self.levels}, "
                f"all of the same length, from {SMALLEST} to {LARGEST:,} pixels. Received: "
                f"sizes={sizes!r:.200}. Give sides in pixels."
            )

    @property
    def num_anchors_per_cell(self) -> int:
        """Number of anchors per cell: sizes times aspect ratios."""
        sides = self.num_octaves if self.sizes is None else len(self.sizes[0])
        return sides * len(self.aspect_ratios)

    def feature_sizes(self, image_size: ImageSize) -> list[Size]:
        """Returns `(height, width)` in cells of every level, halved and rounded up per level.

        Args:
            image_size: int or `(height, width)`, pixels of the network's input.
        """
        height, width = _height_and_width(image_size)
        # Repeated halving that rounds up equals one division that rounds up.
        return [(-(-height // 2**level), -(-width // 2**level)) for level in self.levels]

    def anchors(
        self,
        image_size: ImageSize,
        feature_sizes: Sequence[Size] | Mapping[str, Size] | None = None,
    ) -> np.ndarray:
        """Returns the anchors of one image size.

        Args:
            image_size: int or `(height, width)`, pixels of the network's input.
            feature_sizes: one `(height, width)` in cells per level, or a dict of them with the
                keys `"P3"`, `"P4"` … Default: `self.feature_sizes(image_size)`.

        Returns:
            `(num_anchors, 4)` float32 NumPy array, xyxy pixels.

        Raises:
            ValueError: the image size is not positive, or `feature_sizes` lacks a level.
        """
        height, width = _height_and_width(image_size)
        if feature_sizes is None:
            feature_sizes = self.feature_sizes((height, width))
        if isinstance(feature_sizes, Mapping):
            feature_sizes = [feature_sizes[f"P{level}"] for level in self.levels]
        if len(feature_sizes) != len(self.levels):
            raise ValueError(
                f"`feature_sizes` must hold one (height, width) per level {self.levels}. Received: "
                f"{feature_sizes}. Leave it out if each level has half the size of the one before "
                "it."
            )
        stride_of: list[tuple[float, float]] = [
            (height / rows, width / columns)
            if not self.integer
            else (height // rows, width // columns)
            for rows, columns in feature_sizes
        ]
        boxes = [
            self._on_cells(size, stride, self._half_sides(i, stride))
            for i, (size, stride) in enumerate(zip(feature_sizes, stride_of, strict=True))
        ]
        return np.concatenate(boxes).astype("float32")

    def _half_sides(self, index: int, stride: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
        """Half heights and half widths of the anchors of a cell, scale by scale."""
        # The last bit decides how a half is rounded: torchvision computes its sides in float32.
        number = "float32" if self.integer else "float64"
        if self.sizes is None:
            scales = self.anchor_scale * 2.0 ** (np.arange(self.num_octaves) / self.num_octaves)
            heights, widths = scales * stride[0], scales * stride[1]
        else:
            heights = widths = np.asarray(self.sizes[index], number)
        roots = np.sqrt(np.asarray(self.aspect_ratios, number))
        half_h = (heights.astype(number)[:, None] / roots).ravel() / 2
        half_w = (widths.astype(number)[:, None] * roots).ravel() / 2
        return (np.rint(half_h), np.rint(half_w)) if self.integer else (half_h, half_w)

    def _on_cells(
        self,
        size: Size,
        stride: tuple[float, float],
        half_sides: tuple[np.ndarray, np.ndarray],
    ) -> np.ndarray:
        """The anchors `(cells * anchors per cell, 4)` of one level."""
        (rows, columns), (half_h, half_w) = size, half_sides
        y = ((np.arange(rows) + self.offset) * stride[0])[:, None, None]
        x = ((np.arange(columns) + self.offset) * stride[1])[None, :, None]
        sides = np.broadcast_arrays(x - half_w, y - half_h, x + half_w, y + half_h)
        return np.stack(sides, axis=-1).reshape(-1, 4)

    def call(self, images: Tensor) -> Tensor:
        return keras.ops.convert_to_tensor(self.anchors(tuple(images.shape[1:3])), "float32")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        height, width = input_shape[1:3]
        if height is None or width is None:
            return (None, 4)
        cells = sum(rows * columns for rows, columns in self.feature_sizes((height, width)))
        return (cells * self.num_anchors_per_cell, 4)

    def compute_output_spec(self, images: Tensor) -> keras.KerasTensor:
        shape = self.compute_output_shape(images.shape)
        return keras.KerasTensor(shape, dtype="float32")

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "levels": self.levels,
            "anchor_scale": self.anchor_scale,
            "num_octaves": self.num_octaves,
            "aspect_ratios": self.aspect_ratios,
            "sizes": self.sizes,
            "offset": self.offset,
            "integer": self.integer,
        }

    @classmethod
    def from_config(cls, config: Config) -> Self:
        # Files of earlier versions hold every argument; they used `sizes`.
        given = config.get("sizes") is not None
        unused = {"anchor_scale", "num_octaves"} if given else set()
        return super().from_config({k: v for k, v in config.items() if k not in unused})
