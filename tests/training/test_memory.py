"""The memory of a step and the batch size that fits, with the numbers by hand."""

import csv
import math

import click
import keras
import pytest

from keras_det.cli.numbers import Whole
from keras_det.data import draw_shapes_dataset, load
from keras_det.errors import DataError
from keras_det.models import build_model
from keras_det.profiling import activation_elements
from keras_det.training import memory, train
from keras_det.training.memory import (
    StepMemory,
    available_memory,
    fitting_batch,
    main_memory,
    step_memory,
)
from tests.export.tiny import TinyDetector, tiny
from tests.helpers import ROOT

GB = 10**9


# 1 GB and 0.25 GB per image. Of 8 GB, 6.4 are used: 16 images take 5 GB, 32 would take 9.
@pytest.mark.parametrize(
    "available, images, batch, line",
    [
        (8, 500, 16, "Batch of 16: about 5.0 GB of 8.0 GB."),
        (8, 15, 8, "Batch of 8: about 3.0 GB of 8.0 GB."),
        (1000, 10_000, 64, "Batch of 64: about 17.0 GB of 1000.0 GB."),
        (1.6, 500, 1, "Batch of 1: about 1.2 GB of 1.6 GB."),
    ],
)
def test_the_largest_power_of_two_that_fits_is_chosen(available, images, batch, line):
    found = fitting_batch(StepMemory(GB, GB / 4), available * GB, images)
    assert found == (batch, line)


def test_a_model_that_is_too_large_is_refused():
    with pytest.raises(DataError, match=r"Received: about 1.2 GB of 1.5 GB. Choose a smaller"):
        fitting_batch(StepMemory(GB, GB / 4), 1.5 * GB, 500)


def linux(root, **files):
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


MEMINFO = "MemTotal: 16000000 kB\nMemAvailable:    8000000 kB\n"


def test_the_memory_is_what_linux_or_the_container_leaves(tmp_path):
    with pytest.raises(DataError, match="Received: no /proc/meminfo. Give the number of images"):
        available_memory(tmp_path)
    linux(tmp_path, proc__meminfo=MEMINFO)
    assert available_memory(tmp_path) == 8_192_000_000
    assert main_memory(tmp_path) == 16_384_000_000
    folder = tmp_path / "sys/fs/cgroup"
    folder.mkdir(parents=True)
    (folder / "memory.max").write_text("max\n")
    (folder / "memory.current").write_text("3000000000\n")
    (folder / "memory.stat").write_text("anon 1\ninactive_file 500000000\n")
    assert available_memory(tmp_path) == 8_192_000_000
    (folder / "memory.max").write_text("4000000000\n")
    assert available_memory(tmp_path) == 1_500_000_000
    linux(tmp_path, proc__self__cgroup="0::/job\n")
    inner = folder / "job"
    inner.mkdir()
    for name, text in {"max": "1000000000", "current": "400000000", "stat": ""}.items():
        (inner / f"memory.{name}").write_text(text)
    assert available_memory(tmp_path) == 600_000_000 and main_memory(tmp_path) == 1_000_000_000


def test_the_limits_of_older_systems_count_too(tmp_path):
    linux(tmp_path, proc__meminfo=MEMINFO, proc__self__cgroup="5:cpu:/x\n4:memory:/job\n")
    folder = tmp_path / "sys/fs/cgroup/memory/job"
    folder.mkdir(parents=True)
    for name, text in {"limit_in": "2000000000", "usage_in": "700000000"}.items():
        (folder / f"memory.{name}_bytes").write_text(text)
    (folder / "memory.stat").write_text("inactive_file 1\ntotal_inactive_file 200000000\n")
    assert available_memory(tmp_path) == 1_500_000_000 and main_memory(tmp_path) == 2_000_000_000


# A 3x3 convolution of 8x8x3 pixels to 4 channels, its normalisation, a ReLU and the input layer.
def test_activations_are_the_outputs_of_all_layers():
    images = keras.Input((8, 8, 3))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, padding="same")(images))
    model = keras.Model(images, keras.layers.ReLU()(x))
    model.image_size = (8, 8)
    assert activation_elements(model) == 3 * 8 * 8 * 4


def test_the_estimate_grows_with_what_takes_memory():
    own = step_memory(tiny((64, 64)))
    assert step_memory(tiny((128, 128))).per_image == pytest.approx(4 * own.per_image, rel=0.02)
    half = step_memory(tiny((64, 64), dtype="mixed_bfloat16"))
    assert 0.4 * own.per_image < half.per_image < 0.9 * own.per_image
    remat = step_memory(TinyDetector(["cat", "dog", "cow"], (64, 64), remat=True))
    assert remat.per_image < own.per_image
    weights = 4 * sum(math.prod(each.shape) for each in tiny((64, 64)).weights)
    more = step_memory(tiny((64, 64)), accumulate=2).fixed
    assert more == pytest.approx(own.fixed + weights)


class Stop(Exception):
    pass


# 6 images: 4 is the largest power of two below; the rate is that of 4 images, 0.002 * sqrt(4 / 8).
def test_a_run_takes_the_batch_that_fits_and_its_rate(tmp_path, monkeypatch):
    draw_shapes_dataset(tmp_path / "shapes", num_train=6, num_val=2, image_size=64, seed=0)
    data, lines, chosen = load(tmp_path / "shapes", split="train"), [], []

    def fit(training, *_):
        chosen.append((training.chosen, training.pipeline.batch_size))
        raise Stop

    monkeypatch.setattr("keras_det.training.run.fit_rest", fit)
    monkeypatch.setattr("keras_det.training.run.available_memory", lambda: 64 * GB)
    model = TinyDetector(data.class_names, (64, 64))
    with pytest.raises(Stop):
        train(model, data, None, tmp_path / "run", batch_size="auto", say=lines.append)
    ((recipe, in_pipeline),) = chosen
    assert recipe.batch_size == in_pipeline == 4
    assert recipe.learning_rate == pytest.approx(0.002 * 0.5**0.5)
    assert lines[0].startswith("Batch of 4: about ") and lines[0].endswith(" GB of 64.0 GB.")
    with pytest.raises(DataError, match="batch_size='big'"):
        train(model, data, None, tmp_path / "other", batch_size="big", say=lines.append)
    assert memory.MOST == 64


def test_the_option_takes_the_word_or_a_number():
    kind = Whole(1, 100, word="auto")
    assert kind.convert("auto", None, None) == "auto" and kind.convert("16", None, None) == 16
    for wrong in ("Auto", "0"):
        with pytest.raises(click.BadParameter, match=f'1 to 100, or "auto". Received: {wrong}'):
            kind.convert(wrong, None, None)


# What was measured lies beside what is estimated now; the other models take longer to build.
@pytest.mark.slow
@pytest.mark.parametrize("name", ["cornernet_tiny", "retinanet_resnet18"])
def test_the_estimate_is_within_a_quarter_of_the_measured_peaks(name):
    with open(ROOT / "benchmarks" / "batch_memory.csv") as file:
        rows = [r for r in csv.DictReader(file) if (r["model"], r["remat"]) == (name, "0")]
    names = [str(i) for i in range(80)]
    size = int(rows[0]["size"])
    own = step_memory(build_model(name, class_names=names, image_size=size))
    for row in rows:
        estimate = own.of(int(row["batch"])) / GB
        assert estimate == pytest.approx(float(row["estimate_gb"]), abs=2e-3)
        assert 0.75 < estimate / float(row["peak_gb"]) < 1.25
    assert len(rows) >= 3
