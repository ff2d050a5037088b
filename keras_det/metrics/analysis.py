"""Where a detector fails, in one object: curves, confusion, kinds of errors, thresholds."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_det.files import plain
from keras_det.metrics.coco import NUMBERS, metrics_of
from keras_det.metrics.columns import columns
from keras_det.metrics.confusion import IOU, confusion_matrix
from keras_det.metrics.curves import RECALLS, ap_by_size, precision_recall
from keras_det.metrics.engines import Evaluation, evaluate
from keras_det.metrics.error_kinds import ErrorKinds, error_kinds
from keras_det.metrics.matching import IOUS, Matches, match
from keras_det.metrics.reliability import BINS, Reliability, reliability
from keras_det.metrics.thresholds import (
    ClassThreshold,
    best_f1,
    highest_for_recall,
    lowest_for_precision,
    thresholds_of,
)
from keras_det.names import DEFAULT_THRESHOLD

FORMAT = 1  # version of the JSON; raised with each change that readers would notice
SCHEMA = pathlib.Path(__file__).with_name("analysis.schema.json")
WANTED = 0.9  # precision and recall that thresholds are given for


@dataclasses.dataclass(frozen=True)
class Analysis:
    """Where a detector fails on a set of images.

    Attributes:
        class_names: in the order of the labels.
        images, objects, detections: their numbers, without crowd regions and empty slots.
        metrics: COCO's twelve metrics by name, 0..1; NaN where undefined.
        ap_by_size: see `keras_det.metrics.curves.ap_by_size`.
        precision_recall: see `keras_det.metrics.curves.precision_recall`.
        errors: see `keras_det.metrics.error_kinds.error_kinds`.
        confusion: see `keras_det.metrics.confusion.confusion_matrix`.
        confusion_thresholds: the thresholds that it was counted with, one per class.
        reliability: of all detections, at an IoU of 0.5; see `keras_det.metrics.reliability`.
        best_f1: the threshold of each class with the best F1 at an IoU of 0.5; under "" that of all
            classes together.
        for_precision, for_recall: the same for a wanted precision or recall.
        wanted_precision, wanted_recall: these wanted values.
    """

    class_names: tuple[str, ...]
    images: int
    objects: int
    detections: int
    metrics: dict[str, float]
    ap_by_size: dict[str, dict[str, float]]
    precision_recall: dict[str, dict[str, list[float]]]
    errors: ErrorKinds
    confusion: np.ndarray
    confusion_thresholds: list[float]
    reliability: Reliability
    best_f1: dict[str, ClassThreshold]
    for_precision: dict[str, ClassThreshold]
    for_recall: dict[str, ClassThreshold]
    wanted_precision: float
    wanted_recall: float

    def as_dict(self) -> dict[str, Any]:
        """Plain lists, dicts and numbers, as analysis.schema.json describes them; NaN is None."""
        kinds = {name: dataclasses.asdict(kind) for name, kind in self.errors.kinds.items()}
        found = {
            "format": FORMAT,
            **{name: getattr(self, name) for name in ("images", "objects", "detections")},
            "class_names": self.class_names,
            "metrics": self.metrics,
            "ap_by_size": self.ap_by_size,
            "precision_recall": {"recalls": RECALLS, "classes": self.precision_recall},
            "errors": {
                "AP50": self.errors.ap50,
                "kinds": kinds,
                "false_positives": self.errors.false_positives,
                "false_negatives": self.errors.false_negatives,
            },
            "confusion": {
                "iou": IOU,
                "thresholds": self.confusion_thresholds,
                "matrix": self.confusion,
            },
            "calibration": {**vars(self.reliability)},
            "thresholds": {
                "best_f1": _rows(self.best_f1),
                "precision": {"wanted": self.wanted_precision, **_rows(self.for_precision)},
                "recall": {"wanted": self.wanted_recall, **_rows(self.for_recall)},
            },
        }
        return plain(found)

    def to_json(self) -> str:
        """`as_dict` as JSON."""
        return json.dumps(self.as_dict(), indent=2, ensure_ascii=False, allow_nan=False)


def _rows(thresholds: Mapping[str, ClassThreshold]) -> dict[str, Any]:
    named = {name: row._asdict() for name, row in thresholds.items() if name}
    return {"classes": named, "together": thresholds[""]._asdict()}


def analyse(
    detections: Sequence[Mapping[str, Any]],
    ground_truth: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
    thresholds: Sequence[float] | None = None,
    precision: float = WANTED,
    recall: float = WANTED,
    bins: int = BINS,
) -> Analysis:
    """Measures where a detector fails.

    Args:
        detections, ground_truth, class_names: as for `keras_det.metrics.coco_metrics`.
        thresholds: scores above which detections enter the confusion matrix, one per class.
            Default: those with the best F1; that of all classes together for a class that is never
            found.
        precision, recall: above 0 and at most 1; thresholds are given that reach them.
        bins: int >= 1, of the reliability curve.

    Raises:
        ValueError: as for `coco_metrics`, or there is not one threshold per class, or a wanted
            precision or recall is out of its range.
    """
    arrays = columns(ground_truth, detections, class_names)
    evaluation = evaluate(*arrays, len(class_names))
    matches = match(*arrays, IOUS[:1])
    return analyse_matches(matches, class_names, evaluation, thresholds, precision, recall, bins)


def analyse_matches(
    matches: Matches,
    class_names: Sequence[str],
    evaluation: Evaluation,
    thresholds: Sequence[float] | None = None,
    precision: float = WANTED,
    recall: float = WANTED,
    bins: int = BINS,
) -> Analysis:
    """`analyse` of detections that are matched and evaluated already.

    Args:
        matches: of `keras_det.metrics.matching.match`, at an IoU of 0.5.
        class_names, thresholds, precision, recall, bins: as for `analyse`.
        evaluation: of the same detections, as `keras_det.metrics.engines.evaluate` returns it.
    """
    count = len(class_names)
    best = thresholds_of(matches, class_names, best_f1)
    shown = _shown(best, class_names, thresholds)
    counted, metrics = ~matches.ignored[0], metrics_of(evaluation, class_names)
    return Analysis(
        class_names=tuple(map(str, class_names)),
        images=matches.objects.images,
        objects=int(matches.object_counts(count).sum()),
        detections=len(matches.found.labels),
        metrics={name: metrics[name] for name, *_ in NUMBERS},
        ap_by_size=ap_by_size(evaluation, class_names),
        precision_recall=precision_recall(evaluation, class_names),
        errors=error_kinds(matches, count),
        confusion=confusion_matrix(matches, shown, count),
        confusion_thresholds=shown,
        reliability=reliability(matches.scores[counted], matches.right[0][counted], bins),
        best_f1=best,
        for_precision=_for(matches, class_names, lowest_for_precision, precision),
        for_recall=_for(matches, class_names, highest_for_recall, recall),
        wanted_precision=precision,
        wanted_recall=recall,
    )


def _for(
    matches: Matches, class_names: Sequence[str], choose: Any, wanted: float
) -> dict[str, ClassThreshold]:
    return thresholds_of(matches, class_names, functools.partial(choose, wanted=wanted))


def _shown(
    best: Mapping[str, ClassThreshold],
    class_names: Sequence[str],
    thresholds: Sequence[float] | None,
) -> list[float]:
    """The thresholds of the confusion matrix."""
    if thresholds is not None:
        if len(thresholds) != len(class_names):
            raise ValueError(
                "`thresholds` must hold one score per class. Received: "
                f"{len(thresholds)} for {len(class_names)} classes. Leave it out to use those "
                "with the best F1."
            )
        return [float(each) for each in thresholds]
    together = best[""].threshold
    common = together if np.isfinite(together) else DEFAULT_THRESHOLD
    own = (best[str(name)].threshold for name in class_names)
    return [each if np.isfinite(each) else common for each in own]
