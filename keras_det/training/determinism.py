"""Makes a training on a GPU repeatable: the same seed then gives the same weights, bit for bit."""

import os

import keras

from keras_det.errors import DataError

XLA_FLAG = "--xla_gpu_deterministic_ops=true"


def use_deterministic_operations() -> None:
    """Asks the backend for operations that give the same result in every run.

    On a CPU, a training repeats itself without this. On a GPU, some operations add numbers in an
    order that differs from run to run; their deterministic forms are slower, and some operations
    have none and raise an error. The choice holds for the whole process. It must be made before
    the first operation: under JAX, before JAX has used the GPU.

    Raises:
        DataError: JAX has already chosen its operations.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    elif backend == "torch":
        import torch  # type: ignore[import-not-found, unused-ignore]

        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    elif backend == "jax":
        _for_jax()


def _for_jax() -> None:
    flags = os.environ.get("XLA_FLAGS", "")
    if XLA_FLAG in flags:
        return
    import jax

    if jax.default_backend() != "cpu":  # this starts the backend, which reads the flags only then
        raise DataError(
            "Deterministic operations must be chosen before JAX starts. Received: a running JAX. "
            f'Set the environment variable XLA_FLAGS="{XLA_FLAG}" before you start Python.'
        )
