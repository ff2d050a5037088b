"""CornerNet's heads: heat maps, embeddings and offsets of both corners of a box."""

from typing import Any

import keras
from keras import ops

from keras_det.layers.corner_pooling import CornerPooling
from keras_det.layers.remat import rematerialized
from keras_det.layers.residual_block import ConvNormReLU, torch_initializer
from keras_det.types import Config, OpenMapShape, Shape, Tensor

# corner: its two directions of pooling.
CORNERS = {"top_left": ("top", "left"), "bottom_right": ("bottom", "right")}
# Initial bias of the heat maps: sigmoid(-2.19) = 0.1.
HEATMAP_BIAS = -2.19


@keras.saving.register_keras_serializable(package="keras_det")
class CornerPoolingBlock(keras.layers.Layer):
    """Features of one kind of corner: a residual block around two corner poolings.

    CornerNet section 3.5 and figure 7 (https://arxiv.org/abs/1808.01244):

        y = norm(conv3x3(pool_1(relu(norm(conv3x3(x)))) + pool_2(relu(norm(conv3x3(x))))))
        out = relu(norm(conv3x3(relu(y + norm(conv1x1(x))))))

    The poolings work on half the channels.

    Args:
        corner: "top_left" (top and left pooling) or "bottom_right" (bottom and right pooling).
        pooling: bool. False leaves out the poolings only, as in the ablation of the paper's section
            4.5.

    Call arguments:
        inputs: `(batch, height, width, channels)`.

    Returns:
        Tensor of the same shape.
    """

    def __init__(self, corner: str, pooling: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if corner not in CORNERS:
            raise ValueError(
                f"`corner` must be one of {list(CORNERS)}. Received: {corner!r}. Make one block "
                "for each of them."
            )
        self.corner = corner
        self.pooling = pooling

    def build(self, input_shape: OpenMapShape) -> None:
        channels, policy = input_shape[-1], self.dtype_policy
        middle = max(1, channels // 2)
        self.before, self.pools = [], []
        for direction in CORNERS[self.corner]:
            self.before.append(ConvNormReLU(middle, dtype=policy, name=f"{direction}_convolution"))
            self.pools.append(CornerPooling(direction, dtype=policy, name=direction))
        self.merge = ConvNormReLU(channels, activation=None, dtype=policy, name="merge")
        self.shortcut = ConvNormReLU(channels, 1, activation=None, dtype=policy, name="shortcut")
        self.after = ConvNormReLU(channels, dtype=policy, name="after")
        for layer in (*self.before, self.shortcut, self.after):
            layer.build(input_shape)
        self.merge.build((*input_shape[:-1], middle))

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        pooled = []
        for convolution, pool in zip(self.before, self.pools, strict=True):
            x = convolution(inputs, training=training)
            pooled.append(pool(x) if self.pooling else x)
        x = self.merge(pooled[0] + pooled[1], training=training)
        x = ops.relu(x + self.shortcut(inputs, training=training))
        return self.after(x, training=training)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def get_config(self) -> Config:
        return {**super().get_config(), "corner": self.corner, "pooling": self.pooling}


@keras.saving.register_keras_serializable(package="keras_det")
class CornerHead(keras.layers.Layer):
    """Predicts where corners are, which of them belong together, and their exact position.

    CornerNet section 3.2 to 3.5. Each kind of corner has a `CornerPoolingBlock`, then three small
    networks: [3x3 convolution with bias, ReLU, 1x1 convolution with bias].

    Args:
        num_classes: int, channels of the heat maps.
        pooling: bool, as in `CornerPoolingBlock`.
        remat: bool. True recomputes the corner pooling blocks in the backward pass, which saves
            memory.

    Call arguments:
        inputs: `(batch, height, width, channels)`, the output of one hourglass.

    Returns:
        dict, each float32 `(batch, height, width, n)`: `top_left_heatmaps`, `bottom_right_heatmaps`
        (n = num_classes, logits), `top_left_embeddings`, `bottom_right_embeddings` (n = 1; the two
        corners of an object have similar embeddings), `top_left_offsets`, `bottom_right_offsets`
        (n = 2; x and y position of a corner inside its cell, in cells).
    """

    def __init__(
        self, num_classes: int, pooling: bool = True, remat: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.pooling = pooling
        self.remat = remat

    @property
    def outputs(self) -> dict[str, int]:
        """Channels of each kind of output."""
        return {"heatmaps": self.num_classes, "embeddings": 1, "offsets": 2}

    def _convolution(
        self, filters: int, kernel_size: int, name: str, bias: float | None = None
    ) -> keras.layers.Conv2D:
        initializer = "zeros" if bias is None else keras.initializers.Constant(bias)
        return keras.layers.Conv2D(
            filters,
            kernel_size,
            padding="same",
            kernel_initializer=torch_initializer(),
            bias_initializer=initializer,
            dtype=self.dtype_policy,
            name=name,
        )

    def build(self, input_shape: OpenMapShape) -> None:
        policy, channels = self.dtype_policy, input_shape[-1]
        self.blocks, self.hidden, self.predictions = [], [], []
        for corner in CORNERS:
            block = CornerPoolingBlock(corner, self.pooling, dtype=policy, name=corner)
            block.build(input_shape)
            self.blocks.append(block)
            for kind, outputs in self.outputs.items():
                name = f"{corner}_{kind}"
                bias = HEATMAP_BIAS if kind == "heatmaps" else None
                self.hidden.append(self._convolution(channels, 3, f"{name}_hidden"))
                self.predictions.append(self._convolution(outputs, 1, name, bias))
        for layer in (*self.hidden, *self.predictions):
            layer.build(input_shape)

    def call(self, inputs: Tensor, training: bool | None = None) -> dict[str, Tensor]:
        found = {}
        layers = zip(self.hidden, self.predictions, strict=True)
        for block in self.blocks:
            x = self._corner_features(block, inputs, training)
            for _ in self.outputs:
                hidden, prediction = next(layers)
                found[prediction.name] = ops.cast(prediction(ops.relu(hidden(x))), "float32")
        return found

    def _corner_features(
        self, block: CornerPoolingBlock, inputs: Tensor, training: bool | None
    ) -> Tensor:
        def run(x: Tensor) -> Tensor:
            return block(x, training=training)

        return rematerialized(run, [block], inputs) if self.remat and training else run(inputs)

    def compute_output_spec(
        self, inputs: Tensor, training: bool | None = None
    ) -> dict[str, keras.KerasTensor]:
        return {
            f"{corner}_{kind}": keras.KerasTensor((*inputs.shape[:-1], outputs), "float32")
            for corner in CORNERS
            for kind, outputs in self.outputs.items()
        }

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "pooling": self.pooling,
            "remat": self.remat,
        }
