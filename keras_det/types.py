"""Names for the type annotations of tensors, shapes, sizes and configurations.

Keras and TensorFlow ship no type information, so a type checker sees their tensors as `Any`. The
names below tell the reader what such a value is. NumPy arrays are annotated as `np.ndarray`.
"""

from typing import Any, TypeAlias

# A tensor of the Keras backend: eager, inside a graph or symbolic (`keras.KerasTensor`).
# `keras.ops` takes NumPy arrays in its place.
Tensor: TypeAlias = Any
# A TensorFlow tensor, in `tf.data` pipelines and exports, which do not depend on the backend.
TFTensor: TypeAlias = Any
# The dtype of a layer: a name such as "float32" or a `keras.DTypePolicy`.
DType: TypeAlias = Any

# The shape of a tensor; None stands for a size that is unknown until run time.
Shape: TypeAlias = tuple[int | None, ...]
# The shape `(batch, height, width, channels)` of feature maps with a known size, and the same
# where only the number of channels must be known.
MapShape: TypeAlias = tuple[int | None, int, int, int]
OpenMapShape: TypeAlias = tuple[int | None, int | None, int | None, int]
# (height, width), in pixels or in cells of a feature map.
Size: TypeAlias = tuple[int, int]
# The same where a side may be unknown until run time.
OpenSize: TypeAlias = tuple[int | None, int | None]
# Image size in pixels: one int for a square, or (height, width).
ImageSize: TypeAlias = int | Size

# Maps or shapes of a feature pyramid are dicts with the keys "P3", "P4" …, finest level first.
Features: TypeAlias = dict[str, Tensor]
# What `get_config` returns and `from_config` takes: constructor arguments by name.
Config: TypeAlias = dict[str, Any]
