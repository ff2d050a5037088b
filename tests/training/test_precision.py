"""The precision of training is chosen by measured steps."""

import pytest

from keras_det.training import precision
from tests.export.tiny import TinyDetector


@pytest.mark.parametrize(
    "seconds, gpu, chosen, line",
    [
        ((1.0, 0.5), False, "mixed_bfloat16", "mixed_bfloat16, 0.5 s a step (float32 1)."),
        ((1.0, 0.95), False, "float32", "float32, 1 s a step (mixed_bfloat16 0.95)."),
        ((1.0, 2.0), False, "float32", "float32, 1 s a step (mixed_bfloat16 2)."),
        (
            (1.0, 0.5, 0.25),
            True,
            "mixed_float16",
            "mixed_float16, 0.25 s a step (float32 1, mixed_bfloat16 0.5).",
        ),
    ],
)
def test_the_fastest_is_taken_if_it_gains(monkeypatch, seconds, gpu, chosen, line):
    lines = []
    monkeypatch.setattr(precision, "has_gpu", lambda: gpu)
    measured = dict(zip(precision.candidates(), seconds, strict=True))
    monkeypatch.setattr(precision, "seconds_per_step", lambda model, batch: measured[model])
    assert precision.fastest_precision(lambda dtype: dtype, 8, lines.append) == chosen
    assert lines == [f"Precision: {line}"]


def test_steps_are_measured_without_the_first(monkeypatch):
    ends = iter([50.0, 52.0, 53.0])
    monkeypatch.setattr(precision.time, "perf_counter", lambda: next(ends))
    found = precision.seconds_per_step(_Fake(), 2)
    assert found == 1.0


class _Fake:
    """Has the calls that are made on a detector."""

    image_size = (64, 96)

    def compile(self):
        pass

    def fit(self, images, targets, batch_size, verbose, callbacks):
        assert images.shape == (6, 64, 96, 3) and images.dtype == "uint8"
        assert targets["boxes"].shape == (6, 1, 4) and targets["boxes"][0, 0].tolist() == [
            24,
            16,
            72,
            48,
        ]
        for step in range(len(images) // batch_size):
            callbacks[0].on_train_batch_end(step)


def test_a_detector_is_measured():
    model = TinyDetector(["a", "b"], 64, dtype="mixed_bfloat16")
    assert 0 < precision.seconds_per_step(model, 2) < 60
