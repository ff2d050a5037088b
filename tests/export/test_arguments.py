"""Arguments of the exports: a wrong name is an error of the function that was called."""

import pytest

from keras_det import export
from keras_det.export.int8.float_file import FloatFile
from keras_det.export.to_tflite import tflite as module
from keras_det.runtime.running import RunningDetector
from tests.helpers import quantizer_or_skip


@pytest.mark.parametrize(
    "function, arguments",
    [
        ("tflite", {"score_treshold": 0.1}),
        ("tflite", {"method": "hard"}),
        ("saved_model", {"score_threshold": 0.1}),
        ("onnx", {"iou_threshold": 0.4}),
    ],
)
def test_an_unknown_name_is_an_error_of_the_function(tmp_path, function, arguments):
    (name,) = arguments
    with pytest.raises(TypeError, match=rf"{function}\(\) got an unexpected .*'{name}'"):
        getattr(export, function)(None, tmp_path / "x", **arguments)


def test_an_unknown_name_is_an_error_of_detect():
    class Nothing(RunningDetector):
        def _detect(self, image, score_threshold):
            raise AssertionError("no image is looked at")

    with pytest.raises(TypeError, match=r"detect\(\) got an unexpected .*'score_treshold'"):
        Nothing().detect([], score_treshold=0.3)


@pytest.mark.slow
def test_ranges_come_from_the_calibration_images(tmp_path, monkeypatch):
    """Other images, other ranges; the number of images is in the report."""
    quantizer_or_skip()
    import numpy as np

    from tests.export.tiny import tiny

    model = tiny(image_size=(64, 64), max_level=4)
    monkeypatch.setattr(module, "convert", lambda *arguments: b"")
    monkeypatch.setattr(FloatFile, "__init__", lambda self, content, model: None)
    taken = []

    def choose_int8(file, pixels, *others):
        taken.append(pixels)
        raise RuntimeError("far enough")

    monkeypatch.setattr(module, "choose_int8", choose_int8)
    for value in (10, 200):
        calibration = [np.full((64, 64, 3), value, np.uint8)]
        with pytest.raises(RuntimeError, match="far enough"):
            export.tflite(model, tmp_path / "x", quantize="int8", calibration=calibration)
    # A black and a white image are always added.
    assert [[int(image.mean()) for image in pixels] for pixels in taken] == [
        [10, 0, 255],
        [200, 0, 255],
    ]
