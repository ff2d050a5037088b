"""What is measured, with clocks that make the times known."""

import itertools
import types

import numpy as np
import pytest

from keras_det.data import Pipeline, draw_shapes_dataset, load
from keras_det.data.shapes import CLASS_NAMES
from keras_det.errors import DataError
from keras_det.profiling import bench_training
from keras_det.profiling.bench_detection import Parts, Timed, calls_within
from keras_det.profiling.bench_input import differences, measure_input, streams
from keras_det.profiling.machine import Peak
from keras_det.profiling.operations import multiply_adds


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    root = draw_shapes_dataset(tmp_path_factory.mktemp("data") / "shapes", 6, 2, 64)
    return load(root, split="train")


def seconds():
    """A clock on which a second passes between two looks."""
    return itertools.count().__next__


def test_a_stage_takes_what_it_adds():
    found = differences({"reading": 1.0, "decoding": 4.0, "resizing": 3.5, "batching": 6.0})
    assert found == {"reading": 1.0, "decoding": 3.0, "resizing": 0.0, "batching": 2.5}


@pytest.mark.slow
def test_stages_of_a_pipeline(shapes):
    pipeline, said = Pipeline(shapes, 64, 2, augment="flip", training=True), []
    assert "augmentation" not in streams(Pipeline(shapes, 64, 2, augment="none", training=True))
    found = measure_input(pipeline, 2.0, said.append, seconds())
    stages = ["reading", "decoding", "resizing", "augmentation", "batching"]
    assert list(found.times.stages) == list(found.rates) == stages
    assert said == ["reading the files", *stages, *stages]
    # Begun at 0; looks at 1 and 2 end it after two batches of two; the end is seen at 3.
    assert found.times.whole == 3 / 4 and found.rates["decoding"] == 4 / 3
    assert found.times.first == 1 / 6  # six files in a second
    total = sum(len(open(path, "rb").read()) for path in shapes.image_paths)
    assert found.first_bytes == total


def test_unreadable_images_are_an_error_and_no_endless_search(shapes, tmp_path):
    root = draw_shapes_dataset(tmp_path / "shapes", 2, 1, 64)
    dataset = load(root, split="train")
    for path in dataset.image_paths:
        with open(path, "wb") as file:
            file.write(b"no image")
    with pytest.warns(UserWarning), pytest.raises(DataError, match="may be unusable"):
        measure_input(Pipeline(dataset, 64, 1, augment="flip", training=True), 0.01)


@pytest.mark.slow
def test_parts_of_a_training(shapes, monkeypatch):
    from tests.export.tiny import TinyDetector

    model = TinyDetector(CLASS_NAMES, 64)
    model.compile()
    before = [weight.copy() for weight in model.get_weights()]
    pipeline, said = Pipeline(shapes, model, 2, augment="flip", training=True), []
    peak = Peak(1e9, 8, "float32")
    monkeypatch.setattr(bench_training, "matmul_peak", lambda *given: peak)
    found = bench_training.measure_training(model, pipeline, 4, said.append, seconds())
    assert found.steps == 4 and found.device in ("CPU", "GPU")
    assert said[:2] == ["the peak of this machine", "the first step, with compilation"]
    parts = ("the input alone", "the step alone", "both together")
    assert said[2:] == [f"{what}, round {number} of 2" for number in (1, 2) for what in parts]
    # A step ends at each look at the clock; two batches of the input end between two looks.
    times = found.times
    assert (times.step, times.together, found.first_step, times.input) == (1.0, 1.0, 1.0, 0.5)
    assert (times.batch_size, times.peak) == (2, peak)
    assert times.multiply_adds == 3 * 2 * multiply_adds(model)
    changed = [np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert any(changed), "real steps were taken"


@pytest.mark.parametrize("longest, steps", [(None, 50), (20.0, 22), (0.5, 5)])
def test_slow_steps_end_a_round(longest, steps):
    # A step a second; the first is not timed, and two more may have been ready.
    ends = bench_training._Ends(seconds(), 49, longest)
    ends.set_model(types.SimpleNamespace(stop_training=False))
    ends.on_train_begin()
    while not ends.model.stop_training:
        ends.on_train_batch_end(0)
    assert len(ends.times) - 1 == steps


class Clocked:
    """A detector whose parts take 1, 10 and 100 seconds."""

    def __init__(self):
        self.now, self.seen, self.batches = 0.0, [], []

    def spend(self, seconds, result):
        self.now += seconds
        return result

    def parts(self, **changes):
        given = {
            "whole": lambda image: self.spend(111, self.seen.append(int(image[0, 0, 0]))),
            "prepare": lambda image: self.spend(1, image + 1),
            "network": lambda pixels: self.spend(10, pixels + 1),
            "finish": lambda image, pixels, outputs: self.spend(100, self.check(image, outputs)),
            "timed": ("prepare", "network", "finish"),
            "batch": lambda images: self.spend(5, self.batches.append([i.shape for i in images])),
            "multiply_adds": None,
            "engine": "none",
            "image_size": (2, 2),
        }
        return Parts(**{**given, **changes})

    def check(self, image, outputs):
        assert np.array_equal(outputs, image + 2)


def test_calls_take_the_images_in_turn():
    clocked = Clocked()
    images = [np.full((2, 2, 3), value, np.uint8) for value in range(3)]
    timed = Timed(clocked.parts(), images, lambda: clocked.now)
    assert timed.warm() == 111
    assert timed.whole(4) == [111] * 4
    assert clocked.seen == [1, 2, 0, 1, 2, 0, 1]


def test_parts_are_timed_without_the_first_call():
    clocked = Clocked()
    timed = Timed(clocked.parts(), [np.zeros((2, 2, 3), np.uint8)], lambda: clocked.now)
    assert timed.each(2) == {"prepare": [1, 1], "network": [10, 10], "finish": [100, 100]}
    assert clocked.now == 3 * 111
    timed.parts = clocked.parts(timed=("network",))
    assert timed.each(1) == {"network": [10]}
    assert clocked.now == 4 * 111


def test_a_batch_has_images_of_one_size():
    clocked = Clocked()
    shapes = [(2, 2, 3), (4, 2, 3), (2, 2, 3)]
    timed = Timed(clocked.parts(), [np.zeros(s, np.uint8) for s in shapes], lambda: clocked.now)
    assert timed.batches(3, 2) == [5, 5]
    assert clocked.batches == [[(2, 2, 3)] * 3] * 3  # the first is not timed
    timed.parts = clocked.parts(batch=None)
    assert timed.batches(3, 2) is None


@pytest.mark.parametrize(
    "seconds, calls",
    [(0.01, 50), (1.0, 20), (3.0, 10), (100.0, 10)],
)
def test_slow_files_are_called_less_often(seconds, calls):
    assert calls_within(seconds, 50, 20.0) == calls
    assert calls_within(seconds, 4, 20.0) == 4
