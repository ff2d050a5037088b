"""Box arithmetic on arrays: overlap, clipping, and the deltas that a box head predicts.

Boxes are `xyxy` in pixels unless stated otherwise, in any array that `keras.ops` takes. A slot is
empty exactly where its label is `PADDING_LABEL`; what its box holds does not matter.
"""

import math

from keras import ops

from keras_det.names import PADDING_LABEL as PADDING_LABEL
from keras_det.types import Tensor

# Faster R-CNN's clamp: a delta enlarges an anchor at most 62.5 times, so exp never overflows.
MAX_LOG_SCALE = math.log(1000.0 / 16.0)
# The logarithm of a side of 0 is infinite. The original EfficientDet floors sides at 1e-8 pixel.
SIDE_FLOOR = 1e-8


def valid_slots(labels: Tensor) -> Tensor:
    """Returns the boolean mask of slots that hold an object: `labels != PADDING_LABEL`."""
    return ops.not_equal(labels, PADDING_LABEL)


def box_areas(boxes: Tensor) -> Tensor:
    """Returns areas in square pixels, `(…,)` for boxes `(…, 4)`; inverted boxes have area 0."""
    width = ops.maximum(boxes[..., 2] - boxes[..., 0], 0.0)
    height = ops.maximum(boxes[..., 3] - boxes[..., 1], 0.0)
    return width * height


def pairwise_iou(boxes_a: Tensor, boxes_b: Tensor) -> Tensor:
    """Intersection over union of every box of one set with every box of another.

    Args:
        boxes_a: `(…, n, 4)` float.
        boxes_b: `(…, m, 4)` float, the same leading axes.

    Returns:
        `(…, n, m)` float in 0..1; 0 where both boxes are empty.
    """
    a, b = ops.expand_dims(boxes_a, -2), ops.expand_dims(boxes_b, -3)
    top_left = ops.maximum(a[..., :2], b[..., :2])
    bottom_right = ops.minimum(a[..., 2:], b[..., 2:])
    sides = ops.maximum(bottom_right - top_left, 0.0)
    common = sides[..., 0] * sides[..., 1]
    union = box_areas(a) + box_areas(b) - common
    return ops.where(union > 0, common / ops.where(union > 0, union, 1.0), 0.0)


def matched_iou(boxes_a: Tensor, boxes_b: Tensor) -> Tensor:
    """Intersection over union of each box with the one at the same place.

    Args:
        boxes_a, boxes_b: `(…, 4)` float.

    Returns:
        `(…,)` float in 0..1; 0 where both boxes are empty.
    """
    (a_x1, a_y1, a_x2, a_y2), (b_x1, b_y1, b_x2, b_y2) = (
        tuple(boxes[..., i] for i in range(4)) for boxes in (boxes_a, boxes_b)
    )
    width = ops.maximum(ops.minimum(a_x2, b_x2) - ops.maximum(a_x1, b_x1), 0.0)
    height = ops.maximum(ops.minimum(a_y2, b_y2) - ops.maximum(a_y1, b_y1), 0.0)
    common = width * height
    union = box_areas(boxes_a) + box_areas(boxes_b) - common
    return ops.where(union > 0, common / ops.where(union > 0, union, 1.0), 0.0)


def clip_boxes(boxes: Tensor, height: int, width: int) -> Tensor:
    """Clips `(…, 4)` boxes to the image: x to `[0, width]`, y to `[0, height]` (pixels)."""
    x1, y1, x2, y2 = (boxes[..., i] for i in range(4))
    clipped = [
        ops.clip(x1, 0, width),
        ops.clip(y1, 0, height),
        ops.clip(x2, 0, width),
        ops.clip(y2, 0, height),
    ]
    return ops.stack(clipped, axis=-1)


def _centres_and_sides(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    width, height = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    return boxes[..., 0] + width / 2, boxes[..., 1] + height / 2, width, height


def encode_deltas(anchors: Tensor, boxes: Tensor) -> Tensor:
    """Encodes boxes relative to anchors, without variances.

    Faster R-CNN equation 2 (https://arxiv.org/abs/1506.01497), as in the original EfficientDet:

        dx = (x - x_a) / w_a,  dy = (y - y_a) / h_a,  dw = ln(w / w_a),  dh = ln(h / h_a)

    with centres (x, y) and sides (w, h); sides are floored at 1e-8 pixel.

    Args:
        anchors: `(…, 4)` xyxy pixels.
        boxes: `(…, 4)` xyxy pixels.

    Returns:
        `(…, 4)` deltas `(dx, dy, dw, dh)`; dw and dh are natural logarithms.
    """
    x_a, y_a, w_a, h_a = _centres_and_sides(anchors)
    x, y, w, h = _centres_and_sides(boxes)
    w_a, h_a, w, h = (ops.maximum(side, SIDE_FLOOR) for side in (w_a, h_a, w, h))
    deltas = [(x - x_a) / w_a, (y - y_a) / h_a, ops.log(w / w_a), ops.log(h / h_a)]
    return ops.stack(deltas, axis=-1)


def decode_deltas(anchors: Tensor, deltas: Tensor) -> Tensor:
    """Inverts `encode_deltas`, with dw and dh clamped at ln(1000 / 16).

    The original EfficientDet does not clamp. A box 62.5 times as large as its anchor is larger than
    any image, and the clamp keeps the boxes of an untrained model finite.

    Args:
        anchors: `(…, 4)` xyxy pixels.
        deltas: `(…, 4)` as `(dx, dy, dw, dh)`.

    Returns:
        `(…, 4)` boxes, xyxy pixels, not clipped to the image.
    """
    deltas = ops.convert_to_tensor(deltas)
    parts = _centres_and_sides(anchors)
    x_a, y_a, w_a, h_a = (ops.convert_to_tensor(part, deltas.dtype) for part in parts)
    x = deltas[..., 0] * w_a + x_a
    y = deltas[..., 1] * h_a + y_a
    half_w = ops.exp(ops.minimum(deltas[..., 2], MAX_LOG_SCALE)) * w_a / 2
    half_h = ops.exp(ops.minimum(deltas[..., 3], MAX_LOG_SCALE)) * h_a / 2
    return ops.stack([x - half_w, y - half_h, x + half_w, y + half_h], axis=-1)


def check_ground_truth(boxes: Tensor, labels: Tensor, num_classes: int) -> None:
    """Checks the boxes and labels of one image (eager only).

    Args:
        boxes: `(num_boxes, 4)` array, "xyxy", pixels.
        labels: `(num_boxes,)` integers; `PADDING_LABEL` marks an empty slot.
        num_classes: int >= 1. Labels run from 0 to `num_classes - 1`.

    Raises:
        ValueError: a label or a box is invalid; the message names the first one.
    """
    boxes, labels = ops.convert_to_numpy(boxes), ops.convert_to_numpy(labels)
    if boxes.shape != (len(labels), 4):
        raise ValueError(
            "`boxes` must have shape (num_boxes, 4) with one row per label. "
            f"Received: boxes.shape={boxes.shape}, labels.shape={labels.shape}. "
            "Pad both to the same number of slots, labels with -1."
        )
    for i, ((x1, y1, x2, y2), label) in enumerate(zip(boxes, labels, strict=True)):
        if label == PADDING_LABEL:
            continue
        if not 0 <= label < num_classes:
            raise ValueError(
                f"`labels[{i}]` must lie in [0, {num_classes - 1}]. Received: {label}. COCO "
                "category ids start at 1 and skip numbers: map them to 0..num_classes-1 when "
                "reading, as keras_det.data.load does."
            )
        if not (x1 < x2 and y1 < y2):
            raise ValueError(
                f"`boxes[{i}]` must satisfy x1 < x2 and y1 < y2 (xyxy, pixels). Received: "
                f'[{x1:g}, {y1:g}, {x2:g}, {y2:g}]. If the file stores "xywh", convert it '
                "first with keras.utils.bounding_boxes.convert_format."
            )
