"""ATSSTargets against loops in NumPy, and by hand."""

import keras
import numpy as np
import pytest

from keras_det.layers.anchor_generator import AnchorGenerator
from keras_det.targets import ATSSTargets
from tests.helpers import sum_and_gradient

ANCHORS = np.array([[0, 0, 10, 10], [10, 0, 20, 10], [20, 0, 30, 10], [30, 0, 40, 10]], "float32")
# PyTorch's top_k takes any of equal values.
TIES = "another choice among equally distant anchors"


def assign(anchors, boxes, labels, level_sizes, num_candidates=9):
    boxes, labels = np.asarray(boxes, "float32"), np.asarray(labels)

    def function(boxes, labels):
        return ATSSTargets(num_candidates).assign(anchors, boxes, labels, level_sizes)

    if keras.backend.backend() == "jax":  # compiles every operation anyway: rather all at once
        import jax

        function = jax.jit(function)
    return {name: np.array(value) for name, value in function(boxes, labels).items()}


def classes(boxes, labels, num_candidates, level_sizes=(4,)):
    return assign(ANCHORS, [boxes], [labels], level_sizes, num_candidates)["class_targets"][0]


# Candidates 0, 1, 2 of the object (8, 0, 22, 10): IoU 20 / 220, 100 / 140, 20 / 220. Mean 0.2987,
# std 0.3599 (n - 1), threshold 0.6586 < 0.7143. Deltas of anchor 1: 0, 0, ln 1.4, 0.
def test_an_object_sets_its_threshold():
    result = assign(ANCHORS, [[[8, 0, 22, 10]]], [[6]], (4,), num_candidates=3)
    np.testing.assert_array_equal(result["class_targets"], [[-1, 6, -1, -1]])
    np.testing.assert_array_equal(result["positive_mask"], [[False, True, False, False]])
    assert not result["ignore_mask"].any() and result["ignore_mask"].dtype == bool
    expected = np.zeros((1, 4, 4))
    expected[0, 1] = [0, 0, np.log(1.4), 0]
    np.testing.assert_allclose(result["box_targets"], expected, atol=1e-6)
    assert result["class_targets"].dtype == np.int32
    assert result["box_targets"].dtype == np.float32


# Two candidates, IoU a > b: a >= (a + b) / 2 + std holds where std divides by n, (a - b) / 2, and
# not where it divides by n - 1, (a - b) / sqrt(2).
def test_the_deviation_is_that_of_a_sample():
    np.testing.assert_array_equal(classes([[8, 0, 22, 10]], [6], 2), [-1, -1, -1, -1])


# Candidates of one IoU have deviation 0 and are all taken: 0 and 1, overlapping by 60 / 160 each.
def test_equal_overlaps_are_all_taken():
    np.testing.assert_array_equal(classes([[4, 0, 16, 10]], [6], 2), [6, 6, -1, -1])


# In float32 the mean of equal overlaps may be larger than each of them.
def test_rounding_of_the_mean_costs_no_anchor():
    anchors = np.repeat(ANCHORS[:1], 11, axis=0)
    for side in np.linspace(6, 14, 20):
        box = [[[0, 0, side, side]]]
        assert assign(anchors, box, [[0]], (11,), 11)["positive_mask"].all(), side


@pytest.mark.parametrize("bottom, expected", [(4.9, -1), (5.0, -1), (5.1, 6)])
def test_the_centre_lies_inside_the_object(bottom, expected):
    np.testing.assert_array_equal(classes([[0, 0, 10, bottom]], [6], 1), [expected, -1, -1, -1])


@pytest.mark.skipif(keras.backend.backend() == "torch", reason=TIES)
def test_the_first_of_equally_distant_anchors_is_the_candidate():
    np.testing.assert_array_equal(classes([[4, 0, 16, 10]], [6], 1), [6, -1, -1, -1])


def test_an_anchor_goes_to_the_object_it_overlaps_most():
    small, large = [10, 0, 20, 8], [10, 0, 20, 9]
    np.testing.assert_array_equal(classes([small, large], [3, 4], 1), [-1, 4, -1, -1])
    np.testing.assert_array_equal(classes([large, small], [4, 3], 1), [-1, 4, -1, -1])
    np.testing.assert_array_equal(classes([small, small], [7, 3], 1), [-1, 7, -1, -1])
    # IoU 0.9 and 0.9000004 are equal but for rounding, which compilers do differently.
    nearly = [10, 0, 20, 9.000004]
    np.testing.assert_array_equal(classes([large, nearly], [7, 3], 1), [-1, 7, -1, -1])


# k = 1 from each of two levels: anchors 1 and 2, IoU 60 / 160 each. From one level: anchor 1.
def test_every_level_gives_its_candidates():
    box = [[14, 0, 26, 10]]
    np.testing.assert_array_equal(classes(box, [6], 1, (2, 2)), [-1, 6, 6, -1])
    np.testing.assert_array_equal(classes(box, [6], 1), [-1, 6, -1, -1])


def test_nine_anchors_of_one_cell_are_nine_candidates():
    """With k = 9 the cell that holds the object's centre is the only one of its level."""
    generator = AnchorGenerator((3,))
    anchors = generator.anchors((320, 344))
    box = anchors[9 * (43 * 17 + 20)] + np.array([-1.3, 0.4, -1.1, 0.7], "float32")
    positive = assign(anchors, [[box]], [[0]], (len(anchors),))["positive_mask"][0]
    cells = np.unique(np.flatnonzero(positive) // 9)
    np.testing.assert_array_equal(cells, [43 * 17 + 20])
    positive = assign(anchors, [[box]], [[0]], (len(anchors),), 81)["positive_mask"][0]
    assert len(np.unique(np.flatnonzero(positive) // 9)) > 1


def oracle(anchors, boxes, labels, level_sizes, k):
    """One image in float64, one loop per line of algorithm 1; slot of every anchor, or -1."""
    anchors, boxes = anchors.astype("float64"), boxes.astype("float64")
    centres = np.round((anchors[:, :2] + anchors[:, 2:]) / 2, 3)
    slot, best = np.full(len(anchors), -1), np.full(len(anchors), -1.0)
    for g in np.flatnonzero(labels != -1):
        x1, y1, x2, y2 = boxes[g]
        distance = ((centres - [(x1 + x2) / 2, (y1 + y2) / 2]) ** 2).sum(1).round(3)
        candidates, start = [], 0
        for size in level_sizes:
            order = np.argsort(distance[start : start + size], kind="stable")
            candidates += list(start + order[:k])
            start += size
        a = anchors[candidates]
        width = np.minimum(a[:, 2], x2) - np.maximum(a[:, 0], x1)
        height = np.minimum(a[:, 3], y2) - np.maximum(a[:, 1], y1)
        common = np.maximum(width, 0) * np.maximum(height, 0)
        area = (a[:, 2] - a[:, 0]) * (a[:, 3] - a[:, 1])
        iou = common / (area + (x2 - x1) * (y2 - y1) - common)
        threshold = iou.mean() + (iou.std(ddof=1) if len(iou) > 1 else 0)
        for i, overlap in zip(candidates, iou, strict=True):
            x, y = centres[i]
            inside = x1 < x < x2 and y1 < y < y2
            if inside and overlap >= threshold - 1e-6 and overlap > best[i] + 1e-6:
                slot[i], best[i] = g, overlap
    return slot


GENERATORS = {
    "one per cell": AnchorGenerator((3, 4, 5), 8.0, 1, (1.0,)),
    "nine per cell": AnchorGenerator((3, 4, 5)),
    "uneven strides": AnchorGenerator((3, 4, 5, 6), 4.0, 2, (1.0, 0.5)),
}
SIZE = (72, 100)


def random_case(seed, slots=12):
    rng = np.random.default_rng(seed)
    # Corners on a grid of 4 pixels, in every other case: many exact ties. Slots are empty anywhere.
    corners, sides = 90 * rng.random((3, slots, 2)), 4 + 50 * rng.random((3, slots, 2))
    if seed % 2:
        corners, sides = 4 * (corners // 4), 4 * (sides // 4)
    boxes = np.concatenate([corners, corners + sides], -1).astype("float32")
    labels = np.where(rng.random((3, slots)) < 0.4, -1, rng.integers(0, 5, (3, slots)))
    boxes[labels == -1] = np.nan
    return boxes, labels.astype("int32")


def anchors_and_sizes(name):
    generator = GENERATORS[name.removesuffix(", shuffled")]
    cells = [height * width for height, width in generator.feature_sizes(SIZE)]
    anchors = generator.anchors(SIZE)
    if "shuffled" in name:  # neighbours of the first level lie far apart in memory
        order = np.random.default_rng(0).permutation(cells[0])
        anchors[: cells[0]] = anchors[order]
    return anchors, [n * generator.num_anchors_per_cell for n in cells]


@pytest.mark.skipif(keras.backend.backend() == "torch", reason=TIES)
@pytest.mark.parametrize("k", [1, 4, 9, 1000])
@pytest.mark.parametrize("name", [*GENERATORS, "one per cell, shuffled"])
def test_targets_equal_plain_loops(name, k):
    anchors, level_sizes = anchors_and_sizes(name)
    boxes, labels = (np.concatenate(x) for x in zip(*map(random_case, range(4)), strict=True))
    result = assign(anchors, boxes, labels, level_sizes, k)
    for i in range(len(boxes)):
        slot = oracle(anchors, boxes[i], labels[i], level_sizes, k)
        expected = np.where(slot >= 0, labels[i][slot], -1)
        np.testing.assert_array_equal(result["class_targets"][i], expected)
        np.testing.assert_array_equal(result["positive_mask"][i], slot >= 0)
        a, g = anchors[slot >= 0], boxes[i][slot[slot >= 0]]
        sides, goal = a[:, 2:] - a[:, :2], g[:, 2:] - g[:, :2]
        shift = (g[:, :2] + g[:, 2:] - a[:, :2] - a[:, 2:]) / 2 / sides
        deltas = np.concatenate([shift, np.log(goal / sides)], axis=1)
        found = result["box_targets"][i]
        np.testing.assert_allclose(found[slot >= 0], deltas, rtol=1e-5, atol=1e-5)
        assert not found[slot < 0].any()
    assert result["positive_mask"].any() and not result["ignore_mask"].any()


@pytest.mark.parametrize("compiled", [False, True])
def test_targets_in_a_graph_with_any_number_of_slots(compiled):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("tf.function needs the TensorFlow backend")
    import tensorflow as tf

    anchors, level_sizes = anchors_and_sizes("nine per cell")
    signature = [tf.TensorSpec((None, None, 4)), tf.TensorSpec((None, None), tf.int32)]
    function = tf.function(
        lambda b, c: ATSSTargets().assign(anchors, b, c, level_sizes),
        input_signature=None if compiled else signature,
        jit_compile=compiled,
    )
    for seed, slots in ((0, 12),) if compiled else ((0, 12), (1, 5), (2, 0)):
        boxes, labels = random_case(seed, slots)
        result = function(tf.constant(boxes), tf.constant(labels))
        expected = assign(anchors, boxes, labels, level_sizes)
        assert slots == 0 or expected["positive_mask"].any()
        np.testing.assert_array_equal(result["class_targets"], expected["class_targets"])
        np.testing.assert_allclose(result["box_targets"], expected["box_targets"], atol=1e-5)


def tensors_of(graph):
    yield from (tensor for operation in graph.get_operations() for tensor in operation.outputs)
    for function in graph._functions.values():  # the bodies of loops
        yield from tensors_of(function.graph)


def test_no_tensor_holds_all_anchors_for_all_slots():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("graphs are TensorFlow's")
    import tensorflow as tf

    batch, slots, anchors = 2, 100, AnchorGenerator().anchors(256)
    level_sizes = [9 * (256 // 2**level) ** 2 for level in range(3, 8)]
    graph = (
        tf.function(lambda b, c: ATSSTargets().assign(anchors, b, c, level_sizes))
        .get_concrete_function(
            tf.TensorSpec((batch, slots, 4)), tf.TensorSpec((batch, slots), tf.int32)
        )
        .graph
    )
    sizes = [x.shape.num_elements() for x in tensors_of(graph) if x.shape.is_fully_defined()]
    assert max(sizes) >= batch * len(anchors), "the loop was seen"
    assert max(sizes) < batch * len(anchors) * slots / 4


@pytest.mark.parametrize("junk", [0.0, np.nan, np.inf, -5.0])
def test_an_empty_slot_matches_nothing_whatever_its_box(junk):
    boxes = [[ANCHORS[2], [junk] * 4, ANCHORS[3], ANCHORS[1]]]
    result = assign(ANCHORS, boxes, [[-1, -1, 6, -1]], (4,), 1)
    np.testing.assert_array_equal(result["class_targets"], [[-1, -1, -1, 6]])
    np.testing.assert_array_equal(result["box_targets"], np.zeros((1, 4, 4)))


@pytest.mark.parametrize("slots", [0, 3])
def test_images_without_objects_are_all_background(slots):
    result = assign(ANCHORS, np.ones((2, slots, 4)), np.full((2, slots), -1), (3, 1))
    np.testing.assert_array_equal(result["class_targets"], np.full((2, 4), -1))
    np.testing.assert_array_equal(result["box_targets"], np.zeros((2, 4, 4)))
    assert not result["positive_mask"].any() and not result["ignore_mask"].any()


@pytest.mark.parametrize("box", [[5, 5, 5, 5], [8, 8, 2, 2], [500, 500, 510, 510]])
def test_an_object_that_holds_no_centre_gets_no_anchor(box):
    assert (classes([box], [6], 3) == -1).all()


def test_targets_pass_no_gradient():
    def targets(boxes):
        return ATSSTargets(1).assign(ANCHORS, boxes, np.array([[0]]), (4,))["box_targets"]

    total, gradient = sum_and_gradient(targets, [[[1.0, 1.0, 11.0, 10.0]]])
    assert total != 0 and gradient is None


@pytest.mark.parametrize("level_sizes", [None, (3,), (4, 1), (), (4, 0)])
def test_wrong_level_sizes_are_named(level_sizes):
    with pytest.raises(ValueError, match="`level_sizes`.*, 4 in all. Received: level"):
        ATSSTargets().assign(ANCHORS, np.zeros((1, 1, 4)), np.array([[0]]), level_sizes)


@pytest.mark.parametrize("k", [0, -1, 1.5])
def test_a_wrong_number_of_candidates_is_named(k):
    with pytest.raises(ValueError, match="`num_candidates` must be an integer of at least 1"):
        ATSSTargets(k)
