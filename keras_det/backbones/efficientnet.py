"""EfficientNet B0–B7 and Lite0–4 as feature pyramids, as EfficientDet uses them.

EfficientNet (https://arxiv.org/abs/1905.11946). The Lite variants have no squeeze-and-excitation,
use ReLU6, and do not scale the stem and the first and last stage. Only what EfficientDet needs is
built: the top convolution after the last stage is left out. Convolutions pad as TensorFlow's "same"
does (bottom and right first), so that the official checkpoints fit at every image size.
"""

import math
from typing import NamedTuple

import keras

from keras_det.errors import suggest
from keras_det.layers.batch_norm import BatchNorm
from keras_det.layers.remat import rematerialize_blocks
from keras_det.types import OpenSize, Tensor


class Stage(NamedTuple):
    """One row of EfficientNet's table 1: a sequence of MBConv blocks."""

    kernel: int
    repeats: int
    filters: int
    expansion: int
    strides: int


STAGES = (
    Stage(3, 1, 16, 1, 1),
    Stage(3, 2, 24, 6, 2),
    Stage(5, 2, 40, 6, 2),
    Stage(3, 3, 80, 6, 2),
    Stage(5, 3, 112, 6, 1),
    Stage(5, 4, 192, 6, 2),
    Stage(3, 1, 320, 6, 1),
)
STEM_FILTERS = 32

# name: (width, depth) multipliers of the stages above.
EFFICIENTNETS = {
    "b0": (1.0, 1.0),
    "b1": (1.0, 1.1),
    "b2": (1.1, 1.2),
    "b3": (1.2, 1.4),
    "b4": (1.4, 1.8),
    "b5": (1.6, 2.2),
    "b6": (1.8, 2.6),
    "b7": (2.0, 3.1),
    "lite0": (1.0, 1.0),
    "lite1": (1.0, 1.1),
    "lite2": (1.1, 1.2),
    "lite3": (1.2, 1.4),
    "lite4": (1.4, 1.8),
}

# Normal with variance 2 / fan_out. For depthwise kernels (k, k, channels, 1) fan_out is k * k, as
# in the original.
KERNEL_INITIALIZER = {
    "class_name": "VarianceScaling",
    "config": {"scale": 2.0, "mode": "fan_out", "distribution": "untruncated_normal"},
}


def round_filters(filters: int, width: float) -> int:
    """Scales a channel count and rounds it to a multiple of 8, at most 10% below the product."""
    scaled = filters * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


def _kernel_initializer() -> keras.initializers.Initializer:
    return keras.initializers.get(KERNEL_INITIALIZER)


def _convolution(
    x: Tensor, filters: int, kernel: int, strides: int, name: str, use_bias: bool = False
) -> Tensor:
    return keras.layers.Conv2D(
        filters,
        kernel,
        strides=strides,
        padding="same",
        use_bias=use_bias,
        kernel_initializer=_kernel_initializer(),
        name=name,
    )(x)


def _squeeze_excite(x: Tensor, squeezed: int, activation: str, name: str) -> Tensor:
    """Squeeze-and-excitation: rescales channels by a gate computed from their global means."""
    gate = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_se_pool")(x)
    gate = _convolution(gate, squeezed, 1, 1, f"{name}_se_reduce", use_bias=True)
    gate = keras.layers.Activation(activation, name=f"{name}_se_activation")(gate)
    gate = _convolution(gate, x.shape[-1], 1, 1, f"{name}_se_expand", use_bias=True)
    gate = keras.layers.Activation("sigmoid", name=f"{name}_se_gate")(gate)
    return keras.layers.Multiply(name=f"{name}_se_scale")([x, gate])


def _mbconv(
    x: Tensor,
    stage: Stage,
    strides: int,
    activation: str,
    squeeze: bool,
    drop_rate: float,
    name: str,
) -> Tensor:
    """One inverted residual: expand, depthwise, (gate), project, (drop whole samples, add)."""
    inputs = x
    if stage.expansion != 1:
        x = _convolution(x, x.shape[-1] * stage.expansion, 1, 1, f"{name}_expand")
        x = BatchNorm(name=f"{name}_expand_norm")(x)
        x = keras.layers.Activation(activation, name=f"{name}_expand_activation")(x)
    x = keras.layers.DepthwiseConv2D(
        stage.kernel,
        strides=strides,
        padding="same",
        use_bias=False,
        depthwise_initializer=_kernel_initializer(),
        name=f"{name}_depthwise",
    )(x)
    x = BatchNorm(name=f"{name}_depthwise_norm")(x)
    x = keras.layers.Activation(activation, name=f"{name}_depthwise_activation")(x)
    if squeeze:
        squeezed = max(1, int(inputs.shape[-1] * 0.25))
        x = _squeeze_excite(x, squeezed, activation, name)
    x = _convolution(x, stage.filters, 1, 1, f"{name}_project")
    x = BatchNorm(name=f"{name}_project_norm")(x)
    if strides == 1 and inputs.shape[-1] == stage.filters:
        if drop_rate > 0:
            # Drop-connect (stochastic depth): one draw per sample, the kept scaled by 1 / keep.
            x = keras.layers.Dropout(drop_rate, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(x)
        x = keras.layers.Add(name=f"{name}_add")([x, inputs])
    return x


def scaled_stages(variant: str) -> list[Stage]:
    """Returns the stages of a variant, with its filters and its repeats."""
    width, depth = EFFICIENTNETS[variant]
    lite, last = variant.startswith("lite"), len(STAGES) - 1
    stages = []
    for i, stage in enumerate(STAGES):
        fixed = lite and i in (0, last)
        repeats = stage.repeats if fixed else math.ceil(stage.repeats * depth)
        stages.append(stage._replace(filters=round_filters(stage.filters, width), repeats=repeats))
    return stages


def efficientnet(
    variant: str,
    image_size: OpenSize = (None, None),
    drop_connect_rate: float | None = None,
    name: str | None = None,
    remat: bool = False,
) -> keras.Model:
    """Builds an EfficientNet that returns a feature pyramid.

    Args:
        variant: "b0" … "b7", "lite0" … "lite4".
        image_size: (height, width) in pixels, or (None, None).
        drop_connect_rate: float in [0, 1). Block i of n is skipped in training with probability
            `rate * i / n`. Default: 0.2, and 0 for b0, as the original EfficientDet trains.
        name: name of the model, `efficientnet_<variant>` by default.
        remat: bool. True recomputes every block in the backward pass, which saves memory.

    Returns:
        `keras.Model` from normalised images `(batch, height, width, 3)` to a dict "P1" … "P5" of
        maps with strides 2 … 32; sizes are rounded up. Each map is the output of the last block
        before the next stride. `model.pyramid_outputs` holds the same tensors, as in keras-hub's
        backbones.

    Raises:
        ValueError: there is no such variant.
    """
    if variant not in EFFICIENTNETS:
        raise ValueError(
            f"`variant` must be one of {sorted(EFFICIENTNETS)}. Received: {variant!r}."
            f"{suggest(variant, EFFICIENTNETS)} Choose a name from the list."
        )
    if drop_connect_rate is None:
        drop_connect_rate = 0.0 if variant == "b0" else 0.2
    images = keras.Input((*image_size, 3), name="normalized_images")
    blocks, last = _blocks(images, variant, drop_connect_rate)
    outputs = {f"P{level}": blocks[i] for level, i in enumerate(last, start=1)}
    model = keras.Model(images, outputs, name=name or f"efficientnet_{variant}")
    model.pyramid_outputs = outputs
    if remat:
        rematerialize_blocks(model, blocks)
    return model


def _blocks(images: Tensor, variant: str, rate: float) -> tuple[list[Tensor], list[int]]:
    """The outputs of all blocks, and which of them are the last ones of strides 2 to 32."""
    lite = variant.startswith("lite")
    activation = "relu6" if lite else "silu"
    stages = scaled_stages(variant)
    stem_filters = STEM_FILTERS if lite else round_filters(STEM_FILTERS, EFFICIENTNETS[variant][0])
    num_blocks = sum(stage.repeats for stage in stages)
    x = _convolution(images, stem_filters, 3, 2, "stem")
    x = BatchNorm(name="stem_norm")(x)
    x = keras.layers.Activation(activation, name="stem_activation")(x)
    outputs: list[Tensor] = []
    last: list[int] = []
    for stage in stages:
        for repeat in range(stage.repeats):
            strides, block = stage.strides if repeat == 0 else 1, len(outputs)
            if strides == 2:
                last.append(block - 1)
            drop = rate * block / num_blocks
            x = _mbconv(x, stage, strides, activation, not lite, drop, f"block{block}")
            outputs.append(x)
    return outputs, [*last, len(outputs) - 1]
