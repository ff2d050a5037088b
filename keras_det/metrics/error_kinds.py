"""What kinds of errors a detector makes, and how much AP each kind costs (TIDE)."""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from keras_det.metrics.curves import average_precision
from keras_det.metrics.matching import Matches, countable, pairs

FOREGROUND, BACKGROUND = 0.5, 0.1  # the paper's t_f and t_b
# In the order in which a detection is tested; "missed" counts objects.
KINDS = ("localisation", "classification", "duplicate", "background", "both", "missed")
LOCALISATION, CLASSIFICATION, DUPLICATE, FAR, BOTH, MISSED = range(6)
ADVICE = {
    "localisation": "Boxes are imprecise: check that labels fit tightly; try a larger image size.",
    "classification": "Classes are confused: the confusion matrix shows which. Check their labels.",
    "duplicate": "Objects are found twice: try --method hard, or a lower --sigma.",
    "background": "Detections without an object: look for missing labels; add such scenes.",
    "both": "Class and position are wrong: check the labels with keras-det doctor.",
    "missed": "Objects are missed: try a larger image size; run keras-det doctor.",
}


@dataclasses.dataclass(frozen=True)
class ErrorKind:
    """One kind of error.

    Attributes:
        count: number of wrong detections, or of missed objects.
        cost: by how much AP at IoU 0.5 would rise without these errors, 0..1.
    """

    count: int
    cost: float


@dataclasses.dataclass(frozen=True)
class ErrorKinds:
    """The errors of a detector at an IoU of 0.5, by kind.

    Attributes:
        ap50: AP at IoU 0.5, 0..1; NaN without objects.
        kinds: `ErrorKind` by the names in `KINDS`.
        false_positives, false_negatives: by how much AP at IoU 0.5 would rise without any wrong
            detection, and without any object that is not found.
        kind: int `(n,)`, for each row of the matches the position of its error in `KINDS`; -1 for a
            detection that is right or does not count.
        missed: int `(k,)`, the missed objects as indices into the columns of objects.
    """

    ap50: float
    kinds: dict[str, ErrorKind]
    false_positives: float
    false_negatives: float
    kind: np.ndarray = dataclasses.field(repr=False)
    missed: np.ndarray = dataclasses.field(repr=False)

    def ranked(self) -> list[tuple[str, ErrorKind]]:
        """The kinds, the most costly first."""
        return sorted(self.kinds.items(), key=lambda item: (-item[1].cost, -item[1].count))


def error_kinds(matches: Matches, num_classes: int) -> ErrorKinds:
    """Sorts the errors into kinds and computes what each kind costs.

    Bolya et al., TIDE: A General Toolbox for Identifying Object Detection Errors, ECCV 2020
    (https://arxiv.org/abs/2008.08115), sections 2.2 and 2.3. A detection that matches no object is,
    with the largest IoU of its class and of other classes,

        localisation    0.1 <= IoU <= 0.5 with an object of its class
        classification  IoU >= 0.5 with an object of another class
        duplicate       IoU >= 0.5 with an object of its class that is already found
        background      IoU <= 0.1 with every object
        both            everything else: wrong class, and 0.1 < IoU < 0.5

    tested in this order. An object is missed if no detection matches it and no localisation or
    classification error points at it. The cost of a kind is the rise of AP at IoU 0.5 if it alone
    is corrected: a localisation or classification error becomes right, if it has the highest score
    of those that point at an object that is not found, and is removed otherwise; other detections
    are removed; missed objects are not counted. The costs do not add up. Detections in crowd
    regions are no errors.

    Args:
        matches: of `keras_det.metrics.matching.match`, whose first overlap is 0.5.
        num_classes: labels run from 0 to `num_classes - 1`. Classes without objects are left out of
            the mean, as in COCO.
    """
    kind, target = _kinds(matches)
    counts = countable(matches.objects)
    found = np.zeros(len(counts), bool)
    found[matches.match[0][matches.right[0]]] = True
    pointed = np.zeros(len(counts), bool)
    pointed[target[target >= 0]] = True
    missed = np.flatnonzero(counts & ~found & ~pointed)
    rows = _Rows(matches, kind, target, found, missed, num_classes)
    before = rows.mean_ap(rows.counted, rows.right)
    costs = [max(0.0, after - before) for after in rows.corrected()]
    numbers = [*np.bincount(kind[kind >= 0], minlength=MISSED), len(missed)]
    kinds = {
        name: ErrorKind(int(number), cost if math.isfinite(before) else math.nan)
        for name, number, cost in zip(KINDS, numbers, costs[: len(KINDS)], strict=True)
    }
    right = rows.counted & rows.right
    all_found = rows.mean_ap(rows.counted, rows.right, rows.objects - rows.count(~found))
    return ErrorKinds(
        before, kinds, rows.mean_ap(right, right) - before, all_found - before, kind, missed
    )


class _Rows:
    """The detections, and AP after errors are corrected.

    Args:
        matches, num_classes: as for `error_kinds`.
        kind, target: as `_kinds` returns them.
        found: bool, for each object.
        missed: indices of objects.
    """

    def __init__(
        self,
        matches: Matches,
        kind: np.ndarray,
        target: np.ndarray,
        found: np.ndarray,
        missed: np.ndarray,
        num_classes: int,
    ) -> None:
        self.kind, self.num_classes, self.missed = kind, num_classes, missed
        self.things = matches.objects
        self.labels, self.scores = matches.labels, matches.scores
        self.counted, self.right = ~matches.ignored[0], matches.right[0]
        self.objects = self.count(np.ones(len(found), bool))
        self.best = _best_of_targets(target, self.scores, found)
        self.target_labels = np.append(self.things.labels, -1)[target]

    def count(self, chosen: np.ndarray) -> np.ndarray:
        """Number of objects of each class among the chosen ones that count."""
        labels = self.things.labels[chosen & countable(self.things)]
        return np.bincount(labels, minlength=self.num_classes)

    def corrected(self) -> Iterator[float]:
        """Mean AP with the errors of each kind corrected, in the order of `KINDS`."""
        for number in range(MISSED):
            wrong = self.kind == number
            fixed = wrong & self.best if number in (LOCALISATION, CLASSIFICATION) else wrong & False
            labels = np.where(fixed, self.target_labels, self.labels)
            yield self.mean_ap(self.counted & (~wrong | fixed), self.right | fixed, labels=labels)
        is_missed = np.zeros(len(self.things.labels), bool)
        is_missed[self.missed] = True
        yield self.mean_ap(self.counted, self.right, self.objects - self.count(is_missed))

    def mean_ap(
        self,
        kept: np.ndarray,
        right: np.ndarray,
        objects: np.ndarray | None = None,
        labels: np.ndarray | None = None,
    ) -> float:
        """Mean AP at IoU 0.5 of the classes with objects; NaN without any.

        Where a correction leaves a class without objects, its AP is 0 if it has detections, and is
        left out if not, as in TIDE.

        Args:
            kept, right: bool `(n,)`, the detections that are there, and those that are right.
            objects: number of objects of each class. Default: before any correction.
            labels: `(n,)`, classes of the detections. Default: before any correction.
        """
        labels = (self.labels if labels is None else labels)[kept]
        order = np.lexsort((-self.scores[kept], labels))
        right, edges = (
            right[kept][order],
            np.searchsorted(labels[order], np.arange(self.num_classes + 1)),
        )
        values = []
        for k in np.flatnonzero(self.objects):
            count = int((self.objects if objects is None else objects)[k])
            if count or edges[k] < edges[k + 1]:
                found = average_precision(right[edges[k] : edges[k + 1]], count)
                values.append(found if count else 0.0)
        return float(np.mean(values)) if values else math.nan


def _kinds(matches: Matches) -> tuple[np.ndarray, np.ndarray]:
    """Kind of the error of each row, -1 for none, and the object that it points at, -1 for none."""
    wrong = np.flatnonzero((matches.match[0] < 0) & ~matches.ignored[0])
    rows, objects = matches.rows[wrong], matches.objects
    detection, thing, overlap = pairs(objects, matches.found, rows, BACKGROUND, by_class=False)
    found = np.isin(np.arange(len(objects.labels)), matches.match[0][matches.right[0]])
    same = matches.found.labels[rows[detection]] == objects.labels[thing]
    counts = countable(objects)[thing]

    def best(chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        chosen = np.flatnonzero(chosen & counts)
        order = chosen[np.lexsort((-thing[chosen], overlap[chosen], detection[chosen]))]
        largest, which = np.zeros(len(rows)), np.full(len(rows), -1)
        largest[detection[order]] = overlap[order]  # the last one of each detection stays
        which[detection[order]] = thing[order]
        return largest, which

    own, own_thing = best(same)
    other, other_thing = best(~same)
    taken, _ = best(same & found[thing])
    kind = np.full(len(rows), BOTH)
    kind[np.maximum(own, other) <= BACKGROUND] = FAR
    kind[taken >= FOREGROUND] = DUPLICATE
    kind[other >= FOREGROUND] = CLASSIFICATION
    kind[(own >= BACKGROUND) & (own <= FOREGROUND)] = LOCALISATION
    target = np.where(kind == CLASSIFICATION, other_thing, -1)
    target[kind == LOCALISATION] = own_thing[kind == LOCALISATION]
    all_kinds, all_targets = np.full((2, len(matches.rows)), -1)
    all_kinds[wrong], all_targets[wrong] = kind, target
    return all_kinds, all_targets


def _best_of_targets(target: np.ndarray, scores: np.ndarray, found: np.ndarray) -> np.ndarray:
    """bool `(n,)`: the rows with the highest score of those that point at an unfound object."""
    rows = np.flatnonzero(target >= 0)
    rows = rows[~found[target[rows]]]
    order = rows[np.lexsort((-scores[rows], target[rows]))]
    best = np.zeros(len(target), bool)
    best[order[np.flatnonzero(np.diff(target[order], prepend=-1))]] = True
    return best


def format_errors(found: ErrorKinds) -> str:
    """A table of the kinds of errors, the most costly first, and what to do about the first.

    At most 80 columns wide, without a line break at the end.
    """
    lines = ["error             count   AP50 lost"]
    lines += [
        f"{name:<14}{each.count:>9,}  {_number(each.cost):>10}" for name, each in found.ranked()
    ]
    name, first = found.ranked()[0]
    if first.cost > 0:
        lines.append(ADVICE[name])
    return "\n".join(lines)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
