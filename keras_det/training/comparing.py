"""Two detectors on the same images: differences with confidence intervals, and who wins where."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_det.files import plain
from keras_det.metrics.bootstrap import PairedPrecision, paired_bootstrap_by_class
from keras_det.metrics.columns import columns
from keras_det.metrics.error_kinds import error_kinds
from keras_det.metrics.matching import IOUS, match
from keras_det.metrics.thresholds import thresholds_of
from keras_det.names import DEFAULT_THRESHOLD
from keras_det.training.evaluate import per_class
from keras_det.training.report_rows import report_rows
from keras_det.words import counted

LONGEST_NAME = 20  # of a class in the table


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two detectors, A and B, on the same images.

    Attributes:
        class_names: in the order of the labels.
        objects: number of objects of each class, without crowd regions.
        by_class: AP of both, and the interval of the difference, for each class; under "" for all
            classes together. A is `first`.
        errors: int64 `(2, images)`, wrong detections and missed objects in each image.
    """

    class_names: tuple[str, ...]
    objects: list[int]
    by_class: dict[str, PairedPrecision]
    errors: np.ndarray

    @property
    def wins(self) -> tuple[int, int]:
        """Number of images in which A, and in which B, has fewer errors."""
        first, second = self.errors
        return int((first < second).sum()), int((second < first).sum())

    def most_different(self, count: int) -> list[int]:
        """Images in which the errors differ most: half where B wins, half where A does."""
        change = self.errors[1] - self.errors[0]
        order = np.argsort(change, kind="stable")
        better = [i for i in order[: (count + 1) // 2].tolist() if change[i] < 0]
        worse = [i for i in order[::-1][: count // 2].tolist() if change[i] > 0]
        return better + worse

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers for a JSON file: B minus A, so more than 0 means that B is better."""
        rows = {name: _row(pair) for name, pair in self.by_class.items()}
        wins = self.wins
        return plain(
            {
                "images": self.errors.shape[1],
                "all": rows.pop(""),
                "classes": rows,
                "fewer_errors": {"A": wins[0], "B": wins[1]},
            }
        )

    def text(self) -> str:
        """The table for a terminal, at most 80 columns wide, and what it means."""
        head = f"{'class':<{LONGEST_NAME}} {'objects':>8} {'AP of A':>8} {'AP of B':>8} "
        lines = [f"{head}{'B - A':>8}  95% interval"]
        for name, count in zip(self.class_names, self.objects, strict=True):
            lines.append(_line(name, count, self.by_class[name]))
        lines += [_line("all classes", sum(self.objects), self.by_class[""]), "", self.verdict()]
        first, second = self.wins
        equal = self.errors.shape[1] - first - second
        lines.append(
            f"Fewer errors: A in {counted(first, 'image')}, B in {second:,}; equal in {equal:,}."
        )
        return "\n".join(lines)

    def verdict(self) -> str:
        """One sentence: which detector is better, or that this is not known."""
        pair = self.by_class[""]
        low, high = _turned(pair.interval)
        if low > 0 or high < 0:
            return (
                f"{'B' if low > 0 else 'A'} is better: the interval of B - A, {low:+.3f} to "
                f"{high:+.3f}, does not contain 0."
            )
        if not np.isfinite([low, high]).all():
            return "The models cannot be compared: the images contain no objects."
        return (
            f"Neither is clearly better: the interval of B - A, {low:+.3f} to {high:+.3f}, "
            "contains 0. More images would make it narrower."
        )


def _turned(interval: tuple[float, float]) -> tuple[float, float]:
    """The interval of B - A from that of A - B."""
    return -interval[1], -interval[0]


def _row(pair: PairedPrecision) -> dict[str, Any]:
    change, interval = -pair.drop, _turned(pair.interval)
    return {"AP_A": pair.first, "AP_B": pair.second, "change": change, "interval": interval}


def _line(name: str, objects: int, pair: PairedPrecision) -> str:
    short = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
    start = f"{short:<{LONGEST_NAME}} {objects:>8,} "
    if not np.isfinite(pair.first):
        return f"{start}{'-':>8} {'-':>8} {'-':>8}"
    low, high = _turned(pair.interval)
    clear = " *" if low > 0 or high < 0 else ""
    numbers = f"{pair.first:>8.3f} {pair.second:>8.3f} {_signed(-pair.drop):>8}"
    return f"{start}{numbers}  {_signed(low)} … {_signed(high)}{clear}"


def _signed(value: float) -> str:
    """A difference with its sign, but +0.000 in place of -0.000."""
    return f"{round(value, 3) + 0.0:+.3f}"


def compare(
    ground_truth: Sequence[Mapping[str, Any]],
    first: Sequence[Mapping[str, Any]],
    second: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
    thresholds: Sequence[Sequence[float] | None] = (None, None),
    resamples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Compares two detectors on the same images.

    The difference in AP gets a 95% interval from the paired bootstrap over images, for each class
    and for all together. In each image, wrong detections and missed objects are counted at an IoU
    of 0.5, above the detectors' score thresholds.

    Args:
        ground_truth: as for `keras_det.metrics.coco_metrics`.
        first, second: detections of A and of B, each as `detections` of `coco_metrics`.
        class_names: of both.
        thresholds: of A and of B: one score per class, or None for those with the best F1.
        resamples, seed: of the bootstrap, as for `keras_det.metrics.paired_bootstrap`.
    """
    names, errors = list(map(str, class_names)), []
    for detections, own in zip((first, second), thresholds, strict=True):
        matches = match(*columns(ground_truth, detections, names), IOUS[:1])
        if own is None:
            own = per_class(thresholds_of(matches, names), DEFAULT_THRESHOLD)
        errors.append(report_rows(matches, error_kinds(matches, len(names)), own).errors)
    counts = matches.object_counts(len(names)).tolist()
    pairs = paired_bootstrap_by_class(ground_truth, first, second, names, resamples, seed)
    return Comparison(tuple(names), counts, pairs, np.array(errors))
