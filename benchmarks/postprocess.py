"""Post-processing of 49,104 anchors x 90 classes, ours against what a user would write.

python benchmarks/postprocess.py [--repeats 21]

Ours: two-stage exact top-k on logits, decoding of the survivors, Gaussian soft-NMS per class, by
TensorFlow's operator (`TFAnchorDecoder`) and by the layer in keras.ops (`AnchorDecoder`).
Peers: one top-k over all pairs, of logits or after sigmoid and decoding of everything; and
`tf.image.combined_non_max_suppression` on everything, which is hard NMS.
"""

import argparse
import time

import numpy as np
import tensorflow as tf

from keras_det.boxes import clip_boxes, decode_deltas
from keras_det.decode import AnchorDecoder, TFAnchorDecoder
from keras_det.decode.tf_nms import tf_non_max_suppression
from keras_det.layers.anchor_generator import AnchorGenerator

SIZE, CLASSES, TOP_K = 512, 90, 1000


def raw_outputs(batch, anchors, seed=0):
    """Random logits of a trained detector's kind: most scores near 0.01, a few high."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-5.0, 1.2, (batch, anchors, CLASSES)).astype("float32")
    deltas = rng.normal(0.0, 0.3, (batch, anchors, 4)).astype("float32")
    return tf.constant(logits), tf.constant(deltas)


def flat_top_k(logits, deltas, anchors):
    """Sigmoid and boxes of everything, one top-k over all pairs, the same soft-NMS."""
    batch = logits.shape[0]
    boxes = clip_boxes(decode_deltas(anchors[None], deltas), SIZE, SIZE)
    scores, chosen = tf.math.top_k(tf.reshape(tf.sigmoid(logits), (batch, -1)), TOP_K)
    boxes = tf.gather(boxes, chosen // CLASSES, batch_dims=1)
    return tf_non_max_suppression(boxes, scores, chosen % CLASSES, image_size=SIZE)


def flat_top_k_of_logits(logits, deltas, anchors):
    """The same, but with sigmoid and boxes of the survivors only: what is left is the top-k."""
    best, chosen = tf.math.top_k(tf.reshape(logits, (logits.shape[0], -1)), TOP_K)
    places = chosen // CLASSES
    boxes = decode_deltas(tf.gather(anchors, places), tf.gather(deltas, places, batch_dims=1))
    boxes = clip_boxes(boxes, SIZE, SIZE)
    return tf_non_max_suppression(boxes, tf.sigmoid(best), chosen % CLASSES, image_size=SIZE)


def combined(logits, deltas, anchors):
    """TensorFlow's hard NMS per class on everything."""
    boxes = clip_boxes(decode_deltas(anchors[None], deltas), SIZE, SIZE)
    return tf.image.combined_non_max_suppression(
        boxes[:, :, None], tf.sigmoid(logits), 100, 100, 0.5, 0.001, clip_boxes=False
    )


def contestants(anchors):
    def ours(decoder, top_k, candidates):
        return decoder(SIZE, pre_nms_top_k=top_k, candidates=candidates)

    decoders = {
        "ours, best class, 1000": ours(TFAnchorDecoder, TOP_K, "best_class"),
        "ours, pairs, 1000": ours(TFAnchorDecoder, TOP_K, "pairs"),
        "ours, pairs, 5000": ours(TFAnchorDecoder, 5000, "pairs"),
        "layer, pairs, 1000": ours(AnchorDecoder, TOP_K, "pairs"),
        "flat top-k of logits, 1000": flat_top_k_of_logits,
        "flat top-k of scores, 1000": flat_top_k,
        "combined_non_max_suppression": combined,
    }
    return {
        name: tf.function(lambda a, b, call=call: call(a, b, anchors))
        for name, call in decoders.items()
    }


def measure(batch, repeats):
    """Median milliseconds by name; the contestants take turns."""
    anchors = AnchorGenerator().anchors(SIZE)
    logits, deltas = raw_outputs(batch, len(anchors))
    functions = contestants(anchors)
    scores = {name: call(logits, deltas) for name, call in functions.items()}
    same = (
        scores["ours, pairs, 1000"]["scores"].numpy(),
        scores["flat top-k of scores, 1000"]["scores"],
    )
    np.testing.assert_allclose(*same, atol=1e-5)
    times = {name: [] for name in functions}
    for _ in range(repeats):
        for name, call in functions.items():
            if name.startswith("combined") and len(times[name]) >= 3:
                continue  # seconds each
            start = time.perf_counter()
            call(logits, deltas)
            times[name].append((time.perf_counter() - start) * 1e3)
    return {name: float(np.median(values)) for name, values in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=21)
    repeats = parser.parse_args().repeats
    for batch in (1, 8):
        print(f"batch {batch}")
        medians = measure(batch, repeats)
        base = medians["ours, pairs, 1000"]
        for name, value in medians.items():
            print(f"  {name:<30} {value:8.1f} ms  {value / base:6.1f} x")


if __name__ == "__main__":
    main()
