"""Which of input, host and device limits, on numbers whose answer is known."""

import pytest

from keras_det.profiling.machine import Peak
from keras_det.profiling.verdict import (
    DetectionTimes,
    InputTimes,
    Latency,
    TrainingTimes,
    detection_verdict,
    disturbed,
    duration,
    hindered,
    input_verdict,
    percent,
    three,
    training_verdict,
)

# 430 billion multiply-adds per second.
PEAK = Peak(430e9, 2048, "float32")


def training(**changes):
    """A step of 0.82 s that computes 49.2 billion: 60 of 430 billion per second, 14%."""
    given = {"input": 0.05, "step": 0.82, "together": 0.85, "batch_size": 8, "busy": 0.97}
    return TrainingTimes(**{**given, "multiply_adds": 49.2e9, "peak": PEAK, **changes})


def test_training_limited_by_the_device():
    found = training_verdict(training())
    assert found.limit == "device"
    assert found.line == "Limited by the device: a step takes 820 ms, the input 50 ms per batch."
    assert found.reach == (
        "This uses 14% of the machine's peak (430 billion multiply-adds/s in float32)."
    )


def test_training_limited_by_the_input():
    found = training_verdict(training(input=2.05, together=2.05))
    assert found.limit == "input"
    assert found.line == "Limited by the input: a batch takes 2.05 s, a step 820 ms."
    # 2.05 / 0.82 = 2.5; 8 / 0.82 = 9.756
    assert (
        found.reach == "If the input kept up, training would be 2.5 times as fast: 9.76 images/s."
    )


def test_training_limited_by_the_host():
    found = training_verdict(training(busy=0.31))
    assert found.limit == "host"
    assert (
        found.line == "Limited by the host: a step takes 820 ms; the device is idle for 69% of it."
    )
    assert found.reach.startswith("This uses 14% of the machine's peak")


def test_what_is_not_known_decides_nothing():
    found = training_verdict(training(busy=None, multiply_adds=None))
    assert (found.limit, found.reach) == ("device", "")
    assert len(found.lines()) == 1


@pytest.mark.parametrize("step, limit", [(0.0501, "device"), (0.0499, "input")])
def test_the_slower_of_input_and_step_limits(step, limit):
    assert training_verdict(training(step=step)).limit == limit


def test_input_and_step_that_share_the_cores():
    assert hindered(training(together=0.94)) == ""  # 1.146 times
    assert hindered(training(together=1.23)) == (
        "Input and step together take 1.5 times as long as the slower one alone: "
        "they share the cores."
    )


def test_other_programs_are_named_if_they_matter():
    assert disturbed(0.14) == ""
    assert (
        disturbed(0.5)
        == "Other programs used 50% of the processor. An idle machine would be faster."
    )


# 45 ms in all: 38 the network, 2 resizing, 2 the rest, 3 reading.
DETECTION = {"whole": 0.042, "read": 0.003, "prepare": 0.002, "network": 0.038, "finish": 0.002}


def test_detection_limited_by_the_device():
    found = detection_verdict(DetectionTimes(**DETECTION, multiply_adds=0.817e9, peak=PEAK))
    assert found.limit == "device"
    assert found.line == "Limited by the device: the network takes 38 ms of 45 ms an image."
    # 0.817 / 0.038 = 21.5 of 430
    assert found.reach.startswith("This uses 5.0% of the machine's peak (430 billion")


def test_detection_of_a_file_whose_arithmetic_is_not_known():
    found = detection_verdict(DetectionTimes(**DETECTION))
    # 1 / 0.038 = 26.3; 38 / 45 = 0.844
    assert (
        found.reach == "The network alone would reach 26.3 images/s; all parts reach 84% of that."
    )


def test_detection_limited_by_the_input():
    found = detection_verdict(DetectionTimes(**{**DETECTION, "read": 0.040}))
    assert found.limit == "input"
    assert found.line == "Limited by the input: reading and resizing take 42 ms of 82 ms an image."
    found = detection_verdict(DetectionTimes(0.05, prepare=0.03, network=0.015))
    assert found.line == "Limited by the input: resizing takes 30 ms of 50 ms an image."


def test_detection_limited_by_the_host():
    found = detection_verdict(DetectionTimes(0.1, prepare=0.002, network=0.038, finish=0.06))
    assert found.limit == "host"
    assert found.line == "Limited by the host: post-processing takes 60 ms of 100 ms an image."


def test_a_network_that_cannot_be_separated_counts_as_device():
    found = detection_verdict(DetectionTimes(0.05, read=0.01))
    assert found.line == "Limited by the device: the network takes 50 ms of 60 ms an image."


def inputs(**changes):
    stages = {"reading": 1e-4, "decoding": 3e-3, "resizing": 1e-3, "batching": 9e-4}
    given = {"stages": stages, "whole": 5e-3, "first": 2e-4, "busy": 0.98, "cores": 2}
    return InputTimes(**{**given, **changes})


def test_pipeline_limited_by_the_processor():
    found = input_verdict(inputs())
    assert found.limit == "host"
    assert found.line == "Limited by the host: decoding takes 60% of 5 ms per image."
    # 1 / 3.1 ms = 322.6; 3.1 / 5 = 0.62
    assert (
        found.reach
        == "Reading and decoding alone reach 323 images/s; all stages reach 62% of that."
    )


def test_pipeline_whose_cores_wait():
    found = input_verdict(inputs(busy=0.3))
    assert found.reach.endswith("The cores are idle for 70% of the time: try more --workers.")


def test_pipeline_limited_by_the_files():
    found = input_verdict(inputs(first=0.02))
    assert found.limit == "input"
    assert found.line == "Limited by the input: the files are read at 50 images/s."
    assert found.reach == "With the files in memory, the pipeline reaches 200 images/s."
    slow = {"reading": 4e-3, "decoding": 1e-3}
    assert input_verdict(inputs(stages=slow)).limit == "input"


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e3])
def test_lines_fit_80_columns(scale):
    fast = Peak(123_456e9, 8192, "bfloat16")
    times = training(step=0.82 * scale, input=0.05 * scale, together=0.9 * scale, peak=fast)
    detection = {name: value * scale for name, value in DETECTION.items()}
    stages = {"reading": 1e-4 * scale, "decoding": 1e-4 * scale, "augmentation": 3e-3 * scale}
    found = [
        training_verdict(times),
        training_verdict(training(input=9 * scale, step=1.2345 * scale)),
        training_verdict(training(step=1.2345 * scale, input=0.0, busy=0.12)),
        detection_verdict(DetectionTimes(**detection)),
        detection_verdict(DetectionTimes(0.3 * scale, network=0.1 * scale)),
        detection_verdict(DetectionTimes(**{**detection, "read": 0.123456 * scale})),
        input_verdict(inputs(stages=stages, whole=3.2e-3 * scale, first=0.0)),
        input_verdict(inputs(first=scale)),
    ]
    assert max(len(each.line) for each in found) <= 80


def test_latency_is_that_of_numpy():
    # Sorted 1, 2, 3, 4, 10: median 3, mean 4; p95 lies 0.8 of the way from 4 to 10.
    found = Latency.of([3.0, 1.0, 2.0, 10.0, 4.0])
    assert found == Latency(5, 3.0, pytest.approx(8.8), 4.0)


def test_numbers_have_three_digits():
    assert [three(x) for x in (0.05213, 4.2, 99.94, 99.96, 1234.5)] == [
        "0.0521",
        "4.2",
        "99.9",
        "100",
        "1,234",
    ]
    assert [duration(x) for x in (0.00421, 0.82, 0.9996, 12.34)] == [
        "4.21 ms",
        "820 ms",
        "1 s",
        "12.3 s",
    ]
    assert [percent(x) for x in (0.0421, 0.0996, 0.14)] == ["4.2%", "10%", "14%"]
