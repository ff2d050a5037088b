"""Resampled AP must be what pycocotools finds on the resampled images written out."""

import numpy as np
import pytest

from keras_det.metrics.bootstrap import (
    _per_class,
    _tables,
    _with_mean,
    paired_bootstrap,
    paired_bootstrap_by_class,
)
from keras_det.metrics.coco import coco_metrics

NAMES = ("a", "b", "c")


def scene(rng, crowd=True):
    """Objects of one image and two detectors' answers, the second one worse; class c is rare."""
    count = rng.integers(0, 6)
    corner = rng.uniform(0, 60, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(8, 40, (count, 2))], axis=-1)
    labels = rng.choice(3, count, p=(0.6, 0.35, 0.05))
    truth = {"boxes": boxes, "labels": labels, "crowd": rng.random(count) < 0.1 * crowd}

    def answer(noise):
        keep = rng.random(count) < 0.9
        false = rng.uniform(0, 50, (rng.integers(0, 3), 2))
        found = np.concatenate(
            [boxes[keep] + rng.normal(0, noise, (keep.sum(), 4)), np.hstack([false, false + 20])]
        )
        named = np.concatenate([labels[keep], rng.integers(0, 3, len(false))])
        # Few different scores: ties must go as pycocotools sorts them.
        return {"boxes": found, "labels": named, "scores": rng.integers(1, 20, len(found)) / 20}

    return truth, answer(1.0), answer(3.0)


def scenes(count, seed=0):
    rng = np.random.default_rng(seed)
    return [list(rows) for rows in zip(*(scene(rng) for _ in range(count)), strict=True)]


@pytest.mark.parametrize("seed", range(3))
def test_a_draw_equals_pycocotools_on_the_images_drawn(seed):
    truth, first, _ = scenes(12, seed)
    tables = _tables(truth, first, NAMES)
    rng = np.random.default_rng(seed)
    draws = [np.arange(12), rng.integers(0, 12, 12), np.repeat([1, 5, 7], 4)]
    counts = np.stack([np.bincount(draw, minlength=12) for draw in draws])
    found = _with_mean(_per_class(tables, counts))[-1]
    for value, draw in zip(found, draws, strict=True):
        # Images drawn twice stand beside each other, as ties stand in the weighted count.
        drawn = sorted(draw)
        expected = coco_metrics([truth[i] for i in drawn], [first[i] for i in drawn], NAMES)["AP"]
        np.testing.assert_allclose(value, expected, atol=1e-9)


def test_pair(monkeypatch):
    truth, first, second = scenes(40)
    found = paired_bootstrap(truth, first, second, NAMES, resamples=300)
    assert found.first == pytest.approx(coco_metrics(truth, first, NAMES)["AP"], abs=1e-9)
    assert found.second == pytest.approx(coco_metrics(truth, second, NAMES)["AP"], abs=1e-9)
    assert found.drop > 0.1
    low, high = found.interval
    assert low < found.mean_drop < high and low > 0
    assert abs(found.mean_drop - found.drop) < 0.05
    assert found == paired_bootstrap(truth, first, second, NAMES, resamples=300)
    assert (found.num_images, found.resamples) == (40, 300)
    other = paired_bootstrap(truth, first, second, NAMES, resamples=300, seed=1)
    assert other.drop == found.drop and other.interval != found.interval


# Two images, one object each. The first detector finds both, the second only that of image 0. Drawn
# are (0, 0), (0, 1) or (1, 0), (1, 1) with probabilities 1/4, 1/2, 1/4; of one object in two, 51 of
# 101 recalls are reached: drops of 0, 50/101 and 1. Their mean is (0.495 + 0.5) / 2 = 0.4975.
def test_golden_mean():
    truth = [{"boxes": [[0, 0, 10, 10]], "labels": [0]}] * 2
    all_found = [{**row, "scores": [0.9]} for row in truth]
    nothing = {"boxes": np.zeros((0, 4)), "labels": [], "scores": []}
    found = paired_bootstrap(truth, all_found, [all_found[0], nothing], ["a"], resamples=4000)
    assert found.first == 1.0 and found.second == pytest.approx(51 / 101)
    assert found.mean_drop == pytest.approx(0.25 + 0.5 * 50 / 101, abs=0.02)
    assert found.interval == (0.0, 1.0)


def test_equal_detectors_differ_by_nothing():
    truth, first, _ = scenes(10)
    found = paired_bootstrap(truth, first, first, NAMES, resamples=50)
    assert found.drop == found.mean_drop == 0 and found.interval == (0.0, 0.0)


def test_nothing_to_find():
    rows = [{"boxes": np.zeros((0, 4)), "labels": [], "scores": []}] * 2
    found = paired_bootstrap(rows, rows, rows, NAMES, resamples=5)
    assert np.isnan(found.first) and np.isnan(found.mean_drop) and found.resamples == 0


# The classes share the draws, so their mean is that of all.
def test_each_class_is_compared():
    truth, first, second = scenes(40)
    found = paired_bootstrap_by_class(truth, first, second, NAMES, resamples=300)
    metrics = [coco_metrics(truth, each, NAMES)["AP_per_class"] for each in (first, second)]
    assert list(found) == [*NAMES, ""]
    for name in NAMES:
        pair = [found[name].first, found[name].second]
        np.testing.assert_allclose(pair, [each[name] for each in metrics], atol=1e-9)
        assert found[name].interval[0] <= found[name].mean_drop <= found[name].interval[1]
    assert found[""] == paired_bootstrap(truth, first, second, NAMES, resamples=300)
    assert found["c"].resamples < 300  # some draws hold no object of the rare class


def test_a_class_without_objects_has_no_numbers():
    truth, first, second = scenes(10)
    found = paired_bootstrap_by_class(truth, first, second, (*NAMES, "d"), resamples=10)["d"]
    assert np.isnan(found.first) and np.isnan(found.interval).all() and found.resamples == 0
