"""Two workers train as one device does; one is killed, the other says so, and both go on."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest

from keras_det import load_model
from keras_det.run_folder import read_history
from tests.helpers import ROOT
from tests.training.test_workers import addresses

pytest.importorskip("tensorflow")


def started(folder, log, **options):
    """A process that trains into a folder; what it prints goes to a file."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.training.one_worker"]
    with open(log, "wb") as file:
        return subprocess.Popen(
            [*command, str(folder), json.dumps(options)], stdout=file, stderr=file, cwd=ROOT
        )


def read(log):
    return log.read_text(errors="replace")


def weights(run):
    return {each.path: np.array(each) for each in load_model(run / "last.keras").weights}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of a run on one device, of one on two devices, and of one with a killed worker."""
    folder = tmp_path_factory.mktemp("runs")
    names = addresses()
    killed = started(folder / "shared", folder / "killed.log", addresses=names, index=1, dies_in=2)
    left = started(folder / "shared", folder / "left.log", addresses=names, index=0)
    assert started(folder / "one", folder / "one.log").wait() == 0, read(folder / "one.log")
    assert killed.wait() == -signal.SIGKILL, read(folder / "killed.log")
    assert left.wait(timeout=60) == 2, read(folder / "left.log")
    states = sorted(path.name for path in (folder / "shared" / "checkpoints").glob("*.keras"))
    assert states[-1] == "epoch_0001_step_000001.keras"
    options = {"addresses": addresses(), "resume": True}
    again = [
        started(folder / "shared", folder / f"again_{i}.log", index=i, **options) for i in range(2)
    ]
    two = started(folder / "two", folder / "two.log", devices=2)
    for process, name in zip([*again, two], ["again_0", "again_1", "two"], strict=True):
        assert process.wait() == 0, read(folder / f"{name}.log")
    return folder, names


@pytest.mark.slow
def test_the_worker_that_is_left_names_the_one_that_was_killed(runs):
    folder, names = runs
    said = read(folder / "left.log")
    assert "All workers must run until the end. Received: no answer from worker 1 " in said
    assert f"worker 1 ({names[1]}), which has ended" in said and "with --resume" in said


@pytest.mark.slow
def test_the_workers_go_on_in_the_same_step(runs):
    folder, _ = runs
    assert "The run continues after step 1 of epoch 2." in read(folder / "again_0.log")
    assert "finished {}" in read(folder / "again_1.log")
    assert "epoch 2/2" not in read(folder / "again_1.log")  # only the chief speaks


@pytest.mark.slow
@pytest.mark.parametrize("other", ["shared", "two"])
def test_several_devices_end_as_one(runs, other):
    folder, _ = runs
    columns = ("loss", "class_loss", "box_loss", "positives_per_image")
    for mine, one in zip(
        *(read_history(folder / run / "history.csv") for run in (other, "one")), strict=True
    ):
        for name in columns:
            assert float(mine[name]) == pytest.approx(float(one[name]), rel=1e-4), name
    found, expected = weights(folder / other), weights(folder / "one")
    assert len(found) == len(expected) > 20
    for (path, value), other_value in zip(found.items(), expected.values(), strict=True):
        # Adam's steps are as long where the gradient is only rounding; the rate is 1.4e-3.
        np.testing.assert_allclose(value, other_value, rtol=1e-3, atol=2e-4, err_msg=path)


@pytest.mark.slow
def test_what_is_used_is_said(runs):
    folder, names = runs
    assert "Devices: 2 logical devices on one CPU. They share its cores" in read(folder / "two.log")
    text = f"Devices: 2 workers with 1 CPU each. This is worker 0 ({names[0]})."
    assert text in read(folder / "left.log")
