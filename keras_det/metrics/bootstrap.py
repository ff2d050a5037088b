"""How sure a difference of two average precisions is: both measured on the same drawn images."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from keras_det.metrics.coco import evaluated

RECALLS = np.linspace(0.0, 1.0, 101)
INTERVAL = (2.5, 97.5)


@dataclasses.dataclass(frozen=True)
class PairedPrecision:
    """Two detectors on the same images.

    Args:
        first, second: AP of each on all images, 0..1, as COCO counts it.
        mean_drop: mean of AP(first) - AP(second) over resampled sets of images.
        interval: the 2.5th and the 97.5th percentile of that difference.
        num_images: images in a set.
        resamples: sets drawn.
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
    ground_truth: Sequence[dict],
    first: Sequence[dict],
    second: Sequence[dict],
    class_names: Sequence[str],
    resamples: int = 1000,
    seed: int = 0,
) -> PairedPrecision:
    """Compares two detectors' AP by the paired bootstrap over images.

    As many images as there are get drawn with replacement, both detectors are measured on the same
    draw, and the differences are collected (Efron and Tibshirani, An Introduction to the Bootstrap,
    1993, chapter 13: the percentile interval). Images that are hard for both cancel out.

    Args:
        ground_truth, first, second, class_names: as of `coco_metrics`.
        resamples: int, number of draws.
        seed: int, of the draws.

    Returns:
        `PairedPrecision`; NaN where there is nothing to find.
    """
    tables = [_tables(ground_truth, each, class_names) for each in (first, second)]
    count = len(ground_truth)
    whole = [float(_precision(each, np.ones((1, count)))[0]) for each in tables]
    draws = np.random.default_rng(seed).multinomial(count, [1 / count] * count, resamples)
    drops = np.concatenate(
        [
            _precision(tables[0], part) - _precision(tables[1], part)
            for part in np.array_split(draws, max(1, resamples // 100))
        ]
    )
    drops = drops[np.isfinite(drops)]  # a draw may hold no object
    low, high = np.percentile(drops, INTERVAL) if len(drops) else (np.nan, np.nan)
    mean = float(drops.mean()) if len(drops) else float("nan")
    return PairedPrecision(*whole, mean, (float(low), float(high)), count, len(drops))


@dataclasses.dataclass(frozen=True)
class _Table:
    """The detections of one class, the best first.

    Args:
        image: `(n,)`, of each detection.
        hits: bool `(10, n)`: it is the partner of an object, by IoU threshold.
        counted: bool `(10, n)`: it counts; one in a crowd does not.
        objects: `(num_images,)`, to be found.
    """

    image: np.ndarray
    hits: np.ndarray
    counted: np.ndarray
    objects: np.ndarray


def _tables(ground_truth, detections, class_names):
    """Matches every image once; a draw only weighs them."""
    found = evaluated(ground_truth, detections, class_names, sizes=("all",))
    images = len(ground_truth)
    rows = [found.evalImgs[k * images : (k + 1) * images] for k in range(len(class_names))]
    return [_table(row, images) for row in rows]


def _table(row, images):
    objects, parts = np.zeros(images), []
    for i, each in enumerate(row):
        if each is None:
            continue
        objects[i] = np.count_nonzero(np.asarray(each["gtIgnore"]) == 0)
        scores = np.asarray(each["dtScores"], float)
        parts.append((np.full(len(scores), i), scores, each["dtMatches"], each["dtIgnore"]))
    if not parts:
        nothing = np.zeros((10, 0), bool)
        return _Table(np.zeros(0, int), nothing, nothing, objects)
    image, scores = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    matches, ignored = (np.concatenate([part[k] for part in parts], axis=1) for k in (2, 3))
    order = np.argsort(-scores, kind="mergesort")  # pycocotools' order among equal scores
    matches, counted = matches[:, order] != 0, ~ignored[:, order].astype(bool)
    return _Table(image[order], matches & counted, counted, objects)


def _precision(tables, draws):
    """AP of each draw `(draws, num_images)`, how often each image was drawn: `(draws,)`.

    An image drawn twice gives two equal detections in a row; counting them at once gives the same
    interpolated precision, since that of a run of hits grows along it.
    """
    per_class = np.stack([_class_precision(table, draws) for table in tables])
    defined = ~np.isnan(per_class)
    total = np.where(defined, per_class, 0.0).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return total / defined.sum(axis=0)


def _class_precision(table, draws):
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
