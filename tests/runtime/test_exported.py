"""`keras_det.load_exported`: exported files find what the Keras detector finds."""

import hashlib
import importlib.util
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import keras_det
from keras_det import export
from keras_det.data import drawn_images
from keras_det.errors import DataError
from keras_det.runtime import ExportedDetector
from keras_det.runtime.exported import FileDetector, FolderDetector
from tests.export.tflite_file.reading import metadata_of, thresholds_in
from tests.export.tiny import tiny

pytestmark = pytest.mark.slow
pytest.importorskip("ai_edge_litert", reason="the extra `edge` is not installed")
HAS_ONNX = all(map(importlib.util.find_spec, ("onnx", "onnxruntime", "tf2onnx")))
needs_onnx = pytest.mark.skipif(not HAS_ONNX, reason="the extra `onnx` is not installed")

SINGLE_CLASS = {"method": "hard", "class_agnostic": True}
# By format: how it is exported, and the settings of `Detector.detect` that find the same.
FORMATS = {
    "saved_model": ("saved_model", {}, {}),
    "builtin.tflite": ("tflite", {}, {}),
    "metadata.tflite": ("tflite", {"metadata": "mediapipe"}, {}),
    "mediapipe.tflite": ("tflite", {"postprocess": "mediapipe"}, SINGLE_CLASS),
    "split.tflite": ("tflite", {"postprocess": "split"}, {}),
    "hard.onnx": ("onnx", {}, {"method": "hard"}),
}
ENGINES = {"saved_model": "tensorflow", ".tflite": "litert", ".onnx": "onnx"}


@pytest.fixture(scope="module")
def stretched():
    """MediaPipe's metadata is for models that resize as MediaPipe does."""
    model = tiny(image_size=(96, 128), resize_mode="mediapipe")
    model.score_thresholds = [0.375, 0.1, 0.25]
    return model


@pytest.fixture(scope="module", params=FORMATS)
def exported(request, stretched, tmp_path_factory):
    """`(path, settings of detect)` of each format."""
    kind, options, settings = FORMATS[request.param]
    if kind == "onnx" and not HAS_ONNX:
        pytest.skip("the extra `onnx` is not installed")
    path = tmp_path_factory.mktemp("exported") / request.param
    getattr(export, kind)(stretched, path, **options)
    return path, settings


def assert_same(found, expected, at_least=6):
    assert list(found) == list(expected)
    assert found["num_detections"] == expected["num_detections"] >= at_least
    assert found["class_names"] == expected["class_names"]
    for name in ("boxes", "scores", "labels"):
        assert found[name].dtype == expected[name].dtype
    np.testing.assert_array_equal(found["labels"], expected["labels"])
    np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=2e-3)
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-5)


def test_finds_what_the_detector_finds(exported, stretched):
    path, settings = exported
    detector = keras_det.load_exported(path)
    assert isinstance(detector, ExportedDetector)
    assert detector.class_names == stretched.class_names
    assert detector.image_size == stretched.image_size == (96, 128)
    assert detector.engine == ENGINES[path.suffix or path.name]
    assert detector.score_thresholds == stretched.score_thresholds == [0.375, 0.1, 0.25]
    certificate = json.loads(path.with_name(f"{path.name}.certificate.json").read_text())
    assert certificate["score_thresholds"] == [0.375, 0.1, 0.25]
    if path.name == "metadata.tflite":  # the only file whose format has a place for one
        assert thresholds_in(metadata_of(path.read_bytes())) == {b"score": np.float32(0.1)}
    (image,) = drawn_images(1, (150, 80), seed=9)
    expected = stretched.detect(image, score_threshold=0.05, **settings)
    assert_same(detector.detect(image, score_threshold=0.05), expected)
    # Without a threshold, all that the decoder inside finds.
    everything = detector.detect(image)
    assert everything["num_detections"] > expected["num_detections"]
    whole = stretched.detect(image, **settings)
    assert abs(everything["num_detections"] - whole["num_detections"]) <= 1


def test_takes_what_detect_takes(exported, stretched, tmp_path):
    path, settings = exported
    detector = keras_det.load_exported(str(path))
    image, other = drawn_images(2, (120, 90), seed=3)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    (tmp_path / "a.png").write_bytes(file.getvalue())
    given = [image, file.getvalue(), tmp_path / "a.png", str(tmp_path / "a.png"), other]
    found = detector.detect(given, score_threshold=0.05)
    expected = stretched.detect([image, other], score_threshold=0.05, **settings)
    assert isinstance(found, list) and len(found) == 5
    for each in found[:4]:
        assert_same(each, expected[0], at_least=3)
    assert_same(found[4], expected[1], at_least=3)
    batch = detector.detect(np.stack([image, other]), score_threshold=0.05)
    assert [each["num_detections"] for each in batch] == [
        each["num_detections"] for each in expected
    ]
    assert detector.detect([]) == []


def test_wrong_images_and_thresholds_are_refused(exported, stretched):
    detector = keras_det.load_exported(exported[0])
    image = np.zeros((20, 30, 3), np.uint8)
    with pytest.raises(ValueError, match=r"must be uint8.*Received: float32 \(20, 30, 3\)"):
        detector.detect(image.astype("float32"))
    with pytest.raises(ValueError, match=r"must have the shape.*Received: uint8 \(20, 30\)"):
        detector.detect(image[..., 0])
    for each in (detector, stretched):
        with pytest.raises(ValueError, match=r"at least 1 pixel high.*shape \(0, 30, 3\)"):
            each.detect(image[:0])
    with pytest.raises(TypeError, match="has its own decoder.*Received: method='hard'"):
        detector.detect(image, method="hard")
    with pytest.raises(TypeError, match="must be a number in 0..1, or None. Received: 'a'"):
        detector.detect(image, score_threshold="a")
    with pytest.raises(DataError, match="does not decode"):
        detector.detect(b"no image")
    with pytest.raises(ValueError, match="must lie in 0..1. Received: 30"):
        detector.detect(image, score_threshold=30)
    with pytest.raises(ValueError, match="at least 0.001.*Received: 0 for .*Leave `score_th"):
        detector.detect(image, score_threshold=0)


def test_describes_itself(exported):
    text = repr(keras_det.load_exported(exported[0]))
    engine = ENGINES[exported[0].suffix or exported[0].name]
    name = exported[0].name
    assert text == (
        f"<ExportedDetector {name}: {engine}, 96 x 128 pixels, 3 classes (cat, dog, cow)>"
    )


# 0.299 * 255 = 76.2: what is red looks to the file as this grey does.
def test_grey_files_see_the_luma(model, tmp_path):
    path = tmp_path / "grey.tflite"
    export.tflite(model, path, channels=1)
    detector = keras_det.load_exported(path)
    image = np.zeros((96, 128, 3), np.uint8)
    image[20:60, 30:90, 0] = 255
    grey = np.repeat(np.where(image[..., :1] == 255, np.uint8(76), np.uint8(0)), 3, axis=-1)
    assert_same(detector.detect(image), detector.detect(grey), at_least=1)
    assert_same(
        detector.detect(grey, score_threshold=0.05), model.detect(grey, score_threshold=0.05), 1
    )


@needs_onnx
def test_letterboxed_onnx(model, tmp_path):
    export.onnx(model, tmp_path / "x.onnx")
    (image,) = drawn_images(1, (150, 80), seed=9)
    found = keras_det.load_exported(tmp_path / "x.onnx").detect(image, score_threshold=0.05)
    assert_same(found, model.detect(image, method="hard", score_threshold=0.05))


@needs_onnx
def test_onnx_of_someone_else_is_refused(model, tmp_path):
    import onnx

    export.onnx(model, tmp_path / "x.onnx")
    proto = onnx.load(tmp_path / "x.onnx")
    del proto.metadata_props[:]
    onnx.save(proto, tmp_path / "other.onnx")
    with pytest.raises(DataError, match="must have the properties class_names.*keras-det export"):
        keras_det.load_exported(tmp_path / "other.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(DataError, match="must be complete and undamaged. Received: .*broken.onnx"):
        keras_det.load_exported(tmp_path / "broken.onnx")


@needs_onnx
def test_raw_onnx_is_refused(tmp_path):
    export.onnx(tiny(image_size=(64, 64)), tmp_path / "raw.onnx", postprocess="none")
    with pytest.raises(DataError, match='must return boxes.*with postprocess="nms"'):
        keras_det.load_exported(tmp_path / "raw.onnx")


def test_raw_tflite_is_refused(tmp_path):
    export.tflite(tiny(image_size=(64, 64)), tmp_path / "raw.tflite", postprocess="none")
    with pytest.raises(DataError, match='must return boxes.*with postprocess="builtin"'):
        keras_det.load_exported(tmp_path / "raw.tflite")


def test_both_files_of_a_split_export_are_needed(tmp_path):
    path = tmp_path / "x.tflite"
    export.tflite(tiny(image_size=(64, 64)), path, postprocess="split")
    tail = tmp_path / "x.tflite.tail.tflite"
    with pytest.raises(DataError, match="cannot be opened alone.*Give x.tflite, the first"):
        keras_det.load_exported(tail)
    tail.unlink()
    with pytest.raises(DataError, match="must be in the same folder.*without x.tflite.tail.tflite"):
        keras_det.load_exported(path)


def test_a_tail_of_an_earlier_export_is_not_used(model, tmp_path):
    path = tmp_path / "x.tflite"
    export.tflite(model, path)
    (tmp_path / "x.tflite.tail.tflite").write_bytes(b"left over")
    (image,) = drawn_images(1, (150, 80), seed=9)
    assert keras_det.load_exported(path).detect(image)["num_detections"] > 0


def test_tflite_needs_its_certificate_whole(model, tmp_path):
    path, certificate = tmp_path / "x.tflite", tmp_path / "x.tflite.certificate.json"
    export.tflite(model, path)
    content = json.loads(certificate.read_text())
    for damaged in ("", "[]", json.dumps({**content, "preprocessing": {}})):
        certificate.write_text(damaged)
        with pytest.raises(DataError, match="x.tflite.certificate.json must be in the same folder"):
            keras_det.load_exported(path)
    certificate.unlink()
    with pytest.raises(DataError, match="x.tflite.certificate.json must be in the same folder"):
        keras_det.load_exported(path)
    certificate.write_text(json.dumps(content))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match="must have the SHA-256 that its certificate states"):
        keras_det.load_exported(path)
    content["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    certificate.write_text(json.dumps(content))
    with pytest.raises(DataError, match="must be in the same folder, both undamaged"):
        keras_det.load_exported(path)


def test_saved_models_of_someone_else_are_refused(model, tmp_path):
    export.saved_model(model, tmp_path / "served" / "1")
    with pytest.raises(DataError, match='must contain saved_model.pb.*"served/1", not "served"'):
        keras_det.load_exported(tmp_path / "served")
    certificate = tmp_path / "served" / "1.certificate.json"
    content = json.loads(certificate.read_text())
    threshold = content["decoding"]["score_threshold"]
    content["decoding"]["score_threshold"] = "a"
    certificate.write_text(json.dumps(content))
    with pytest.raises(DataError, match="must be a number in 0..1, or null. Received: 'a' in "):
        keras_det.load_exported(tmp_path / "served" / "1")
    content["decoding"]["score_threshold"] = threshold
    certificate.write_text(json.dumps(content))
    thresholds = tmp_path / "served" / "1" / "assets.extra" / "score_thresholds.json"
    assert thresholds.read_text() == "null\n"
    thresholds.write_text("null")
    with pytest.raises(DataError, match=r"served/1 with .*, but 1.certificate.json states"):
        keras_det.load_exported(tmp_path / "served" / "1")
    certificate.unlink()  # what follows is said of the folder itself
    for damaged, message in (("[0.5", "be JSON"), ("[0.5]", "be 3 numbers"), ("\xff", "be JSON")):
        thresholds.write_text(damaged, encoding="latin-1")
        with pytest.raises(DataError, match=f"must {message}.* Received: "):
            keras_det.load_exported(tmp_path / "served" / "1")
    thresholds.unlink()  # an export of an earlier version
    assert keras_det.load_exported(tmp_path / "served" / "1").score_thresholds is None
    labels = tmp_path / "served" / "1" / "assets" / "labels.txt"
    for wrong in ("a\nb\n", "a\nb\nc\nd\n"):
        labels.write_text(wrong)
        with pytest.raises(DataError, match="one line for each of the 3 classes of the model"):
            keras_det.load_exported(tmp_path / "served" / "1")
    labels.write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match="must be UTF-8 text. Received: .*labels.txt"):
        keras_det.load_exported(tmp_path / "served" / "1")
    labels.write_bytes(b"")
    with pytest.raises(DataError, match="at least one str. Received: .* in .*labels.txt"):
        keras_det.load_exported(tmp_path / "served" / "1")
    labels.unlink()
    with pytest.raises(DataError, match="and assets/labels.txt. Received: "):
        keras_det.load_exported(tmp_path / "served" / "1")
    shutil.rmtree(tmp_path / "served" / "1" / "variables")
    (tmp_path / "served" / "1" / "saved_model.pb").write_bytes(b"broken")
    with pytest.raises(DataError, match="A SavedModel must be complete and undamaged. Received: "):
        keras_det.load_exported(tmp_path / "served" / "1")


def test_other_paths_are_refused(tmp_path):
    (tmp_path / "model.tflite").touch()
    with pytest.raises(DataError, match="must exist. Received: .*Did you mean 'model.tflite'"):
        keras_det.load_exported(tmp_path / "modell.tflite")
    (tmp_path / "model.keras").touch()
    with pytest.raises(DataError, match="Open it with keras_det.load_model"):
        keras_det.load_exported(tmp_path / "model.keras")
    (tmp_path / "model.pth").touch()
    with pytest.raises(DataError, match="must be a .tflite or .onnx file or the folder"):
        keras_det.load_exported(tmp_path / "model.pth")


@pytest.mark.parametrize("suffix", [".tflite", pytest.param(".onnx", marks=needs_onnx)])
def test_files_run_without_keras_and_tensorflow(model, tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    getattr(export, {".tflite": "tflite", ".onnx": "onnx"}[suffix])(model, path)
    (image,) = drawn_images(1, (150, 80), seed=9)
    Image.fromarray(image).save(tmp_path / "a.png")
    code = """
import sys
for name in ("keras", "tensorflow", "jax"):
    sys.modules[name] = None
import keras_det
found = keras_det.load_exported(sys.argv[1]).detect(sys.argv[2], score_threshold=0.05)
print(found["num_detections"])
"""
    command = [sys.executable, "-c", code, str(path), str(tmp_path / "a.png")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    settings = {} if suffix == ".tflite" else {"method": "hard"}
    expected = model.detect(image, score_threshold=0.05, **settings)
    assert int(result.stdout) == expected["num_detections"] > 5


@needs_onnx
def test_one_flipped_bit_of_an_onnx_file_is_named(model, tmp_path):
    export.onnx(model, tmp_path / "x.onnx")
    data = (tmp_path / "x.onnx").read_bytes()
    place = len(data) // 2
    (tmp_path / "x.onnx").write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    with pytest.raises(DataError, match="must have the SHA-256 that its certificate states"):
        keras_det.load_exported(tmp_path / "x.onnx")


@pytest.mark.parametrize("name", ["x.tflite", "x.onnx"])
def test_a_named_pipe_in_the_place_of_an_export_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match=f"Received: .*{name}, which is a named pipe. Give a file"):
        keras_det.load_exported(tmp_path / name)


def test_a_named_pipe_inside_a_saved_model_is_not_waited_for(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"")
    (tmp_path / "variables").mkdir()
    os.mkfifo(tmp_path / "variables" / "variables.index")
    with pytest.raises(DataError, match="variables.index, which is a named pipe"):
        keras_det.load_exported(tmp_path)


class Broken:
    """Stands for a file whose damage the library sees only when it runs."""

    image_size, channels = (64, 64), 3

    def run(self, *_, **__):
        raise RuntimeError("Tensor 191 is both input 1 and output 0")


def test_damage_that_shows_when_a_file_runs_is_a_sentence():
    facts = {
        "class_names": ["cat"],
        "preprocessing": {"image_size": [64, 64], "resize_mode": "stretch", "fill_color": [0] * 3},
        "decoding": {},
    }
    file = FileDetector(pathlib.Path("m.tflite"), "litert", Broken(), facts)
    folder = FolderDetector(pathlib.Path("served"), Broken(), ["cat"], (64, 64), None)
    for detector, name in ((file, "m.tflite"), (folder, "served")):
        with pytest.raises(DataError, match=rf"must run\. Received: {name} \(Tensor 191 is both"):
            detector.detect(np.zeros((8, 8, 3), np.uint8))


def test_a_pipe_in_the_place_of_a_certificate_is_named(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"x")
    os.mkfifo(tmp_path / "m.onnx.certificate.json")
    with pytest.raises(DataError, match="certificate.json .*a named pipe"):
        keras_det.load_exported(tmp_path / "m.onnx")
