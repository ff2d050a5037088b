"""Times target assignment: AnchorTargets against the same rules on a dense IoU tensor.

    python benchmarks/targets.py

49,104 anchors (EfficientDet-D0 at 512), 100 slots, batch 8; medians of one process, in turns.
ATSSTargets, other rules, with 9 cells of 9 anchors per level as candidates, is timed too.
"""

import platform
import resource
import time

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_det.boxes import encode_deltas
from keras_det.layers import AnchorGenerator
from keras_det.targets import AnchorTargets, ATSSTargets

BATCH, SLOTS, REPEATS = 8, 100, 11
ANCHORS = AnchorGenerator().anchors(512)


def level_sizes():
    """Anchors per level, P3 to P7."""
    layer = AnchorGenerator()
    cells = [height * width for height, width in layer.feature_sizes(512)]
    return tuple(n * layer.num_anchors_per_cell for n in cells)


def dense_iou(boxes):
    """`(batch, anchors, slots)`, one coordinate at a time: faster than on stacked corners."""
    x1, y1, x2, y2 = (ANCHORS[None, :, None, i] for i in range(4))
    left, top, right, bottom = (boxes[:, None, :, i] for i in range(4))
    width = tf.nn.relu(tf.minimum(x2, right) - tf.maximum(x1, left))
    height = tf.nn.relu(tf.minimum(y2, bottom) - tf.maximum(y1, top))
    common = width * height
    return common / ((x2 - x1) * (y2 - y1) + (right - left) * (bottom - top) - common)


def dense_targets(boxes, labels):
    """The default AnchorTargets (thresholds 0.5, forced matches) by argmax over both axes."""
    valid = labels != -1
    iou = dense_iou(tf.where(valid[..., None], boxes, 0.0))
    match = tf.argmax(iou, axis=2, output_type=tf.int32)
    positive = tf.reduce_max(iou, axis=2) >= 0.5
    image = tf.broadcast_to(tf.range(BATCH)[:, None], (BATCH, SLOTS))
    best_anchor = tf.argmax(iou, axis=1, output_type=tf.int32)
    owner = tf.tensor_scatter_nd_min(
        tf.fill(tf.shape(match), SLOTS),
        tf.stack([image, best_anchor], axis=-1),
        tf.where(valid, tf.range(SLOTS), SLOTS),
    )
    match = tf.where(owner < SLOTS, owner, match)
    positive = positive | (owner < SLOTS)
    deltas = encode_deltas(ANCHORS[None], tf.gather(boxes, match, batch_dims=1))
    return {
        "class_targets": tf.where(positive, tf.gather(labels, match, batch_dims=1), -1),
        "box_targets": tf.where(positive[..., None], deltas, 0.0),
    }


def ground_truth(valid_counts, seed=0):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 450, (BATCH, SLOTS, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(8, 200, (BATCH, SLOTS, 2))], axis=-1)
    labels = rng.integers(0, 90, (BATCH, SLOTS))
    labels[np.arange(SLOTS) >= np.resize(valid_counts, (BATCH, 1))] = -1
    return ops.convert_to_tensor(boxes, "float32"), ops.convert_to_tensor(labels, "int32")


def milliseconds(functions, *args):
    times = {name: [] for name in functions}
    for _ in range(REPEATS):
        for name, function in functions.items():
            start = time.perf_counter()
            function(*args)["class_targets"].numpy()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: float(np.median(values)) for name, values in times.items()}


def main():
    assigner = AnchorTargets()
    ours = tf.function(lambda boxes, labels: assigner.assign(ANCHORS, boxes, labels))
    atss, sizes = ATSSTargets(num_candidates=9 * 9), level_sizes()
    adaptive = tf.function(lambda *truth: atss.assign(ANCHORS, *truth, level_sizes=sizes))
    functions = {"ours": ours, "dense": tf.function(dense_targets), "atss": adaptive}
    print(f"keras {keras.__version__}, TensorFlow {tf.__version__}, Python", end=" ")
    print(platform.python_version())
    case = ground_truth(SLOTS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    results = {}
    for name, function in functions.items():
        result = {key: value.numpy() for key, value in function(*case).items()}
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"{name}: first call adds {(after - before) / 1024:.0f} MB to the peak")
        before = after
        results[name] = result
    expected, result = results["ours"], results["dense"]
    np.testing.assert_array_equal(result["class_targets"], expected["class_targets"])
    np.testing.assert_allclose(result["box_targets"], expected["box_targets"], atol=1e-5)
    counts = np.minimum(np.random.default_rng(1).geometric(1 / 7.3, BATCH), SLOTS)
    for title, valid in (
        ("all 100 slots filled", SLOTS),
        ("20 filled", 20),
        (f"as many as COCO, {counts.tolist()}", counts),
        ("none filled", 0),
    ):
        result = milliseconds(functions, *ground_truth(valid))
        ratio = result["dense"] / result["ours"]
        print(
            f"{title}: ours {result['ours']:.0f} ms, dense {result['dense']:.0f} ms, {ratio:.1f}x"
        )
        print(f"  ATSS {result['atss']:.0f} ms, {result['atss'] / result['ours']:.1f} of ours")


if __name__ == "__main__":
    main()
