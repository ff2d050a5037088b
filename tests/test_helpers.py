"""check_layer passes a sound layer and names the step at which a broken one fails."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_det.layers.weighted_fusion import WeightedFusion
from tests.helpers import check_layer

IMAGE = np.random.default_rng(0).normal(size=(2, 5, 3, 4)).astype("float32")


@keras.saving.register_keras_serializable(package="keras_det")
class Gain(keras.layers.Layer):
    """`gain * x * weight`, with one fault at a time."""

    def __init__(self, gain=2.0, fault=None, **kwargs):
        super().__init__(**kwargs)
        self.gain = gain
        self.fault = fault

    def build(self, input_shape):
        self.weight = self.add_weight(name="weight", shape=(input_shape[-1],), initializer="ones")
        if self.fault == "unused":
            self.unused = self.add_weight(name="unused", shape=(1,))

    def call(self, inputs):
        if self.fault == "overflow":
            return inputs * self.weight * 1e6
        if self.fault == "static batch":
            return inputs * self.weight + ops.ones((2, 1, 1, 1), dtype=inputs.dtype)
        weight = ops.stop_gradient(self.weight) if self.fault == "stopped" else self.weight
        return inputs * weight * self.gain

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 1) if self.fault == "shape" else tuple(input_shape)

    def save_own_variables(self, store):
        if self.fault == "saving":
            store["0"] = np.ones(4, "float32")
        else:
            super().save_own_variables(store)

    def get_config(self):
        config = {**super().get_config(), "gain": self.gain, "fault": self.fault}
        if self.fault == "config":
            del config["gain"]
        return config


def test_a_sound_layer_passes():
    layer = check_layer(Gain, {"gain": 3.0}, IMAGE, any_size=True)
    assert layer.gain == 3.0 and layer.built


def test_a_list_is_one_argument():
    check_layer(WeightedFusion, {"epsilon": 1e-3}, [IMAGE, IMAGE + 1], any_size=True)


@pytest.mark.parametrize(
    "fault, message",
    [
        ("config", "get_config lacks"),
        ("shape", "shape: symbolic"),
        ("saving", "save and load"),
        ("overflow", "not finite|off by"),
        ("static batch", "ncompatible shapes|required broadcastable"),
        ("unused", "gradient: none reaches"),
        ("stopped", "gradient: none reaches"),
    ],
)
def test_a_fault_is_named(fault, message):
    with pytest.raises(Exception, match=message):
        check_layer(Gain, {"fault": fault}, IMAGE)


@pytest.mark.parametrize("dtype", ["float32"])
def test_the_dtype_of_outputs_is_checked(dtype):
    with pytest.raises(AssertionError, match="output is float16, not float32"):
        check_layer(Gain, {}, IMAGE, output_dtype=dtype)
