"""RetinaNet's exports agree with the model, with every neck and kind of head."""

import numpy as np
import pytest

from keras_det import export
from keras_det.data import drawn_images
from keras_det.models import RetinaNet
from tests.export.tiny import small_backbone

pytestmark = pytest.mark.slow


def detector(neck="fpn", **arguments):
    """A RetinaNet of 16 channels whose scores and boxes differ as a trained one's do.

    A ResNet-18 below the FPN; the other necks stand on fewer layers, which convert sooner.
    """
    backbone = "resnet18" if neck == "fpn" else small_backbone()
    arguments = {"num_classes": 3, "image_size": (64, 96), "neck_channels": 16, **arguments}
    model = RetinaNet(backbone, neck=neck, **arguments)
    rng = np.random.default_rng(0)
    images = np.stack(drawn_images(2, model.image_size))
    for head, bias, spread in ((model.class_head, -4.0, 1.5), (model.box_head, 0.0, 0.3)):
        for convolution in head.convolutions:
            convolution.kernel.assign(rng.normal(0, 0.12, convolution.kernel.shape))
        kernel = head.prediction.kernel
        kernel.assign(rng.normal(0, 1, kernel.shape))
        name = "class_logits" if head is model.class_head else "box_deltas"
        head.prediction.bias.assign(np.zeros(head.prediction.bias.shape))
        width = np.asarray(model(images)[name]).std()
        kernel.assign(kernel * (spread / width))
        head.prediction.bias.assign(np.full(head.prediction.bias.shape, bias, "float32"))
    return model


@pytest.mark.parametrize(
    "arguments",
    [
        {"neck": "fpn"},
        {"neck": "pafpn", "head_norm": "group"},
        {"neck": "nas_fpn", "image_size": 128},
    ],
    ids=lambda arguments: arguments["neck"],
)
def test_tflite_agrees(tmp_path, arguments):
    report = export.tflite(detector(**arguments), tmp_path / "model.tflite")
    assert report.passed and report.comparison.matched_detections > 0, str(report)


def test_saved_model_agrees(tmp_path):
    report = export.saved_model(detector(), tmp_path / "served" / "1")
    assert report.passed and report.comparison.matched_detections > 0, str(report)
