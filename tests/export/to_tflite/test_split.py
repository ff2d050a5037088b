"""A body for accelerators and its tail, and files for grey images: beside Keras."""

import json

import numpy as np
import pytest

from keras_det import export
from keras_det.backbones import Hourglass
from keras_det.data import drawn_images
from keras_det.data.resize import resize_image
from keras_det.errors import DataError
from keras_det.export.check.evidence import check_images, fill_of
from keras_det.export.tflite_file.operators import operator_counts
from keras_det.export.to_tflite import tflite as module
from keras_det.models import CornerNet
from keras_det.runtime import load_exported
from keras_det.runtime.pixels import as_grey
from tests.export.tiny import tiny
from tests.helpers import quantizer_or_skip

pytestmark = pytest.mark.slow
interpreter = pytest.importorskip("ai_edge_litert.interpreter")
SIZE = (96, 160)


def runner(path):
    loaded = interpreter.Interpreter(str(path))
    run = loaded.get_signature_runner()
    run.keep = loaded
    return run


@pytest.fixture(scope="module")
def model():
    return tiny(image_size=SIZE)


def by_both(path, images, dtype):
    """What a body and its tail find, the outputs of one being the inputs of the other."""
    body, tail = runner(path), runner(f"{path}.tail.tflite")
    names = {name: detail["dtype"] for name, detail in body.get_output_details().items()}
    given = {name: detail["dtype"] for name, detail in tail.get_input_details().items()}
    assert names == given
    return tail(**body(images=images.astype(dtype))), names


def compare(model, path, dtype, tolerance):
    image = drawn_images(1, SIZE, seed=2)[0]
    fill = model.normalization.fill_color
    pixels = resize_image(image, model.resize_policy, fill)[0][None]
    found, names = by_both(path, pixels, dtype)
    expected = {k: np.array(v) for k, v in model.detect_function()(pixels).items()}
    count = int((expected["scores"][0] > 0.06).sum())
    assert count > 5
    np.testing.assert_array_equal(found["labels"][0, :count], expected["labels"][0, :count])
    np.testing.assert_allclose(
        found["boxes"][0, :count], expected["boxes"][0, :count], atol=tolerance
    )
    return names


def test_body_and_tail_find_what_the_model_finds(model, tmp_path):
    path = tmp_path / "x.tflite"
    report = export.tflite(model, path, postprocess="split")
    assert report.comparison.matched_detections > 20
    names = compare(model, path, "float32", 1e-3)
    # One part for each level, P3 to P7.
    assert set(names) == {f"{raw}_{i}" for raw in ("box_deltas", "class_logits") for i in range(5)}
    body = operator_counts(path.read_bytes())
    assert not {"RESHAPE", "CONCATENATION", "CAST", "GATHER"} & set(body)
    written = json.loads((tmp_path / "x.tflite.certificate.json").read_text())
    assert written["settings"]["delegates"]["gpu"]["refused"] == {}
    assert written["settings"]["operators"] == body
    assert "NON_MAX_SUPPRESSION_V5" in written["settings"]["tail_operators"]
    assert written["signatures"]["tail"] == ["boxes", "labels", "num_detections", "scores"]
    assert any(note.startswith("delegate gpu ") for note in report.notes)


def test_float16(model, tmp_path):
    settings = {"postprocess": "split", "quantize": "float16"}
    report = export.tflite(model, tmp_path / "x.tflite", **settings)
    assert report.comparison.matched_detections > 20
    assert 1e-5 < report.comparison.raw_error["class_logits"] < 2e-2


def test_int8_body_ends_in_eight_bits(model, tmp_path):
    quantizer_or_skip()
    path = tmp_path / "x.tflite"
    budget = export.Budget(None, None, 1.0, None, rounding=2.0**-7)
    report = export.tflite(
        model,
        path,
        postprocess="split",
        quantize="int8",
        calibration=drawn_images(4, SIZE, seed=5),
        budget=budget,
    )
    names = by_both(path, np.zeros((1, *SIZE, 3), "uint8"), "uint8")[1]
    assert set(names.values()) == {np.int8}
    assert "DEQUANTIZE" not in operator_counts(path.read_bytes())
    delegates = report.settings["delegates"]
    assert delegates["edge_tpu"]["refused"] == {} == delegates["hexagon_npu"]["refused"]
    assert max(report.comparison.raw_error.values()) < 1.0


def test_a_wrong_tail_is_found_out(model, tmp_path, monkeypatch):
    cut = module.cut

    def swapped(content):
        body, joints = cut(content)
        return body, {name: parts[::-1] for name, parts in joints.items()}

    monkeypatch.setattr(module, "cut", swapped)
    with pytest.raises(export.ExportError, match="differs"):
        export.tflite(model, tmp_path / "x.tflite", postprocess="split")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("settings", [{"postprocess": "split"}, {"channels": 1}])
def test_predict_opens_them(model, tmp_path, settings):
    path = tmp_path / "x.tflite"
    export.tflite(model, path, **settings)
    image = drawn_images(1, (70, 150), seed=8)[0]
    found = load_exported(path).detect(image, score_threshold=0.05)
    grey = np.repeat(as_grey(image), 3, axis=-1)
    if "channels" in settings:
        # Letterboxed with the mean of the fill colour.
        pixels, transform = resize_image(grey, model.resize_policy, fill_of(model, 1))
        raw = {k: np.array(v) for k, v in model.detect_function()(pixels[None]).items()}
        expected = model.to_original(0, raw, transform.inverse(), image.shape)
    else:
        expected = model.detect(image)
    count = found["num_detections"]
    assert count > 5
    np.testing.assert_allclose(found["boxes"], expected["boxes"][:count], atol=1e-3)
    np.testing.assert_array_equal(found["labels"], expected["labels"][:count])


def test_cornernet(tmp_path):
    model = CornerNet(Hourglass(2, (8, 12), (1, 1), 4), 2, image_size=(39, 47))
    report = export.tflite(model, tmp_path / "x.tflite", postprocess="split")
    assert report.passed and set(report.signatures["body"]) == set(model.output)


# 0.299 * 255 = 76.2, 0.587 * 255 = 149.7, 0.114 * 255 = 29.07.
def test_grey_is_the_luma():
    image = np.uint8([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]])
    assert as_grey(image).tolist() == [[[76], [150], [29], [9]]]


@pytest.mark.parametrize("postprocess", ["builtin", "split"])
def test_grey_images(model, tmp_path, postprocess):
    path = tmp_path / "x.tflite"
    report = export.tflite(model, path, channels=1, postprocess=postprocess)
    assert report.comparison.matched_detections > 20
    # The mean colour of the padding has one number: (120 + 115 + 100) / 3.
    assert report.preprocessing["fill_color"] == [112, 112, 112] == list(fill_of(model, 1))
    assert report.preprocessing["channels"] == 1
    run = runner(path)
    assert run.get_input_details()["images"]["shape"].tolist() == [1, *SIZE, 1]
    images = list(check_images(drawn_images(1, SIZE, seed=2), model, channels=1))
    grey = images[0][0]
    assert (grey[..., 0] == grey[..., 2]).all() and grey.std() > 0
    if postprocess == "builtin":
        pixels = resize_image(grey, model.resize_policy, fill_of(model, 1))[0][None]
        found = run(images=pixels[..., :1])
        expected = {k: np.array(v) for k, v in model.detect_function()(pixels).items()}
        np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=1e-3)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"channels": 2}, "`channels` must be the integer 3 or 1. Received: 2"),
        ({"channels": 1, "metadata": "mediapipe"}, "`metadata` needs channels=3"),
        ({"postprocess": "split", "metadata": "mediapipe"}, "needs a file that returns detections"),
    ],
)
def test_wrong_arguments(model, tmp_path, arguments, message):
    with pytest.raises((ValueError, DataError), match=message):
        export.tflite(model, tmp_path / "x.tflite", **arguments)
    assert list(tmp_path.iterdir()) == []
