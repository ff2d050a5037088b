"""Anchors that are fitted to the objects of a data set."""

import dataclasses
import types

import numpy as np
import pytest

from keras_det.data.augment import AUGMENTS
from keras_det.layers.anchor_generator import AnchorGenerator
from keras_det.models import EfficientDet
from keras_det.targets import AnchorTargets, ATSSTargets
from keras_det.training.anchor_fit import JITTER, Fit, fit_anchors
from tests.doctor.made import dataset_of

SIZE = (128, 128)


def model_with(generator, matcher=None):
    """What `fit_anchors` reads of a detector."""
    return types.SimpleNamespace(
        anchor_generator=generator,
        image_size=SIZE,
        resize_policy={"mode": "letterbox", "size": SIZE},
        matcher=matcher or AnchorTargets(),
    )


def boxes_of(width, height, count, seed=0):
    """Boxes of about one size, anywhere in an image of 128 pixels."""
    rng = np.random.default_rng(seed)
    sides = np.array([width, height]) * rng.uniform(0.9, 1.1, (count, 2))
    corners = rng.uniform(0, 1, (count, 2)) * (np.array(SIZE) - sides)
    return np.concatenate([corners, corners + sides], axis=1)


def data_of(*boxes):
    """One image for each array of boxes, whose class is its place."""
    labels = [[place] * len(array) for place, array in enumerate(boxes)]
    names = [f"class {place}" for place in range(len(boxes))]
    return dataset_of(boxes, [SIZE] * len(boxes), labels, names)


def brute_force(boxes, generator):
    """Mean best IoU with any anchor, share of at least 0.5, spread over cells; see `Fit`."""
    anchors = generator.anchors(SIZE).astype(float)
    overlaps = []
    for factor in JITTER:
        centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
        scaled = np.concatenate([centre - factor * half, centre + factor * half], axis=1)
        corners = np.maximum(anchors[None, :, :2], scaled[:, None, :2])
        ends = np.minimum(anchors[None, :, 2:], scaled[:, None, 2:])
        common = np.prod(np.maximum(ends - corners, 0), axis=-1)
        areas = [np.prod(x[:, 2:] - x[:, :2], axis=1) for x in (scaled, anchors)]
        overlaps.append(common / (areas[0][:, None] + areas[1][None] - common))
    overlaps = np.concatenate(overlaps)
    best = overlaps.max(axis=1)
    positive = (overlaps >= 0.5).reshape(len(best), -1, generator.num_anchors_per_cell)
    cells = positive.any(axis=2).sum(axis=1)
    return best.mean(), (best >= 0.5).mean(), (np.log1p(np.minimum(cells, 6)) / np.log(7)).mean()


def test_small_flat_objects_get_small_flat_anchors():
    boxes = boxes_of(24, 10, 60)
    fitted = fit_anchors(data_of(boxes), model_with(AnchorGenerator((3, 4, 5), 3.0)))
    assert fitted.arguments["anchor_scale"] < 2 and max(fitted.arguments["aspect_ratios"]) > 1.7
    assert fitted.before.reached < 0.4 and fitted.after.reached > 0.7
    generator = AnchorGenerator((3, 4, 5), **fitted.arguments)
    assert fitted.after == pytest.approx(brute_force(boxes.astype("float32"), generator), abs=1e-4)
    own = AnchorGenerator((3, 4, 5), 3.0)
    assert fitted.before == pytest.approx(brute_force(boxes.astype("float32"), own), abs=1e-4)
    assert str(fitted).startswith("Anchors fitted to 60 objects: scale ")


def test_no_anchors_of_a_grid_fit_better():
    boxes = np.concatenate([boxes_of(14, 20, 40), boxes_of(50, 40, 40, 1)])
    fitted = fit_anchors(data_of(boxes), model_with(AnchorGenerator((3, 4, 5), 4.0)))
    for scale in (1.0, 1.5, 2.0, 3.0, 4.0, 6.0):
        for ratios in ((1.0, 2.0, 0.5), (1.0, 0.7, 1.4), (0.5, 0.7, 1.2)):
            found = brute_force(boxes, AnchorGenerator((3, 4, 5), scale, 3, ratios))
            assert Fit(*found).score <= fitted.after.score + 0.02, (scale, ratios)


def test_a_rare_class_counts_as_much_as_a_common_one():
    rare, common = boxes_of(14, 14, 12), boxes_of(64, 64, 300, 1)
    fitted = fit_anchors(data_of(rare, common), model_with(AnchorGenerator((3, 4, 5), 4.0)))
    assert fitted.arguments["anchor_scale"] < 2.5
    assert fitted.before.reached == pytest.approx(0.5, abs=0.05)  # the common class: half of all
    assert fitted.after.reached > 0.75


def test_anchors_that_fit_are_kept():
    fitted = fit_anchors(data_of(boxes_of(40, 40, 50)), model_with(AnchorGenerator((3, 4, 5), 4.0)))
    assert fitted.arguments == {} and fitted.after == fitted.before
    assert str(fitted).startswith("Anchors: the model's own, because ")


def test_too_few_objects_change_nothing():
    small = data_of(boxes_of(6, 6, 9))
    assert fit_anchors(small, model_with(AnchorGenerator((3, 4), 4.0))).arguments == {}
    none = data_of(np.zeros((0, 4)))
    assert fit_anchors(none, model_with(AnchorGenerator((3, 4), 4.0))).arguments == {}


# In an image of 1024 pixels, an input of 128 shows the objects at an eighth, and tiles as they are.
def test_with_tiles_the_anchors_fit_what_tiles_show():
    boxes, model = boxes_of(10, 8, 50), model_with(AnchorGenerator((3, 4, 5), 4.0))
    large = dataset_of([boxes + 256], [(1024, 1024)])
    in_tiles = fit_anchors(large, model, AUGMENTS["tiles"])
    assert in_tiles.arguments == fit_anchors(data_of(boxes), model).arguments != {}
    assert fit_anchors(large, model).before != in_tiles.before


def test_crowds_and_specks_do_not_count():
    large, small = boxes_of(40, 40, 50), boxes_of(5, 5, 50, 1)
    data = data_of(np.concatenate([large, small]))
    crowd = np.arange(100) >= 50
    data = dataclasses.replace(data, crowd=crowd)
    assert fit_anchors(data, model_with(AnchorGenerator((3, 4, 5), 4.0))).arguments == {}
    specks = data_of(np.concatenate([large, boxes_of(0.5, 0.5, 50, 1)]))
    assert fit_anchors(specks, model_with(AnchorGenerator((3, 4, 5), 4.0))).arguments == {}


def test_anchors_in_pixels_are_kept():
    generator = AnchorGenerator((3, 4), sizes=((24, 30), (48, 60)))
    fitted = fit_anchors(data_of(boxes_of(6, 6, 50)), model_with(generator))
    assert fitted.arguments == {} and fitted.before.reached == 0


def test_the_threshold_is_the_matcher_s():
    data, generator = data_of(boxes_of(36, 36, 50)), AnchorGenerator((3, 4), 4.0)
    strict = fit_anchors(data, model_with(generator, AnchorTargets(0.8, 0.3)))
    usual = fit_anchors(data, model_with(generator, ATSSTargets()))
    assert strict.before.mean_iou == usual.before.mean_iou
    assert strict.before.reached < usual.before.reached


def test_a_detector_takes_the_arguments():
    model = EfficientDet("lite0", class_names=["class 0"], image_size=128)
    fitted = fit_anchors(data_of(boxes_of(10, 8, 50)), model)
    changed = EfficientDet("lite0", class_names=["class 0"], image_size=128, **fitted.arguments)
    assert changed.anchors.shape == model.anchors.shape
    assert changed.anchor_generator.anchor_scale == fitted.arguments["anchor_scale"]
