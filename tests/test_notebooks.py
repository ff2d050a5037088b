"""The notebooks in examples/ run, hold no outputs, and are linked in README.md."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from tests.helpers import ROOT, load_script

FOLDER = ROOT / "examples" / "notebooks"
# Of each notebook: packages that it needs beside ours, and what must hold after its last cell.
NOTEBOOKS = {
    "fit": (
        (),
        """
assert len(history.history["val_AP"]) == EPOCHS and min(history.history["loss"]) > 0
assert (folder / "averaged.keras").exists() and best.class_names == model.class_names
assert "val_AP75" in (folder / "log.csv").read_text().splitlines()[0]
assert type(best.optimizer).__name__ == "Adam" and int(best.optimizer.iterations) >= 2
""",
    ),
    "own_batches": (
        (),
        """
assert history.history["positives_per_image"][0] > 0 and len(history.history["val_loss"]) == 2
assert 0 <= measured.history["val_AP"][0] <= 1 and len(dataset) == 8
images, targets = next(iter(padded))
for i, sample in enumerate(dataset):
    boxes = targets["boxes"][i].numpy()[targets["labels"][i] >= 0]
    np.testing.assert_allclose(boxes, sample.boxes, atol=0.01)
    np.testing.assert_array_equal(images[i], sample.read())
""",
    ),
    "own_detector": (
        (),
        """
assert metrics["AP50"] > 0.05 and history.history["loss"][-1] < history.history["loss"][0] / 2
assert metrics["AP"] == history.history["val_AP"][-1]
assert type(loaded) is CellDetector and found["num_detections"] > 0
np.testing.assert_array_equal(again["scores"], found["scores"])
""",
    ),
    "training_loop": (
        (),
        """
totals = [logs["class_loss"] + logs["box_loss"] for logs in history]
assert len(totals) == 2 and 0 < totals[1] < totals[0]
assert history[0]["positives_per_image"] > 0 and history[1]["val_class_loss"] > 0
model.compile(run_eagerly=True)
expected = model.evaluate(Pipeline(val, model, batch_size=8), return_dict=True, verbose=0)
assert abs(expected["class_loss"] - history[1]["val_class_loss"]) < 1e-4
assert int(optimizer.iterations) == 4
same = keras_det.load_model(folder / "model.keras").detect(val.image_paths[0], max_detections=3)
assert abs(same["scores"] - found["scores"]).max() < 1e-6
""",
    ),
    "training_loop_jax": (
        ("jax",),
        """
assert keras.backend.backend() == "jax"
assert len(losses) == 20 and min(losses[-4:]) < losses[0] and int(optimizer.iterations) == 20
same = keras_det.load_model(folder / "model.keras").detect(val.image_paths[0], max_detections=3)
assert abs(same["scores"] - found["scores"]).max() < 1e-6
""",
    ),
    "keras_tuner": (
        ("keras_tuner",),
        """
trials = tuner.oracle.get_best_trials(2)
scores = [trial.score for trial in trials]
assert len(scores) == 2 and 0 <= scores[1] <= scores[0] <= 1
assert set(best.values) == {"box_loss", "learning_rate"}
rate = float(model.optimizer.learning_rate)
assert abs(rate / best.values["learning_rate"] - 1) < 1e-5
""",
    ),
    "plot_model": (
        ("pydot",),
        """
text = (folder / "model.dot").read_text()
for part in ("images", "normalization", "bifpn", "class_head", "box_head"):
    assert part in text and part in parts, part
assert (folder / "model.png").exists() == bool(shutil.which("dot"))
assert len(inside.get_nodes()) > 50
""",
    ),
    "trackers": (
        ("wandb",),
        """
AP = history.history["val_AP"]
assert len(AP) == 2 and recorded["epoch/val_AP"] == AP[-1]
if importlib.util.find_spec("mlflow"):
    assert metrics["val_AP"] == AP[-1] and metrics["val_loss"] > 0
""",
    ),
}
# So that a slow machine does not fail, but a notebook that never ends does.
LIMIT = 1200


def code_of(path):
    """The code cells of a notebook as one script."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_run(name, tmp_path):
    packages, check = NOTEBOOKS[name]
    lacking = [each for each in packages if importlib.util.find_spec(each) is None]
    if lacking:
        pytest.skip(f"needs {' and '.join(lacking)}: the notebook {name}")
    script = tmp_path / "cells.py"
    script.write_text(code_of(FOLDER / f"{name}.ipynb") + check + "print('all cells ran')\n")
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},  # where the notebooks write
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert done.stdout.endswith("all cells ran\n")


def test_every_notebook_is_run_and_linked():
    names = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    assert names == sorted(NOTEBOOKS)
    text = (ROOT / "README.md").read_text()
    assert [name for name in names if f"(examples/notebooks/{name}.ipynb)" not in text] == []


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_hold_no_outputs_and_are_valid(path):
    assert load_script(".ci/notebooks.py").problems(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "change, problem",
    [
        ({"outputs": [{"output_type": "stream", "name": "stdout", "text": "1"}]}, "has outputs"),
        ({"execution_count": 3}, "has outputs or an execution count"),
        ({"metadata": {"scrolled": True}}, "has metadata"),
        ({"id": "a cell"}, "has no valid id"),
        ({"source": []}, "is empty"),
        ({"cell_type": "raw"}, "neither code nor markdown"),
        ({"id": "cell-1"}, "same id"),
    ],
)
def test_what_jupyter_leaves_is_named_and_removed(tmp_path, capsys, change, problem):
    script = load_script(".ci/notebooks.py")
    cells = [{"cell_type": "code", "source": "x = 1"}, {"cell_type": "code", "source": "x + 1"}]
    notebook = script.cleaned({"cells": cells})
    assert script.problems(script.as_text(notebook)) == []
    notebook["cells"][1] |= change
    path = tmp_path / "used.ipynb"
    path.write_text(json.dumps(notebook))
    assert script.main([str(path)]) == 1 and problem in capsys.readouterr().out
    if "source" not in change and "cell_type" not in change:  # only a person can mend these
        assert script.main(["--write", str(path)]) == 0
        assert script.main([str(path)]) == 0


def test_other_files_and_metadata_of_kernels_are_named():
    script = load_script(".ci/notebooks.py")
    notebook = script.cleaned({"cells": [{"cell_type": "markdown", "source": "# Title"}]})
    for change, problem in (
        ({"metadata": {"language_info": {"version": "3.11.7"}}}, "metadata is not"),
        ({"nbformat_minor": 4}, "format 4.4"),
        ({"cells": 1}, "not a notebook"),
    ):
        assert problem in script.problems(json.dumps({**notebook, **change}))[0]
    assert "not a notebook" in script.problems("# Title")[0]
    assert "another way" in script.problems(json.dumps(notebook))[0]
