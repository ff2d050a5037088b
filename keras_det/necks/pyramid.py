"""What all necks share: levels, the check of a backbone's dict, shapes, convolutions."""

import keras
from keras import ops

# torchvision fills an FPN's kernels from U(-a, a), a² = 3 / fan_in (`kaiming_uniform_` with slope
# 1, Caffe2's "Xavier fill"): variance 1 / fan_in; biases are 0. The FPN paper does not say.
KERNEL_INITIALIZER = {
    "class_name": "VarianceScaling",
    "config": {"scale": 1.0, "mode": "fan_in", "distribution": "uniform"},
}
PADDINGS = ("symmetric", "same")


def halved(size):
    """Height and width after a stride of 2: half, rounded up."""
    return tuple(-(-side // 2) for side in size)


def convolution(neck, input_shape, kernel, name):
    """A built convolution with bias to the neck's channels, stride 1."""
    layer = keras.layers.Conv2D(
        neck.channels,
        kernel,
        padding="same",
        kernel_initializer=keras.initializers.get(KERNEL_INITIALIZER),
        dtype=neck.dtype_policy,
        name=name,
    )
    layer.build(input_shape)
    return layer


def strided_convolution(neck, input_shape, padding, name):
    """A built 3x3 convolution with stride 2 and bias; call it through `halve`.

    Along an odd side "same" also pads one pixel on each side, so that only even sides need zeros of
    their own.
    """
    even = any(side % 2 == 0 for side in input_shape[1:3])
    layer = keras.layers.Conv2D(
        neck.channels,
        3,
        strides=2,
        padding="valid" if padding == "symmetric" and even else "same",
        kernel_initializer=keras.initializers.get(KERNEL_INITIALIZER),
        dtype=neck.dtype_policy,
        name=name,
    )
    layer.build((input_shape[0], None, None, input_shape[-1]))  # sides grow by their zeros
    return layer


def halve(layer, x):
    """Calls a `strided_convolution`: `(batch, h, w, c)` to `(batch, ceil(h / 2), ceil(w / 2), …)`.

    Symmetric padding sees one zero on each side, but on an even side no window reaches the last.
    """
    if layer.padding == "valid":
        rows, columns = ((1, side % 2) for side in x.shape[1:3])
        x = ops.pad(x, ((0, 0), rows, columns, (0, 0)))
    return layer(x)


def check_padding(padding):
    if padding not in PADDINGS:
        raise ValueError(
            f"`padding` must be one of {PADDINGS}. Received: {padding!r}. Weights from torch want "
            '"symmetric", those of the TensorFlow Model Garden "same".'
        )


class PyramidNeck(keras.layers.Layer):
    """Base of the necks: a backbone's dict of levels to the pyramid that the heads see.

    A neck takes from the dict the levels from `min_level` to `max_level` that are there, without a
    gap, and makes the rest; it ignores others.

    Args:
        channels: channels of every level.
        min_level: finest level of the result, with a stride of `2**min_level` pixels.
        max_level: coarsest level of the result.

    Call arguments:
        features: dict "P3" … "P5" of maps `(batch, height, width, channels)` with static sizes.

    Returns:
        dict "P<min_level>" … "P<max_level>" of maps with `channels` channels.
    """

    def __init__(self, channels, min_level=3, max_level=7, **kwargs):
        super().__init__(**kwargs)
        if not 1 <= min_level <= max_level:
            raise ValueError(
                "`min_level` must be at least 1 and at most `max_level`. Received: "
                f"min_level={min_level}, max_level={max_level}. RetinaNet and EfficientDet use 3 "
                "to 7."
            )
        self.channels = channels
        self.min_level = min_level
        self.max_level = max_level

    @property
    def levels(self):
        return tuple(range(self.min_level, self.max_level + 1))

    def taken(self, features):
        """The names of the backbone's levels that are used, checked to be there; finest first."""
        names = [f"P{level}" for level in self.levels if f"P{level}" in features]
        expected = [f"P{self.min_level + i}" for i in range(len(names))]
        if not names or names != expected:
            raise ValueError(
                f"{self.name}: `features` must hold P{self.min_level} and the levels after it "
                f"without a gap. Received levels: {sorted(features)}. Use a backbone with these "
                "levels or change `min_level`."
            )
        return names

    def input_shapes(self, input_shape):
        """Shapes of the levels taken, with static sizes that shrink from level to level."""
        shapes = [tuple(input_shape[name]) for name in self.taken(input_shape)]
        sizes = [shape[1:3] for shape in shapes]
        if any(None in size for size in sizes):
            raise ValueError(
                f"{self.name}: `features` must have a static height and width. Received sizes: "
                f"{sizes}. Build the backbone with image_size=(height, width)."
            )
        for fine, coarse in zip(sizes, sizes[1:], strict=False):
            if coarse[0] > fine[0] or coarse[1] > fine[1]:
                raise ValueError(
                    f"{self.name}: no level may be larger than the one before it. Received sizes: "
                    f"{sizes}. Name the backbone's levels P<log2 of the stride>."
                )
        return shapes

    def level_sizes(self, input_shape):
        """(height, width) of every level of the result; levels that are made halve, rounded up."""
        sizes = [shape[1:3] for shape in self.input_shapes(input_shape)]
        while len(sizes) < len(self.levels):
            sizes.append(halved(sizes[-1]))
        return sizes

    def check_halving(self, input_shape):
        """For necks that also shrink maps: each level must be half the one before, rounded up."""
        sizes = self.level_sizes(input_shape)
        expected = [sizes[0]]
        for size in sizes[:-1]:
            expected.append(halved(size))
        if sizes != expected:
            raise ValueError(
                f"{self.name}: each level must have half the size of the one before it, rounded "
                f"up. Received sizes: {sizes}. Take an image size that is a multiple of "
                f"{2**self.max_level}, or the necks FPN and BiFPN, which need no halving."
            )

    def output_shapes(self, input_shape):
        """Shapes of the result, finest first."""
        batch = input_shape[self.taken(input_shape)[0]][0]
        return [(batch, *size, self.channels) for size in self.level_sizes(input_shape)]

    def compute_output_shape(self, input_shape):
        shapes = self.output_shapes(input_shape)
        return {f"P{level}": shape for level, shape in zip(self.levels, shapes, strict=True)}

    def compute_output_spec(self, features, training=None):
        shapes = self.compute_output_shape({name: x.shape for name, x in features.items()})
        return {
            name: keras.KerasTensor(shape, dtype=self.compute_dtype)
            for name, shape in shapes.items()
        }

    def get_config(self):
        return {
            **super().get_config(),
            "channels": self.channels,
            "min_level": self.min_level,
            "max_level": self.max_level,
        }
