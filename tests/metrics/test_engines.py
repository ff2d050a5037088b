"""hotcoco's numbers are those of pycocotools, and are used where it is installed."""

import sys
import types

import numpy as np
import pytest

from keras_det.metrics import engines
from keras_det.metrics.coco import coco_metrics
from keras_det.metrics.columns import columns
from tests.metrics.scenes import golden_scenes, random_scenes

NOTHING = {"boxes": np.zeros((0, 4)), "labels": np.zeros(0, int), "scores": np.zeros(0)}
ONE = {"boxes": np.array([[0, 0, 9, 9]]), "labels": np.array([0]), "scores": np.array([0.5])}
SCENES = {
    "80 classes": lambda: random_scenes(100, 80, seed=0),
    "2 classes": lambda: random_scenes(50, 2, seed=1, crowd=0.3),
    "bccd": lambda: golden_scenes("bccd"),
    "coco": lambda: golden_scenes("coco"),
    "no detections": lambda: ([ONE], [NOTHING], ["a", "b"]),
    "no objects": lambda: ([NOTHING], [ONE], ["a", "b"]),
    "nothing": lambda: ([NOTHING], [NOTHING], ["a"]),
    "no images": lambda: ([], [], ["a"]),
}


@pytest.mark.parametrize("scenes", SCENES)
def test_hotcoco_gives_the_numbers_of_pycocotools(scenes):
    pytest.importorskip("hotcoco", reason="the extra `fast-eval` is not installed")
    truth, detections, names = SCENES[scenes]()
    arrays = columns(truth, detections, names)
    fast = engines.by_hotcoco(*arrays, len(names))
    slow = engines.by_pycocotools(*arrays, len(names))
    np.testing.assert_allclose(fast.numbers, slow.numbers, rtol=0, atol=1e-9)
    np.testing.assert_allclose(fast.precision, slow.precision, rtol=0, atol=1e-9)


@pytest.mark.parametrize("installed", [True, False])
def test_hotcoco_is_used_where_it_is_installed(installed, monkeypatch):
    used = []
    monkeypatch.setitem(sys.modules, "hotcoco", types.ModuleType("x") if installed else None)
    for name in ("by_hotcoco", "by_pycocotools"):
        answer = engines.Evaluation(np.zeros(12), np.zeros((10, 101, 1, 4, 3)))
        monkeypatch.setattr(engines, name, lambda *_, n=name, a=answer: (used.append(n), a)[1])
    assert coco_metrics([ONE], [ONE], ["a"])["AP"] == 0.0
    assert used == ["by_hotcoco" if installed else "by_pycocotools"]
