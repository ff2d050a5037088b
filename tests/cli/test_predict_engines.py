"""`keras-det predict` on engines and exported files."""

import json

import pytest
from PIL import Image

from keras_det import export
from keras_det.data import drawn_images
from keras_det.models import load_model
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


def predicted(run, path, picture, out, *options):
    """The rows of detections.json, and what is said about the threshold."""
    result = run("predict", path, picture[1], "--out", out, *options)
    assert result.exit_code == 0, result.output
    return json.loads((out / "detections.json").read_text()), result.stdout.splitlines()[-2]


def assert_same_rows(rows, expected):
    for row, other in zip(rows, expected, strict=True):
        assert row["category_id"] == other["category_id"]
        assert row["score"] == pytest.approx(other["score"], abs=1e-4)
        assert row["bbox"] == pytest.approx(other["bbox"], abs=0.05)


# Scores of the picture: cat 0.205, 0.201, 0.077 …; cow 0.043, 0.039, 0.028 …; dog 0.033, 0.017 ….
OWN = [0.15, 0.03, 0.035]
SAID = "Highest score 0.20; {} detections in 1 image above the best threshold of its class."


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """A folder with a model that has thresholds, and its exports."""
    folder, model = tmp_path_factory.mktemp("thresholds"), tiny(image_size=(64, 96))
    model.score_thresholds = OWN
    model.save(folder / "best.keras")
    export.saved_model(model, folder / "saved_model")
    export.tflite(model, folder / "x.tflite")
    return folder


def test_predict_on_an_export_takes_the_thresholds_of_the_model(run, exports, picture, tmp_path):
    expected, said = predicted(run, exports / "best.keras", picture, tmp_path / "keras")
    assert said == SAID.format(5)
    assert sorted(row["category_name"] for row in expected) == ["cat", "cat", "cow", "cow", "dog"]
    for name in ("saved_model", "x.tflite"):
        rows, also_said = predicted(run, exports / name, picture, tmp_path / name)
        assert also_said == said
        assert_same_rows(rows, expected)


# As above, but with hard NMS: cow 0.043, 0.042, 0.039, 0.038, 0.033 ….
def test_predict_on_an_onnx_file_takes_the_thresholds_of_the_model(run, exports, picture, tmp_path):
    for package in ("onnx", "onnxruntime", "tf2onnx"):
        pytest.importorskip(package, reason="the extra `onnx` is not installed")
    path, out = exports / "best.keras", tmp_path / "keras"
    expected, said = predicted(run, path, picture, out, "--method", "hard")
    export.onnx(load_model(path), tmp_path / "x.onnx")
    rows, also_said = predicted(run, tmp_path / "x.onnx", picture, tmp_path / "found")
    assert also_said == said == SAID.format(7)
    assert_same_rows(rows, expected)


def test_an_export_of_an_earlier_version_takes_0_3(run, exports, picture, tmp_path):
    path, certificate = tmp_path / "x.tflite", tmp_path / "x.tflite.certificate.json"
    path.write_bytes((exports / path.name).read_bytes())
    content = json.loads((exports / certificate.name).read_text())
    assert content.pop("score_thresholds") == OWN
    certificate.write_text(json.dumps(content))
    rows, said = predicted(run, path, picture, tmp_path / "found")
    assert rows == [] and "0 detections in 1 image above the threshold 0.3." in said


def test_predict_refuses_what_a_file_cannot_do(refused, model, picture, tmp_path):
    path = tmp_path / "x.tflite"
    export.tflite(model, path)
    message = refused("predict", path, picture[1], "--engine", "onnx", "--out", tmp_path / "found")
    assert "an ONNX file also runs with openvino. Received: engine onnx" in message


def test_predict_refuses_a_threshold_below_the_files(run, model, picture, tmp_path):
    path = tmp_path / "x.tflite"
    export.tflite(model, path)
    given = ("--score-threshold", "0.0005", "--out", tmp_path / "found")
    result = run("predict", path, picture[1], *given)
    assert result.exit_code == 2 and not (tmp_path / "found").exists()
    assert "`score_threshold` must be at least 0.001" in result.stderr
