"""Multiply-adds of a detector for one image, counted as in EfficientDet's tables."""

import math
from collections.abc import Callable
from typing import Any

import keras

from keras_det.keras_private import (
    all_layers,
    is_made_of_layers,
    kept_nodes,
    replaced_specs,
)
from keras_det.layers.weighted_fusion import WeightedFusion


def multiply_adds(model: keras.Model) -> int:
    """Multiply-adds of one forward pass on one image of the model's size.

    EfficientDet's tables give half of the float operations that TensorFlow's profiler counts. The
    profiler counts two for each product of a convolution, and one for each other addition,
    multiplication and pooled pixel. Batch normalisation is fused and counts nothing; ReLU and
    sigmoid count nothing either; x * sigmoid(1 * x) counts two.

    Here the same operations are counted from the shapes that each layer sees, on every backend.
    Each call of a layer counts: a head that is shared over levels counts once per level. Arithmetic
    outside the counted layers is ignored: activations inside heads and BiFPN nodes, and the plain
    sums of a BiFPN. In the published models that is 0.5% at most.

    Args:
        model: a detector, with any backbone of convolutions or dense layers.

    Returns:
        int, the number of multiply-adds.
    """
    total = 0

    def counting(layer: keras.Layer, infer: Callable) -> Callable:
        def run(inputs: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal total
            outputs = infer(inputs, *args, **kwargs)
            total += float_operations(layer, inputs, outputs)
            return outputs

        return run

    # Keras infers the shapes of a functional model layer by layer, ten times as fast as by tracing.
    # A layer that holds layers would infer its shape as a whole. Its `call` visits each of them.
    layers, specs = all_layers(model), {}
    for layer in layers:
        if isinstance(layer, COUNTED):
            specs[layer] = counting(layer, layer.compute_output_spec)
        elif is_made_of_layers(layer):
            specs[layer] = layer.call
    with kept_nodes(layers), replaced_specs(specs):
        model.compute_output_spec(keras.KerasTensor((1, *model.image_size, 3)))
    return total // 2


def float_operations(layer: keras.Layer, inputs: Any, outputs: Any) -> int:
    """Float operations of one call of a layer of `COUNTED`, as TensorFlow's profiler counts them.

    Args:
        layer: the layer.
        inputs: its inputs, a tensor or a list of tensors, with static shapes.
        outputs: the tensor that it returned.
    """
    elements = math.prod(outputs.shape)
    if isinstance(layer, WeightedFusion):
        return (2 * len(inputs) - 1) * elements
    if isinstance(layer, SUMS):
        return (len(inputs) - 1) * elements
    if isinstance(layer, POOLS):
        return math.prod(layer.pool_size) * elements
    if isinstance(layer, keras.layers.GlobalAveragePooling2D):
        return math.prod(inputs.shape)
    # x * sigmoid(1 * x): the profiler counts both products.
    count = 2 * elements if layer.activation is keras.activations.silu else 0
    if isinstance(layer, keras.layers.Activation):
        return count
    if isinstance(layer, keras.layers.SeparableConv2D):
        kernels = [layer.depthwise_kernel, layer.pointwise_kernel]
    else:
        kernels = [layer.kernel]
    # Each number of a kernel is used once at each position.
    seen = inputs if isinstance(layer, keras.layers.Conv2DTranspose) else outputs
    positions = math.prod(seen.shape[:-1])
    products = positions * sum(math.prod(kernel.shape) for kernel in kernels)
    return count + 2 * products + (elements if layer.use_bias else 0)


SUMS = (keras.layers.Add, keras.layers.Multiply)
POOLS = (keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)
CONVOLUTIONS = (
    keras.layers.Conv2D,
    keras.layers.Conv2DTranspose,
    keras.layers.Dense,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
)
OTHERS = (WeightedFusion, keras.layers.Activation, keras.layers.GlobalAveragePooling2D)
COUNTED = (*CONVOLUTIONS, *SUMS, *POOLS, *OTHERS)
