"""Random objects, predictions and plain overlaps for the matchers that look at predictions."""

import keras
import numpy as np
import pytest

from keras_det.layers.anchor_generator import AnchorGenerator

SIZE = (72, 100)
GENERATORS = {
    "one per cell": AnchorGenerator((3, 4, 5), 8.0, 1, (1.0,)),
    "nine per cell": AnchorGenerator((3, 4, 5)),
    "uneven strides": AnchorGenerator((3, 4, 5, 6), 4.0, 2, (1.0, 0.5)),
}
CLASSES = 5


def anchors_and_sizes(name):
    generator = GENERATORS[name]
    cells = [height * width for height, width in generator.feature_sizes(SIZE)]
    return generator.anchors(SIZE), [n * generator.num_anchors_per_cell for n in cells]


def random_case(seed, num_anchors, slots=9, batch=3):
    """Objects, some in empty slots of NaN, and raw outputs whose boxes lie around the anchors."""
    rng = np.random.default_rng(seed)
    corners, sides = 90 * rng.random((batch, slots, 2)), 3 + 60 * rng.random((batch, slots, 2))
    boxes = np.concatenate([corners, corners + sides], -1).astype("float32")
    labels = np.where(
        rng.random((batch, slots)) < 0.3, -1, rng.integers(0, CLASSES, (batch, slots))
    )
    boxes[labels == -1] = np.nan
    raw = {
        "class_logits": rng.normal(-2, 2, (batch, num_anchors, CLASSES)).astype("float32"),
        "box_deltas": rng.normal(0, 0.3, (batch, num_anchors, 4)).astype("float32"),
    }
    return boxes, labels.astype("int32"), raw


def decoded(anchor, delta):
    """The predicted box of one anchor."""
    anchor, delta = anchor.astype("float64"), delta.astype("float64")
    side = anchor[2:] - anchor[:2]
    centre = anchor[:2] + side / 2 + delta[:2] * side
    half = side * np.exp(delta[2:]) / 2
    return np.concatenate([centre - half, centre + half])


def overlap(a, b):
    """IoU of two boxes."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def centre(box):
    return (float(box[0]) + float(box[2])) / 2, (float(box[1]) + float(box[3])) / 2


def assign(matcher, anchors, boxes, labels, level_sizes, raw):
    """The targets as NumPy arrays, on any backend."""
    boxes, labels = np.asarray(boxes, "float32"), np.asarray(labels, "int32")

    def function(boxes, labels, raw):
        return matcher.assign(anchors, boxes, labels, level_sizes, raw=raw)

    if keras.backend.backend() == "jax":  # compiles every operation anyway: rather all at once
        import jax

        function = jax.jit(function)
    return {name: np.array(value) for name, value in function(boxes, labels, raw).items()}


def graph_and_eager(matcher, compiled):
    """Yields the targets of some batches, computed in a graph and eagerly; with XLA if compiled.

    Without XLA one graph serves any number of images and slots.
    """
    if keras.backend.backend() != "tensorflow":
        pytest.skip("tf.function needs the TensorFlow backend")
    import tensorflow as tf

    anchors, level_sizes = anchors_and_sizes("nine per cell")
    signature = [
        tf.TensorSpec((None, None, 4)),
        tf.TensorSpec((None, None), tf.int32),
        {
            "class_logits": tf.TensorSpec((None, len(anchors), CLASSES)),
            "box_deltas": tf.TensorSpec((None, len(anchors), 4)),
        },
    ]
    function = tf.function(
        lambda b, c, raw: matcher.assign(anchors, b, c, level_sizes, raw=raw),
        input_signature=None if compiled else signature,
        jit_compile=compiled,
    )
    for seed, slots in ((0, 9),) if compiled else ((0, 9), (1, 4), (2, 0)):
        boxes, labels, raw = random_case(seed, len(anchors), slots)
        result = function(*keras.tree.map_structure(tf.constant, (boxes, labels, raw)))
        expected = assign(matcher, anchors, boxes, labels, level_sizes, raw)
        assert slots == 0 or expected["positive_mask"].any()
        yield result, expected
