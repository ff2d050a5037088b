"""Matches the detections of an export with those of the Keras model."""

import dataclasses

import numpy as np

from keras_det.export.check.budget import Budget

SCORE_THRESHOLD = 0.05
IOU_THRESHOLD = 0.9


@dataclasses.dataclass(frozen=True)
class Matching:
    """The matched pairs of one image.

    Args:
        box_errors, score_errors: one number per pair.
        excused: unmatched detections whose score is within the budget of a threshold.
        lost: one sentence for each other unmatched detection.
    """

    box_errors: list[float]
    score_errors: list[float]
    excused: int
    lost: list[str]

    def within(self, budget: Budget) -> bool:
        """Whether every detection is matched within the budget."""
        boxes, scores = max(self.box_errors, default=0), max(self.score_errors, default=0)
        return not self.lost and boxes <= budget.units[0] and scores <= budget.units[1]


def match(
    reference: dict,
    found: dict,
    budget: Budget,
    scale: tuple[float, float] = (1.0, 1.0),
    slots: int | None = None,
) -> Matching:
    """Matches detections greedily, highest score first: same label, IoU at least 0.9.

    Every detection above 0.05, of the model or of the export, needs a partner. The partner may
    have a lower score. Of several possible partners the nearest is taken, in units of the budget:
    soft-NMS leaves duplicates, and clipping can make boxes of different scores equal.

    Args:
        reference: detections of the model in one image without empty slots: `boxes` `(n, 4)`,
            `scores`, `labels`.
        found: the same of the export.
        budget: gives the units of the distance between two detections.
        scale: (x, y) pixels of the network's input per pixel of the boxes.
        slots: max_detections. If the other list is full, its lowest score is a threshold too.
    """
    box_error, score_error, possible = _differences(reference, found, scale)
    units = budget.units
    distance = np.maximum(box_error / units[0], score_error / units[1])
    distance = np.where(possible, distance, np.inf)
    pairs: list[tuple[int, int]] = []
    excused = 0
    lost: list[str] = []
    for name, own, other, axis in (
        ("the Keras model", reference, found, 0),
        ("the export", found, reference, 1),
    ):
        limit = units[1] + _threshold(other["scores"], slots)
        for i in np.argsort(-own["scores"], kind="stable"):
            if own["scores"][i] <= SCORE_THRESHOLD or any(pair[axis] == i for pair in pairs):
                continue
            costs = distance.take(i, axis).copy()
            costs[[pair[1 - axis] for pair in pairs]] = np.inf
            if np.isfinite(costs).any():
                partner = int(i), int(costs.argmin())
                pairs.append(partner if axis == 0 else partner[::-1])
            elif own["scores"][i] <= limit:
                excused += 1
            else:
                lost.append(_describe(name, own, i))
    rows, columns = ([pair[side] for pair in pairs] for side in (0, 1))
    box_errors, score_errors = box_error[rows, columns], score_error[rows, columns]
    return Matching(box_errors.tolist(), score_errors.tolist(), excused, lost)


def _threshold(scores: np.ndarray, slots: int | None) -> float:
    """Returns the score below which a detection may be missing in a list with these scores."""
    full = slots is not None and len(scores) >= slots
    return max(SCORE_THRESHOLD, float(scores.min())) if full else SCORE_THRESHOLD


def _differences(
    reference: dict, found: dict, scale: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns three `(n, m)` arrays: box difference, score difference, and possible pairs.

    The box difference is the largest one of the four coordinates.
    """
    a, b = reference["boxes"][:, None].astype(float), found["boxes"][None].astype(float)
    unit = np.array([*scale, *scale])
    box_error = np.abs((a - b) * unit).max(axis=-1)
    score_error = np.abs(reference["scores"][:, None].astype(float) - found["scores"][None])
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    common = np.maximum(sides, 0).prod(axis=-1)
    area_a, area_b = ((box[..., 2:] - box[..., :2]).prod(axis=-1) for box in (a, b))
    union = area_a + area_b - common
    # A box that is clipped to no area has no IoU. It matches one with the same corners.
    overlap = np.divide(common, union, out=np.ones_like(common), where=union > 1e-6)
    same = reference["labels"][:, None] == found["labels"][None]
    return box_error, score_error, same & (overlap >= IOU_THRESHOLD)


def _describe(name: str, detections: dict, i: int) -> str:
    box = ", ".join(f"{side:.1f}" for side in detections["boxes"][i])
    return (
        f"only {name} finds label {detections['labels'][i]}, score "
        f"{detections['scores'][i]:.4f}, box [{box}]"
    )
