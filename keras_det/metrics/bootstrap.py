"""Confidence interval of the difference of two detectors' AP: the paired bootstrap over images."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_det.metrics.columns import columns
from keras_det.metrics.matching import countable, match

RECALLS = np.linspace(0.0, 1.0, 101)
INTERVAL = (2.5, 97.5)


@dataclasses.dataclass(frozen=True)
class PairedPrecision:
    """AP of two detectors on the same images.

    Attributes:
        first, second: AP of each on all images, 0..1, as COCO defines it.
        mean_drop: mean of AP(first) - AP(second) over the resampled sets of images.
        interval: the 2.5th and the 97.5th percentile of that difference.
        num_images: images per set.
        resamples: sets with at least one object, over which mean and percentiles are taken.
    """

    first: float
    second: float
    mean_drop: float
    interval: tuple[float, float]
    num_images: int
    resamples: int

    @property
    def drop(self) -> float:
        """AP(first) - AP(second) on all images."""
        return self.first - self.second


def paired_bootstrap(
    ground_truth: Sequence[Mapping[str, Any]],
    first: Sequence[Mapping[str, Any]],
    second: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
    resamples: int = 1000,
    seed: int = 0,
) -> PairedPrecision:
    """Compares two detectors' AP by the paired bootstrap over images.

    Each resample draws as many images as there are, with replacement, and measures both detectors
    on them; the differences form the distribution (Efron and Tibshirani, An Introduction to the
    Bootstrap, 1993, chapter 13: the percentile interval). Images that are hard for both detectors
    cancel out.

    Args:
        ground_truth: as for `coco_metrics`.
        first, second: detections of the two detectors, each as `detections` of `coco_metrics`.
        class_names: as for `coco_metrics`.
        resamples: int >= 1, number of draws.
        seed: int, of the draws.

    Returns:
        `PairedPrecision`; NaN where the images hold no objects.

    Raises:
        ValueError: numbers of images differ, or a label is out of range.
    """
    return paired_bootstrap_by_class(
        ground_truth, first, second, class_names, resamples, seed, classes=False
    )[""]


def paired_bootstrap_by_class(
    ground_truth: Sequence[Mapping[str, Any]],
    first: Sequence[Mapping[str, Any]],
    second: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
    resamples: int = 1000,
    seed: int = 0,
    classes: bool = True,
) -> dict[str, PairedPrecision]:
    """`paired_bootstrap` for each class, and under "" for the mean of the classes.

    All of them use the same draws.

    Args:
        ground_truth, first, second, class_names, resamples, seed: as for `paired_bootstrap`.
        classes: bool. False leaves out the single classes.
    """
    tables = [_tables(ground_truth, each, class_names) for each in (first, second)]
    count = len(ground_truth)
    whole = [_with_mean(_per_class(each, np.ones((1, count))))[:, 0] for each in tables]
    draws = np.random.default_rng(seed).multinomial(count, [1 / count] * count, resamples)
    rows = slice(None) if classes else slice(-1, None)
    drops = np.concatenate(
        [
            (_with_mean(_per_class(tables[0], part)) - _with_mean(_per_class(tables[1], part)))[
                rows
            ]
            for part in np.array_split(draws, max(1, resamples // 100))
        ],
        axis=1,
    )
    names = [*map(str, class_names), ""][rows]
    both = zip(names, *(each[rows].tolist() for each in whole), drops, strict=True)
    return {name: _summary(one, other, row, count) for name, one, other, row in both}


def _summary(first: float, second: float, drops: np.ndarray, images: int) -> PairedPrecision:
    drops = drops[np.isfinite(drops)]  # NaN where a draw holds no object
    low, high = np.percentile(drops, INTERVAL) if len(drops) else (np.nan, np.nan)
    mean = float(drops.mean()) if len(drops) else float("nan")
    return PairedPrecision(first, second, mean, (float(low), float(high)), images, len(drops))


@dataclasses.dataclass(frozen=True)
class _Table:
    """The detections of one class, highest score first.

    Attributes:
        image: `(n,)`, index of the image of each detection.
        hits: bool `(10, n)`, per IoU threshold: the detection matches an object.
        counted: bool `(10, n)`, per IoU threshold: the detection counts (not inside a crowd).
        objects: `(num_images,)`, number of objects per image, without crowds.
    """

    image: np.ndarray
    hits: np.ndarray
    counted: np.ndarray
    objects: np.ndarray


def _tables(
    ground_truth: Sequence[Mapping[str, Any]],
    detections: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
) -> list[_Table]:
    """Matches every image once, one table per class; draws only weight the images."""
    found = match(*columns(ground_truth, detections, class_names))
    objects = np.zeros((len(class_names), len(ground_truth)))
    things = found.objects
    np.add.at(objects, (things.labels, things.image), countable(things))
    return [
        _Table(found.image[part], found.right[:, part], ~found.ignored[:, part], objects[k])
        for k, part in enumerate(found.class_slices(len(class_names)))
    ]


def _per_class(tables: Sequence[_Table], draws: np.ndarray) -> np.ndarray:
    """AP `(classes, draws)`; `draws` `(draws, num_images)` counts how often each has each image.

    An image drawn twice gives two equal detections in a row. Both are counted at once here, which
    gives the same interpolated precision, because precision rises along a run of hits.
    """
    return np.stack([_class_precision(table, draws) for table in tables])


def _with_mean(per_class: np.ndarray) -> np.ndarray:
    """The same with a last row: the mean of the classes that have objects in the draw."""
    defined = ~np.isnan(per_class)
    total = np.where(defined, per_class, 0.0).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.vstack([per_class, total / defined.sum(axis=0)])


def _class_precision(table: _Table, draws: np.ndarray) -> np.ndarray:
    """AP `(draws,)` of one class; NaN where a draw has no object of it."""
    objects = draws @ table.objects
    weights = draws[:, table.image].astype(np.float64)
    area = np.zeros(len(draws))
    for hits, counted in zip(table.hits, table.counted, strict=True):
        found = np.cumsum(weights * hits, axis=1)
        seen = np.cumsum(weights * counted, axis=1)
        precision = found / np.maximum(seen, np.spacing(1))
        # The best precision at this recall or a higher one.
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        recall = found / np.maximum(objects, 1)[:, None]
        for i, (along, best) in enumerate(zip(recall, precision, strict=True)):
            places = np.searchsorted(along, RECALLS, side="left")
            area[i] += best[places[places < len(best)]].sum() / len(RECALLS)
    return np.where(objects > 0, area / len(table.hits), np.nan)
