"""Arrays of detections, without any file."""

import inspect
import re

import numpy as np
import pytest

from keras_det.data.resize import letterbox, resize_image
from keras_det.names import RESIZE_MODES
from keras_det.runtime.detections import in_original_pixels, trim
from keras_det.runtime.libraries import cores
from keras_det.runtime.pixels import fill_for
from keras_det.runtime.running import RunningDetector, named


class Finder(RunningDetector):
    """Finds a box as large as the image."""

    engine, class_names, image_size = "litert", ["cat", "dog"], (8, 8)

    def _detect(self, image, score_threshold):
        height, width = image.shape[:2]
        found = {
            "boxes": np.array([[0, 0, width, height], [0, 0, 1, 1]]),
            "scores": np.array([0.75, 0.25]),
            "labels": np.array([1, 0]),
        }
        return named(found, self.class_names, score_threshold)


def test_one_image_a_list_and_a_batch():
    image = np.zeros((4, 6, 3), np.uint8)
    one = Finder().detect(image)
    assert one["boxes"].tolist() == [[0, 0, 6, 4], [0, 0, 1, 1]]
    assert one["class_names"] == ["dog", "cat"] and one["num_detections"] == 2
    assert {name: str(one[name].dtype) for name in ("boxes", "scores", "labels")} == {
        "boxes": "float32",
        "scores": "float32",
        "labels": "int32",
    }
    assert [each["num_detections"] for each in Finder().detect([image] * 3)] == [2, 2, 2]
    assert [each["num_detections"] for each in Finder().detect(np.stack([image] * 2))] == [2, 2]


@pytest.mark.parametrize("threshold, names", [(0.2, ["dog", "cat"]), (0.25, ["dog"]), (0.75, [])])
def test_detections_score_above_the_threshold(threshold, names):
    image = np.zeros((4, 6, 3), np.uint8)
    found = Finder().detect(image, score_threshold=threshold)
    assert found["class_names"] == names and found["boxes"].shape == (len(names), 4)


@pytest.mark.parametrize("threshold", ["a", True, [0.3], np.True_])
def test_a_threshold_is_a_number(threshold):
    message = r"`score_threshold` must be a number in 0\.\.1.*Received: "
    with pytest.raises(TypeError, match=message):
        Finder().detect([], score_threshold=threshold)
    assert Finder().detect([], score_threshold=np.float32(0.5)) == []


@pytest.mark.parametrize(
    "setting, hint",
    [
        ({"method": "hard"}, "Received: method='hard'. Leave it out"),
        ({"candidates": "pairs"}, "Received: candidates='pairs'. Leave it out"),
        ({"batch_size": 4}, "Received: batch_size=4. Leave it out"),
        ({"score_treshold": 0.3}, "Received: score_treshold=0.3. Did you mean 'score_threshold'?"),
    ],
)
def test_a_file_takes_no_settings_of_the_decoder(setting, hint):
    message = "an exported file has its own decoder; only `score_threshold` can be given. "
    with pytest.raises(TypeError, match=re.escape(message + hint)):
        Finder().detect([], **setting)


def test_help_shows_the_arguments_of_detect():
    parameters = inspect.signature(RunningDetector.detect).parameters
    assert list(parameters) == ["self", "images", "score_threshold"]


@pytest.mark.parametrize("shape", [(0, 6, 3), (4, 0, 3), (1, 0, 6, 3)])
def test_an_image_without_pixels_is_refused(shape):
    message = re.escape(f"1 pixel wide. Received: an array of shape {shape[-3:]}. Leave")
    with pytest.raises(ValueError, match=message):
        Finder().detect(np.zeros(shape, np.uint8))


# What a Keras detector and the engines resize with.
@pytest.mark.parametrize("mode", RESIZE_MODES)
@pytest.mark.parametrize("shape", [(0, 6, 3), (4, 0, 3)])
def test_an_image_without_pixels_is_not_resized(mode, shape):
    with pytest.raises(ValueError, match="at least 1 pixel high and 1 pixel wide"):
        resize_image(np.zeros(shape, np.uint8), {"mode": mode, "size": (8, 8)})


# 100 x 200 into 50 x 50: a quarter of the size; x 20 -> 80, y 70 -> clipped to the height, 100.
def test_back_to_the_original_image():
    found = {"boxes": np.float32([[[10, 5, 20, 70]]]), "scores": np.float32([[0.5]])}
    moved = in_original_pixels(found, letterbox(100, 200, (50, 50)), (100, 200, 3))
    assert moved["boxes"].tolist() == [[[40, 20, 80, 100]]] and moved["scores"] is found["scores"]


def test_trim_takes_the_first_image():
    batch = {
        "boxes": np.zeros((2, 3, 4)),
        "scores": np.float32([[0.9, 0.8, 0], [1, 1, 1]]),
        "labels": np.int32([[5, 6, -1], [0, 0, 0]]),
        "num_detections": np.int32([2, 3]),
    }
    found = trim(batch)
    assert found["boxes"].shape == (2, 4) and found["labels"].tolist() == [5, 6]


# (120 + 115 + 100) / 3 = 111.67 -> 112.
def test_padding_of_grey_images_has_one_number():
    assert fill_for([120, 115, 100]) == (120, 115, 100)
    assert fill_for([120, 115, 100], channels=1) == (112, 112, 112)


def test_cores_are_those_of_the_process(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    assert cores() == 3
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert cores() == 1
