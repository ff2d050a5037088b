"""`verify` finds each way in which a file does not match its certificate."""

import json
import shutil

import keras
import numpy as np
import pytest

from keras_det import export
from keras_det.errors import DataError
from keras_det.export import verifying
from keras_det.training.calibration import add_to_logits
from tests.export.tiny import TinyDetector

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model():
    return detector(0)


def detector(seed):
    """A detector with scores around 0.1 that differ clearly."""
    keras.utils.set_random_seed(seed)
    model = TinyDetector(["ant", "bee"], 64)
    for weights in model.class_variables():
        if len(weights.shape) > 1:
            weights.assign(30 * weights)
    add_to_logits(model, np.array([2.5, 2.5]))
    return model


@pytest.fixture(scope="module")
def written(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    export.tflite(model, folder / "m.tflite")
    export.tflite(model, folder / "phone.tflite", postprocess="mediapipe")
    export.tflite(model, folder / "raw.tflite", postprocess="none")
    export.saved_model(model, folder / "served")
    return folder


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "copy")


def failed(found):
    return [each.name for each in found.findings if each.passed is False]


def change(folder, name, **values):
    path = folder / f"{name}.certificate.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize("name", ["m.tflite", "phone.tflite", "served"])
def test_a_file_as_it_was_written(folder, model, name):
    alone = export.verify(folder / name)
    names = ["file", "outputs", "class names", "detections"]
    assert alone.passed and [each.name for each in alone.findings] == names
    seen = []
    both = export.verify(folder / name, model, on_image=lambda *place: seen.append(place))
    assert both.passed and seen == [(i, 8) for i in range(1, 9)]
    weights, detections = both.findings[-2:]
    assert weights.passed and detections.passed
    assert "found by both, boxes within" in detections.text
    assert "matches its certificate" in str(both)


def test_a_changed_byte(folder):
    path = folder / "m.tflite"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    found = export.verify(path)
    assert failed(found) == ["file"] and len(found.findings) == 1
    assert "m.tflite has the SHA-256" in found.findings[0].text and not found.passed
    (folder / "served" / "assets" / "labels.txt").write_text("ant\nwasp\n")
    assert failed(export.verify(folder / "served")) == ["file"]


def test_what_the_certificate_states(folder):
    change(folder, "m.tflite", signatures={"serving_default": ["boxes"]})
    assert failed(export.verify(folder / "m.tflite")) == ["outputs"]
    change(folder, "served", class_names=["bee", "ant"])
    assert failed(export.verify(folder / "served")) == ["class names"]
    (folder / "phone.tflite.labels.txt").write_text("bee\nant\n")
    assert failed(export.verify(folder / "phone.tflite")) == ["class names"]


def test_another_model(folder, model):
    found = export.verify(folder / "m.tflite", detector(1))
    assert failed(found) == ["weights", "detections"]
    assert "outside the budget" in found.findings[-1].text


def test_raw_outputs_and_missing_certificates(folder):
    found = export.verify(folder / "raw.tflite")
    assert found.passed and found.findings[-1].passed is None
    (folder / "m.tflite.certificate.json").unlink()
    with pytest.raises(DataError, match="must have its certificate beside it"):
        export.verify(folder / "m.tflite")
    with pytest.raises(DataError, match="must exist. Received"):
        export.verify(folder / "absent.tflite")
    change(folder, "phone.tflite", budget=None)
    with pytest.raises(DataError, match="A certificate must state `budget`"):
        export.verify(folder / "phone.tflite")


def matching(boxes, scores, lost=()):
    return verifying.Matching(list(boxes), list(scores), 0, list(lost))


def test_one_in_a_hundred_detections_may_differ():
    budget = export.BUDGETS["float32"]
    good, bad = matching([0.1] * 99, [0.0] * 99), matching([0.1], [0.021])
    assert verifying._judged([good, bad], budget, None).passed
    assert not verifying._judged([good, bad, matching([9.0], [0.0])], budget, None).passed
    assert not verifying._judged([good, matching([], [], ["a", "b"])], budget, None).passed
    assert verifying._judged([matching([0.1], [0.0])], budget, None).passed is None


def test_eight_bits_are_judged_by_average_precision():
    budget, one = export.BUDGETS["int8"], [matching([30.0], [0.3])]
    assert verifying._judged(one, budget, None).passed is None
    numbers = {"keras": 0.5, "artefact": 0.49, "drop": 0.01, "mean_drop": 0.01}
    assert not verifying._judged(one, budget, {**numbers, "interval": (0.006, 0.02)}).passed
    assert verifying._judged(one, budget, {**numbers, "interval": (0.003, 0.02)}).passed


def test_numbers_that_are_not_finite(folder, monkeypatch):
    from keras_det.runtime.exported import FileDetector

    one = {"boxes": np.array([[0, 0, 1, 1.0]]), "scores": np.array([np.nan])}
    monkeypatch.setattr(FileDetector, "detect", lambda *_, **__: one)
    assert failed(export.verify(folder / "m.tflite")) == ["detections"]
