"""The boxes of the images of a report: what was found, what was missed, and the kind of error."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from keras_det.metrics.error_kinds import KINDS, ErrorKinds
from keras_det.metrics.matching import Matches, countable
from keras_det.report.page.page import KINDS as SHOWN

LEAST_SCORE = 0.05  # detections with a lower score are not in the report, except the best one
MOST_FOUND = 100  # detections in an image of the report


@dataclasses.dataclass(frozen=True)
class Rows:
    """The boxes of all images.

    Attributes:
        truth: by image a list of rows: xyxy, label, score of the detection that found the object
            or -1, and 1 for a crowd region.
        found: by image a list of rows: xyxy, label, score, and the kind as an index into
            `keras_det.report.page.page.KINDS`.
        errors: int64 `(images,)`, wrong detections and missed objects at the thresholds.
    """

    truth: list[list[list[float]]]
    found: list[list[list[float]]]
    errors: np.ndarray


def report_rows(matches: Matches, errors: ErrorKinds, thresholds: Sequence[float]) -> Rows:
    """The boxes of the images, with the kinds of errors at an IoU of 0.5.

    Args:
        matches: of `keras_det.metrics.matching.match`, at an IoU of 0.5.
        errors: of `keras_det.metrics.error_kinds.error_kinds` for them.
        thresholds: one per class; only `Rows.errors` depends on them.
    """
    objects, found = matches.objects, matches.found
    kinds = np.full(len(found.labels), -1)
    names = [name for name, _ in SHOWN]
    numbers = np.array([*(names.index(name) for name in KINDS if name in names), -1, 0])
    kinds[matches.rows] = numbers[errors.kind]
    kinds[matches.rows[matches.ignored[0]]] = names.index("ignored")
    right = matches.right[0]
    score_of = np.full(len(objects.labels), -1.0)
    score_of[matches.match[0][right]] = matches.scores[right]
    lowest = np.asarray(thresholds, "float64")
    shown = found.scores >= lowest[found.labels]
    wrong = shown & (kinds > 0) & (kinds != names.index("ignored"))
    missed = countable(objects) & (score_of < lowest[objects.labels])
    counts = np.bincount(found.image[wrong], minlength=found.images)
    counts += np.bincount(objects.image[missed], minlength=found.images)
    truth = np.column_stack([_corners(objects.boxes), objects.labels, score_of, objects.crowd])
    rows = np.column_stack([_corners(found.boxes), found.labels, found.scores, kinds])
    known = kinds >= 0  # more than 100 detections of a class in an image do not count
    by_image = _by_image(rows[known], found.image[known], found.images)
    truths = _by_image(truth, objects.image, objects.images)
    return Rows(truths, [_best(each) for each in by_image], counts)


def _corners(boxes: np.ndarray) -> np.ndarray:
    """Left, top, width, height as xyxy."""
    return np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])


def _by_image(rows: np.ndarray, image: np.ndarray, images: int) -> list[list[list[float]]]:
    edges = np.searchsorted(image, np.arange(images + 1)).tolist()
    return [rows[a:b].tolist() for a, b in zip(edges[:-1], edges[1:], strict=True)]


def _best(rows: list[list[float]]) -> list[list[float]]:
    """The rows with the highest scores."""
    order = sorted(rows, key=lambda row: -row[5])[:MOST_FOUND]
    return [row for k, row in enumerate(order) if not k or row[5] >= LEAST_SCORE]
