"""Times the class loss, forward and backward: sparse labels against one-hot targets.

    python benchmarks/focal_loss.py

4 images x 49,104 anchors x 90 classes; medians of one process, in turns.
"""

import platform
import time

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_det.losses import SigmoidFocalLoss, SparseSigmoidFocalLoss

SHAPE, NUM_CLASSES, REPEATS = (4, 49104), 90, 9


def autodiff_sparse(loss):
    """The sparse formula as automatic differentiation would run it."""

    def call(labels, logits):
        def term(x):
            return ops.exp(loss.gamma * (x - ops.softplus(x))) * ops.softplus(x)

        weight = 1 - loss.alpha
        true_class = ops.maximum(labels, 0)[..., None]
        true_logits = ops.take_along_axis(logits, true_class, axis=-1)[..., 0]
        correction = loss.alpha * term(-true_logits) - weight * term(true_logits)
        background = weight * ops.sum(term(logits), axis=-1)
        return ops.sum(background + ops.where(labels >= 0, correction, 0.0))

    return call


def with_gradient(loss):
    @tf.function
    def function(labels, logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = loss(labels, logits)
        return value, tape.gradient(value, logits)

    return function


def main():
    print(f"keras {keras.__version__}, TensorFlow {tf.__version__}, Python", end=" ")
    print(platform.python_version())
    rng = np.random.default_rng(0)
    labels = np.where(rng.random(SHAPE) < 0.002, rng.integers(0, NUM_CLASSES, SHAPE), -1)
    labels = tf.constant(labels, tf.int32)
    logits = tf.constant(rng.normal(-4.6, 1, (*SHAPE, NUM_CLASSES)), tf.float32)
    for gamma in (1.5, 2.0, 0.0):
        sparse, dense = SparseSigmoidFocalLoss(gamma=gamma), SigmoidFocalLoss(gamma=gamma)
        functions = {
            "ours": with_gradient(sparse),
            "one-hot": with_gradient(
                lambda y, x, dense=dense: dense(tf.one_hot(y, NUM_CLASSES), x)
            ),
            "sparse, automatic gradient": with_gradient(autodiff_sparse(sparse)),
        }
        times = {name: [] for name in functions}
        results = [function(labels, logits) for function in functions.values()]
        for value, gradient in results[1:]:
            np.testing.assert_allclose(value, results[0][0], rtol=1e-5)
            np.testing.assert_allclose(gradient, results[0][1], atol=1e-5)
        del results, value, gradient
        for _ in range(REPEATS):
            for name, function in functions.items():
                start = time.perf_counter()
                function(labels, logits)[0].numpy()
                times[name].append(1e3 * (time.perf_counter() - start))
        medians = {name: float(np.median(values)) for name, values in times.items()}
        for name, median in medians.items():
            ratio = median / medians["ours"]
            print(f"gamma {gamma}, {name}: {median:.0f} ms, {ratio:.2f} of ours")


if __name__ == "__main__":
    main()
