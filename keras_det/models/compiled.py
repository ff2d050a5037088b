"""Compiles a model and its post-processing into one fast function."""

from collections.abc import Callable
from typing import Any

import keras

from keras_det.last_used import LastUsed
from keras_det.types import Tensor

# Shapes of batches for which a function stays compiled. `detect` has one for each number of images
# in a batch, up to 8 by default.
MOST_SHAPES = 8


def compiled(
    model: keras.Model,
    finish: Callable[..., Any],
    prepare: Callable[[Tensor], Tensor] = lambda images: images,
) -> Callable[..., Any]:
    """Returns `(images, **values) -> finish(model(prepare(images)), **values)`, compiled.

    It is compiled once per shape of the images and the values; the last 8 are kept. The values are
    arguments of the compiled function: other values do not compile it again.

    `model.predict` spends about 0.1 s per call on its own set-up; this function does not. The
    TensorFlow graph is not compiled by XLA, which runs depthwise convolutions on a CPU a hundred
    times slower.

    Args:
        model: a built `keras.Model`.
        finish: function of the model's outputs and of the values, arrays by name, in `keras.ops`.
        prepare: function of the images, in `keras.ops`.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _compiled_by_tensorflow(model, finish, prepare)
    if backend == "jax":
        return _compiled_by_jax(model, finish, prepare)
    return lambda images, **values: finish(model(prepare(images), training=False), **values)


def _compiled_by_tensorflow(
    model: keras.Model, finish: Callable[..., Any], prepare: Callable[[Tensor], Tensor]
) -> Callable[..., Any]:
    import tensorflow as tf

    def detect(images: Tensor, **values: Any) -> Any:
        return finish(model(prepare(images), training=False), **values)

    by_shape: LastUsed[Callable[..., Any]] = LastUsed(MOST_SHAPES)

    def run(images: Tensor, **values: Any) -> Any:
        images = tf.convert_to_tensor(images)
        values = {name: tf.convert_to_tensor(value) for name, value in values.items()}
        specs = {k: tf.TensorSpec(value.shape, value.dtype) for k, value in values.items()}

        # A function of its own for each shape: a `tf.function` never forgets one.
        def trace() -> Callable[..., Any]:
            shape = tf.TensorSpec(images.shape, images.dtype)
            return tf.function(detect).get_concrete_function(shape, **specs)

        key = (images.dtype, tuple(images.shape), tuple(specs.items()))
        return by_shape.get(key, trace)(images, **values)

    return run


def _compiled_by_jax(
    model: keras.Model, finish: Callable[..., Any], prepare: Callable[[Tensor], Tensor]
) -> Callable[..., Any]:
    import jax

    def stateless(
        trainable: list[Tensor], non_trainable: list[Tensor], images: Tensor, values: dict[str, Any]
    ) -> Any:
        outputs, _ = model.stateless_call(trainable, non_trainable, prepare(images), training=False)
        return finish(outputs, **values)

    by_shape: LastUsed[Callable[..., Any]] = LastUsed(MOST_SHAPES)

    def run(images: Tensor, **values: Any) -> Any:
        # JAX keeps what it compiles as long as the function that it was given.
        jitted = by_shape.get(
            (str(images.dtype), tuple(images.shape)),
            lambda: jax.jit(lambda *all_: stateless(*all_)),
        )
        trainable = [variable.value for variable in model.trainable_variables]
        return jitted(trainable, [v.value for v in model.non_trainable_variables], images, values)

    return run
