"""A detector of a few layers that finds something without training, for export tests."""

import keras
import numpy as np

from keras_det.heads.anchor_head import SeparableHead
from keras_det.layers.anchor_generator import AnchorGenerator
from keras_det.layers.batch_norm import BatchNorm
from keras_det.layers.normalization import Normalization
from keras_det.layers.remat import rematerialize_blocks
from keras_det.losses.box_regression import BoxHuberLoss
from keras_det.losses.focal import SparseSigmoidFocalLoss
from keras_det.models.anchor_detector import AnchorDetector
from keras_det.models.fine_tuning import freeze_parts
from keras_det.models.parts import check_image_size, precision
from keras_det.necks.bifpn import BiFPN

CHANNELS = 16


@keras.saving.register_keras_serializable(package="keras_det_tests")
class TinyDetector(AnchorDetector):
    """The parts of an EfficientDet, as small as they get: it converts in seconds."""

    def __init__(
        self,
        class_names,
        image_size,
        resize_mode="letterbox",
        dtype="float32",
        max_level=7,
        dropout=0.0,
        name=None,
        freeze="none",
        remat=False,
    ):
        image_size = check_image_size(image_size)
        with precision(dtype):
            generator = AnchorGenerator(tuple(range(3, max_level + 1)), anchor_scale=3.0)
            super().__init__(
                image_size=image_size,
                class_names=class_names,
                resize_mode=resize_mode,
                normalization=Normalization(
                    (120.0, 115.0, 100.0), (60.0, 58.0, 55.0), name="normalization"
                ),
                backbone=small_backbone(image_size, dropout, remat),
                neck=BiFPN(
                    *(CHANNELS, 1, "fast", "relu6"),
                    **{"max_level": max_level, "remat": remat, "name": "bi_fpn"},
                ),
                class_head=_head(len(class_names), generator, "class_head", 0.01, remat),
                box_head=_head(4, generator, "box_head", remat=remat),
                anchor_generator=generator,
                class_loss=SparseSigmoidFocalLoss(),
                box_loss=BoxHuberLoss(),
                box_loss_weight=50.0,
                name="tiny",
            )
        freeze_parts(self, freeze)


def small_backbone(image_size=(None, None), dropout=0.0, remat=False):
    """Five convolutions of 16 channels: strides 2 to 32, "P1" to "P5"; random numbers before P2."""
    images = keras.Input((*image_size, 3))
    x, outputs, blocks = images, {}, []
    for level in range(1, 6):
        x = keras.layers.Conv2D(CHANNELS, 3, 2, padding="same", use_bias=False)(x)
        x = keras.layers.ReLU(6)(BatchNorm()(x))
        outputs[f"P{level}"] = x
        if dropout and level == 1:
            x = keras.layers.Dropout(dropout)(x)
            blocks.append(outputs["P1"])
        blocks.append(x)
    model = keras.Model(images, outputs)
    if remat:
        rematerialize_blocks(model, blocks)
    return model


def _head(outputs, generator, name, prior=None, remat=False):
    return SeparableHead(
        *(outputs, generator.num_anchors_per_cell, CHANNELS, 1, "relu6", prior),
        remat=remat,
        name=name,
    )


def tiny(
    image_size=(96, 128), resize_mode="letterbox", dtype="float32", seed=0, finds=True, max_level=7
):
    """A detector with random statistics and, with `finds`, logits wide enough for detections."""
    keras.utils.set_random_seed(seed)
    model = TinyDetector(["cat", "dog", "cow"], image_size, resize_mode, dtype, max_level)
    rng = np.random.default_rng(seed)
    for layer in model._flatten_layers():
        if isinstance(layer, BatchNorm):
            # As after training: every channel has its own statistics to fold.
            layer.moving_mean.assign(rng.normal(0, 0.1, layer.moving_mean.shape))
            layer.moving_variance.assign(rng.uniform(0.2, 0.6, layer.moving_variance.shape))
            layer.beta.assign(rng.normal(0, 0.2, layer.beta.shape))
    if finds:
        for head, bias in ((model.class_head, -6.0), (model.box_head, 0.0)):
            head.prediction.bias.assign(np.full(head.prediction.bias.shape, bias, "float32"))
            width = 5.0 if head is model.class_head else 0.2
            kernel = head.prediction.pointwise_kernel
            kernel.assign(rng.normal(0, width, kernel.shape))
    return model


def one_weight(copy):
    """Damages a model in one number of a kernel."""
    kernel = copy.class_head.convolutions[0].pointwise_kernel
    value = keras.ops.convert_to_numpy(kernel).copy()
    value[0, 0, 3, 5] += 1.0
    kernel.assign(value)


def wrong_mean(copy):
    """Damages a model by 2 of 255 in the mean of one colour."""
    copy.normalization.mean = [122.0, 115.0, 100.0]
