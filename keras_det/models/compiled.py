"""One fast function from a batch of images to what a detector makes of it."""

from collections.abc import Callable

import keras


def compiled(
    model: keras.Model, finish: Callable, prepare: Callable = lambda images: images
) -> Callable:
    """Returns `images -> finish(model(prepare(images)))`, compiled once per input shape.

    `model.predict` spends about 0.1 s per call on its own set-up; this does not. TensorFlow's graph
    is not XLA-compiled: XLA on a CPU runs depthwise convolutions a hundred times slower.

    Args:
        model: a built `keras.Model`.
        finish: function of the model's outputs, in `keras.ops`.
        prepare: function of the images, in `keras.ops`.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        traced = tf.function(lambda images: finish(model(prepare(images), training=False)))
        by_shape = {}

        def run(images):
            images = tf.convert_to_tensor(images)
            key = (images.dtype, tuple(images.shape))
            if key not in by_shape:  # asked for by shape, TensorFlow does not warn of retracing
                by_shape[key] = traced.get_concrete_function(images)
            return by_shape[key](images)

        return run
    if backend == "jax":
        import jax

        def stateless(trainable, non_trainable, images):
            outputs, _ = model.stateless_call(
                trainable, non_trainable, prepare(images), training=False
            )
            return finish(outputs)

        jitted = jax.jit(stateless)

        def run(images):
            trainable = [variable.value for variable in model.trainable_variables]
            return jitted(trainable, [v.value for v in model.non_trainable_variables], images)

        return run
    return lambda images: finish(model(prepare(images), training=False))
