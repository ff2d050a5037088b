"""The learnable weighted sum of feature maps in a BiFPN node."""

from collections.abc import Sequence
from typing import Any, Self

import keras
from keras import ops

from keras_det.errors import suggest
from keras_det.types import Config, Shape, Tensor

METHODS = ("fast", "softmax")
EPSILON = 1e-4


@keras.saving.register_keras_serializable(package="keras_det")
class WeightedFusion(keras.layers.Layer):
    """Adds feature maps of one shape with learnable, non-negative weights.

    EfficientDet section 3.3 (https://arxiv.org/abs/1911.09070), "fast normalized fusion" and
    "softmax-based fusion":

        fast:    out = sum_i(relu(w_i) * x_i) / (sum_i(relu(w_i)) + epsilon)
        softmax: out = sum_i(exp(w_i) * x_i) / sum_i(exp(w_i))

    All weights start at 1, so an untrained layer returns the mean ("fast": up to epsilon). With
    "fast", a weight at or below zero drops its input and gets no gradient. "softmax" drops none.

    Args:
        epsilon: float > 0, for "fast". Keeps the division finite when every weight is zero or
            below. Default: 0.0001.
        method: "fast" or "softmax". The paper found similar results, and "fast" to be faster.

    Call arguments:
        inputs: list of two or more tensors `(batch, height, width, channels)`.

    Returns:
        Tensor `(batch, height, width, channels)`, in the compute dtype.

    Raises:
        ValueError: `method` is unknown, or `epsilon` is given with "softmax".
    """

    def __init__(self, epsilon: float | None = None, method: str = "fast", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if method not in METHODS:
            raise ValueError(
                f"`method` must be one of {METHODS}. Received: {method!r}."
                f"{suggest(method, METHODS)} For a sum without weights use keras.layers.Add."
            )
        if epsilon is not None and method != "fast":
            raise ValueError(
                f'`epsilon` is for method="fast". Received: epsilon={epsilon!r}, '
                f"method={method!r}. Leave it out."
            )
        self.epsilon = EPSILON if epsilon is None and method == "fast" else epsilon
        self.method = method

    def build(self, input_shape: Sequence[Shape]) -> None:
        shapes = [tuple(shape) for shape in input_shape]
        if len(shapes) < 2 or len(set(shapes)) > 1:
            raise ValueError(
                f"{self.name}: `inputs` must be two or more feature maps of one shape. "
                f"Received shapes: {shapes}. Resize the maps to one pyramid level before fusing "
                "them."
            )
        self.fusion_weights = self.add_weight(
            name="fusion_weights", shape=(len(shapes),), initializer="ones"
        )

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        # Normalised in float32: in half precision 1 + 1e-4 rounds to 1.
        weights = ops.cast(self.fusion_weights, "float32")
        if self.method == "softmax":
            weights = ops.softmax(weights)
        else:
            weights = ops.relu(weights)
            weights = weights / (ops.sum(weights) + self.epsilon)
        weights = ops.cast(weights, self.compute_dtype)
        return sum(weights[i] * x for i, x in enumerate(inputs))

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> Shape:
        return tuple(input_shape[0])

    def get_config(self) -> Config:
        return {**super().get_config(), "epsilon": self.epsilon, "method": self.method}

    @classmethod
    def from_config(cls, config: Config) -> Self:
        # Files of earlier versions also hold an unused value for "softmax".
        unused = {"epsilon"} if config.get("method") == "softmax" else set()
        return super().from_config({k: v for k, v in config.items() if k not in unused})
