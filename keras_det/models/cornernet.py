"""CornerNet (https://arxiv.org/abs/1808.01244): objects as pairs of corners, without anchors."""

import os
import warnings
from collections.abc import Sequence
from typing import Any, Self, Unpack

import keras
import numpy as np
from keras import ops

from keras_det.backbones.hourglass import HOURGLASSES, find_hourglass, hourglass
from keras_det.data.image import as_image
from keras_det.decode import (
    CornerDecoder,
    TFCornerDecoder,
    inference_decoder,
    takes_settings,
)
from keras_det.decode.settings import CORNER_SETTINGS, CornerSettings
from keras_det.errors import DataError
from keras_det.heads.corner_head import CORNERS, CornerHead
from keras_det.layers.center_padding import CenterPadding, padded_size
from keras_det.layers.nms import gather_rows
from keras_det.layers.normalization import Normalization
from keras_det.layers.replicas import sum_over_replicas
from keras_det.losses.contract import check_class_loss
from keras_det.losses.corner import CornerFocalLoss, offset_loss, pull_push
from keras_det.models.compiled import compiled
from keras_det.models.detector import Detector
from keras_det.models.fine_tuning import freeze_parts
from keras_det.models.parts import (
    check_class_names,
    check_image_size,
    make_normalization,
    precision,
)
from keras_det.optimizers import AdamW, WarmupThenDrops
from keras_det.targets.corner_targets import CornerTargets
from keras_det.weights.common.coco_classes import COCO_CLASSES
from keras_det.weights.cornernet.load import load_cornernet

# Square sides of training, whose maps halve without a rest.
IMAGE_SIZES = {"hourglass104": 511, "hourglass52": 511, "tiny": 255}
STRIDE = 4
# A part of the computation that padding may add without a word.
PADDING_ALLOWED = 0.1
DETECT_SETTINGS = {**CORNER_SETTINGS, "flip": False}


@keras.saving.register_keras_serializable(package="keras_det")
class CornerNet(Detector):
    """CornerNet: stacked hourglasses, and for both corners of a box heat maps that meet in pairs.

    As published: every hourglass is trained (intermediate supervision), the last one detects; at
    inference the heads of the others are not computed. The loss, averaged over the hourglasses, is

        focal(heat maps) + pull_weight * pull + push_weight * push + offset_weight * offsets

    (equations 1 to 5), both kinds of corners together. Focal is divided by the corners of the
    batch, offsets by its objects, pull and push by the objects (pairs) of each image and summed
    over the batch, as in the original code.

    Raw outputs: dict, each float32 `(batch, height, width, n)` with stride 4: `top_left_heatmaps`,
    `bottom_right_heatmaps` (logits, n = classes), `top_left_embeddings`, `bottom_right_embeddings`
    (n = 1), `top_left_offsets`, `bottom_right_offsets` (n = 2, x and y in cells). Called with
    `training=True` also "intermediate": the same of the other hourglasses, a list.

    The network pads images to `side | 127` pixels (`| 31` for "tiny"), centred, in black, as the
    original does; sides such as 511 or 383 need none.

    Args:
        variant: "hourglass104" as published, "hourglass52" (one of its two stacks), "tiny", or a
            `keras_det.backbones.Hourglass` of any depth and width.
        num_classes: number of classes, without background. Default: the number of `class_names`.
        class_names: one name per class. Default: `class_0` ….
        image_size: int or (height, width), at least 32 pixels. Default: 511, for "tiny" 255.
        resize_mode: "letterbox" keeps the aspect ratio and pads, "stretch" does not, "mediapipe"
            stretches and samples as MediaPipe does.
        weights: None, or a path: `.keras`, `.weights.h5` or preset of the same network, whose
            classes of the same name keep their predictions, or the checkpoint of the authors
            (`.pkl`).
        freeze: "none" or "backbone": what stays as it is in training, batch-norm statistics
            included. `model.freeze` changes it later.
        normalization: of the pixels. "auto": the original's, in the order blue, green, red.
        corner_pooling: bool. False leaves corner pooling out, for comparison.
        targets: `CornerTargets`. Default: the original's, Gaussians of IoU 0.3.
        class_loss: `CornerFocalLoss`, with `alpha` and `beta` of your own.
        pull_weight, push_weight, offset_weight: weights of these losses.
        remat: bool. True computes the inside of every block again in the backward pass (gradient
            checkpointing): a third more time, about half the activations' memory.
        dtype: precision policy, e.g. "mixed_bfloat16". Default: Keras' current policy.
        name: name of the model.
    """

    NOT_SAVED = ("weights",)
    LOSSES = ("class_loss", "pull_loss", "push_loss", "offset_loss")
    variants = HOURGLASSES
    stride = STRIDE
    image_sizes = IMAGE_SIZES
    decoder_settings = CORNER_SETTINGS
    detect_settings = DETECT_SETTINGS

    def __init__(
        self,
        variant: str | Sequence = "hourglass104",
        num_classes: int | None = None,
        class_names: Sequence[str] | None = None,
        image_size: int | tuple[int, int] | None = None,
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
        row = find_hourglass(variant)
        class_names = check_class_names(num_classes, class_names)
        named = variant if isinstance(variant, str) else "hourglass"
        image_size = check_image_size(image_size or IMAGE_SIZES.get(named, 511))
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
        self._describe(class_names, image_size, resize_mode)
        self.variant = variant
        self.padding, self.normalization = padding, normalization_layer
        self.backbone, self.heads = backbone, heads
        self.targets = targets or CornerTargets()
        self.class_loss = check_class_loss(
            class_loss or CornerFocalLoss(), self.num_classes, "corners"
        )
        self._padded_network = None
        self.weights_of_losses = (pull_weight, push_weight, offset_weight)
        if weights is not None:
            self.start_from(weights)
        freeze_parts(self, freeze)

    @property
    def input_spec(self) -> keras.InputSpec:
        # Any size: the network pads, and its layers take what they are given.
        return keras.InputSpec(shape=(None, None, None, 3))

    def call(self, images: Any, training: bool | None = None, mask: Any = None) -> dict:
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

    def losses_of(self, targets: dict, raw: dict, sample_weight: Any = None) -> dict:
        """The parts of the loss of a batch, weighted, averaged over the hourglasses.

        Args:
            targets: dict with `boxes` `(batch, max_boxes, 4)` xyxy pixels and `labels`
                `(batch, max_boxes)`, -1 in empty slots.
            raw: what the model returns, with "intermediate" or without.
            sample_weight: `(batch,)`, at least 0, or None. An image of weight w counts as w copies
                of it would: w multiplies its losses, its objects and its corners. None: 1.

        Returns:
            dict of scalars `class_loss`, `pull_loss`, `push_loss`, `offset_loss`,
            `positives_per_image` (objects); under `tf.distribute` the share of this device, and its
            own objects.
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

    def _losses_of_stack(self, wanted, counts, raw):
        """Focal, pull, push and offset loss of one hourglass, not weighted.

        `counts` are those of the whole batch: objects, and cells that are corners of each kind.
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
        pull, push = pull_push(*embeddings, mask, weight)
        return focal, pull, push, offsets

    @takes_settings(CORNER_SETTINGS)
    def decoder(  # type: ignore[override]
        self,
        exported: bool = False,
        image_size: tuple[int, int] | None = None,
        **settings: Unpack[CornerSettings],
    ):
        image_size = self.image_size if image_size is None else image_size
        padded = padded_size(image_size, self.padding.divisor)
        if exported:
            return TFCornerDecoder(image_size, padded, **settings)
        return inference_decoder(image_size, decoder=CornerDecoder, padded_size=padded, **settings)

    @takes_settings(CORNER_SETTINGS)
    def decode(  # type: ignore[override]
        self, raw: dict, decoder: Any = None, **settings: Unpack[CornerSettings]
    ) -> dict:
        """Turns raw outputs into detections: corners, pairs, suppression.

        Args:
            raw: dict of maps, the network's outputs.
            decoder: what `decoder` returned, which holds its settings. Default: made of the
                settings given here.
            **settings: `method`, `iou_threshold`, `sigma`, `score_threshold`, `pre_nms_top_k`,
                `max_detections`, `class_agnostic`, `corner_top_k`, `embedding_threshold`,
                `peak_window`: see `keras_det.decode.CornerDecoder`.

        Returns:
            dict `boxes` `(batch, max_detections, 4)` xyxy in pixels of the network input, clipped
            to it, `scores`, `labels`, `num_detections`.
        """
        return self.one_decoder(decoder, settings)(raw)

    @classmethod
    def published_optimizer(
        cls, batch_size: int, steps: int, warmup_steps: int | None = None
    ) -> keras.optimizers.Optimizer:
        """Adam as the original trains; for its arguments see `training.recipes.published`.

        Rate 2.5e-4 for 49 images, here with the square root of the batch size; divided by 10 after
        nine tenths of the steps (450,000 of 500,000); no warm-up by default, no decay.
        """
        rate = 2.5e-4 * (batch_size / 49.0) ** 0.5
        schedule = WarmupThenDrops(rate, [steps * 9 // 10], warmup_steps or 0)
        return AdamW(schedule, weight_decay=0.0)

    def class_variables(self) -> list:
        names = [f"{corner}_heatmaps" for corner in CORNERS]
        return [
            variable
            for head in self.heads
            for prediction in head.predictions
            if prediction.name in names
            for variable in prediction.weights
        ]

    detect_function = takes_settings(DETECT_SETTINGS)(Detector.detect_function)
    predict = takes_settings(CORNER_SETTINGS)(Detector.predict)

    @takes_settings(CORNER_SETTINGS)
    def detect(  # type: ignore[override]
        self,
        images,
        batch_size: int = 8,
        flip: bool = False,
        original_size: bool = False,
        **settings: Unpack[CornerSettings],
    ) -> dict | list[dict]:
        """Finds objects in images of any size.

        Args:
            images: one image or a list: uint8 array `(height, width, 3)` RGB, a path, or the
                encoded bytes of a JPEG, PNG, BMP or WebP; or an array of a batch.
            batch_size: images that go through the network together.
            flip: bool. True looks at each image and at its mirror image, as the published results
                do: twice the time.
            original_size: bool. True does not resize, as the published results do not: images go
                through the network one by one, padded to `side | 127` pixels, for each of which
                sizes it is compiled once.
            **settings: `method`, `iou_threshold`, `sigma`, `score_threshold`, `pre_nms_top_k`,
                `max_detections`, `class_agnostic`, `corner_top_k`, `embedding_threshold` and
                `peak_window` of the decoder.

        Returns:
            As of the other detectors: dict, or a list of dicts, in pixels of the original image.
        """
        chosen = {"flip": flip, "original_size": original_size}
        chosen = {name: True for name, value in chosen.items() if value}
        return self._detect(images, batch_size, {**settings, **chosen})

    def _detect_batch(self, images, settings):
        if "original_size" not in settings:
            return super()._detect_batch(images, settings)
        settings = {name: settings[name] for name in settings if name != "original_size"}
        return [self._detect_unresized(image, **settings) for image in images]

    def _detect_unresized(self, image, flip=False, **settings):
        image = as_image(image)
        size = image.shape[:2]
        views = np.stack([image, image[:, ::-1]] if flip else [image])
        if self._padded_network is None:
            self._padded_network = compiled(self, lambda raw: raw)
        raw = self._padded_network(self.padding.padded(views))
        # Decoded outside the compiled function: images of many sizes share few padded ones.
        decoder = self.decoder(image_size=size, **settings)
        found = _decode_views(decoder, raw) if flip else decoder(raw)
        found = {key: ops.convert_to_numpy(value) for key, value in found.items()}
        return self.to_original(0, found, (1.0, 1.0, 0.0, 0.0), image.shape)

    def _compiled_detection(self, flip=False, **settings):
        if not flip:
            return super()._compiled_detection(**settings)
        decoder = self.decoder(**settings)

        def both(images):
            return ops.concatenate([images, ops.flip(images, axis=2)])

        return compiled(self, lambda raw: _decode_views(decoder, raw), prepare=both)

    def _load_public(self, weights, partial=False):
        if weights in ("imagenet", "coco"):
            raise DataError(
                "CornerNet was trained from random weights, and its authors' checkpoint lies where "
                f"no program may fetch it. Received: weights={weights!r} for {self.name}. Follow "
                "the link in the README of princeton-vl/CornerNet on GitHub and give the path of "
                "the file."
            )
        return load_cornernet(self, weights, partial=partial)

    @classmethod
    def from_checkpoint(
        cls,
        variant: str | Sequence,
        path: str | os.PathLike,
        num_classes: int | None = None,
        class_names: Sequence[str] | None = None,
        partial: bool = False,
        **kwargs: Any,
    ) -> Self:
        """A CornerNet with the weights of the authors' PyTorch checkpoint, without torch.

        Args:
            variant: as in the constructor, "hourglass104" for the public file.
            path: what `keras_det.weights.load_cornernet` reads.
            num_classes, class_names: the classes to train. Default: COCO's 80 with their names.
            partial: accept a file that does not hold every variable.
            **kwargs: further arguments of the constructor: `image_size`, `freeze`, `dtype` ….

        Returns:
            `CornerNet`; `model.load_report` says what was loaded, skipped and why, and missing.

        Raises:
            DataError: the file is missing, damaged, or of another network.
        """
        if num_classes is None and class_names is None:
            class_names = list(COCO_CLASSES.values())
        model = cls(variant, num_classes, class_names, **kwargs)
        model.start_from(path, partial=partial)
        return model


def _decode_views(decoder, raw):
    """Detections from raw outputs of a batch of images, followed by their mirror images."""
    halves = {name: ops.split(value, 2) for name, value in raw.items()}
    return decoder.with_flipped(*({name: half[i] for name, half in halves.items()} for i in (0, 1)))


def _at(maps, cells):
    """`(batch, height, width, n)` at cells `(batch, k)`: `(batch, k, n)`."""
    _, height, width, channels = maps.shape
    return gather_rows(ops.reshape(maps, (-1, height * width, channels)), cells)


def _check_padding(image_size, divisor):
    """Warns where the network computes much more than the image."""
    padded = padded_size(image_size, divisor)
    share = padded[0] * padded[1] / (image_size[0] * image_size[1]) - 1.0
    if share > PADDING_ALLOWED:
        fitting = tuple(max(divisor, (side + 1) // divisor * divisor) - 1 for side in image_size)
        warnings.warn(
            f"image_size={tuple(image_size)} is padded to {padded}, {share:.0%} more to compute. "
            f"image_size={fitting} needs no padding.",
            stacklevel=4,
        )
