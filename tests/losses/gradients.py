"""Gradients of a loss on whichever backend the tests run."""

import keras
import numpy as np


def value_and_gradients(function, *inputs):
    """Returns the (one or more) values of `function(*inputs)` and the gradients of the first."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        def first(*arrays):
            values = function(*arrays)
            return (values[0], values) if isinstance(values, tuple) else (values.sum(), values)

        arrays = [jax.numpy.asarray(x) for x in inputs]
        positions = tuple(range(len(inputs)))
        (_, values), gradients = jax.jit(jax.value_and_grad(first, positions, has_aux=True))(
            *arrays
        )
        return np.array(values), [np.array(gradient) for gradient in gradients]
    if backend == "torch":
        tensors = [keras.ops.convert_to_tensor(x).requires_grad_() for x in inputs]
        values = function(*tensors)
        (values[0] if isinstance(values, tuple) else values.sum()).backward()
        values = keras.tree.map_structure(keras.ops.convert_to_numpy, values)
        return np.array(values), [keras.ops.convert_to_numpy(each.grad) for each in tensors]
    import tensorflow as tf

    tensors = [tf.constant(x) for x in inputs]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        values = function(*tensors)
    gradients = tape.gradient(values[0] if isinstance(values, tuple) else values, tensors)
    return np.array(values), [gradient.numpy() for gradient in gradients]
