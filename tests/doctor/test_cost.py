"""The bookkeeping of time and memory, with a clock of its own."""

import numpy as np
import pytest

from keras_det.doctor import cost as costs
from keras_det.doctor.cost import Cost, StepTimer, check_cost, finding_of, measure_cost, steps_of
from keras_det.models import EfficientDet
from tests.data.builders import write_image
from tests.doctor.made import dataset_of, square


class Clock:
    """Counts on by `step` at each look; the first ones by `first`."""

    def __init__(self, first, step):
        self.now, self.first, self.step = 0.0, list(first), step

    def __call__(self):
        now = self.now
        self.now += self.first.pop(0) if self.first else self.step
        return now


class Stopping:
    stop_training = False


def run(clock, steps):
    timer = StepTimer(clock)
    timer.set_model(Stopping())
    timer.on_train_begin()
    for step in range(steps):
        timer.on_train_batch_end(step)
        if timer.model.stop_training:
            break
    return timer


# The first step takes 20 s, the second 3 s; they are not timed. Then two of 2 s: 4 s are enough.
def test_first_steps_are_not_timed():
    timer = run(Clock([20, 3], 2.0), 30)
    assert len(timer.times) - 1 == 4
    assert (timer.first_seconds, timer.step_seconds) == (20.0, 2.0)


def test_fast_steps_are_timed_longer():
    timer = run(Clock([20, 3], 0.25), 50)
    assert len(timer.times) - 1 == 2 + 12  # 12 * 0.25 s = 3 s
    assert timer.step_seconds == 0.25
    assert len(run(Clock([20, 3], 0.01), 50).times) - 1 == 2 + 30


def test_few_steps_are_used_as_they_are():
    assert run(Clock([20], 2.0), 2).step_seconds == 2.0
    assert run(Clock([20], 2.0), 1).step_seconds == 20.0


def test_times_add_up():
    assert Cost(20.0, 0.5, 100, 5000, 3 * 2**30, "CPU").total_seconds == 2520.0


@pytest.fixture(scope="module")
def model():
    return EfficientDet("lite0", class_names=["cat"], image_size=32)


def test_the_sentence(model):
    cost = Cost(20.0, 0.5, 1000, 50_000, 3 * 2**30, "CPU")
    finding = finding_of(cost, model, 8, 16 * 2**30)
    assert finding.title == (
        "A step of 8 images at 32x32 takes 0.5 s and 3.0 GiB of memory on this CPU. Training for "
        "50,000 steps takes 6:57 h."
    )
    assert finding.harm == "note" and finding.facts["memory_bytes"] == 3 * 2**30
    assert finding_of(cost, model, 8, 3 * 2**30).harm == "warning"
    assert "memory" not in finding_of(Cost(1, 1, 1, 1, None, "CPU"), model, 8, None).title


@pytest.mark.slow
def test_steps_run_on_a_copy(model, tmp_path):
    paths = [str(write_image(tmp_path / f"{i}.jpg", 40, 40)) for i in range(3)]
    data = dataset_of([[square(5, 5, 20)]] * 3, [(40, 40)] * 3)
    object.__setattr__(data, "image_paths", tuple(paths))
    before = [np.array(weight) for weight in model.get_weights()]
    cost = measure_cost(data, model, "ssj", 2, epochs=7, clock=Clock([9, 1], 2.0))
    assert (cost.first_seconds, cost.step_seconds, cost.steps_per_epoch) == (9.0, 2.0, 2)
    assert cost.steps == 14 and cost.memory > 2**27
    # As the recipe auto: 1,500 steps of 4 images show as many as 3,000 of 2.
    assert (steps_of(data, 4, None), steps_of(data, 2, None)) == (1_500, 3_000)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not getattr(model, "compiled", False)


def test_memory_that_is_not_enough_is_an_error(model, monkeypatch):
    class ResourceExhaustedError(Exception):
        pass

    def fail(*args):
        raise ResourceExhaustedError

    monkeypatch.setattr(costs, "measure_cost", fail)
    (finding,) = check_cost(None, model, "ssj", 64, 1)
    assert finding.harm == "error" and "64 images at 32x32 does not fit" in finding.title
