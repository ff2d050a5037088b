"""Times target assignment: AnchorTargets against the same rules on a dense IoU tensor.

    python benchmarks/targets.py

49,104 anchors (EfficientDet-D0 at 512), 100 slots, batch 8; medians of one process, in turns.
ATSSTargets, with 9 cells of 9 anchors per level as candidates, TaskAlignedTargets and SimOTATargets
follow other rules and are timed too. The last two look at the outputs for 90 classes. With other
programs running, compare the processor's milliseconds.
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
from keras_det.targets import AnchorTargets, ATSSTargets, SimOTATargets, TaskAlignedTargets

BATCH, SLOTS, CLASSES, REPEATS = 8, 100, 90, 11
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
    labels = rng.integers(0, CLASSES, (BATCH, SLOTS))
    labels[np.arange(SLOTS) >= np.resize(valid_counts, (BATCH, 1))] = -1
    return ops.convert_to_tensor(boxes, "float32"), ops.convert_to_tensor(labels, "int32")


def outputs(seed=0):
    """Raw outputs of a model early in training."""
    rng = np.random.default_rng(seed)
    shape = (BATCH, len(ANCHORS))
    return {
        "class_logits": tf.constant(rng.normal(-4, 1, (*shape, CLASSES)).astype("float32")),
        "box_deltas": tf.constant(rng.normal(0, 0.3, (*shape, 4)).astype("float32")),
    }


def milliseconds(functions, *args):
    """Medians of the time, and of the processor's time over all cores."""
    times = {name: [] for name in functions}
    for _ in range(REPEATS):
        for name, function in functions.items():
            start = time.perf_counter(), time.process_time()
            function(*args)["class_targets"].numpy()
            end = time.perf_counter(), time.process_time()
            times[name].append([1e3 * (b - a) for a, b in zip(start, end, strict=True)])
    return {name: np.median(values, axis=0) for name, values in times.items()}


def main():
    raw, sizes = outputs(), level_sizes()

    def assigned_by(matcher):
        given = {"raw": raw} if matcher.needs_predictions else {}
        return tf.function(lambda *truth: matcher.assign(ANCHORS, *truth, sizes, **given))

    functions = {
        "ours": assigned_by(AnchorTargets()),
        "dense": tf.function(dense_targets),
        "ATSS": assigned_by(ATSSTargets(num_candidates=9 * 9)),
        "task-aligned": assigned_by(TaskAlignedTargets()),
        "SimOTA": assigned_by(SimOTATargets()),
    }
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
        print(f"{title}: ours {result['ours'][0]:.0f} ms ({result['ours'][1]:.0f} of processors)")
        for name in list(functions)[1:]:
            wall, busy = result[name]
            ratios = result[name] / result["ours"]
            print(
                f"  {name} {wall:.0f} ms, {ratios[0]:.2f} of ours ({busy:.0f} of processors, "
                f"{ratios[1]:.2f} of ours)"
            )


if __name__ == "__main__":
    main()
