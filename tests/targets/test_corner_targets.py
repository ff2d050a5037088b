"""CornerTargets against the original CornerNet, against loops in NumPy, and by hand."""

import math

import keras
import numpy as np
import pytest

from keras_det.targets import CornerTargets, corner_targets
from tests.helpers import golden, run_on_jax, sum_and_gradient

CORNERS = ("top_left", "bottom_right")


def as_numpy(targets):
    return {name: keras.ops.convert_to_numpy(value) for name, value in targets.items()}


def assign(boxes, labels, image_size, map_size, num_classes, **arguments):
    boxes, labels = np.asarray(boxes, "float32"), np.asarray(labels, "int32")
    targets = CornerTargets(**arguments).assign(boxes, labels, image_size, map_size, num_classes)
    return as_numpy(targets)


# ---- Against the original ----


def check_against_golden(result):
    file = golden("cornernet/cornernet.npz")
    for corner, short in zip(CORNERS, ("tl", "br"), strict=True):
        heatmaps = file[f"target/{short}_heat"].transpose(1, 2, 0)
        np.testing.assert_allclose(result[f"{corner}_heatmaps"][0], heatmaps, atol=2e-7)
        np.testing.assert_array_equal(result[f"{corner}_heatmaps"][0] == 1, heatmaps == 1)
        np.testing.assert_array_equal(result[f"{corner}_cells"][0], file[f"target/{short}_ind"])
        offsets = file[f"target/{short}_off"]
        np.testing.assert_allclose(result[f"{corner}_offsets"][0], offsets, atol=2e-5)


def golden_objects():
    rows = golden("cornernet/cornernet.npz")["target/boxes_xyxy_cls1"]
    return rows[None, :, :4].astype("float32"), rows[None, :, 4].astype("int32") - 1


def test_targets_equal_the_originals():
    result = assign(*golden_objects(), (511, 511), (128, 128), 5)
    check_against_golden(result)
    assert {name: x.dtype.name for name, x in result.items()} == {
        "mask": "bool",
        **{f"{corner}_heatmaps": "float32" for corner in CORNERS},
        **{f"{corner}_cells": "int32" for corner in CORNERS},
        **{f"{corner}_offsets": "float32" for corner in CORNERS},
    }


@pytest.mark.parametrize("compiled", [False, True])
def test_targets_in_a_graph_equal_the_originals(compiled):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("tf.function needs the TensorFlow backend")
    import tensorflow as tf

    signature = [tf.TensorSpec((None, 7, 4)), tf.TensorSpec((None, 7), tf.int32)]
    function = tf.function(
        lambda *truth: CornerTargets().assign(*truth, (511, 511), (128, 128), 5),
        input_signature=None if compiled else signature,
        jit_compile=compiled,
    )
    check_against_golden(as_numpy(function(*map(tf.constant, golden_objects()))))


def window_side(heatmap):
    """Length of the row of non-zero cells through the only corner of a map."""
    return np.count_nonzero(heatmap[np.argwhere(heatmap == 1)[0][0]])


@pytest.mark.parametrize("min_overlap", [0.3, 0.5, 0.7])
def test_radii_equal_the_originals(min_overlap):
    file = golden("cornernet/cornernet.npz")
    sizes = file["gauss/radius_sizes_hw"]
    boxes = np.array([[[40, 40, 40 + w, 40 + h]] for h, w in sizes])
    result = assign(
        boxes, np.zeros((len(boxes), 1)), (190, 200), (190, 200), 1, min_overlap=min_overlap
    )
    radii = file[f"gauss/radius_iou{min_overlap}"].astype(int)
    for corner in CORNERS:
        sides = [window_side(heatmap) for heatmap in result[f"{corner}_heatmaps"][..., 0]]
        np.testing.assert_array_equal(sides, 2 * radii + 1)


@pytest.mark.parametrize("radius", [0, 1, 2, 5, 9])
def test_gaussians_equal_the_originals(radius):
    kernel = golden("cornernet/cornernet.npz")[f"gauss/kernel_r{radius}"]
    boxes = [[[10, 12, 20, 21]]]
    result = assign(boxes, [[0]], (32, 32), (32, 32), 1, radius=radius)
    for corner, (x, y) in zip(CORNERS, [(10, 12), (20, 21)], strict=True):
        expected = np.zeros((32, 32))
        expected[y - radius : y + radius + 1, x - radius : x + radius + 1] = kernel
        np.testing.assert_allclose(result[f"{corner}_heatmaps"][0, ..., 0], expected, atol=2e-7)


# ---- Against plain loops ----


def original_radius(height, width, min_overlap):
    """The least of the original's three, float64."""
    total, area = float(height + width), float(height * width)
    shifted = area * (1 - min_overlap) / (1 + min_overlap)
    shifted = (total - np.sqrt(total**2 - 4 * shifted)) / 2
    shrunk = (2 * total - np.sqrt(4 * total**2 - 16 * (1 - min_overlap) * area)) / 8
    b, c = -2 * min_overlap * total, (min_overlap - 1) * area
    grown = (b + np.sqrt(b**2 - 16 * min_overlap * c)) / (8 * min_overlap)
    return min(shifted, shrunk, grown)


@pytest.mark.parametrize("tenths", [1, 3, 5, 7, 9])
def test_radii_of_all_sizes_equal_the_originals(tenths):
    """But where the true radius is a whole number and the original's rounding decides."""
    heights, widths = (x.ravel() for x in np.mgrid[1:97, 1:131])
    boxes = np.stack([0 * widths, 0 * heights, widths, heights], axis=-1).astype("float32")
    found = np.array(CornerTargets(tenths / 10)._radii(keras.ops.convert_to_tensor(boxes[None])))[0]
    expected = np.array(
        [
            max(0, int(original_radius(h, w, tenths / 10)))
            for h, w in zip(heights, widths, strict=True)
        ]
    )
    # Integers: no rounding here.
    whole = 10 * (widths - 2 * found) * (heights - 2 * found) == tenths * widths * heights
    np.testing.assert_array_equal(found[~whole], expected[~whole])
    np.testing.assert_array_equal((found - expected)[whole] // 2, 0)
    assert tenths != 3 or (whole & (found != expected)).any()


def oracle(boxes, labels, image_size, map_size, num_classes, min_overlap=0.3, radius=None):
    """One image, drawn object by object as the original does it. Boxes hold whole pixels."""
    (image_h, image_w), (map_h, map_w) = image_size, map_size
    slots = len(labels)
    heatmaps = np.zeros((2, map_h, map_w, num_classes))
    cells, offsets = np.zeros((2, slots), int), np.zeros((2, slots, 2))
    for k in np.flatnonzero(labels != -1):
        # In units of 1 / image_size of a cell: exact.
        x1, x2 = (min(max(int(x), 0), image_w) * map_w for x in boxes[k, [0, 2]])
        y1, y2 = (min(max(int(y), 0), image_h) * map_h for y in boxes[k, [1, 3]])
        height, width = (max(1, -((a - b) // size)) for a, b, size in
                         ((y1, y2, image_h), (x1, x2, image_w)))  # fmt: skip
        r = int(original_radius(height, width, min_overlap) + 1e-9) if radius is None else radius
        for i, (x, y) in enumerate(((x1, y1), (x2, y2))):
            column, row = min(x // image_w, map_w - 1), min(y // image_h, map_h - 1)
            cells[i, k] = row * map_w + column
            offsets[i, k] = x / image_w - column, y / image_h - row
            for dy in range(-r, r + 1):
                for dx in range(-r, r + 1):
                    at = (i, row + dy, column + dx, labels[k])
                    if 0 <= at[1] < map_h and 0 <= at[2] < map_w and labels[k] < num_classes:
                        value = math.exp(-(dx * dx + dy * dy) / (2 * ((2 * r + 1) / 6) ** 2))
                        heatmaps[at] = max(heatmaps[at], value)
    return heatmaps, cells, offsets


SIZES = {"image_size": (102, 198), "map_size": (26, 50), "num_classes": 3}


def crowd(seed, images=3, slots=24):
    """Objects that share cells and classes, reach over every edge; empty slots hold junk."""
    rng = np.random.default_rng(seed)
    # Multiples of 3 pixels are often whole numbers of cells: 51 and 102 of 102, 99 and 198 of 198.
    corner = 3 * rng.integers(-6, [66, 34], (images, slots, 2))
    boxes = np.concatenate([corner, corner + 3 * rng.integers(0, [50, 20], (images, slots, 2))], -1)
    boxes[:, 1::4] = boxes[:, ::4]
    boxes[:, 2, 2:], boxes[:, 3] = (198, 102), (99, 51, 198, 102)
    labels = np.where(rng.random((images, slots)) < 0.25, -1, rng.integers(0, 3, (images, slots)))
    boxes = np.where((labels == -1)[..., None], np.nan, boxes.astype("float32"))
    return boxes.astype("float32"), labels.astype("int32")


def check_against_loops(result, boxes, labels, **settings):
    for i in range(len(labels)):
        heatmaps, cells, offsets = oracle(boxes[i], labels[i], **SIZES, **settings)
        for j, corner in enumerate(CORNERS):
            found = result[f"{corner}_heatmaps"][i]
            np.testing.assert_allclose(found, heatmaps[j], atol=2e-7)
            np.testing.assert_array_equal(found == 1, heatmaps[j] == 1)
            np.testing.assert_array_equal(result[f"{corner}_cells"][i], cells[j])
            np.testing.assert_allclose(result[f"{corner}_offsets"][i], offsets[j], atol=1e-5)
    np.testing.assert_array_equal(result["mask"], labels != -1)


@pytest.mark.parametrize("settings", [{}, {"min_overlap": 0.6}, {"radius": 3}, {"radius": 11}])
@pytest.mark.parametrize("seed", range(3))
def test_targets_equal_plain_loops(seed, settings):
    boxes, labels = crowd(seed)
    check_against_loops(assign(boxes, labels, **SIZES, **settings), boxes, labels, **settings)


@pytest.mark.parametrize("strip, many, few", [(1, 999, 70), (4, 50, 20), (64, 40, 128), (8, 9, 1)])
def test_strips_and_steps_do_not_show(monkeypatch, strip, many, few):
    boxes, labels = crowd(7, images=1, slots=8)
    for name, value in (("STRIP", strip), ("MANY", many), ("FEW", few)):
        monkeypatch.setattr(corner_targets, name, value)
    check_against_loops(assign(boxes, labels, **SIZES), boxes, labels)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_graph_equals_plain_loops(compiled, monkeypatch):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("tf.function needs the TensorFlow backend")
    import tensorflow as tf

    monkeypatch.setattr(corner_targets, "MANY", 100)
    monkeypatch.setattr(corner_targets, "FEW", 30)
    function = tf.function(
        lambda *truth: CornerTargets().assign(*truth, **SIZES), jit_compile=compiled
    )
    boxes, labels = crowd(3)
    result = function(tf.constant(boxes), tf.constant(labels))
    check_against_loops(as_numpy(result), boxes, labels)


def test_targets_inside_tf_data_equal_plain_loops():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("tf.data needs the TensorFlow backend")
    import tensorflow as tf

    boxes, labels = crowd(4)
    data = tf.data.Dataset.from_tensor_slices((boxes, labels)).batch(2)
    data = data.map(lambda *truth: CornerTargets().assign(*truth, **SIZES))
    batches = [as_numpy(targets) for targets in data]
    assert [len(batch["mask"]) for batch in batches] == [2, 1]
    result = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    check_against_loops(result, boxes, labels)


JAX_SCRIPT = """
import jax
from tests.targets.test_corner_targets import *

function = jax.jit(lambda *truth: CornerTargets().assign(*truth, **SIZES))
for seed in range(3):
    truth = crowd(seed)
    check_against_loops(as_numpy(function(*truth)), *truth)
print("without TensorFlow")
"""


@pytest.mark.slow
def test_targets_on_jax_equal_plain_loops():
    run_on_jax(JAX_SCRIPT)


# ---- By hand ----


# 4 pixels per cell. (10, 21) is cell (2, 5) and half, a quarter of one; 5 * 10 + 2 = 52. (30, 26)
# is (7, 6) and a half; 67. 5 x 1.25 cells, rounded up 5 x 2: 10 (1 - 0.3) = 7 and
# 7 / (7 + sqrt(49 - 28)) = 0.60, radius 0.
def test_one_object_by_hand():
    result = assign([[[10, 21, 30, 26]]], [[1]], (32, 40), (8, 10), 2)
    expected = np.zeros((2, 8, 10, 2))
    expected[0, 5, 2, 1] = expected[1, 6, 7, 1] = 1.0
    np.testing.assert_array_equal(result["top_left_heatmaps"], expected[:1])
    np.testing.assert_array_equal(result["bottom_right_heatmaps"], expected[1:])
    np.testing.assert_array_equal(result["top_left_cells"], [[52]])
    np.testing.assert_array_equal(result["bottom_right_cells"], [[67]])
    np.testing.assert_allclose(result["top_left_offsets"], [[[0.5, 0.25]]], atol=1e-6)
    np.testing.assert_allclose(result["bottom_right_offsets"], [[[0.5, 0.5]]], atol=1e-6)


# Radius 1: sigma = 0.5, one cell away exp(-2), diagonally exp(-4). Two objects of class 0 in one
# row, three cells apart, and one of class 1 between them.
def test_gaussians_of_a_class_meet_in_their_maximum():
    boxes = [[[2, 3, 7, 7], [4, 3, 7, 7], [3, 3, 7, 7]]]
    result = assign(boxes, [[0, 0, 1]], (8, 8), (8, 8), 2, radius=1)
    row = np.exp([-np.inf, -2, 0, -2, 0, -2, -np.inf, -np.inf])
    np.testing.assert_allclose(result["top_left_heatmaps"][0, 3, :, 0], row, rtol=1e-6)
    row = np.exp([-np.inf, -np.inf, -4, -2, -4, -np.inf, -np.inf, -np.inf])
    np.testing.assert_allclose(result["top_left_heatmaps"][0, 2, :, 1], row, rtol=1e-6)
    # All end in the same cell: one peak per class, three slots.
    assert (result["bottom_right_heatmaps"] == 1).sum() == 2
    np.testing.assert_array_equal(result["bottom_right_cells"], [[63] * 3])


def test_corners_on_the_far_edge_lie_in_the_last_cell_with_offset_one():
    result = assign([[[4, 2, 16, 8]]], [[0]], (8, 16), (2, 4), 1)
    np.testing.assert_array_equal(result["bottom_right_cells"], [[7]])
    np.testing.assert_array_equal(result["bottom_right_offsets"], [[[1, 1]]])
    assert result["bottom_right_heatmaps"][0, 1, 3, 0] == 1


# Clipped to (0, 0, 8, 8) of 8 x 16 pixels; wholly outside: both corners in one corner cell.
def test_boxes_beyond_the_image_are_clipped():
    boxes = [[[-9, -3, 8, 99], [-9, -9, -5, -5], [40, 40, 50, 50], [-np.inf, 0, np.inf, 8]]]
    result = assign(boxes, [[0, 1, 1, 2]], (8, 16), (2, 4), 3)
    np.testing.assert_array_equal(result["top_left_cells"], [[0, 0, 7, 0]])
    np.testing.assert_array_equal(result["bottom_right_cells"], [[6, 0, 7, 7]])
    np.testing.assert_array_equal(result["bottom_right_offsets"][0, :3], [[0, 1], [0, 0], [1, 1]])
    assert result["mask"].all()
    # What is left of the second and third has no area: single cells.
    expected = [[1, 0, 0, 0], [0, 0, 0, 1]]
    np.testing.assert_array_equal(result["top_left_heatmaps"][0, :, :, 1], expected)
    np.testing.assert_array_equal(result["bottom_right_heatmaps"][0, :, :, 1], expected)


# 51 pixels are exactly 13 cells, in float32 13.000001: as 14, the radius would be 3. 99 of 198
# pixels are exactly cell 25 of 50.
def test_whole_numbers_of_cells_are_not_rounded_away():
    result = assign([[[0, 0, 51, 51]]], [[0]], (102, 102), (26, 26), 1)
    assert np.count_nonzero(result["bottom_right_heatmaps"]) == 5 * 5
    np.testing.assert_array_equal(result["bottom_right_cells"], [[13 * 26 + 13]])
    result = assign([[[99, 51, 198, 102]]], [[0]], (102, 198), (26, 50), 1)
    np.testing.assert_array_equal(result["top_left_cells"], [[13 * 50 + 25]])
    np.testing.assert_allclose(result["top_left_offsets"], np.zeros((1, 1, 2)), atol=1e-5)


@pytest.mark.parametrize("junk", [np.nan, np.inf, -5.0, 3.0])
def test_an_empty_slot_gives_nothing_whatever_its_box(junk):
    boxes = np.array([[[junk] * 4, [4, 4, 8, 8], [junk] * 4]], "float32")
    result = assign(boxes, [[-1, 0, -1]], (16, 16), (16, 16), 2)
    alone = assign(boxes[:, 1:2], [[0]], (16, 16), (16, 16), 2)
    for corner in CORNERS:
        np.testing.assert_array_equal(result[f"{corner}_heatmaps"], alone[f"{corner}_heatmaps"])
        assert not result[f"{corner}_cells"][0, ::2].any()
        assert not result[f"{corner}_offsets"][0, ::2].any()
    np.testing.assert_array_equal(result["mask"], [[False, True, False]])


@pytest.mark.parametrize("slots", [0, 3])
def test_images_without_objects_have_empty_maps(slots):
    result = assign(np.ones((2, slots, 4)), np.full((2, slots), -1), (8, 12), (8, 12), 2)
    assert result["mask"].shape == (2, slots) and not result["mask"].any()
    for corner in CORNERS:
        np.testing.assert_array_equal(result[f"{corner}_heatmaps"], np.zeros((2, 8, 12, 2)))
        assert result[f"{corner}_offsets"].shape == (2, slots, 2)


def test_a_label_beyond_the_classes_is_on_no_map():
    boxes = [[[1, 1, 5, 5], [2, 2, 6, 6]]]
    result = assign(boxes, [[2, 1]], (8, 8), (8, 8), 2)
    alone = assign(boxes, [[-1, 1]], (8, 8), (8, 8), 2)
    np.testing.assert_array_equal(result["top_left_heatmaps"], alone["top_left_heatmaps"])
    assert result["mask"].all()


def test_targets_pass_no_gradient():
    def targets(boxes):
        found = CornerTargets().assign(boxes, np.array([[0]]), (16, 16), (16, 16), 1)
        return found["top_left_offsets"]

    total, gradient = sum_and_gradient(targets, [[[1.3, 1.0, 11.0, 10.0]]])
    assert total != 0 and gradient is None


@pytest.mark.parametrize("arguments", [{}, {"min_overlap": 0.7}, {"radius": 2}])
def test_saved_targets_come_back(arguments):
    config = keras.saving.serialize_keras_object(CornerTargets(**arguments))
    assert config["registered_name"] == "keras_det>CornerTargets"
    again = keras.saving.deserialize_keras_object(config)
    min_overlap = None if "radius" in arguments else 0.3
    assert again.get_config() == {"min_overlap": min_overlap, "radius": None, **arguments}


def test_a_radius_and_an_overlap_exclude_each_other():
    with pytest.raises(ValueError, match="must not both be given: .* Received: min_overlap=0.3"):
        CornerTargets(min_overlap=0.3, radius=2)


# As release 0.1.0 stored it.
def test_a_stored_overlap_beside_a_radius_loads():
    again = CornerTargets.from_config({"min_overlap": 0.3, "radius": 2})
    assert again.get_config() == {"min_overlap": None, "radius": 2}


@pytest.mark.parametrize("min_overlap", [0.0, 1.0, -0.3, float("nan")])
def test_bad_overlaps_are_named(min_overlap):
    with pytest.raises(ValueError, match="`min_overlap` must lie between 0 and 1. Received: min_"):
        CornerTargets(min_overlap)


@pytest.mark.parametrize("radius", [-1, 1.5])
def test_bad_radii_are_named(radius):
    with pytest.raises(ValueError, match="`radius` must be None or an integer.*Received: radius="):
        CornerTargets(radius=radius)
