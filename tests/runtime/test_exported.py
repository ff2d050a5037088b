"""Exported files as `keras-det predict` opens them."""

import json

import numpy as np
import pytest
from PIL import Image

from keras_det import export
from keras_det.cli.exported import OnnxModel
from keras_det.data import drawn_images
from keras_det.errors import DataError
from tests.export.tiny import tiny

pytestmark = pytest.mark.slow
onnx = pytest.importorskip("onnx", reason="the extra `onnx` is not installed")
pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
pytest.importorskip("tf2onnx", reason="the extra `onnx` is not installed")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    model = tiny(image_size=(96, 128))
    path = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    export.onnx(model, path)
    return model, path


def test_onnx_finds_what_the_model_finds(exported):
    model, path = exported
    (image,) = drawn_images(1, (150, 80), seed=9)
    found = OnnxModel(path).detect(image, 0.05)
    expected = model.detect(image, method="hard", score_threshold=0.05)
    assert found["num_detections"] == expected["num_detections"] > 5
    assert found["class_names"] == expected["class_names"]
    np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=1e-3)
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-5)


def test_predict_takes_an_onnx_file(exported, run, tmp_path):
    model, path = exported
    (image,) = drawn_images(1, (90, 170), seed=9)
    Image.fromarray(image).save(tmp_path / "a.png")
    result = run("predict", path, tmp_path / "a.png", "--out", tmp_path / "found")
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "found" / "detections.json").read_text())
    expected = model.detect(image, method="hard", score_threshold=0.3)
    assert [row["category_name"] for row in rows] == expected["class_names"]


def test_onnx_of_someone_else_is_refused(exported, tmp_path):
    proto = onnx.load(exported[1])
    del proto.metadata_props[:]
    onnx.save(proto, tmp_path / "other.onnx")
    with pytest.raises(DataError, match="must hold the properties class_names.*keras-det export"):
        OnnxModel(tmp_path / "other.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(DataError, match="must be whole. Received: .*broken.onnx"):
        OnnxModel(tmp_path / "broken.onnx")


def test_raw_outputs_are_refused(tmp_path):
    export.onnx(tiny(image_size=(64, 64)), tmp_path / "raw.onnx", postprocess="none")
    with pytest.raises(DataError, match='must give boxes.*Export it with postprocess="nms"'):
        OnnxModel(tmp_path / "raw.onnx")
