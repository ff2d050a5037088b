"""What a file of RetinaNet weights says about the network that it belongs to."""

from typing import NamedTuple


class RetinaNetArguments(NamedTuple):
    """The arguments that build the network of a file. The defaults are the published network's.

    Attributes:
        backbone: name of the ResNet, "resnet18" … "resnet152".
        class_names: the file's classes without background: COCO's 80 names, else `class_0` ….
        padding: "symmetric" as in torch, or "same" as in TensorFlow.
        norm_epsilon: epsilon of the backbone's batch normalisation.
        norm_momentum: its momentum.
        frozen_norm: whether its statistics were frozen in training.
        neck_norm: whether each level of the pyramid ends in a batch normalisation.
        head_norm: normalisation in the heads' towers, None or "batch".
        aspect_ratios: width / height of the anchors.
        anchor_sizes: sides of the anchors in pixels, one tuple per level.
        anchor_offset: centre of the first anchor, in strides.
        integer_anchors: whether anchor sizes are rounded and strides are whole numbers.
        neck_extra: where P6 comes from, "p5".
        neck_channels: channels of the pyramid.
        min_level: finest level of the pyramid.
        max_level: coarsest level of the pyramid.
        head_repeats: convolutions in a tower.
    """

    backbone: str
    class_names: list[str]
    padding: str
    norm_epsilon: float
    norm_momentum: float
    frozen_norm: bool
    neck_norm: bool
    head_norm: str | None
    aspect_ratios: tuple[float, ...]
    anchor_sizes: tuple[tuple[float, ...], ...]
    anchor_offset: float
    integer_anchors: bool
    neck_extra: str = "p5"
    neck_channels: int = 256
    min_level: int = 3
    max_level: int = 7
    head_repeats: int = 4
