"""`stream` of detectors: results in the order of the source, in batches, in constant memory."""

import gc
import sys
import weakref

import numpy as np
import pytest
from PIL import Image

from keras_det.data import drawn_images
from keras_det.errors import DataError
from keras_det.runtime import AugmentedDetector, TiledDetector
from keras_det.runtime.running import RunningDetector
from keras_det.video import stream as module
from tests.export.tiny import tiny
from tests.video.moving import NAMES, by_colour, paths, picture, switches, write_video

REASON = "the extra `video`"


@pytest.fixture(scope="module")
def model():
    return tiny(image_size=(64, 96))


class Running(RunningDetector):
    """A detector of the kind that `load_exported` returns."""

    engine, class_names, score_thresholds, image_size = "litert", NAMES, None, (96, 128)

    def _detect(self, image, score_threshold):
        return by_colour(image)


@pytest.fixture
def photos(tmp_path):
    """A folder of five images of different sizes, and their pixels."""
    (tmp_path / "photos").mkdir()
    images = [drawn_images(1, (50 + 8 * i, 70), seed=i)[0] for i in range(5)]
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "photos" / f"{i}.png")
    return tmp_path / "photos", images


def clip(folder, crossing=False, count=30):
    pytest.importorskip("av", reason=REASON)
    images = [picture(boxes) for boxes in paths(crossing, 30)[:count]]
    return write_video(folder / "clip.mp4", images)


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_results_are_those_of_detect_in_order(model, photos, batch_size):
    folder, images = photos
    found = list(model.stream(folder, batch_size=batch_size, score_threshold=0.02))
    assert [each["path"] for each in found] == [str(folder / f"{i}.png") for i in range(5)]
    for each, image in zip(found, images, strict=True):
        expected = model.detect(image, score_threshold=0.02)
        assert expected["num_detections"] == each["num_detections"] > 0
        np.testing.assert_allclose(each["boxes"], expected["boxes"], atol=1e-3)
        np.testing.assert_allclose(each["scores"], expected["scores"], atol=1e-5)
        np.testing.assert_array_equal(each["image"], image)
        assert each["frame"] is None and each["time"] is None and "track_ids" not in each


def test_the_network_sees_full_batches(model, photos, monkeypatch):
    sizes = []
    detect = type(model)._detect_batch

    def noted(self, images, settings, size):
        sizes.append((len(images), size))
        return detect(self, images, settings, size)

    monkeypatch.setattr(type(model), "_detect_batch", noted)
    assert len(list(model.stream(photos[0], batch_size=2))) == 5
    assert sizes == [(2, 2), (2, 2), (1, 2)]  # the last one is filled up: nothing is compiled anew


def test_frames_have_number_and_time(tmp_path):
    path = clip(tmp_path)
    found = list(Running().stream(path, every=10))
    assert [each["frame"] for each in found] == [0, 10, 20]
    assert [each["time"] for each in found] == pytest.approx([0, 0.4, 0.8])
    for each, boxes in zip(found, paths(False, 30)[::10], strict=True):
        assert each["path"] == str(path) and each["image"].shape == (96, 128, 3)
        left_first = boxes[np.argsort(boxes[:, 0], kind="stable")]
        np.testing.assert_allclose(each["boxes"], left_first, atol=2)


def test_squares_of_a_video_are_tracked(tmp_path):
    pytest.importorskip("trackers", reason=REASON)
    found = list(Running().stream(clip(tmp_path), track=True))
    identities = [
        dict(zip(each["labels"].tolist(), each["track_ids"].tolist(), strict=True))
        for each in found
    ]
    assert len(found) == 30 and switches(identities) == 0
    assert {*identities[-1].values()} == {0, 1}
    assert found[-1].to_supervision().tracker_id.tolist() == found[-1]["track_ids"].tolist()
    # Where they cross, the detector sees parts of the rear square.
    crossing = Running().stream(clip(tmp_path, crossing=True), track=True)
    identities = [
        dict(zip(each["labels"].tolist(), each["track_ids"].tolist(), strict=True))
        for each in crossing
    ]
    assert switches(identities) <= 1


def test_each_video_has_tracks_of_its_own(tmp_path):
    pytest.importorskip("trackers", reason=REASON)
    path = clip(tmp_path, count=4)
    found = list(Running().stream([path, path], track=True))
    assert [each["track_ids"].max() for each in found] == [-1, 1, 1, 1, -1, 1, 1, 1]


def test_frames_are_freed_as_they_are_read(tmp_path):
    path, alive, most = clip(tmp_path), [], 0

    def detect(images):
        nonlocal most
        alive.extend(weakref.ref(image) for image in images)
        gc.collect()
        most = max(most, sum(each() is not None for each in alive))
        return [by_colour(image) for image in images]

    for _ in module.stream(detect, path, 4, 1, False, [0.3, 0.3]):
        pass
    assert len(alive) == 30 and most <= 3 * 4 + 1


def test_wrapped_and_exported_detectors_stream_too(model, photos):
    folder, images = photos
    for wrapped in (TiledDetector(model, tile=(40, 60)), AugmentedDetector(model)):
        found = wrapped.stream(str(folder), score_threshold=0.02)
        for each, image in zip(found, images, strict=True):
            expected = wrapped.detect(image, score_threshold=0.02)["boxes"]
            assert len(expected)
            np.testing.assert_allclose(each["boxes"], expected, atol=1e-3)
    assert len(list(Running().stream(str(folder / "*.png")))) == 5


def test_what_cannot_be_read_is_left_out(photos):
    folder, _ = photos
    (folder / "1.png").write_bytes(b"broken")
    with pytest.warns(UserWarning, match=r"1.png"):
        found = list(Running().stream(folder))
    assert [each["path"][-5] for each in found] == list("0234")
    with (
        pytest.raises(DataError, match="At least one source must be readable.*1.png"),
        pytest.warns(UserWarning, match=r"1.png"),
    ):
        list(Running().stream(folder / "1.png"))


def test_an_image_without_memory_for_it_is_left_out(photos):
    def detect(images):
        if any(image.shape[0] == 66 for image in images):
            raise MemoryError
        return [by_colour(image) for image in images]

    with pytest.warns(UserWarning, match=r"2.png \(it needs more memory"):
        found = list(module.stream(detect, photos[0], 3, 1, False, [0.3, 0.3]))
    assert [each["path"][-5] for each in found] == list("0134")


@pytest.mark.parametrize(
    "given, error, message",
    [
        ({"batch_size": 0}, ValueError, "`batch_size` must be at least 1. Received: 0"),
        ({"every": 0}, ValueError, "`every` must be at least 1. Received: 0"),
        ({"every": 1.5}, TypeError, "`every` must be a whole number. Received: 1.5"),
        ({"track": True}, DataError, "Tracking needs a video or a camera. Received: .*0.png"),
        ({"score_treshold": 1}, TypeError, "takes no argument 'score_treshold'"),
        ({"source": "none"}, DataError, "A source must exist. Received: none"),
    ],
)
def test_wrong_arguments_are_an_error_before_the_first_frame(model, photos, given, error, message):
    with pytest.raises(error, match=message):
        model.stream(**{"source": photos[0], **given})


def test_without_the_extra_the_error_comes_at_once(model, tmp_path, monkeypatch):
    (tmp_path / "a.mp4").touch()
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DataError, match="Reading and writing videos needs the extra `video`"):
        model.stream(tmp_path / "a.mp4")
