"""What an exported file says about itself is checked, and each error names the file."""

import hashlib
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from keras_det.errors import DataError
from keras_det.runtime import exported
from keras_det.runtime.exported import FileDetector
from keras_det.runtime.onnx_model import OnnxModel
from keras_det.runtime.running import named

FACTS = {
    "class_names": ["cat", "dog"],
    "preprocessing": {"image_size": [8, 16], "resize_mode": "letterbox", "fill_color": [0, 0, 0]},
    "decoding": {"score_threshold": 0.25},
}


class Network:
    """Finds the class with the label 2 in every image."""

    channels, image_size = 3, (8, 16)

    def run(self, pixels):
        assert pixels.shape == (1, 8, 16, 3)
        return {
            "boxes": np.float32([[[0, 0, 4, 4]]]),
            "scores": np.float32([[0.5]]),
            "labels": np.int32([[2]]),
            "num_detections": np.int32([1]),
        }


def opened(path, **preprocessing):
    facts = {**FACTS, "preprocessing": {**FACTS["preprocessing"], **preprocessing}}
    return FileDetector(path, "onnx", Network(), facts)


def test_right_facts_are_taken(tmp_path):
    detector = opened(tmp_path / "x.onnx")
    assert detector.class_names == ["cat", "dog"] and detector.image_size == (8, 16)
    assert detector.score_threshold == 0.25
    assert detector.resize_policy == {"mode": "letterbox", "size": (8, 16)}


@pytest.mark.parametrize("names", ["cat", [], ["cat", 1], {"cat": 0}, None])
def test_class_names_are_a_list_of_str(tmp_path, names):
    path = tmp_path / "x.onnx"
    with pytest.raises(DataError, match=r"list of at least one str. Received: .* in .*x\.onnx\. E"):
        FileDetector(path, "onnx", Network(), {**FACTS, "class_names": names})


@pytest.mark.parametrize("size", [[8], [8, 16, 3], [8.0, 16], [True, 16], [0, 16], "8x16", None, 8])
def test_image_size_is_two_whole_numbers(tmp_path, size):
    message = rf"two whole numbers .*Received: {re.escape(repr(size))} in .*x\.onnx\."
    with pytest.raises(DataError, match=message):
        opened(tmp_path / "x.onnx", image_size=size)


def test_image_size_is_that_of_the_network(tmp_path):
    message = r"its network's input. Received: \[16, 8\] in .*x\.onnx, whose .* takes \[8, 16\]\."
    with pytest.raises(DataError, match=message):
        opened(tmp_path / "x.onnx", image_size=[16, 8])


def test_resize_mode_is_known(tmp_path):
    message = r"Received: 'leterbox' in .*x\.onnx\. Did you mean 'letterbox'\?"
    with pytest.raises(DataError, match=message):
        opened(tmp_path / "x.onnx", resize_mode="leterbox")
    with pytest.raises(DataError, match=r"Received: \['stretch'\] in .*x\.onnx\."):
        opened(tmp_path / "x.onnx", resize_mode=["stretch"])


@pytest.mark.parametrize("threshold", ["0.3", True, 1.5, -0.1, float("nan"), [0.3]])
def test_the_threshold_of_the_decoder_is_a_score(tmp_path, threshold):
    facts = {**FACTS, "decoding": {"score_threshold": threshold}}
    with pytest.raises(DataError, match=r"number in 0\.\.1.*Received: .* in .*x\.onnx\."):
        FileDetector(tmp_path / "x.onnx", "onnx", Network(), facts)


def test_an_unknown_threshold_is_none(tmp_path):
    for decoding in ({}, {"score_threshold": None}):
        facts = {**FACTS, "decoding": decoding}
        assert FileDetector(tmp_path / "x", "onnx", Network(), facts).score_threshold is None


def test_the_thresholds_of_the_classes_are_taken(tmp_path):
    facts = {**FACTS, "score_thresholds": [0.375, 1]}
    assert FileDetector(tmp_path / "x", "onnx", Network(), facts).score_thresholds == [0.375, 1.0]
    for more in ({}, {"score_thresholds": None}):  # of an earlier version, or not measured
        facts = {**FACTS, **more}
        assert FileDetector(tmp_path / "x", "onnx", Network(), facts).score_thresholds is None


@pytest.mark.parametrize(
    "wrong", [0.4, [0.4], [0.4, 0.4, 0.4], [0.4, 1.5], [0.4, None], [True, 0.4], ["0.4", 0.4], {},
              [0.4, float("nan")]],
)  # fmt: skip
def test_wrong_thresholds_of_the_classes_are_refused(tmp_path, wrong):
    facts = {**FACTS, "score_thresholds": wrong}
    message = r"must be 2 numbers in 0\.\.1, one per class, or null\. Received: .* in .*x\.onnx\. E"
    with pytest.raises(DataError, match=message):
        FileDetector(tmp_path / "x.onnx", "onnx", Network(), facts)


@pytest.mark.parametrize("newer", [{}, {"score_thresholds": "[0.5, 0.25]"}])
def test_an_onnx_file_of_an_earlier_version_has_fewer_properties(newer):
    written = {name: "1" for name in ("class_names", "preprocessing", "decoding")} | newer
    meta = SimpleNamespace(custom_metadata_map={**written, "of another program": "{"})
    model = object.__new__(OnnxModel)
    model.session = SimpleNamespace(get_modelmeta=lambda: meta)
    assert model.properties() == {name: json.loads(text) for name, text in written.items()}


def test_a_label_without_a_class_name_is_refused(tmp_path):
    image = np.zeros((8, 16, 3), np.uint8)
    with pytest.raises(DataError, match=r"lie in 0\.\.1: .*Received: label 2 from .*x\.onnx\."):
        opened(tmp_path / "x.onnx").detect(image)
    found = {"boxes": np.zeros((1, 4)), "scores": np.ones(1), "labels": np.array([-1])}
    with pytest.raises(DataError, match="Received: label -1 from"):
        named(found, ["cat", "dog"])


@pytest.fixture
def split(tmp_path, monkeypatch):
    """Writes two files and their certificate, and returns the certificate's content."""
    monkeypatch.setattr(exported, "litert_interpreter", lambda path: None)
    monkeypatch.setattr(exported, "_check_boxes", lambda *arguments: None)

    class Lite(Network):
        runners = (type("Runner", (), {"get_output_details": dict}),)

        def __init__(self, *files, **options):
            self.files = files

    monkeypatch.setattr(exported, "LiteModel", Lite)
    (tmp_path / "x.tflite").write_bytes(b"body")
    (tmp_path / "x.tflite.tail.tflite").write_bytes(b"tail")
    body, tail = (hashlib.sha256(content).hexdigest() for content in (b"body", b"tail"))
    content = {**FACTS, "sha256": body, "settings": {"postprocess": "split", "tail_sha256": tail}}
    (tmp_path / "x.tflite.certificate.json").write_text(json.dumps(content))
    return tmp_path / "x.tflite"


def test_a_tflite_file_is_that_of_its_certificate(split):
    assert len(exported.load_exported(split).runner.files) == 2
    split.write_bytes(b"another body")
    digest = hashlib.sha256(b"another body").hexdigest()[:12]
    message = (
        rf"must have the SHA-256 .* Received: .*x\.tflite with {digest}…, but "
        r"x\.tflite\.certificate\.json states 230d8358dc8e….*Export the model again.*certificate"
    )
    with pytest.raises(DataError, match=message):
        exported.load_exported(split)


def test_a_tail_is_that_of_its_certificate(split):
    tail = split.with_name("x.tflite.tail.tflite")
    tail.write_bytes(b"another tail")
    with pytest.raises(DataError, match=r"Received: .*x\.tflite\.tail\.tflite with "):
        exported.load_exported(split)
    certificate = split.with_name("x.tflite.certificate.json")
    content = json.loads(certificate.read_text())
    del content["settings"]["tail_sha256"]
    certificate.write_text(json.dumps(content))
    assert len(exported.load_exported(split).runner.files) == 2


def test_an_engines_file_of_another_shape_is_not_used(tmp_path):
    from keras_det.runtime.engine_cache import EngineCache

    model = tmp_path / "m.keras"
    model.write_bytes(b"x")
    cache = EngineCache(model)
    cache.remember({"litert": 3.0})
    whole = EngineCache(model)
    assert whole.milliseconds(["litert"]) == {"litert": 3.0} and whole.date
    text = cache.state.read_text()
    for other in ("", "[]", "{", text.replace('"networks": {}', '"networks": []'),
                  text.replace("3.0", '"x"'), text.replace('"date"', '"day"')):  # fmt: skip
        cache.state.write_text(other)
        again = EngineCache(model)
        assert again.milliseconds(["litert"]) == {} and again.content["networks"] == {}
