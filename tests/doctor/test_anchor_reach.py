"""Positives per object, anchors that fit, CornerNet's cells: against the model's own targets."""

import numpy as np
import pytest

from keras_det.doctor.anchor_reach import check_reach, corner_cells, positives_per_object
from keras_det.doctor.anchor_search import propose, reached
from keras_det.layers.anchor_generator import AnchorGenerator
from keras_det.models import CornerNet, EfficientDet
from keras_det.targets import ATSSTargets
from tests.doctor.made import dataset_of, square


@pytest.fixture(scope="module")
def model():
    return EfficientDet("lite0", class_names=["cat"], image_size=128)


@pytest.fixture(scope="module")
def atss():
    return EfficientDet("lite0", class_names=["cat"], image_size=64, matcher=ATSSTargets())


def test_positives_are_those_of_the_loss(model):
    import keras

    boxes = [[square(10, 20, 50), square(60, 40, 60)], [], [square(3, 3, 24)]]
    data = dataset_of(boxes, [(128, 128)] * 3)
    rows, positives = positives_per_object(data, model, [0, 1, 2])
    targets = {
        "boxes": np.array([[*boxes[0]], [square(3, 3, 24), [0] * 4]], "float32"),
        "labels": np.array([[0, 0], [0, -1]]),
    }
    raw = {
        "class_logits": np.zeros((2, len(model.anchors), 1), "float32"),
        "box_deltas": np.zeros((2, len(model.anchors), 4), "float32"),
    }
    parts = model.losses_of({k: keras.ops.convert_to_tensor(v) for k, v in targets.items()}, raw)
    assert sorted(rows.tolist()) == [0, 1, 2] and positives.min() >= 1
    assert positives.sum() / 2 == float(parts["positives_per_image"])


def test_second_copy_of_an_object_gets_no_anchor(model):
    data = dataset_of([[square(10, 20, 50)] * 2], [(128, 128)])
    rows, positives = positives_per_object(data, model, [0])
    assert rows.tolist() == [0, 1] and positives[0] > 0 and positives[1] == 0
    (finding,) = check_reach(data, model)
    assert (finding.code, finding.count, finding.total) == ("objects-without-anchor", 1, 2)
    assert finding.harm == "warning" and finding.images == (0,)
    assert finding.examples == ("0.jpg, object 1: cat, 50x50",)
    np.testing.assert_array_equal(finding.boxes[0], [square(10, 20, 50)])


def test_objects_that_fit_are_no_finding(model):
    assert check_reach(dataset_of([[square(10, 20, 50)]], [(128, 128)]), model) == []
    crowd = dataset_of([[square(10, 20, 5)]], [(128, 128)], crowd=[True])
    assert check_reach(crowd, model) == []


# The smallest anchor of lite0 has 24 pixels: of a square of 12 it shows at most (12 / 24)^2 = 0.25.
def test_small_objects_get_anchors_that_reach_them(model):
    rng = np.random.default_rng(0)
    boxes = [[square(*xy, 12)] for xy in rng.integers(5, 100, (30, 2))]
    findings = {f.code: f for f in check_reach(dataset_of(boxes, [(128, 128)] * 30), model)}
    finding = findings["anchors-unreached"]
    assert (finding.harm, finding.count, finding.total) == ("warning", 30, 30)
    assert "100% of those with sides 8 to 16 pixels" in finding.title
    assert finding.facts["by_class"] == {"cat": 1.0}
    last = finding.facts["proposals"][-1]
    assert last["reaches"] >= 0.99 and "anchor_scale=" in finding.cure
    changed = EfficientDet(
        "lite0", class_names=["cat"], image_size=128,
        **{name: value for name, value in last.items() if name not in ("reaches", "image_size")},
    )  # fmt: skip
    flat = np.array([box for row in boxes for box in row], float)
    assert "image_size" not in last
    assert reached(flat, changed, changed.anchor_generator, (128, 128)).mean() >= 0.99


def test_proposals_rise_and_end_at_the_goal(model):
    rng = np.random.default_rng(1)
    first = rng.uniform(0, 90, (200, 2))
    boxes = np.concatenate([first, first + rng.uniform(3, 38, (200, 2))], axis=1)
    found = propose(boxes, model)
    reach = [proposal.reach for proposal in found]
    assert reach == sorted(reach) and all(r < 0.99 for r in reach[:-1])
    assert set(found[0].arguments) == {"anchor_scale"}
    assert propose(np.array([square(10.0, 20.0, 50.0)]), model) == []


def test_atss_needs_a_centre_inside(atss):
    boxes = np.array([[3, 3, 5, 5], [5, 5, 11, 11]], float)
    generator = AnchorGenerator((3,), 3.0)
    assert reached(boxes, atss, generator, (64, 64)).tolist() == [True, False]
    data = dataset_of([[[5, 5, 11, 11], [8, 8, 60, 60]]], [(64, 64)])
    codes = [finding.code for finding in check_reach(data, atss)]
    assert codes == ["anchors-unreached", "objects-without-anchor"]


@pytest.fixture(scope="module")
def corners():
    return CornerNet("tiny", class_names=["cat"], image_size=63)


def test_corner_cells_are_those_of_the_targets(corners):
    from keras_det.layers.center_padding import padded_size

    model = corners
    rng = np.random.default_rng(0)
    first = rng.uniform(0, 40, (20, 2))
    boxes = np.concatenate([first, first + rng.uniform(1, 23, (20, 2))], axis=1)
    data = dataset_of([boxes.tolist()], [(63, 63)])
    top, left = model.padding.before((63, 63))
    wanted = model.targets.assign(
        boxes[None].astype("float32") + np.float32([left, top, left, top]),
        np.zeros((1, 20), int),
        padded_size((63, 63), model.padding.divisor),
        model.output["top_left_heatmaps"].shape[1:3],
        1,
    )
    cells = corner_cells(data, model)
    np.testing.assert_array_equal(cells.top_left, np.asarray(wanted["top_left_cells"])[0])
    np.testing.assert_array_equal(cells.bottom_right, np.asarray(wanted["bottom_right_cells"])[0])


# Cells have 4 pixels: the first two share the cell of (8, 8), the third lies in one cell.
def test_corners_that_share_a_cell(corners):
    boxes = [[8, 8, 30, 30], [9, 9, 40, 40], [53, 1, 54.5, 2.5], [20, 50, 33, 60]]
    found = {f.code: f for f in check_reach(dataset_of([boxes], [(63, 63)]), corners)}
    assert {code: f.count for code, f in found.items()} == {
        "corners-shared": 2,
        "corners-in-one-cell": 1,
    }
    alone = dataset_of([[boxes[0]], [boxes[1]]], [(63, 63)] * 2)  # in different images
    assert check_reach(alone, corners) == []
