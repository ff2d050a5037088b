"""Engines of Keras detectors: the same detections, converted once, measured once."""

import numpy as np
import pytest

from keras_det.data import drawn_images
from keras_det.errors import DataError
from keras_det.export import engine_networks
from keras_det.runtime import engines
from keras_det.runtime.engine_cache import FILES
from keras_det.runtime.engine_cache import EngineCache as Cache
from keras_det.runtime.engines import EngineDetector
from tests.export.tiny import tiny

pytestmark = pytest.mark.slow
pytest.importorskip("ai_edge_litert", reason="the extra `edge` is not installed")
for package in engines.NEEDS["onnx"]:
    pytest.importorskip(package, reason="the extra `onnx` is not installed")


@pytest.fixture(scope="module")
def model():
    return tiny(image_size=(64, 96))


@pytest.fixture
def path(model, tmp_path):
    model.save(tmp_path / "best.keras")
    return tmp_path / "best.keras"


@pytest.fixture(scope="module")
def networks(model):
    """Converted once for all tests."""
    return {engine: engine_networks.convert(model, engine) for engine in engines.NEEDS}


@pytest.fixture
def converting(monkeypatch, networks):
    """Lets `convert` return what was converted, and lists its calls."""
    calls = []

    def convert(model, engine):
        calls.append(engine)
        return networks[engine]

    monkeypatch.setattr(engine_networks, "convert", convert)
    return calls


def needs(engine):
    for package in engines.NEEDS[engine]:
        pytest.importorskip(
            package, reason=f"the extra `{engines.EXTRAS[engine]}` is not installed"
        )


def with_engine(path, detector, engine, num_images):
    return engines.with_engine(detector, engine, path, num_images, engine_networks.network_for)


@pytest.mark.parametrize("engine", engines.NEEDS)
def test_same_detections_and_converted_once(model, path, converting, engine):
    needs(engine)
    (image,) = drawn_images(1, (90, 170), seed=9)
    expected = model.detect(image, score_threshold=0.05)
    for _ in range(2):
        made, sentence = with_engine(path, model, engine, 1)
        assert isinstance(made, EngineDetector) and sentence == f"Engine: {engine}"
        found = made.detect(image, score_threshold=0.05)
        assert found["num_detections"] == expected["num_detections"] > 5
        assert found["class_names"] == expected["class_names"]
        np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=1e-3)
        np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-5)
    assert converting == [engine]
    kept = {file.name for file in path.with_name("best.keras.engines").iterdir()}
    assert kept == {FILES[engine], "engines.json"}


@pytest.mark.parametrize("engine", engines.NEEDS)
def test_settings_of_the_decoder_change_the_detections(model, networks, engine):
    needs(engine)
    made = EngineDetector(model, engine, networks[engine])
    (image,) = drawn_images(1, (90, 170), seed=9)
    default = made.detect(image, score_threshold=0.05)
    for settings in ({"max_detections": 1}, {"method": "hard"}, {"sigma": 0.05}):
        found = made.detect(image, score_threshold=0.05, **settings)
        expected = model.detect(image, score_threshold=0.05, **settings)
        assert found["num_detections"] == expected["num_detections"]
        np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-5)
        assert found["scores"].tolist() != default["scores"].tolist(), settings
    with pytest.raises(TypeError, match=r"detect\(\) takes no argument 'max_detection'"):
        made.detect(image, max_detection=1)


def test_another_model_or_a_changed_network_is_converted_again(model, path, converting):
    with_engine(path, model, "onnx", 1)
    network = path.with_name("best.keras.engines") / "network.onnx"
    network.write_bytes(network.read_bytes()[:-1])
    with_engine(path, model, "onnx", 1)
    assert converting == ["onnx"] * 2 and Cache(path).network("onnx") is not None
    with open(path, "ab") as file:
        file.write(b"\0")
    assert Cache(path).network("onnx") is None


def test_auto_says_why_keras(model, path):
    made, sentence = with_engine(path, model, "auto", 12)
    assert made is model
    assert sentence == (
        "Engine: keras (converting to another engine saves time from 1000 images on; to convert "
        "now, use --engine litert)"
    )
    assert [file.name for file in path.parent.iterdir()] == ["best.keras"]


def test_auto_measures_once_and_takes_the_fastest(model, path, converting, monkeypatch):
    times, measured = iter([30.0, 20.0, 10.0]), []

    def milliseconds(detector):
        measured.append(detector)
        return next(times)

    monkeypatch.setattr(engines, "installed", lambda: ["litert", "onnx"])
    monkeypatch.setattr(engines, "milliseconds", milliseconds)
    made, sentence = with_engine(path, model, "auto", engines.MIN_IMAGES)
    assert measured[0] is model and made is measured[2] and converting == ["litert", "onnx"]
    assert sentence.startswith("Engine: onnx (10 ms per image here, litert 20, keras 30; measured")
    # Afterwards the choice holds for one image too.
    made, again = with_engine(path, model, "auto", 1)
    assert again == sentence and isinstance(made, EngineDetector) and len(measured) == 3
    # What is not installed any more does not count.
    monkeypatch.setattr(engines, "installed", lambda: ["litert"])
    assert with_engine(path, model, "auto", 1)[1].startswith("Engine: litert (20 ms")


def test_measuring_takes_the_median(monkeypatch):
    clock = iter([0, 9, 9, 18, *np.cumsum([0, 1, 0, 2, 0, 9, 0, 3, 0, 4]).tolist()])
    monkeypatch.setattr(engines.time, "perf_counter", lambda: next(clock) / 1e3)

    class Detector:
        def detect(self, image, score_threshold):
            assert image.dtype == np.uint8

    assert engines.milliseconds(Detector()) == pytest.approx(3)


def test_a_network_that_disagrees_is_refused(model, path, converting, networks):
    with pytest.raises(DataError, match="must agree with Keras.*Received: litert, which differs"):
        with_engine(path, tiny(image_size=(64, 96), seed=1), "litert", 1)
    assert not path.with_name("best.keras.engines").exists()


def test_a_folder_that_cannot_be_written_is_not_needed(model, path, converting):
    path.with_name("best.keras.engines").write_text("a file in its place")
    made, sentence = with_engine(path, model, "litert", 1)
    assert isinstance(made, EngineDetector) and "not stored: File exists" in sentence


def test_missing_packages_are_named(model, path, monkeypatch):
    monkeypatch.setattr(engines, "installed", lambda: [])
    with pytest.raises(DataError, match=r'The engine onnx needs .*pip install -e ".*\[onnx\]"'):
        with_engine(path, model, "onnx", 1)
    assert "no other engine is installed" in with_engine(path, model, "auto", 10**6)[1]


def test_an_export_keeps_its_engine():
    class Exported:
        engine = "tensorflow"

    exported = Exported()
    assert with_engine("x", exported, "auto", 1) == (exported, "Engine: tensorflow, the file's own")
    with pytest.raises(DataError, match="has a fixed engine; .* Received: engine onnx for x"):
        with_engine("x", exported, "onnx", 1)


def test_an_onnx_file_can_run_in_openvino(model, tmp_path):
    needs("openvino")
    from keras_det import export, load_exported

    export.onnx(model, tmp_path / "m.onnx")
    made, sentence = with_engine(tmp_path / "m.onnx", load_exported(tmp_path / "m.onnx"), "auto", 1)
    assert (made.engine, sentence) == ("onnx", "Engine: onnx, the file's own")
    made, sentence = with_engine(tmp_path / "m.onnx", made, "openvino", 1)
    assert (made.engine, sentence) == ("openvino", "Engine: openvino")


def test_a_batch_and_an_image_file(model, networks, tmp_path):
    made = EngineDetector(model, "litert", networks["litert"])
    images = np.stack(drawn_images(2, (90, 170), seed=9))
    found, expected = made.detect(images), model.detect(list(images))
    assert [each["num_detections"] for each in found] == [
        each["num_detections"] for each in expected
    ]


def test_mixed_precision_decodes_the_same(networks):
    half = tiny(image_size=(64, 96), dtype="mixed_float16")
    made = EngineDetector(half, "litert", networks["litert"])
    (image,) = drawn_images(1, (90, 170), seed=9)
    single = EngineDetector(tiny(image_size=(64, 96)), "litert", networks["litert"])
    np.testing.assert_allclose(made.detect(image)["boxes"], single.detect(image)["boxes"])


def test_an_engine_that_fails_is_left_out_with_a_warning(model, path, monkeypatch):
    def convert(detector, engine):
        raise DataError(f"{engine} disagrees.")

    monkeypatch.setattr(engines, "milliseconds", lambda detector: 5.0)
    with pytest.warns(UserWarning, match="disagrees"):
        made, sentence = engines.with_engine(model, "auto", path, 10**6, convert)
    assert made is model and sentence.startswith("Engine: keras (5 ms per image here")
