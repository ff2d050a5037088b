"""Finds labels that are likely wrong, from what a model detects in the same images."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_det.metrics.columns import Found, Objects
from keras_det.metrics.matching import pairs
from keras_det.review.finding import Box, LabelError, LabelFinding
from keras_det.review.label_noise import label_noise
from keras_det.review.next_images import log_odds
from keras_det.review.pairing import LOWEST, NEARBY, SAME_PLACE, Pairing, pair_up
from keras_det.words import counted

LEAST = 0.02  # score: what is less likely wrong is no finding
# Factor of the score where nothing is detected: as often, the model cannot see the object.
ABSENT = 0.5


@dataclasses.dataclass(frozen=True)
class _Cases:
    """Where model and labels can agree or disagree in one way.

    Attributes:
        kind: of the findings that disagreement gives.
        features: float64 `(n, k)`, what the model's certainty depends on.
        agree: bool `(n,)`.
        group: int64 `(n,)`, the class.
        detection, thing: int64 `(n,)`, indices of the detection and the object; -1 for none.
    """

    kind: LabelError
    features: np.ndarray
    agree: np.ndarray
    group: np.ndarray
    detection: np.ndarray
    thing: np.ndarray


def find_label_errors(
    ground_truth: Sequence[Mapping[str, Any]],
    detections: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
    *,
    images: Sequence[int] | None = None,
    trained_on: Sequence[bool] | np.ndarray | None = None,
    least: float = LEAST,
) -> list[LabelFinding]:
    """Labels that are likely wrong, the most likely first.

    The score of a finding is the probability that the label is wrong. It is computed in the same
    way for all kinds, so scores of different kinds can be compared. Each kind has its cases, in
    which model and label agree or disagree, and its features, on which the certainty of the model
    depends:

    | kind | cases | they agree if | features |
    |---|---|---|---|
    | missing | detections that find an object or none | an object is there | score, overlap with |
    | | | | other objects |
    | swapped | objects that are found | the label's class has the highest score there | that |
    | | | | score, the highest score of another class |
    | misplaced | pairs of one class | IoU of at least 0.5 | score, overlap with other objects |
    | spurious | all objects | something is detected near it | area, overlap with others |

    In a case of disagreement, q is the probability that the model is right, and e the share of
    labels that are wrong: score = e q / (e q + 1 - q). See `label_noise`, which fits both. The
    score of a spurious label is half of that: no detection shows what is there instead, and the
    model may not see the object.

    Args:
        ground_truth, detections, class_names: as for `keras_det.metrics.coco.coco_metrics`. The
            detections should be those of models that were not trained on these labels, down to a
            score of 0.01 or less.
        images: index of each image in its data set. Default: 0, 1, …
        trained_on: bool for each image: whether the model was trained on it. These images are
            judged by themselves, because there the model agrees with most labels.
        least: findings with a lower score are left out.

    Raises:
        ValueError: as of `coco_metrics`.
    """
    if len(detections) != len(ground_truth):
        raise ValueError(
            "`detections` must hold one dict per image of `ground_truth`, in the same order. "
            f"Received: {counted(len(ground_truth), 'image')}, {counted(len(detections), 'dict')} "
            "of detections. Give images without detections a dict of empty arrays."
        )
    numbers = np.arange(len(ground_truth)) if images is None else np.asarray(images, np.int64)
    known = np.zeros(len(ground_truth), bool) if trained_on is None else np.asarray(trained_on)
    findings: list[LabelFinding] = []
    for seen in (False, True):
        rows = np.flatnonzero(known == seen).tolist()
        if not rows:
            continue
        truth, found = [ground_truth[i] for i in rows], [detections[i] for i in rows]
        pairing = pair_up(truth, found, class_names)
        place = np.concatenate([np.flatnonzero(np.reshape(t["labels"], -1) >= 0) for t in truth])
        for cases in (_missing, _swapped, _misplaced, _spurious):
            findings += _disagreements(cases(pairing), pairing, numbers[rows], place, seen, least)
    return sorted(findings, key=lambda each: (-each.score, each.image))


def _disagreements(
    cases: _Cases,
    pairing: Pairing,
    numbers: np.ndarray,
    place: np.ndarray,
    seen: bool,
    least: float,
) -> list[LabelFinding]:
    """The findings of one kind."""
    scores = label_noise(cases.features, cases.agree, cases.group).wrong
    scores = scores * (ABSENT if cases.kind == "spurious" else 1.0)
    findings = []
    for k in np.flatnonzero(~cases.agree & (scores >= least)).tolist():
        detection, thing = int(cases.detection[k]), int(cases.thing[k])
        objects, found = pairing.objects, pairing.found
        image = (found.image[detection] if thing < 0 else objects.image[thing]).item()
        more: dict[str, Any] = {}
        if thing >= 0:
            more.update(object=int(place[thing]), label=int(objects.labels[thing]))
            more["box"] = _corners(objects.boxes[thing])
        if detection >= 0:
            more["proposed_label"] = int(found.labels[detection])
            more["proposed_box"] = _corners(found.boxes[detection])
            more["detected"] = float(found.scores[detection])
        more["trained_on"] = seen
        findings.append(LabelFinding(cases.kind, float(scores[k]), int(numbers[image]), **more))
    return findings


def _corners(box: np.ndarray) -> Box:
    """xyxy from left, top, width, height."""
    x, y, width, height = box.tolist()
    return x, y, x + width, y + height


def _certainty(scores: np.ndarray) -> np.ndarray:
    return log_odds(np.maximum(scores, LOWEST))


def _missing(pairing: Pairing) -> _Cases:
    """Detections: is there an object?"""
    found = pairing.found
    there = (pairing.object_of >= 0) & (pairing.overlap >= SAME_PLACE)
    rows = np.flatnonzero(there | pairing.lone)
    features = np.column_stack([_certainty(found.scores[rows]), pairing.crowding[rows]])
    none = np.full(len(rows), -1)
    return _Cases("missing", features, there[rows], found.labels[rows], rows, none)


def _swapped(pairing: Pairing) -> _Cases:
    """Objects at whose place something is detected: does the class agree?"""
    things = np.flatnonzero(pairing.detection_of >= 0)
    things = things[pairing.overlap[pairing.detection_of[things]] >= SAME_PLACE]
    best = pairing.rival_row[things]
    agree = pairing.support[things] >= pairing.rival[things]
    detection = np.where(agree, pairing.detection_of[things], best)
    own, rival = pairing.support[things], pairing.rival[things]
    features = np.column_stack(
        [_certainty(np.maximum(own, rival)), _certainty(np.minimum(own, rival))]
    )
    group = pairing.found.labels[detection]
    return _Cases("swapped", features, agree, group, detection, things)


def _misplaced(pairing: Pairing) -> _Cases:
    """Pairs of one class: are the boxes at the same place?"""
    found, rows = pairing.found, np.flatnonzero(pairing.object_of >= 0)
    things = pairing.object_of[rows]
    same = found.labels[rows] == pairing.objects.labels[things]
    rows, things = rows[same], things[same]
    features = np.column_stack([_certainty(found.scores[rows]), pairing.crowding[rows]])
    agree = pairing.overlap[rows] >= SAME_PLACE
    return _Cases("misplaced", features, agree, found.labels[rows], rows, things)


def _spurious(pairing: Pairing) -> _Cases:
    """Objects: is anything detected there?"""
    objects = pairing.objects
    things = np.flatnonzero(~objects.crowd)
    area = np.maximum(objects.boxes[things, 2] * objects.boxes[things, 3], 1.0)
    agree = pairing.detection_of[things] >= 0
    none = np.full(len(things), -1)
    features = np.column_stack([np.log(area), _crowding(objects)[things]])
    return _Cases("spurious", features, agree, objects.labels[things], none, things)


def _crowding(objects: Objects) -> np.ndarray:
    """The largest IoU of each object with another one, float64 `(objects,)`."""
    none, place = np.zeros(len(objects.labels)), np.arange(len(objects.labels))
    alike = Found(objects.images, objects.image, objects.boxes, objects.labels, none, place)
    first, second, overlap = pairs(objects, alike, place, NEARBY, by_class=False)
    largest, others = none.copy(), (first != second) & ~objects.crowd[second]
    np.maximum.at(largest, first[others], overlap[others])
    return largest
