"""CornerNet leaves as SavedModel and TFLite, with decoding inside."""

import json

import keras
import numpy as np
import pytest

from keras_det import CornerNet, export
from keras_det.backbones import Hourglass
from keras_det.data.shapes import drawn_images

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    net = CornerNet(Hourglass(2, (8, 12), (1, 1), 4), 2, image_size=(40, 47))
    # Heat maps and embeddings that vary, as trained ones do.
    for head in net.heads:
        for prediction in head.predictions:
            prediction.kernel.assign(prediction.kernel * 6.0)
    return net


def test_saved_model_is_checked(tmp_path, model):
    report = export.saved_model(model, tmp_path / "served", images=drawn_images(4, size=80, seed=1))
    written = json.loads((tmp_path / "served.certificate.json").read_text())
    assert written["decoding"]["corner_top_k"] == 100
    assert written["decoding"]["padded_size"] == [47, 47]
    assert report.comparison.matched_detections > 10


@pytest.mark.parametrize("quantize", ["float32", "float16"])
def test_tflite_has_builtin_operators_only(tmp_path, model, quantize):
    path = tmp_path / "model.tflite"
    export.tflite(model, path, quantize=quantize, images=drawn_images(4, size=80, seed=1))
    written = json.loads((tmp_path / "model.tflite.certificate.json").read_text())
    assert "CUMSUM" not in written["settings"]["operators"]
    assert written["preprocessing"]["image_size"] == [40, 47]


def test_raw_outputs_are_the_six_maps(tmp_path, model):
    path = tmp_path / "raw.tflite"
    export.tflite(model, path, postprocess="none", images=drawn_images(2, size=80, seed=1))
    written = json.loads((tmp_path / "raw.tflite.certificate.json").read_text())
    names = next(iter(written["signatures"].values()))
    assert names == sorted(model.output) and len(names) == 6
    assert np.isfinite(written["comparison"]["box_error_max"])
