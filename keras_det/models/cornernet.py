"""CornerNet (https://arxiv.org/abs/1808.01244): objects as pairs of corners, without anchors."""

import os
import warnings
from collections.abc import Sequence
from typing import Any, Self

import keras
from keras import ops

from keras_det.backbones.hourglass import HOURGLASSES, Hourglass, find_hourglass, hourglass
from keras_det.data.augmenting.steps import Flip, Photometric, ScaleJitter
from keras_det.errors import DataError
from keras_det.heads.corner_head import CORNERS, CornerHead
from keras_det.layers.center_padding import CenterPadding, padded_size
from keras_det.layers.nms import gather_rows
from keras_det.layers.normalization import Normalization
from keras_det.layers.replicas import sum_over_replicas
from keras_det.losses.contract import check_class_loss
from keras_det.losses.corner import CornerFocalLoss, offset_loss, pull_push
from keras_det.models.corner_detector import CornerDetector
from keras_det.models.fine_tuning import freeze_parts
from keras_det.models.parts import (
    check_assigns,
    check_bools,
    check_class_names,
    check_image_size,
    check_loss_weights,
    make_normalization,
    precision,
)
from keras_det.optimizers import AdamW, WarmupThenDrops, rate_for_batch
from keras_det.targets.corner_targets import CornerTargets
from keras_det.types import CornerNetVariant, ImageSize, Size, Tensor
from keras_det.weights import LoadReport
from keras_det.weights.common.coco_classes import COCO_CLASSES
from keras_det.weights.cornernet.load import load_cornernet

# Square sides for training. The network needs no padding for them.
IMAGE_SIZES = {"hourglass104": 511, "hourglass52": 511, "tiny": 255}
STRIDE = 4
# Padding that adds a larger share to the computation causes a warning.
PADDING_ALLOWED = 0.1


@keras.saving.register_keras_serializable(package="keras_det")
class CornerNet(CornerDetector):
    """CornerNet: stacked hourglasses with heat maps for two corners of each box.

    As published, every hourglass is trained (intermediate supervision) and the last one detects; at
    inference the heads of the others are not computed. The loss, averaged over the hourglasses, is

        focal(heat maps) + pull_weight * pull + push_weight * push + offset_weight * offsets

    (equations 1 to 5), for both kinds of corners together. As in the original code, focal is
    divided by the corners of the batch, and offsets by its objects. Pull and push are divided by
    the objects (pairs) of each image and summed over the batch.

    Raw outputs: dict, each float32 `(batch, height, width, n)` with stride 4: `top_left_heatmaps`,
    `bottom_right_heatmaps` (logits, n = classes), `top_left_embeddings`, `bottom_right_embeddings`
    (n = 1), `top_left_offsets`, `bottom_right_offsets` (n = 2, x and y in cells). With
    `training=True` the dict also has "intermediate", a list of such dicts of the other hourglasses.

    As in the original, the network pads images to `side | 127` pixels (`| 31` for "tiny") with
    black; the image is centred. Sides such as 511 or 383 need no padding.

    `augment="published"` of a `Pipeline` is the original's augmentation as far as the steps of
    `keras_det.data` express it: flips, a scale of 0.77 to 1.67, and brightness, contrast and
    saturation of 0.6 to 1.4. What differs: the scale refers to the resized image, not to the stored
    one, and is uniform, not one of 1 / 0.6, 1 / 0.7 … 1 / 1.3. A window lies inside the image, and
    a smaller image at the top left on the mean colour; the original cuts around a random centre and
    pads with black. Contrast keeps the mean colour, not the mean grey. The noise along the
    principal components of the colours ("PCA lighting") is missing.

    Args:
        variant: "hourglass104" as published, "hourglass52" (one of its two stacks), "tiny", or a
            `keras_det.backbones.Hourglass` of any depth and width.
        num_classes: number of classes, without background. Default: the number of `class_names`.
        class_names: one name per class. Default: `class_0` ….
        image_size: int or (height, width), 32 to 8,192 pixels. Default: 511, for "tiny" 255.
        resize_mode: "letterbox" keeps the aspect ratio and pads, "stretch" does not, "mediapipe"
            stretches and samples as MediaPipe does.
        weights: None, or a path: a `.keras`, `.weights.h5` or preset of the same network, whose
            classes of the same name keep their predictions, or the checkpoint of the authors
            (`.pkl`).
        freeze: "none" or "backbone": the parts that are frozen in training, with their batch-norm
            statistics. `model.freeze` changes it later.
        normalization: how pixels are normalised, a name, None or a `Normalization`. "auto": as in
            the original, in the order blue, green, red.
        corner_pooling: bool. False builds the network without corner pooling, for comparison.
        targets: `CornerTargets`. Default: the original's, Gaussians of IoU 0.3.
        class_loss: `CornerFocalLoss`, with `alpha` and `beta` of your own.
        pull_weight, push_weight, offset_weight: weights of these losses.
        remat: bool. True recomputes the inside of every block in the backward pass (gradient
            checkpointing). It takes a third more time and about half the memory for activations.
        dtype: precision policy, e.g. "mixed_bfloat16". Default: Keras' current policy.
        name: name of the model.
    """

    NOT_SAVED = ("weights",)
    LOSSES = ("class_loss", "pull_loss", "push_loss", "offset_loss")
    variants = HOURGLASSES
    stride = STRIDE
    image_sizes = IMAGE_SIZES
    # A window of 0.6 to 1.3 times the sides of the input becomes the input (`rand_scales`,
    # `random_crop` and `color_jittering_` of princeton-vl/CornerNet).
    published_augment = (
        Flip(0.5),
        ScaleJitter(1 / 1.3, 1 / 0.6),
        Photometric(0.4, 0.4, 0.4, hue=0.0, grey=0.0, probability=1.0),
    )

    def __init__(
        self,
        variant: CornerNetVariant | str | Hourglass | Sequence[Any] = "hourglass104",
        num_classes: int | None = None,
        class_names: Sequence[str] | None = None,
        image_size: ImageSize | None = None,
        resize_mode: str = "letterbox",
        weights: str | os.PathLike | None = None,
        freeze: str = "none",
        normalization: str | Normalization | None = "auto",
        corner_pooling: bool = True,
        targets: CornerTargets | None = None,
        class_loss: keras.losses.Loss | None = None,
        pull_weight: float = 0.1,
        push_weight: float = 0.1,
        offset_weight: float = 1.0,
        remat: bool = False,
        dtype: str | None = None,
        name: str | None = None,
    ) -> None:
        check_loss_weights(
            pull_weight=pull_weight, push_weight=push_weight, offset_weight=offset_weight
        )
        check_assigns("targets", targets, "keras_det.targets.CornerTargets()")
        check_bools(corner_pooling=corner_pooling, remat=remat)
        row = find_hourglass(variant)
        class_names = check_class_names(num_classes, class_names)
        named = variant if isinstance(variant, str) else "hourglass"
        image_size = check_image_size(
            IMAGE_SIZES.get(named, 511) if image_size is None else image_size
        )
        _check_padding(image_size, row.divisor)
        with precision(dtype):
            padding = CenterPadding(row.divisor, name="padding")
            normalization_layer = make_normalization(
                "cornernet" if normalization == "auto" else normalization
            )
            backbone = hourglass(variant, remat)
            heads = [
                CornerHead(len(class_names), corner_pooling, remat, name=f"stack_{i}_head")
                for i in range(row.num_stacks)
            ]
            images = keras.Input((*image_size, 3), name="images")
            features = backbone(normalization_layer(padding(images)))
            for i, head in enumerate(heads):
                outputs = head(features[f"stack_{i}"])
            super().__init__(images, outputs, name=name or f"cornernet_{named}")
        self.describe(class_names, image_size, resize_mode)
        self.variant = variant
        self.padding, self.normalization = padding, normalization_layer
        self.backbone, self.heads = backbone, heads
        self.targets = CornerTargets() if targets is None else targets
        self.class_loss = check_class_loss(
            class_loss or CornerFocalLoss(), self.num_classes, "corners"
        )
        self.weights_of_losses = (pull_weight, push_weight, offset_weight)
        if weights is not None:
            self.start_from(weights)
        freeze_parts(self, freeze)

    @property
    def input_spec(self) -> keras.InputSpec:
        # Images of any size: the network pads them.
        return keras.InputSpec(shape=(None, None, None, 3))

    def call(
        self, images: Tensor, training: bool | None = None, mask: Any = None
    ) -> dict[str, Any]:
        x = self.normalization(self.padding(images))
        features = self.backbone(x, training=training)
        found = [
            head(features[f"stack_{i}"], training=training)
            for i, head in enumerate(self.heads)
            if training or i + 1 == len(self.heads)
        ]
        if training and len(found) > 1:
            return {**found[-1], "intermediate": found[:-1]}
        return found[-1]

    def losses_of(
        self, targets: dict[str, Tensor], raw: dict[str, Any], sample_weight: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The weighted parts of the loss of a batch, averaged over the hourglasses.

        Args:
            targets: dict with `boxes` `(batch, max_boxes, 4)` xyxy pixels and `labels`
                `(batch, max_boxes)`, -1 in empty slots.
            raw: the model's outputs, with or without "intermediate".
            sample_weight: `(batch,)`, at least 0, or None. An image of weight w counts like w
                copies of it: w multiplies its losses, its objects and its corners. None: 1.

        Returns:
            dict of scalars `class_loss`, `pull_loss`, `push_loss`, `offset_loss`,
            `positives_per_image` (objects). Under `tf.distribute` the losses are the share of this
            device, and the objects its own.
        """
        labels = ops.cast(targets["labels"], "int32")
        boxes = ops.cast(targets["boxes"], "float32")
        raw = dict(raw)
        stacks = [*raw.pop("intermediate", []), raw]
        top, left = self.padding.before(self.image_size)
        wanted = self.targets.assign(
            boxes + ops.convert_to_tensor([left, top, left, top], "float32"),
            labels,
            image_size=padded_size(self.image_size, self.padding.divisor),
            map_size=tuple(raw["top_left_heatmaps"].shape[1:3]),
            num_classes=self.num_classes,
        )
        images = ops.cast(ops.shape(labels)[0], "float32")
        per_image = ops.sum(ops.cast(wanted["mask"], "float32"), axis=1)
        if sample_weight is not None:
            wanted["sample_weight"] = ops.cast(sample_weight, "float32")
            per_image = per_image * wanted["sample_weight"]
            images = ops.sum(wanted["sample_weight"])
        objects = ops.sum(per_image)
        counts = {"objects": sum_over_replicas(objects)}
        for corner in CORNERS:
            peaks = ops.cast(wanted[f"{corner}_heatmaps"] == 1.0, "float32")
            if sample_weight is not None:
                peaks = peaks * wanted["sample_weight"][:, None, None, None]
            counts[corner] = ops.maximum(sum_over_replicas(ops.sum(peaks)), 1.0)
        parts = [self._losses_of_stack(wanted, counts, stack) for stack in stacks]
        weights = (1.0, *self.weights_of_losses)
        losses = {
            name: weight * sum(column) / len(parts)
            for name, weight, column in zip(
                self.LOSSES, weights, zip(*parts, strict=True), strict=True
            )
        }
        return {**losses, "positives_per_image": ops.divide_no_nan(objects, images)}

    def _losses_of_stack(
        self, wanted: dict[str, Tensor], counts: dict[str, Tensor], raw: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Focal, pull, push and offset loss of one hourglass, without their weights.

        `counts` holds numbers of the whole batch: objects, and cells that are corners of each kind.
        """
        mask, embeddings, weight = wanted["mask"], [], wanted.get("sample_weight")
        per_cell = None if weight is None else weight[:, None, None]
        focal = offsets = 0.0
        for corner in CORNERS:
            heatmaps = f"{corner}_heatmaps"
            summed = self.class_loss(wanted[heatmaps], raw[heatmaps], sample_weight=per_cell)
            focal = focal + summed / counts[corner]
            cells = wanted[f"{corner}_cells"]
            embeddings.append(_at(raw[f"{corner}_embeddings"], cells)[..., 0])
            offsets = offsets + offset_loss(
                wanted[f"{corner}_offsets"],
                _at(raw[f"{corner}_offsets"], cells),
                mask,
                counts["objects"],
                weight,
            )
        top_left, bottom_right = embeddings
        pull, push = pull_push(top_left, bottom_right, mask, weight)
        return focal, pull, push, offsets

    @classmethod
    def published_optimizer(
        cls, batch_size: int, steps: int, warmup_steps: int | None = None
    ) -> keras.optimizers.Optimizer:
        """Adam as in the original training. Arguments: see `training.recipes.published`.

        The rate is 2.5e-4 for 49 images; here it is scaled with the square root of the batch size.
        It is divided by 10 after nine tenths of the steps (450,000 of 500,000). By default there is
        no warm-up. There is no weight decay.
        """
        rate = rate_for_batch(2.5e-4, 49, batch_size, adaptive=True)
        schedule = WarmupThenDrops(rate, [steps * 9 // 10], warmup_steps or 0)
        return AdamW(schedule, weight_decay=0.0)

    def class_variables(self) -> list[keras.Variable]:
        names = [f"{corner}_heatmaps" for corner in CORNERS]
        return [
            variable
            for head in self.heads
            for prediction in head.predictions
            if prediction.name in names
            for variable in prediction.weights
        ]

    def _load_public(self, weights: Any, partial: bool = False) -> LoadReport:
        if weights in ("imagenet", "coco"):
            raise DataError(
                "`weights` of a CornerNet must be a path: it was trained without ImageNet "
                "weights, and its authors' checkpoint cannot be downloaded automatically. "
                f"Received: weights={weights!r} for {self.name}. Download the checkpoint from the "
                "link in the README of princeton-vl/CornerNet on GitHub, and give the path of the "
                "file."
            )
        return load_cornernet(self, weights, partial=partial)

    @classmethod
    def from_checkpoint(
        cls,
        variant: str | Hourglass | Sequence[Any],
        path: str | os.PathLike,
        num_classes: int | None = None,
        class_names: Sequence[str] | None = None,
        partial: bool = False,
        **kwargs: Any,
    ) -> Self:
        """A CornerNet with the weights of the authors' PyTorch checkpoint, without torch.

        Args:
            variant: as in the constructor, "hourglass104" for the public file.
            path: a checkpoint that `keras_det.weights.load_cornernet` reads.
            num_classes, class_names: the classes to train. Default: COCO's 80 with their names.
            partial: True accepts a file that does not hold every variable.
            **kwargs: further arguments of the constructor: `image_size`, `freeze`, `dtype` ….

        Returns:
            `CornerNet`. `model.load_report` says which variables were loaded, which were skipped
            and why, and which are missing.

        Raises:
            DataError: the file is missing, damaged, or of another network.
        """
        if num_classes is None and class_names is None:
            class_names = list(COCO_CLASSES.values())
        model = cls(variant, num_classes, class_names, **kwargs)
        model.start_from(path, partial=partial)
        return model


def _at(maps: Tensor, cells: Tensor) -> Tensor:
    """The values `(batch, k, n)` of maps `(batch, height, width, n)` at cells `(batch, k)`."""
    _, height, width, channels = maps.shape
    return gather_rows(ops.reshape(maps, (-1, height * width, channels)), cells)


def _check_padding(image_size: Size, divisor: int) -> None:
    """Warns where padding makes the network compute much more."""
    padded = padded_size(image_size, divisor)
    share = padded[0] * padded[1] / (image_size[0] * image_size[1]) - 1.0
    if share > PADDING_ALLOWED:
        fitting = tuple(max(divisor, (side + 1) // divisor * divisor) - 1 for side in image_size)
        warnings.warn(
            f"image_size={tuple(image_size)} is padded to {padded}, which needs {share:.0%} more "
            f"computation. image_size={fitting} needs no padding.",
            stacklevel=4,
        )
