"""The learnable blend of feature maps in a BiFPN node."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_det")
class WeightedFusion(keras.layers.Layer):
    """Blends feature maps of one shape with learnable, non-negative weights.

    "Fast normalized fusion", EfficientDet section 3.3
    (https://arxiv.org/abs/1911.09070):

        out = sum_i(relu(w_i) * x_i) / (sum_i(relu(w_i)) + epsilon)

    All weights start at 1, so an untrained layer returns the mean (up to
    epsilon). A weight at or below zero drops its input and gets no gradient.

    Args:
        epsilon: float. Keeps the division finite when every weight is off.

    Call arguments:
        inputs: list of two or more tensors `(batch, height, width, channels)`.

    Returns:
        Tensor `(batch, height, width, channels)`, in the compute dtype.
    """

    def __init__(self, epsilon=1e-4, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape):
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

    def call(self, inputs):
        # Normalised in float32: epsilon 1e-4 vanishes beside 1 in half precision.
        weights = ops.relu(ops.cast(self.fusion_weights, "float32"))
        weights = ops.cast(weights / (ops.sum(weights) + self.epsilon), self.compute_dtype)
        return sum(weights[i] * x for i, x in enumerate(inputs))

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[0])

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}
