"""One device, two devices, two workers and JAX's devices train alike, with `model.fit`."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from keras_det.data import Pipeline, load
from keras_det.run_folder import read_history
from tests.helpers import ROOT, data_set
from tests.models.shared_training import MODELS
from tests.training.test_workers import addresses

pytest.importorskip("tensorflow")
# What has to become float64 for a training in double precision.
PARTS = ("boxes.py", "layers", "heads", "losses", "targets", "models", "necks", "backbones")
LOSSES = ("loss", "class_loss", "box_loss", "pull_loss", "push_loss", "offset_loss")


def doubled(folder):
    """A copy of the package and of the tests that computes in double precision.

    The package itself casts to float32 in many places: boxes, losses, outputs of the heads. No
    policy of Keras changes that.
    """
    shutil.copytree(ROOT / "keras_det", folder / "keras_det", ignore=lambda *_: ["export"])
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=lambda *_: ["golden"])
    os.symlink(ROOT / "tests" / "golden", folder / "tests" / "golden")
    for part in PARTS:
        home = folder / "keras_det" / part
        for path in [home] if home.is_file() else home.rglob("*.py"):
            text = path.read_text().replace('"float32"', '"float64"')
            path.write_text(text.replace("tf.float32", "tf.float64"))
    return folder


def start(root, out, arrangement, **environment):
    command = [sys.executable, "-W", "ignore", "-m", "tests.models.shared_training"]
    log = open(out / f"{arrangement}_{len(list(out.iterdir()))}.log", "w+")
    environment = {**os.environ, **environment}
    environment.pop("PYTHONPATH", None)
    process = subprocess.Popen(
        [*command, arrangement, out], cwd=root, env=environment, stdout=log, stderr=log
    )
    return process, log


def finished(*started):
    for process, log in started:
        process.wait()
        log.seek(0)
        text = log.read()
        log.close()
        assert "trained" in text.splitlines(), text[-3000:]


def workers(root, out, **environment):
    """Starts two workers; they name each other in TF_CONFIG."""
    cluster = {"cluster": {"worker": addresses()}}
    tasks = [{**cluster, "task": {"type": "worker", "index": i}} for i in range(2)]
    return [start(root, out, "worker", TF_CONFIG=json.dumps(t), **environment) for t in tasks]


@pytest.fixture(scope="module")
def double(tmp_path_factory):
    """The results in double precision: one device, two devices, two workers."""
    root = doubled(tmp_path_factory.mktemp("double"))
    out = tmp_path_factory.mktemp("results")
    finished(start(root, out, "local", TEST_IN_DOUBLE="1"))
    finished(*workers(root, out, TEST_IN_DOUBLE="1"))
    return out


def compared(out, name, other):
    """Largest difference of the weights and of the moving statistics, and both logs."""
    one, two = (np.load(out / f"{name}_{each}.npz") for each in ("one", other))
    assert list(one["paths"].shape) == list(two["paths"].shape) and len(one["paths"]) > 20
    change, differences = 0.0, {True: 0.0, False: 0.0}
    for i, trained in enumerate(one["trained"]):
        assert np.array_equal(one[f"before_{i}"], two[f"before_{i}"])
        change = max(change, np.abs(one[f"after_{i}"] - one[f"before_{i}"]).max())
        far = np.abs(one[f"after_{i}"] - two[f"after_{i}"]).max()
        if not re.search("seed|variance", str(one["paths"][i])):
            differences[bool(trained)] = max(differences[bool(trained)], far)
    return differences, change, *(json.loads(str(each["logs"])) for each in (one, two))


@pytest.mark.slow
@pytest.mark.parametrize("other", ["two", "worker_0", "worker_1"])
@pytest.mark.parametrize("name", MODELS)
def test_twenty_steps_are_those_of_one_device(double, name, other):
    differences, change, one, two = compared(double, name, other)
    assert change > 1e-3  # they have learned something
    assert max(differences.values()) < 1e-6
    for column in (*LOSSES, "positives_per_image"):
        if column in one:
            np.testing.assert_allclose(two[column], one[column], rtol=1e-6, err_msg=column)


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """The results of one model in single precision, with callbacks that write.

    After four steps only: training multiplies the rounding, to a tenth of the change after twenty.
    """
    out = tmp_path_factory.mktemp("results")
    few = {"TEST_MODELS": "retinanet", "TEST_STEPS": "4"}
    finished(start(ROOT, out, "local", **few))
    finished(*workers(ROOT, out, **few))
    return out


@pytest.mark.slow
@pytest.mark.parametrize("other", ["two", "worker_0", "worker_1"])
def test_single_precision_too_with_the_moving_variances(single, other):
    one, two = (np.load(single / f"retinanet_{each}.npz") for each in ("one", other))
    numbers = range(len(one["paths"]))
    change = max(np.abs(one[f"after_{i}"] - one[f"before_{i}"]).max() for i in numbers)
    for i, path in enumerate(one["paths"]):
        assert np.abs(two[f"after_{i}"] - one[f"after_{i}"]).max() <= 1e-3 * change, path


@pytest.mark.slow
def test_only_the_chief_writes_and_all_see_its_numbers(single):
    assert {path.name for path in (single / "worker_0").iterdir()} == {"best.keras", "history.csv"}
    assert not list((single / "worker_1").iterdir())
    rows = [read_history(single / run / "history.csv") for run in ("one_device", "worker_0")]
    assert [row["val_AP"] for row in rows[0]] == [row["val_AP"] for row in rows[1]]
    logs = [json.loads(str(np.load(single / f"retinanet_worker_{i}.npz")["logs"])) for i in (0, 1)]
    assert logs[0] == logs[1] and "val_highest_score" in logs[0]


@pytest.mark.slow
def test_devices_of_jax_train_as_one(tmp_path):
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed: pip install .[jax]")
    finished(start(ROOT, tmp_path, "jax", KERAS_BACKEND="jax", TEST_MODELS="retinanet"))
    differences, change, one, two = compared(tmp_path, "retinanet", "two")
    assert max(differences.values()) < 1e-3 * change
    np.testing.assert_allclose(two["loss"], one["loss"], rtol=1e-4)


@pytest.fixture(scope="module")
def drawn():
    return load(data_set("drawn"), split="train")


@pytest.mark.parametrize("epoch, step, batch, number", [(0, 0, 4, 2), (1, 3, 3, 3)])
def test_the_parts_of_the_workers_are_the_batches(drawn, epoch, step, batch, number):
    def pipeline():
        return Pipeline(drawn, 64, batch, augment="ssj", seed=5, max_boxes=9).start(epoch, step)

    whole = pipeline().as_tf_dataset(training=True)
    parts = [pipeline().part(i, number).as_tf_dataset(training=True) for i in range(number)]
    # More steps than an epoch has: images come again in another order.
    streams = zip(*(each.take(5).as_numpy_iterator() for each in (whole, *parts)), strict=True)
    for (images, targets), *own in streams:
        np.testing.assert_array_equal(np.concatenate([x for x, _ in own]), images)
        for name, value in targets.items():
            np.testing.assert_array_equal(np.concatenate([y[name] for _, y in own]), value)


def test_a_part_has_the_steps_of_the_whole(drawn):
    pipeline = Pipeline(drawn, 64, 4, training=True)
    part = pipeline.part(1, 2)
    assert (part.batch_size, part.steps_per_epoch) == (2, pipeline.steps_per_epoch)
    assert pipeline.batch_size == 4 and pipeline.workers == 1  # it has not changed
    with pytest.raises(ValueError, match="batches of 4 images for 3 workers. Take a .* 6"):
        pipeline.part(0, 3)


def test_a_part_skips_broken_images_and_tells_the_whole(drawn, tmp_path):
    shutil.copytree(data_set("drawn"), tmp_path / "drawn")
    data = load(tmp_path / "drawn", split="train")
    open(data.image_paths[2], "wb").close()
    pipeline = Pipeline(data, 64, 2, training=True)
    for worker in (0, 1):
        stream = pipeline.part(worker, 2).as_tf_dataset()
        with pytest.warns(UserWarning, match="cannot be used") if worker == 0 else no_check():
            found = [int(y["image_index"][0]) for _, y in stream.take(2 * len(data))]
        assert 2 not in found
    assert len(pipeline.failed) == 1


def no_check():
    import contextlib

    return contextlib.nullcontext()
