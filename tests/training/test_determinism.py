"""Deterministic operations are asked of the backend."""

import keras
import pytest

from keras_det.errors import DataError
from keras_det.training import determinism


def test_tensorflow_is_asked(monkeypatch):
    import tensorflow as tf

    calls = []
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    monkeypatch.setattr(
        tf.config.experimental, "enable_op_determinism", lambda: calls.append("asked")
    )
    determinism.use_deterministic_operations()
    assert calls == ["asked"]


def test_jax_must_not_have_started_on_a_gpu(monkeypatch):
    jax = pytest.importorskip("jax")
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    determinism.use_deterministic_operations()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with pytest.raises(DataError, match="before JAX starts. Received: .*--xla_gpu_deterministic"):
        determinism.use_deterministic_operations()
    monkeypatch.setenv("XLA_FLAGS", determinism.XLA_FLAG)
    determinism.use_deterministic_operations()
