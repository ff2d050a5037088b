"""`keras-det predict` on engines and exported files."""

import json

import pytest
from PIL import Image

from keras_det import export
from keras_det.data import drawn_images
from tests.export.tiny import tiny

pytestmark = pytest.mark.slow
pytest.importorskip("ai_edge_litert", reason="the extra `edge` is not installed")


@pytest.fixture(scope="module")
def model():
    return tiny(image_size=(64, 96))


@pytest.fixture
def picture(tmp_path):
    (image,) = drawn_images(1, (90, 170), seed=9)
    Image.fromarray(image).save(tmp_path / "a.png")
    return image, tmp_path / "a.png"


def test_predict_says_which_engine(run, model, picture, tmp_path):
    model.save(tmp_path / "best.keras")
    rows = {}
    for engine in ("keras", "litert"):
        out = tmp_path / engine
        result = run(
            "predict", tmp_path / "best.keras", picture[1], "--engine", engine, "--out", out
        )
        assert result.exit_code == 0 and f"Engine: {engine}\n" in result.output
        rows[engine] = json.loads((out / "detections.json").read_text())
    for ours, theirs in zip(*rows.values(), strict=True):
        assert ours["category_name"] == theirs["category_name"]
        assert ours["score"] == pytest.approx(theirs["score"], abs=2e-5)


def test_settings_of_the_decoder_reach_an_engine(run, model, picture, tmp_path):
    model.save(tmp_path / "best.keras")
    given = ("--score-threshold", "0.05", "--method", "hard", "--max-detections", "1")
    out = tmp_path / "found"
    path = tmp_path / "best.keras"
    result = run("predict", path, picture[1], "--engine", "litert", *given, "--out", out)
    assert result.exit_code == 0, result.output
    (row,) = json.loads((out / "detections.json").read_text())
    expected = model.detect(picture[0], method="hard", score_threshold=0.05)
    assert expected["num_detections"] > 1
    assert row["score"] == pytest.approx(expected["scores"][0], abs=2e-5)


def test_predict_takes_an_onnx_file(run, model, picture, tmp_path):
    for package in ("onnx", "onnxruntime", "tf2onnx"):
        pytest.importorskip(package, reason="the extra `onnx` is not installed")
    export.onnx(model, tmp_path / "tiny.onnx")
    result = run("predict", tmp_path / "tiny.onnx", picture[1], "--out", tmp_path / "found")
    assert result.exit_code == 0, result.output
    assert "Engine: onnx, the file's own" in result.output
    rows = json.loads((tmp_path / "found" / "detections.json").read_text())
    expected = model.detect(picture[0], method="hard", score_threshold=0.3)
    assert [row["category_name"] for row in rows] == expected["class_names"]


def test_predict_refuses_what_a_file_cannot_do(refused, model, picture, tmp_path):
    path = tmp_path / "x.tflite"
    export.tflite(model, path)
    message = refused("predict", path, picture[1], "--engine", "onnx", "--out", tmp_path / "found")
    assert "An exported file has a fixed engine. Received: engine onnx" in message


def test_predict_refuses_a_threshold_below_the_files(run, model, picture, tmp_path):
    path = tmp_path / "x.tflite"
    export.tflite(model, path)
    given = ("--score-threshold", "0.0005", "--out", tmp_path / "found")
    result = run("predict", path, picture[1], *given)
    assert result.exit_code == 2 and not (tmp_path / "found").exists()
    assert "`score_threshold` must be at least 0.001" in result.stderr
