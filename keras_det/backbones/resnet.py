"""ResNet-18/34/50/101/152 "v1.5" as feature pyramids; the weights of torchvision and timm fit.

Deep residual learning (https://arxiv.org/abs/1512.03385), table 1. Version 1.5 has the stride in
the 3x3 convolution of a bottleneck block. The paper and `keras.applications` have it in the 1x1
convolution before. Convolutions have no biases; the fully connected top is left out.
"""

import keras

from keras_det.errors import suggest
from keras_det.layers.batch_norm import BatchNorm
from keras_det.layers.remat import rematerialize_blocks
from keras_det.names import PADDINGS
from keras_det.types import OpenSize, Tensor

# name: blocks per stage, and whether a block is a bottleneck (1x1, 3x3, 1x1 to 4 * filters).
RESNETS = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
    "resnet152": ((3, 8, 36, 3), True),
}
STAGE_FILTERS = (64, 128, 256, 512)


class _Builder:
    """Builds the layers of one network with its padding and its batch normalisation."""

    def __init__(self, padding: str, epsilon: float, momentum: float, frozen: bool) -> None:
        self.padding = padding
        self.epsilon, self.momentum, self.frozen = epsilon, momentum, frozen

    def convolution(self, x: Tensor, filters: int, kernel: int, strides: int, name: str) -> Tensor:
        """A convolution, padded as in torch (kernel // 2 on each side) or as in TensorFlow."""
        padding = "same"
        if strides > 1 and kernel > 1 and self.padding == "symmetric":
            # Both pad alike at stride 1. At stride 2 "same" may pad the bottom and right only.
            x = keras.layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
            padding = "valid"
        return keras.layers.Conv2D(
            filters,
            kernel,
            strides=strides,
            padding=padding,
            use_bias=False,
            kernel_initializer=keras.initializers.VarianceScaling(
                2.0, "fan_out", "untruncated_normal"
            ),
            name=name,
        )(x)

    def norm(self, x: Tensor, name: str) -> Tensor:
        """Batch normalisation."""
        return BatchNorm(
            momentum=self.momentum, epsilon=self.epsilon, trainable=not self.frozen, name=name
        )(x)

    def max_pool(self, x: Tensor) -> Tensor:
        """3x3 max-pooling with stride 2, after a ReLU."""
        if self.padding == "symmetric":
            # Padding with zeros is safe: no output of a ReLU is smaller.
            x = keras.layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
        padding = "valid" if self.padding == "symmetric" else "same"
        return keras.layers.MaxPooling2D(3, 2, padding, name="stem_pool")(x)

    def block(self, x: Tensor, filters: int, strides: int, bottleneck: bool, name: str) -> Tensor:
        """relu(x + F(x)), F two 3x3 convolutions, or 1x1, 3x3, 1x1."""
        outputs = 4 * filters if bottleneck else filters
        shortcut = x
        if strides > 1 or x.shape[-1] != outputs:
            shortcut = self.convolution(x, outputs, 1, strides, f"{name}_shortcut")
            shortcut = self.norm(shortcut, f"{name}_shortcut_norm")
        layers: tuple[tuple[int, int, int], ...]
        if bottleneck:
            layers = ((filters, 1, 1), (filters, 3, strides), (outputs, 1, 1))
        else:
            layers = ((filters, 3, strides), (filters, 3, 1))
        for i, (channels, kernel, stride) in enumerate(layers, start=1):
            x = self.convolution(x, channels, kernel, stride, f"{name}_conv{i}")
            x = self.norm(x, f"{name}_norm{i}")
            if i < len(layers):
                x = keras.layers.ReLU(name=f"{name}_relu{i}")(x)
        x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
        return keras.layers.ReLU(name=f"{name}_relu{len(layers)}")(x)


def resnet(
    variant: str,
    image_size: OpenSize = (None, None),
    padding: str = "symmetric",
    norm_epsilon: float = 1e-5,
    norm_momentum: float = 0.9,
    frozen_norm: bool = False,
    name: str | None = None,
    remat: bool = False,
) -> keras.Model:
    """Builds a ResNet that returns a feature pyramid.

    Args:
        variant: "resnet18", "resnet34", "resnet50", "resnet101" or "resnet152".
        image_size: (height, width) in pixels, or (None, None).
        padding: "symmetric" pads strided convolutions and pooling with kernel // 2 zeros on each
            side, as torch does; public weights need it. "same" is TensorFlow's padding, as in the
            Model Garden.
        norm_epsilon: float >= 0, added to the variance in batch normalisation. torchvision: 1e-5;
            its COCO weights, whose statistics were frozen: 0; Model Garden: 1e-3.
        norm_momentum: float in 0..1, the share of the moving statistics that is kept at each step
            (torch's 0.1 is 0.9 here).
        frozen_norm: bool. True freezes batch normalisation: statistics, scale and shift do not
            change in training. For batches of one or two images, with trained weights.
        name: name of the model, the variant by default.
        remat: bool. True recomputes every block in the backward pass, which saves memory.

    Returns:
        `keras.Model` from normalised images `(batch, height, width, 3)` to a dict "P1" (stem),
        "P2" … "P5" of maps with strides 2, 4 … 32, each after its last ReLU; sizes are rounded up.
        `model.pyramid_outputs` holds the same tensors, as in keras-hub's backbones.

    Raises:
        ValueError: there is no such variant or padding.
    """
    if variant not in RESNETS:
        raise ValueError(
            f"`variant` must be one of {list(RESNETS)}. Received: {variant!r}."
            f"{suggest(variant, RESNETS)} Choose a name from the list."
        )
    if padding not in PADDINGS:
        raise ValueError(
            f"`padding` must be one of {PADDINGS}. Received: {padding!r}. Weights from torch need "
            '"symmetric", those of the TensorFlow Model Garden "same".'
        )
    repeats, bottleneck = RESNETS[variant]
    build = _Builder(padding, norm_epsilon, norm_momentum, frozen_norm)
    images = keras.Input((*image_size, 3), name="normalized_images")
    x = build.norm(build.convolution(images, 64, 7, 2, "stem"), "stem_norm")
    x = keras.layers.ReLU(name="stem_relu")(x)
    outputs, ends = {"P1": x}, [x]
    x = build.max_pool(x)
    for stage, (filters, blocks) in enumerate(zip(STAGE_FILTERS, repeats, strict=True), start=2):
        for block in range(blocks):
            strides = 2 if block == 0 and stage > 2 else 1
            x = build.block(x, filters, strides, bottleneck, f"stage{stage}_block{block}")
            ends.append(x)
        outputs[f"P{stage}"] = x
    model = keras.Model(images, outputs, name=name or variant)
    model.pyramid_outputs = outputs
    if remat:
        rematerialize_blocks(model, ends)
    return model
