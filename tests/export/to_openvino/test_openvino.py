"""Models for OpenVINO: run there beside the Keras model; hard NMS inside, any batch."""

import json
import shutil
import sys
import threading

import numpy as np
import pytest

from keras_det import CornerNet, export, load_exported
from keras_det.backbones import Hourglass
from keras_det.data import drawn_images
from keras_det.errors import DataError
from keras_det.export.to_onnx.conversion import convert
from keras_det.runtime.openvino_model import OpenVinoModel
from tests.export.tiny import tiny

pytestmark = pytest.mark.slow
REASON = "the extra `openvino` is not installed"
openvino = pytest.importorskip("openvino", reason=REASON)
pytest.importorskip("tf2onnx", reason=REASON)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A letterboxing model, its folder and the report."""
    model = tiny(image_size=(96, 128))
    path = tmp_path_factory.mktemp("anywhere") / "new" / "openvino"
    return model, path, export.openvino(model, path)


def test_detections_are_those_of_hard_nms(exported):
    model, path, report = exported
    assert report.passed and report.comparison.matched_detections > 50
    assert report.comparison.box_error_max < 1e-3 and report.comparison.score_error_max < 1e-5
    # Three images at once, without the code of the check: images of the network's size.
    images = np.stack(drawn_images(3, (96, 128), seed=4))
    compiled = openvino.Core().compile_model(
        path / "detector.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    found = {key.get_any_name(): value for key, value in compiled({"images": images}).items()}
    reference = model.detect_function(method="hard")(images)
    assert sorted(found) == sorted(reference)
    for name, value in reference.items():
        assert found[name].dtype == np.asarray(value).dtype
        np.testing.assert_allclose(found[name], value, atol=1e-4)
    assert (found["num_detections"] > 10).all()


def test_folder_describes_itself(exported):
    model, path, report = exported
    assert sorted(file.name for file in path.iterdir()) == [
        "detector.bin", "detector.xml", "labels.txt",
    ]  # fmt: skip
    assert (path / "labels.txt").read_text() == "cat\ndog\ncow\n"
    properties = OpenVinoModel(path).properties()
    assert properties["class_names"] == ["cat", "dog", "cow"]
    assert properties["preprocessing"]["image_size"] == [96, 128]
    assert properties["decoding"]["method"] == "hard"
    certificate = json.loads(path.with_name("openvino.certificate.json").read_text())
    assert certificate["format"] == "openvino" and certificate["sha256"] == report.sha256
    assert certificate["versions"]["interpreter"].startswith("openvino 20")
    assert certificate["settings"]["operators"]["NonMaxSuppression"] == 1


def test_load_exported_detects_as_the_model(exported):
    model, path, _ = exported
    detector = load_exported(path)
    assert detector.engine == "openvino" and detector.image_size == (96, 128)
    (photo,) = drawn_images(1, (70, 60), seed=1)
    found, expected = detector.detect(photo), model.detect(photo, method="hard")
    np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=1e-3)
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-5)
    assert found["class_names"] == expected["class_names"]
    assert export.verify(path, model).passed


def test_threads_do_not_disturb_each_other(exported):
    _, path, _ = exported
    runner = OpenVinoModel(path)
    images = [np.stack([image]) for image in drawn_images(4, (96, 128), seed=2)]
    expected = [runner.run(image)["scores"] for image in images]
    wrong = []

    def work(k):
        for _ in range(20):
            if not np.array_equal(runner.run(images[k])["scores"], expected[k]):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=[k]) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and not np.array_equal(expected[0], expected[1])


def test_raw_outputs_of_a_cornernet(tmp_path):
    model = CornerNet(Hourglass(2, (8, 12), (1, 1), 4), class_names=["a", "b"], image_size=64)
    report = export.openvino(model, tmp_path / "raw", postprocess="none")
    assert report.passed and sorted(report.signatures["main"]) == sorted(model.output)
    with pytest.raises(DataError, match="An exported file must return boxes"):
        load_exported(tmp_path / "raw")
    assert export.verify(tmp_path / "raw").passed


def test_onnx_files_run_in_openvino_too(tmp_path):
    model, path = tiny(), tmp_path / "m.onnx"
    export.onnx(model, path)
    (photo,) = drawn_images(1, 80, seed=3)
    ours, theirs = (load_exported(path, engine).detect(photo) for engine in ("openvino", "onnx"))
    assert len(ours["scores"]) > 10
    np.testing.assert_allclose(ours["boxes"], theirs["boxes"], atol=1e-3)
    np.testing.assert_array_equal(ours["labels"], theirs["labels"])
    with pytest.raises(ValueError, match="`engine` must be one of onnx, openvino.*'litert' for"):
        load_exported(path, "litert")


def test_content_of_an_onnx_file_is_a_network():
    model = tiny()
    images = np.stack(drawn_images(2, model.image_size, seed=5))
    runner = OpenVinoModel(convert(model).SerializeToString(), 1)
    assert runner.any_batch and runner.image_size == model.image_size
    expected = model(images.astype("float32"))
    for name, value in runner.run(images).items():
        np.testing.assert_allclose(value, expected[name], atol=1e-4)


@pytest.mark.parametrize("name", ["detector.xml", "detector.bin"])
def test_damage_is_named(exported, tmp_path, name):
    _, path, _ = exported
    copy = shutil.copytree(path, tmp_path / "copy")
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(
        DataError, match=r"must be complete and undamaged. Received: .*detector.xml"
    ):
        load_exported(copy)
    shutil.copy(path.with_name("openvino.certificate.json"), tmp_path / "copy.certificate.json")
    with pytest.raises(DataError, match="must have the SHA-256 that its certificate states"):
        load_exported(copy)
    assert not export.verify(copy).passed


def test_wrong_arguments_and_a_missing_package(tmp_path, monkeypatch):
    with pytest.raises(
        ValueError, match="`postprocess` must be one of nms, none. Received: 'nmss'"
    ):
        export.openvino(tiny(), tmp_path / "x", postprocess="nmss")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(DataError, match="needs the package openvino, and those of ONNX"):
        export.openvino(tiny(), tmp_path / "x")
    assert not list(tmp_path.iterdir())
