"""What a notebook shows of a result, and what it keeps in memory."""

import base64
import copy
import gc
import io
import json
import pickle
import re
import weakref

import numpy as np
import pytest
from PIL import Image

from keras_det.report.draw import class_colour
from keras_det.results import Detections
from keras_det.runtime import AugmentedDetector, TiledDetector
from keras_det.runtime.running import RunningDetector, named
from keras_det.video import seen as module
from keras_det.video.seen import remember
from tests.export.tiny import tiny
from tests.video.moving import found


def shown(result):
    """The picture in the HTML of a result, None where there is none."""
    data = re.findall(r"data:image/jpeg;base64,([\w+/=]+)", result._repr_html_())
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data[0])))) if data else None


def has_colour(picture, label=0):
    return (np.abs(picture.astype(int) - class_colour(label)).sum(-1) < 60).any()


def one(boxes=((200, 200, 600, 500),), scores=(0.9,)):
    return found(boxes, scores)


@pytest.fixture
def image():
    return np.full((1000, 1500, 3), 128, "uint8")


def test_the_picture_comes_from_the_file(image, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(image).save("a.png")
    result = one()
    remember(result, "a.png", None)
    monkeypatch.chdir(tmp_path.parent)
    picture = shown(result)
    assert picture.shape == (427, 640, 3) and "a.png: 1 detection" in result._repr_html_()
    # The left side of the box: column 200 of 1500 lies at 85 of 640.
    assert has_colour(picture[100:200, 83:88]) and not has_colour(picture[100:200, 95:240])
    (tmp_path / "a.png").unlink()
    assert shown(result) is None and "<td>left</td>" in result._repr_html_()


def test_pixels_are_kept_small_and_only_the_last_ones(image):
    results = [one() for _ in range(module.MOST_KEPT + 1)]
    for result in results:
        remember(result, image, None)
    assert shown(results[0]) is None and shown(results[1]).shape == (334, 500, 3)
    assert has_colour(shown(results[-1]))
    kept = [each for each, _ in module._kept.values()]
    assert len(kept) == 16 and sum(each.nbytes for each in kept) <= 20e6
    assert not any(np.shares_memory(each, image) for each in kept)
    gone = weakref.ref(image)
    del image
    gc.collect()
    # The test's own fixture still holds it; the results do not.
    assert all(gone() is not value for value in vars(results[-1].seen).values())


class Whole(RunningDetector):
    """Finds one box in each image, as large as the image."""

    engine, class_names, image_size = "test", ["left"], (64, 64)

    def _detect(self, image, score_threshold):
        height, width = image.shape[:2]
        box = {"boxes": np.array([[0, 0, width, height]]), "scores": np.array([0.9])}
        return named({**box, "labels": np.array([0])}, self.class_names)


def test_tiles_and_frames_push_out_no_image(image, tmp_path):
    first = one()
    remember(first, image, None)
    before = len(module._kept)
    for detector in (TiledDetector(Whole(), tile=200), AugmentedDetector(Whole(), flip="both")):
        assert shown(detector.detect(image)) is not None
    Image.fromarray(image).save(tmp_path / "a.png")
    assert [shown(each).shape for each in Whole().stream(tmp_path)] == [(427, 640, 3)]
    assert shown(first) is not None and len(module._kept) <= before + 2


def test_bytes_and_frames_are_shown(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    result = one()
    remember(result, file.getvalue(), [0.3, 0.3])
    assert has_colour(shown(result))
    frame = one()
    frame["image"], frame.seen = image, module.Seen("clip.mp4", [0.3, 0.3])
    assert has_colour(shown(frame)) and "clip.mp4: 1 detection" in frame._repr_html_()


def test_low_scores_are_not_drawn_and_the_best_faintly(image):
    rows = [(20 * i, 20 * i, 20 * i + 200, 20 * i + 200) for i in range(40)]
    low = found(rows, [0.29 - i / 1000 for i in range(40)], [0] * 40)
    remember(low, image, None)
    picture = shown(low)
    assert not has_colour(picture) and (picture != 128).any()
    html = low._repr_html_()
    assert html.count("<tr>") == 11 and "and 30 more with lower scores" in html


def test_names_are_escaped(tmp_path):
    result = one()
    result["class_names"] = ["<script>alert(1)</script>\x1b[31m"]
    remember(result, np.zeros((700, 700, 3), "uint8"), None)
    result.seen.name = "<b>.png"
    html = result._repr_html_()
    assert "<script" not in html and "&lt;script&gt;" in html and "&lt;b&gt;.png" in html
    assert "\x1b" not in html


def test_a_result_is_a_plain_dict(image):
    result = tiny(image_size=(64, 64)).detect(image[:50, :60])
    assert type(result) is Detections and isinstance(result, dict)
    assert list(result) == ["boxes", "scores", "labels", "num_detections", "class_names"]
    again = pickle.loads(pickle.dumps(result))
    assert type(again) is Detections and again.keys() == result.keys()
    np.testing.assert_array_equal(again["boxes"], result["boxes"])
    assert type({**result}) is dict and type(copy.copy(result)) is Detections
    plain = {"num_detections": 2, "class_names": ["a", "b"]}
    assert Detections(plain) == plain and json.dumps(Detections(plain)) == json.dumps(plain)
    assert shown(result) is not None
    assert result.to_coco(3) and result.to_coco(3)[0]["image_id"] == 3
