"""What a run is trained on: refusals in words, and what the workers compare before they start."""

import types

import keras
import numpy as np
import pytest

from keras_det import RetinaNet
from keras_det.errors import DataError
from keras_det.models.shared_stream import check_optimizer
from keras_det.training import devices
from keras_det.training.devices import Devices, devices_for
from keras_det.training.workers import Workers
from tests.helpers import tiny_parts

NAME = "retinanet_resnet18"
TWO = Workers(["a:1", "b:2"], 1)


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)


def test_one_device_needs_nothing():
    for number in (None, 1):
        used = devices_for(NAME, number, None)
        assert used == Devices() and used.chief and not used.several_workers
    used.check_batch(3)
    used.check_same({"the seed": 1})
    used.wait()


def test_a_batch_that_cannot_be_divided_is_refused():
    Devices(number=4).check_batch(8)
    with pytest.raises(DataError, match="--batch-size 6 for 4 devices. Take --batch-size 8."):
        Devices(number=4).check_batch(6)


class Strategy:
    """As much of a strategy of TensorFlow as is asked."""

    num_replicas_in_sync = 2


ACCUMULATED = r"Gradients can be .* Received: 4 steps per update on 2 devices\. .*--accumulate"
SCALED = r"mixed_float16 works on one device only.* Received: mixed_float16 on 2 devices\."


@pytest.mark.parametrize(
    "accumulate, dtype, words",
    [(4, "float32", ACCUMULATED), (1, "mixed_float16", SCALED)],
    ids=["accumulated", "scaled"],
)
def test_what_devices_cannot_share_is_refused(accumulate, dtype, words):
    Devices(Strategy(), None, 2).check_step(1, "mixed_bfloat16")
    Devices().check_step(accumulate, dtype)  # one device can do it
    with pytest.raises(DataError, match=words):
        Devices(Strategy(), None, 2).check_step(accumulate, dtype)


@pytest.mark.parametrize(
    "optimizer, scaled, words",
    [
        (keras.optimizers.AdamW(gradient_accumulation_steps=4), False, ACCUMULATED),
        ("adam", True, SCALED),
        (keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()), False, SCALED),
    ],
    ids=["accumulated", "scaled", "own scale"],
)
def test_compile_refuses_what_devices_cannot_share(optimizer, scaled, words):
    check_optimizer(optimizer, types.SimpleNamespace(distribute_strategy=None), scaled)
    with pytest.raises(DataError, match=words):
        check_optimizer(optimizer, types.SimpleNamespace(distribute_strategy=Strategy()), scaled)


def test_what_one_device_measures_is_refused_for_several():
    Devices().refuse_measured(batch_size=True, dtype=True)
    Devices(number=2).refuse_measured(batch_size=False, dtype=False)
    for name in ("batch_size", "dtype"):
        asked = {"batch_size": False, "dtype": False, name: True}
        with pytest.raises(DataError, match=f'`{name}` must not be "auto" on several devices. Rec'):
            Devices(number=2).refuse_measured(**asked)


@pytest.mark.parametrize("number, workers", [(2, None), (None, TWO)])
def test_a_detector_of_ones_own_has_its_devices(number, workers):
    model = RetinaNet(**tiny_parts(num_classes=1))
    assert devices_for(model, None, None) == Devices()
    with pytest.raises(DataError, match="trained on the devices that it was built for. Received"):
        devices_for(model, number, workers)


@pytest.mark.parametrize(
    "backend, number, workers, words",
    [
        ("torch", 2, None, "Several devices need TensorFlow or JAX. Received: the backend torch"),
        ("torch", None, TWO, "Several workers need TensorFlow. Received: the backend torch"),
        ("jax", None, TWO, "Several workers need TensorFlow. Received: the backend jax"),
        ("jax", 0, None, "`devices` must be at least 1. Received: 0"),
    ],
)
def test_other_backends_are_refused(monkeypatch, backend, number, workers, words):
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    with pytest.raises(DataError, match=words):
        devices_for(NAME, number, workers)


def test_workers_of_tf_config_are_taken(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    config = '{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}'
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(DataError, match="Several workers need TensorFlow"):
        devices_for(NAME, None, None)


def test_more_gpus_than_there_are(monkeypatch):
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("about TensorFlow's devices")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU:0"] * 2)
    with pytest.raises(DataError, match="at most the number of GPUs. Received: 3, but .* 2 GPUs"):
        devices_for(NAME, 3, None)
    with pytest.raises(DataError, match="Received: 3, but this machine has 2 GPUs. Take --dev"):
        devices_for(NAME, 3, TWO)


def test_workers_compare_what_they_train(monkeypatch):
    used = Devices(types.SimpleNamespace(num_replicas_in_sync=2), TWO, 2)
    monkeypatch.setattr(devices, "worker_of", lambda strategy: (1, 2))
    values = {"the seed": 1, "the weights": [np.ones(3, "float32")]}

    def summed(other):
        """A sum with what worker 0 has."""
        digests = [devices._digest(value) for value in other.values()]
        return lambda strategy, own: np.array(own) + [*digests, *np.zeros(len(digests))]

    monkeypatch.setattr(devices, "sum_over_workers", summed(values))
    used.check_same(values)
    for name, other in (("the seed", 2), ("the weights", [np.ones(3, "float32") + 1e-6])):
        monkeypatch.setattr(devices, "sum_over_workers", summed({**values, name: other}))
        with pytest.raises(DataError, match=f"Received: a difference in {name} between"):
            used.check_same(values)


def test_the_error_of_a_lost_worker_names_it(monkeypatch):
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("about TensorFlow's errors")
    used = Devices(None, TWO, 2)
    text = "from remote target /job:worker/replica:0/task:0 while"
    monkeypatch.setattr(devices, "LOST_SECONDS", 0.0)
    monkeypatch.setattr(Workers, "unreachable", lambda self: [])
    with pytest.raises(DataError, match=r"no answer from worker 0 \(a:1\), which has ended"):
        with used.in_use():
            raise tf.errors.UnavailableError(None, None, text)
    with pytest.raises(tf.errors.InvalidArgumentError, match="of its own"):
        with used.in_use():
            raise tf.errors.InvalidArgumentError(None, None, "of its own")
    monkeypatch.setattr(Workers, "unreachable", lambda self: [0])
    with pytest.raises(DataError, match=r"no answer from worker 0 \(a:1\), which has ended"):
        with used.in_use():
            raise tf.errors.AbortedError(None, None, "reset")
    with pytest.raises(ValueError, match="not of the devices"):
        with used.in_use():
            raise ValueError("not of the devices")
