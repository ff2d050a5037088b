"""CornerNet's training targets: a heat map per class, the cell and the offset of each corner."""

from collections.abc import Sequence
from functools import partial
from typing import Self

import keras
from keras import ops

from keras_det.boxes import clip_boxes, valid_slots
from keras_det.types import Config, Size, Tensor

# Cells of one row of a Gaussian that are drawn together.
STRIP = 8
# Strips that one step draws: MANY while more than 2 * FEW are left, then FEW. TensorFlow copies
# both maps in every step, so a few long steps are faster; a single image has few strips.
MANY, FEW = 65536, 8192
# In cells: above float32 rounding, below one pixel. Without it a box as wide as the image,
# 511 * (128 / 511) cells, may be rounded up to 129 on one backend and not on another.
TOLERANCE = 1e-4
MIN_OVERLAP = 0.3


@keras.saving.register_keras_serializable(package="keras_det")
class CornerTargets:
    """Turns boxes into the heat maps, cells and offsets of their corners.

    CornerNet section 3.2 (https://arxiv.org/abs/1808.01244). The heat map is 1 in the cell of each
    corner and falls off around it,

        exp(-(x^2 + y^2) / (2 sigma^2)),   sigma = (2 r + 1) / 6,   |x|, |y| <= r

    Where Gaussians of one class overlap, the higher value counts. The radius r is the largest shift
    of both corners that keeps the IoU at `min_overlap` or above. The original considers boxes that
    are shifted, shrunk and grown and takes the smallest radius of the three. That is always the one
    of the shrunk box,

        (w - 2 r) (h - 2 r) = min_overlap w h

    with the sides w, h of the box in cells, rounded up, and r rounded down. The original sets
    values below 2.2e-16 to 0; with this sigma none is below exp(-9).

    Boxes are clipped to the image, not to its last pixel as in the original. A corner on the right
    or bottom edge therefore lies in the last cell with an offset of 1. Objects whose corners share
    a cell share its embedding and its offset; each keeps its slot. A slot is empty by its label
    only, so a box without area is drawn, with radius 0.

    Args:
        min_overlap: float in (0, 1), where the radius is computed. Default: 0.3, the published
            setting; the original code has 0.7.
        radius: int >= 0, one radius in cells for every object, instead of `min_overlap`. None
            computes it per box.

    Raises:
        ValueError: a value is out of its range, or both are given.
    """

    def __init__(self, min_overlap: float | None = None, radius: int | None = None) -> None:
        if min_overlap is not None and not 0 < min_overlap < 1:
            raise ValueError(
                f"`min_overlap` must lie between 0 and 1. Received: min_overlap={min_overlap!r}. "
                "Use 0.3, as CornerNet does."
            )
        if radius is not None and (radius < 0 or radius != int(radius)):
            raise ValueError(
                "`radius` must be None or an integer of at least 0, in cells of the heat map. "
                f"Received: radius={radius!r}. Give None to compute it from the size of each box."
            )
        if min_overlap is not None and radius is not None:
            raise ValueError(
                "`min_overlap` and `radius` must not both be given: each sets the radius. "
                f"Received: min_overlap={min_overlap!r}, radius={radius!r}. Leave one of them out."
            )
        self.min_overlap = MIN_OVERLAP if min_overlap is None and radius is None else min_overlap
        self.radius = None if radius is None else int(radius)

    def assign(
        self, boxes: Tensor, labels: Tensor, image_size: Size, map_size: Size, num_classes: int
    ) -> dict[str, Tensor]:
        """Returns the targets of one batch; no gradient flows through them.

        Args:
            boxes: `(batch, max_boxes, 4)` float, xyxy pixels of the network's input; any values in
                empty slots.
            labels: `(batch, max_boxes)` int, `PADDING_LABEL` (-1) in empty slots.
            image_size: (height, width) of the network's input, pixels.
            map_size: (height, width) of the heat maps, cells.
            num_classes: int. Objects with a higher label are drawn on no heat map.

        Returns:
            dict of `top_left_heatmaps`, `bottom_right_heatmaps` `(batch, height, width, classes)`
            float32 in 0..1, exactly 1 at corners and nowhere else; `top_left_cells`,
            `bottom_right_cells` `(batch, max_boxes)` int32, y * width + x; `top_left_offsets`,
            `bottom_right_offsets` `(batch, max_boxes, 2)` float32, (x, y) in 0..1 inside that cell;
            `mask` `(batch, max_boxes)` bool, the slots that hold an object. Cells and offsets are 0
            in empty slots.
        """
        boxes = ops.stop_gradient(ops.convert_to_tensor(boxes, "float32"))
        labels = ops.cast(ops.convert_to_tensor(labels), "int32")
        mask = valid_slots(labels)
        # An empty slot may hold NaN.
        boxes = clip_boxes(ops.where(mask[..., None], boxes, 0.0), *image_size)
        scale_y, scale_x = (m / i for m, i in zip(map_size, image_size, strict=True))
        boxes = boxes * ops.convert_to_tensor([scale_x, scale_y] * 2, "float32")
        drawn = ops.logical_and(labels >= 0, labels < num_classes)
        radii = ops.where(drawn, self._radii(boxes), -1)
        targets, corners = {"mask": mask}, []
        for name, points in (("top_left", boxes[..., :2]), ("bottom_right", boxes[..., 2:])):
            x, y = _cells(points, map_size)
            corners.append((x, y))
            offsets = points - ops.cast(ops.stack([x, y], axis=-1), "float32")
            targets[f"{name}_cells"] = y * map_size[1] + x
            targets[f"{name}_offsets"] = ops.clip(offsets, 0.0, 1.0)
        maps = _heatmaps(corners, radii, labels, map_size, num_classes)
        targets["top_left_heatmaps"], targets["bottom_right_heatmaps"] = maps
        return targets

    def _radii(self, boxes: Tensor) -> Tensor:
        """Radius in cells, `(batch, slots)` int32, of boxes in cells."""
        if self.min_overlap is None:
            return ops.full_like(boxes[..., 0], self.radius, dtype="int32")
        sides = ops.maximum(ops.ceil(boxes[..., 2:] - boxes[..., :2] - TOLERANCE), 1.0)
        total, area = sides[..., 0] + sides[..., 1], sides[..., 0] * sides[..., 1]
        # The smaller root of 4 r^2 - 2 (w + h) r + (1 - min_overlap) w h, in the form that does
        # not subtract numbers of almost equal size.
        lost = (1.0 - self.min_overlap) * area
        radii = lost / (total + ops.sqrt(total * total - 4.0 * lost))
        # r is a whole number for 294 of 65,536 sizes at 0.3. In 68 of them, such as 4 x 5 cells,
        # float64 rounding makes the original's r one smaller: 0.9999… instead of 1.
        return ops.cast(ops.floor(radii + TOLERANCE), "int32")

    def get_config(self) -> Config:
        return {"min_overlap": self.min_overlap, "radius": self.radius}

    @classmethod
    def from_config(cls, config: Config) -> Self:
        # Files of earlier versions hold both; they used `radius`.
        unused = {"min_overlap"} if config.get("radius") is not None else set()
        return cls(**{k: v for k, v in config.items() if k not in unused})


def _cells(points: Tensor, map_size: Size) -> tuple[Tensor, Tensor]:
    """Column and row, int32, of the cells that hold the points, clipped to the last cell."""
    cells = ops.cast(ops.floor(points + TOLERANCE), "int32")
    height, width = map_size
    return ops.minimum(cells[..., 0], width - 1), ops.minimum(cells[..., 1], height - 1)


def _strip_table(
    corners: Sequence[tuple[Tensor, Tensor]], radii: Tensor, labels: Tensor, cells: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The queue of strips to draw: one row per object, and one that draws nothing.

    Args:
        corners, radii, labels: as for `_heatmaps`.
        cells: int, cells of one image on all class maps.

    Returns:
        int32 table `(objects + 1, 3 + 2 * kinds + 1)`: radius, strips per row, first cell of the
        class map, column and row per kind of corner, first place in the queue. Then int32
        `(objects,)`, the place behind the last strip of each object, and the length of the queue.
    """
    batch, sides = ops.shape(labels)[0], 2 * radii + 1
    per_row = (sides + STRIP - 1) // STRIP  # 0 for side -1
    strips = ops.reshape(sides * per_row, (-1,))
    ends = ops.cast(ops.cumsum(strips), "int32")
    first_cells = ops.arange(batch, dtype="int32")[:, None] * cells + labels
    columns = [radii, per_row, first_cells, *(axis for corner in corners for axis in corner)]
    table = ops.reshape(ops.stack(columns, axis=-1), (-1, len(columns)))
    # The last row is for places behind the end of the queue: radius -1 draws nothing.
    nothing = ops.convert_to_tensor([[-1, 1] + [0] * (len(columns) - 1)], "int32")
    table = ops.concatenate([table, (ends - strips)[:, None]], axis=1)
    return ops.concatenate([table, nothing], axis=0), ends, ops.sum(strips)


def _heatmaps(
    corners: Sequence[tuple[Tensor, Tensor]],
    radii: Tensor,
    labels: Tensor,
    map_size: Size,
    num_classes: int,
) -> list[Tensor]:
    """Draws the Gaussians of each kind of corner on its own map.

    Gaussians are squares of 1 to 57 x 57 cells (of 128 x 128). They are cut into strips of `STRIP`
    cells in a row. All strips of the batch form one queue, and each step draws the next ones. Thus
    shapes are static, and the time is proportional to the cells drawn. benchmarks/corner_targets.py
    times two other ways.

    Args:
        corners: pairs of `(batch, slots)` int32 columns and rows, one pair per kind.
        radii: `(batch, slots)` int32; -1 where there is nothing to draw.
        labels: `(batch, slots)` int32.
        map_size: (height, width).
        num_classes: int.

    Returns:
        list of `(batch, height, width, classes)` float32, one per kind.
    """
    height, width = map_size
    cells, batch = height * width * num_classes, ops.shape(labels)[0]
    table, ends, length = _strip_table(corners, radii, labels, cells)

    def step(start: Tensor, *maps: Tensor, count: int) -> tuple[Tensor, ...]:
        places = start + ops.arange(count, dtype="int32")
        owners = ops.searchsorted(ends, places, side="right")
        rows = ops.take(table, ops.cast(owners, "int32"), axis=0)
        return start + count, *_draw(maps, rows, places, map_size, num_classes)

    # These zeros are known at run time only, and each map has its own: TensorFlow would keep
    # constant maps in memory for good, and XLA takes twice the time to copy a shared one.
    zeros = (ops.cast(ops.minimum(ops.sum(x), 0), "float32") for x, _ in corners)
    state = (0, *(ops.full((batch * cells,), zero) for zero in zeros))
    for count, left in ((MANY, 2 * FEW), (FEW, 0)):
        state = ops.while_loop(
            lambda start, *_, left=left: length - start > left, partial(step, count=count), state
        )
    _, *maps = state
    return [ops.reshape(x, (batch, height, width, num_classes)) for x in maps]


def _draw(
    maps: Sequence[Tensor], rows: Tensor, places: Tensor, map_size: Size, num_classes: int
) -> list[Tensor]:
    """Draws one strip per row of the table on each of the flat maps."""
    height, width = map_size
    radius, per_row, first_cell, *corners, first_place = ops.split(rows, rows.shape[1], axis=1)
    place = places[:, None] - first_place
    dy = place // per_row - radius
    dx = place % per_row * STRIP - radius + ops.arange(STRIP, dtype="int32")
    sides = 2 * radius + 1
    # 1 / (2 sigma^2) with sigma = side / 6.
    values = ops.exp(ops.cast(dx * dx + dy * dy, "float32") * -18.0 / ops.cast(sides**2, "float32"))
    values = ops.reshape(ops.where(dx <= radius, values, 0.0), (-1,))
    drawn = []
    for kind, flat in enumerate(maps):
        # Cells beyond the edge are drawn on it; the Gaussian has a higher value there already.
        x = ops.clip(corners[2 * kind] + dx, 0, width - 1)
        y = ops.clip(corners[2 * kind + 1] + dy, 0, height - 1)
        index = ops.reshape(first_cell + (y * width + x) * num_classes, (-1, 1))
        drawn.append(ops.scatter_update(flat, index, values, reduction="max"))
    return drawn
