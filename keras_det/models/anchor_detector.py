"""The base class of detectors with anchors, for any backbone, neck and heads."""

from collections.abc import Sequence
from typing import Any, Unpack

import keras
from keras import ops

from keras_det.boxes import decode_deltas, matched_iou
from keras_det.decode import TFAnchorDecoder, inference_decoder, takes_settings
from keras_det.decode.settings import ANCHOR_SETTINGS, AnchorSettings
from keras_det.layers.anchor_generator import AnchorGenerator
from keras_det.layers.normalization import Normalization
from keras_det.layers.replicas import sum_over_replicas
from keras_det.losses.box_regression import make_box_loss
from keras_det.losses.classification import make_class_loss
from keras_det.losses.contract import check_class_loss
from keras_det.losses.focal import SparseSigmoidFocalLoss
from keras_det.models.detector import Detector
from keras_det.models.parts import check_loss_weights
from keras_det.targets import make_matcher
from keras_det.targets.matcher import Matcher
from keras_det.types import Size, Tensor


class AnchorDetector(Detector):
    """A detector that classifies and regresses a fixed set of anchors.

    Raw outputs: `{"class_logits": (batch, anchors, classes), "box_deltas": (batch, anchors, 4)}` in
    float32. Deltas are `(dx, dy, dw, dh)` without variances (`keras_det.boxes.encode_deltas`).

    Args:
        image_size: (height, width) of the network's input.
        class_names: one name per class.
        resize_mode: "letterbox", "stretch" or "mediapipe".
        normalization: layer from pixels in 0..255 to the backbone's input.
        backbone: `keras.Model` from normalised images to a dict of levels.
        neck: layer from the backbone's levels to the pyramid that the heads see.
        class_head, box_head: layers from the pyramid to `(batch, anchors, outputs)`.
        anchor_generator: `AnchorGenerator` for the pyramid's levels.
        matcher: "iou", "atss", "task_aligned", "simota", or an object of `keras_det.targets`. None:
            "iou", `AnchorTargets()`.
        class_loss: "focal", "quality_focal", "varifocal", or a loss of `(labels, logits)` per
            anchor, summed over the classes. One whose attribute `targets` is "quality" gets the
            quality of each anchor's box too.
        box_loss: a name, or a loss per anchor, summed over the coordinates. It compares deltas, or
            decoded boxes where its attribute `inputs` is "boxes" (GIoU, DIoU, CIoU).
        box_loss_weight: weight of the box loss relative to the class loss.
        extra_positives: added to the number of positives that both losses are divided by.
        name: name of the model.
    """

    LOSSES = ("class_loss", "box_loss")

    def __init__(
        self,
        *,
        image_size: Size,
        class_names: Sequence[str],
        resize_mode: str,
        normalization: Normalization,
        backbone: keras.Model,
        neck: keras.Layer,
        class_head: keras.Layer,
        box_head: keras.Layer,
        anchor_generator: AnchorGenerator,
        matcher: str | Matcher | None = None,
        class_loss: str | keras.losses.Loss,
        box_loss: str | keras.losses.Loss,
        box_loss_weight: float,
        extra_positives: float = 0.0,
        name: str | None = None,
    ) -> None:
        # Wrong arguments are named before the network is built.
        chosen = make_matcher(matcher, getattr(anchor_generator, "num_anchors_per_cell", 1))
        check_loss_weights(box_loss_weight=box_loss_weight)
        images = keras.Input((*image_size, 3), name="images")
        features = backbone(normalization(images))
        finest = anchor_generator.levels[0]
        pyramid = neck({level: features[level] for level in features if int(level[1:]) >= finest})
        outputs = {"class_logits": class_head(pyramid), "box_deltas": box_head(pyramid)}
        super().__init__(images, outputs, name=name)
        self.describe(class_names, image_size, resize_mode)
        self.normalization = normalization
        self.backbone, self.neck = backbone, neck
        self.class_head, self.box_head = class_head, box_head
        self.anchor_generator = anchor_generator
        sizes = [tuple(x.shape[1:3]) for x in pyramid.values()]
        self.anchors = anchor_generator.anchors(image_size, sizes)
        cells = [height * width for height, width in sizes]
        self.level_sizes = tuple(n * anchor_generator.num_anchors_per_cell for n in cells)
        self.matcher: Matcher = chosen
        class_loss = make_class_loss(class_loss, SparseSigmoidFocalLoss())
        self.class_loss = check_class_loss(class_loss, self.num_classes)
        self.box_loss = make_box_loss(box_loss)
        self.box_loss_weight = box_loss_weight
        self.extra_positives = extra_positives

    def losses_of(
        self, targets: dict[str, Tensor], raw: dict[str, Any], sample_weight: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The two losses of a batch, and the number of positives per image.

        RetinaNet section 4.1: class loss = focal loss summed / n, box loss = summed / n, total =
        class + weight * box, with n = positives of the batch + `extra_positives`, at least 1.

        A class loss with soft targets (`targets = "quality"`) gets the quality of every positive:
        the IoU of its decoded prediction with its object, or what the matcher says
        (`TaskAlignedTargets`). Then every positive counts as much as its quality, in the box loss
        and in n, as in TOOD, equations 7 and 8 of "Generalized Focal Loss" and equation 3 of
        VarifocalNet. No gradient flows through the quality.

        Args:
            targets: dict with `boxes` `(batch, max_boxes, 4)` xyxy pixels and `labels`
                `(batch, max_boxes)`, -1 in empty slots.
            raw: the model's outputs.
            sample_weight: `(batch,)`, at least 0, or None. An image of weight w counts like w
                copies of it: w multiplies its losses and its positives. None: 1 for every image.

        Returns:
            dict of scalars `class_loss`, `box_loss` (weighted), `positives_per_image`. Under
            `tf.distribute` the losses are the share of this device, and the positives its own.
        """
        matched = self._match(targets, raw)
        positive = ops.cast(matched["positive_mask"], "float32")
        counted = 1.0 - ops.cast(matched["ignore_mask"], "float32")
        images = ops.cast(ops.shape(positive)[0], "float32")
        if sample_weight is not None:
            sample_weight = ops.cast(sample_weight, "float32")
            positive, counted = (x * sample_weight[:, None] for x in (positive, counted))
            images = ops.sum(sample_weight)
        class_targets, importance = matched["class_targets"], positive
        if getattr(self.class_loss, "targets", "labels") == "quality":
            quality = self._quality(matched, raw["box_deltas"])
            class_targets = {"labels": class_targets, "quality": quality}
            importance = positive * quality
        # Of the whole batch, over all devices: their gradients are summed.
        total = sum_over_replicas(ops.sum(importance))
        normalizer = ops.maximum(total + self.extra_positives, 1.0)
        class_loss = self.class_loss(class_targets, raw["class_logits"], sample_weight=counted)
        box_targets, box_outputs = matched["box_targets"], raw["box_deltas"]
        if self.box_loss.inputs == "boxes":
            box_targets = decode_deltas(self.anchors, box_targets)
            box_outputs = decode_deltas(self.anchors, box_outputs)
        box_loss = self.box_loss(box_targets, box_outputs, sample_weight=importance)
        return {
            "class_loss": class_loss / normalizer,
            "box_loss": self.box_loss_weight * box_loss / normalizer,
            "positives_per_image": ops.divide_no_nan(ops.sum(positive), images),
        }

    def _match(self, targets: dict[str, Tensor], raw: dict[str, Any]) -> dict[str, Tensor]:
        """The matcher's targets of a batch."""
        labels = ops.cast(targets["labels"], "int32")
        boxes = ops.cast(targets["boxes"], "float32")
        # A matcher of one's own need not know of `raw`.
        given = {"raw": raw} if getattr(self.matcher, "needs_predictions", False) else {}
        return self.matcher.assign(
            self.anchors, boxes, labels, level_sizes=self.level_sizes, **given
        )

    def _quality(self, matched: dict[str, Tensor], box_deltas: Tensor) -> Tensor:
        """How good the box of every positive is, `(batch, anchors)` in 0..1, 0 elsewhere."""
        if "quality" in matched:
            return matched["quality"]
        goals = decode_deltas(self.anchors, matched["box_targets"])
        predicted = decode_deltas(self.anchors, ops.stop_gradient(box_deltas))
        return ops.where(matched["positive_mask"], matched_iou(predicted, goals), 0.0)

    @takes_settings(ANCHOR_SETTINGS)
    def decoder(self, exported: bool = False, **settings: Unpack[AnchorSettings]) -> Any:
        """Returns an `AnchorDecoder` for the model's image size.

        Args:
            exported: True gives a decoder of operators that TFLite and TF Serving have built in;
                False the fastest one on this machine.
            **settings: as in `decode`.
        """
        make = TFAnchorDecoder if exported else inference_decoder
        return make(self.image_size, **settings)

    @takes_settings(ANCHOR_SETTINGS)
    def decode(
        self, raw: dict[str, Any], decoder: Any = None, **settings: Unpack[AnchorSettings]
    ) -> dict[str, Tensor]:
        """Turns raw outputs into detections: chooses candidates, decodes boxes, suppresses.

        Args:
            raw: dict of `class_logits` `(batch, anchors, classes)` and `box_deltas`.
            decoder: a decoder that `decoder` returned, with its settings. None: one with the
                settings given here.
            **settings: `method`, `iou_threshold`, `sigma`, `score_threshold`, `pre_nms_top_k`,
                `max_detections`, `class_agnostic`, `candidates`: see
                `keras_det.decode.AnchorDecoder`.

        Returns:
            dict `boxes` `(batch, max_detections, 4)` xyxy in pixels of the network input, clipped
            to it, `scores`, `labels`, `num_detections`.
        """
        decoder = self.one_decoder(decoder, settings)
        return decoder(raw["class_logits"], raw["box_deltas"], self.anchors)

    def class_variables(self) -> list[keras.Variable]:
        outputs = self.class_head.num_anchors * self.num_classes
        # The depthwise kernel of a separable prediction has no outputs per class.
        return [v for v in self.class_head.prediction.weights if v.shape[-1] == outputs]
