"""Names for the type annotations of tensors, shapes, sizes, configurations and detections.

Keras and TensorFlow ship no type information, so a type checker sees their tensors as `Any`. The
names below tell the reader what such a value is. NumPy arrays are annotated as `np.ndarray`.
"""

import os
from typing import Any, Literal, TypeAlias

import numpy as np

from keras_det.results import Detections as Detections

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
# The logs that Keras gives to a callback.
Logs: TypeAlias = dict[str, Any] | None

# ---- what `detect` takes and returns ----

# Arrays with one image, `(height, width, 3)`, and with a batch of them.
OneArray: TypeAlias = np.ndarray[tuple[int, int, int], Any]
BatchArray: TypeAlias = np.ndarray[tuple[int, int, int, int], Any]
# The path of an image file, or its encoded bytes.
ImageFile: TypeAlias = str | os.PathLike | bytes
# An image: pixels `(height, width, 3)` uint8 RGB, a path, or the encoded bytes of a file.
Image: TypeAlias = np.ndarray | ImageFile
# What type checkers know to be one image, or several. Most arrays they do not know: see `detect`.
OneImage: TypeAlias = str | os.PathLike | bytes | OneArray
Images: TypeAlias = list[Any] | tuple[Any, ...] | BatchArray


# ---- words for arguments; tests/test_names.py compares them with the tables ----

# Arguments are annotated as one of these `| str`: editors complete the words, and a variable of
# the type `str` is accepted too.
NMSMethod: TypeAlias = Literal["gaussian", "linear", "hard"]
FlipName: TypeAlias = Literal["none", "horizontal", "vertical", "both"]
FusionName: TypeAlias = Literal["wbf", "nms"]
AugmentName: TypeAlias = Literal[
    "none", "light", "published", "strong", "flip", "ssj", "lsj", "tiles"
]
MatcherName: TypeAlias = Literal["iou", "atss", "task_aligned", "simota"]
ClassLossName: TypeAlias = Literal["focal", "quality_focal", "varifocal"]
SamplingName: TypeAlias = Literal["uniform", "repeat_factor", "class_balanced"]
EfficientDetVariant: TypeAlias = Literal[
    "d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7", "d7x",
    "lite0", "lite1", "lite2", "lite3", "lite3x", "lite4",
]  # fmt: skip
RetinaNetBackbone: TypeAlias = Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
CornerNetVariant: TypeAlias = Literal["hourglass104", "hourglass52", "tiny"]
