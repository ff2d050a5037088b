"""`detect` compiles once for all thresholds, and keeps a bounded number of compiled functions."""

import keras
import numpy as np
import pytest

from keras_det.last_used import MOST_FUNCTIONS
from keras_det.models import compiled as compiling
from keras_det.runtime import engines
from tests.export.tiny import tiny
from tests.models.test_cornernet import build

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 96, 128, 3)).astype("uint8")
# Settings that share a compiled function, by rows.
ANCHOR = (
    ({}, {"score_threshold": 0.2}, {"sigma": 0.2}, {"sigma": 0.9, "score_threshold": 0.05}),
    ({"method": "hard"}, {"method": "hard", "iou_threshold": 0.2, "score_threshold": 0.1}),
    ({"method": "linear"}, {"method": "linear", "iou_threshold": 0.7}),
)
CORNER = (
    ({}, {"embedding_threshold": 0.05}, {"embedding_threshold": 9, "score_threshold": 0.1}),
    ({"flip": True}, {"flip": True, "sigma": 0.2}),
)


@pytest.fixture
def traces(monkeypatch):
    """Counts how often the post-processing is traced."""
    found = []

    def count(model, name="decode"):
        own = getattr(model, name)
        monkeypatch.setattr(model, name, lambda *a, **k: found.append(1) or own(*a, **k))
        return found

    return count


def assert_equal(ours, theirs):
    for name, value in theirs.items():
        # Pixels to the last digit: eager operators round a little differently.
        np.testing.assert_allclose(ours[name], value, atol=1e-4 if name == "boxes" else 1e-6)


@pytest.mark.parametrize("row", ANCHOR)
def test_numbers_share_a_compiled_function(traces, row):
    model = tiny()
    raw = model(IMAGES, training=False)
    expected = [model.decode(raw, **settings) for settings in row]
    count = traces(model)
    for settings, reference in zip(row, expected, strict=True):
        found = model.detect_function(**settings)(IMAGES)
        assert_equal(found, reference)
        assert sum(np.array(found["num_detections"])) > 0
    assert len(count) == 1
    sizes = {int(sum(np.array(each["num_detections"]))) for each in expected}
    sums = {float(np.sum(each["scores"])) for each in expected}
    assert len(sizes) > 1 or len(sums) > 1, "the settings change something"


def test_numbers_of_cornernet_share_a_compiled_function(traces):
    model = build()
    images = IMAGES[:, :47, :47]
    raw = [model(views, training=False) for views in (images, images[:, :, ::-1])]
    count, made = traces(model), 0
    for row in CORNER:
        for given in row:
            settings = {name: given[name] for name in given if name != "flip"}
            decoder = model.decoder(**settings)
            reference = decoder.with_flipped(*raw) if "flip" in given else decoder(raw[0])
            found = model.detect_function(**given)(images)
            for name in ("boxes", "scores", "num_detections"):
                np.testing.assert_allclose(found[name], reference[name], atol=1e-4)
    made = len(model._programs)
    assert made == 2 and len(count) == 1  # `decode` is for images without their mirror images


def test_the_number_of_compiled_functions_is_bounded(traces, monkeypatch):
    monkeypatch.setattr(compiling, "MOST_SHAPES", 2)
    model = tiny()
    count = traces(model)
    for slots in range(1, MOST_FUNCTIONS + 3):
        assert model.detect_function(max_detections=slots)(IMAGES)["scores"].shape == (2, slots)
    assert len(model._programs) == MOST_FUNCTIONS and len(count) == MOST_FUNCTIONS + 2
    function = model.detect_function(max_detections=MOST_FUNCTIONS + 2)
    for images in (1, 2, 1, 2, 1):  # of these, two images are compiled
        function(IMAGES[:images])
    assert len(count) == MOST_FUNCTIONS + 3
    for images in (3, 1, 2):  # the third shape takes the place of the second
        function(np.zeros((images, 96, 128, 3), "uint8"))
    assert len(count) == MOST_FUNCTIONS + 5


def test_wrong_numbers_are_refused_as_before():
    model = tiny()
    model.detect(IMAGES[0])
    for settings, message in (
        ({"score_threshold": 1.5}, "`score_threshold` must be in 0..1"),
        ({"sigma": 0.0}, "`sigma` must be above 0"),
        ({"iou_threshold": 0.5}, "`iou_threshold` is for method="),
    ):
        with pytest.raises(ValueError, match=message):
            model.detect(IMAGES[0], **settings)


def test_other_engines_share_the_decoding(traces, monkeypatch):
    model = tiny()

    def run(pixels):
        raw = model(pixels, training=False)
        return {name: keras.ops.convert_to_numpy(value) for name, value in raw.items()}

    monkeypatch.setattr(engines, "network_runner", lambda *_: run)
    expected = [model.detect(IMAGES[0], **settings) for settings in ANCHOR[0]]
    detector, count = engines.EngineDetector(model, "litert", b""), traces(model)
    for settings, reference in zip(ANCHOR[0], expected, strict=True):
        found = detector.detect(IMAGES[0], **settings)
        for name in ("boxes", "scores", "labels"):
            np.testing.assert_allclose(found[name], reference[name], atol=1e-5)
    assert len(count) == 1
