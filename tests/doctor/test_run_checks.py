"""Sentences on runs, from histories written by hand."""

import json

import numpy as np
import pytest

from keras_det.doctor.run_checks import check_run, rate_of, trend
from keras_det.doctor.run_files import read_run
from keras_det.errors import DataError
from keras_det.run_folder import write_recipe

RECIPE = {
    "recipe": "adamw",
    "batch_size": 8,
    "learning_rate": None,
    "epochs": 10,
    "weights": "coco",
    "training_set": "set (3 images) train: 100 images (2 without objects), 300 objects (4 crowd), "
    "3 classes.",
    "training_images": 100,
    "training_objects": 300,
    "objects_per_class": {"cat": 290, "dog": 4, "ant": 6},
}


def folder_with(path, metrics=None, recipe=RECIPE, best=True, **columns):
    """Writes a run folder; `columns` are lists of one number per epoch."""
    count = len(next(iter(columns.values())))
    rows = [["epoch", *columns], *zip(range(1, count + 1), *columns.values(), strict=True)]
    text = "".join(",".join(map(str, row)) + "\n" for row in rows)
    (path / "history.csv").write_text(text)
    (path / "recipe.json").write_text(json.dumps(recipe or {}))
    if metrics is not None:
        (path / "metrics.json").write_text(json.dumps(metrics))
    if best:
        (path / "best.keras").write_text("")
    return path


def test_a_recipe_that_was_changed_by_hand_is_named(tmp_path):
    def changed():
        return "run-recipe-changed" in {each.code for each in check_run(tmp_path)}

    folder_with(tmp_path, recipe=None, loss=[2.0, 1.0])
    write_recipe(tmp_path, {**RECIPE, "learning_rate": np.float32(0.01), "seed": 0})
    assert not changed()
    content = json.loads((tmp_path / "recipe.json").read_text())
    (tmp_path / "recipe.json").write_text(json.dumps({**content, "training_objects": 301}))
    assert changed()
    write_recipe(tmp_path, {**content, "training_objects": 301})
    assert not changed()


def titles(path, **columns):
    return {f.code: (f.harm, f.title) for f in check_run(folder_with(path, **columns))}


FALLING = [2.0, 1.5, 1.2, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
FLAT_AP = [0.1, 0.3, 0.4, 0.45, 0.46, 0.46, 0.47, 0.47, 0.47, 0.47]


@pytest.mark.parametrize(
    "values, expected",
    [
        (FALLING, "falling"),
        (FALLING[::-1], "rising"),
        ([1.0, 1.01, 0.99, 1.0, 1.01, 1.0], "flat"),
        ([1.97, 1.90, 1.86, 1.82, 1.91], "flat"),  # one noisy epoch is no trend
        ([1.0, 1.4, 1.0, 1.5], "flat"),  # 4% more, but steps of 0.4 are usual
        ([3.0, 2.0, 1.0], "unknown"),
    ],
)
def test_trend(values, expected):
    assert trend(np.array(values)) == expected


def test_a_good_run_has_notes_only(tmp_path):
    found = titles(tmp_path, loss=FALLING, val_AP=FLAT_AP, positives_per_image=[20.0] * 10)
    assert found == {
        "run-loss": ("note", "The loss fell from 2 to 0.4 in 10 epochs and still falls."),
        "run-rate": ("note", "The learning rate was 0.002 at its highest and is 0 at the end."),
        "run-ap": ("note", "val_AP was highest in epoch 7: 0.470; it ended at 0.470."),
    }


def test_loss_that_is_flat_rising_or_nan(tmp_path):
    assert titles(tmp_path, loss=[1.0] * 6)["run-loss"] == (
        "warning",
        "The loss stayed at 1 (it began at 1) in 6 epochs.",
    )
    rising = titles(tmp_path, loss=[1.0, 1.0, 1.1, 1.3, 1.6, 2.0])["run-loss"]
    assert rising == ("warning", "The loss rose from 1 to 2 in 6 epochs and rises at the end.")
    found = titles(tmp_path, loss=[1.0, 0.9, "nan"], val_AP=[0.1, 0.2, 0.1])
    assert found["run-nan"] == ("error", "The loss is nan from epoch 3 on.")
    assert "run-loss" not in found
    one = titles(tmp_path, loss=[1.5])["run-loss"]
    assert one == ("note", "The mean loss of the only epoch is 1.5: one epoch shows no trend.")


# 0.002 at batch 8; after half of the run: 0.002 * (1 + cos(pi * 0.45 / 0.95)) / 2 = 0.00108.
def test_learning_rate_in_effect(tmp_path):
    run = read_run(folder_with(tmp_path, loss=FALLING[:5]))
    assert rate_of(run) == pytest.approx((0.002, 0.0010826), rel=1e-3)
    text = titles(tmp_path, loss=FALLING[:5])["run-rate"][1]
    assert text.endswith("at its highest and is 0.0011 after epoch 5 of 10.")
    long = {**RECIPE, "epochs": 100, "learning_rate": 0.01}
    text = titles(tmp_path, loss=FALLING[:2], recipe=long)["run-rate"][1]
    assert text == (
        "The learning rate rises to 0.01 in the first twentieth of the run; it is 0.004 after "
        "epoch 2 of 100."
    )
    auto = {**RECIPE, "recipe": "auto", "learning_rate": 0.004}
    assert rate_of(read_run(folder_with(tmp_path, loss=FALLING, recipe=auto)))[0] == 0.004
    one, three = (
        read_run(folder_with(tmp_path, loss=FALLING, recipe={**auto, "chosen": {"passes": n}}))
        for n in (1, 3)
    )
    assert three.steps == 3 * one.steps > 0, "an epoch shows every image three times"
    logged = titles(tmp_path, loss=[2, 1], learning_rate=[0.1, 0.05], recipe=None)["run-rate"][1]
    assert logged == "The learning rate was 0.1 at its highest and is 0.05 at the end."
    # The only epoch of this run ends with a rate of 0, and has had a peak.
    short = {**auto, "epochs": 1}
    logged = titles(tmp_path, loss=[2], learning_rate=[0.0], recipe=short)["run-rate"][1]
    assert logged == "The learning rate was 0.004 at its highest and is 0 at the end."
    assert "run-rate" not in titles(
        tmp_path, loss=FALLING, recipe={**RECIPE, "recipe": "published"}
    )


def test_rate_agrees_with_the_recipe(tmp_path):
    from keras_det.training.recipes import adamw

    optimizer = adamw(None, 8, 1000)
    for epochs in (1, 3, 10):
        run = read_run(folder_with(tmp_path, loss=[1.0] * epochs, recipe={**RECIPE, "epochs": 10}))
        schedule = optimizer._learning_rate
        assert rate_of(run)[1] == pytest.approx(float(schedule(epochs * 100)), abs=1e-6)


def test_positives(tmp_path):
    none = titles(tmp_path, loss=FALLING, positives_per_image=[0.0] * 10)
    assert none["run-no-positives"][0] == "error"
    few = titles(tmp_path, loss=FALLING, positives_per_image=[1.5] * 10)
    assert few["run-few-positives"] == (
        "warning",
        "Only 0.50 positives were trained per object (1.5 per image with 3 objects): objects are "
        "lost before they reach the network.",
    )


def test_precision(tmp_path):
    found = titles(tmp_path, loss=FALLING, val_AP=[0.0] * 10)["run-ap-zero"]
    assert found[1] == (
        "Almost nothing is detected: val_AP is 0.000 after 10 epochs (highest: 0.000)."
    )
    short = {**RECIPE, "weights": None}
    findings = check_run(folder_with(tmp_path, loss=FALLING, val_AP=[0.0] * 10, recipe=short))
    (finding,) = (f for f in findings if f.code == "run-ap-zero")
    assert finding.cure.startswith(
        "The run had 130 steps from random weights"
    )  # 10 * ceil(100 / 8)
    rising = titles(tmp_path, loss=FALLING, val_AP=[0.05 * i for i in range(10)])
    assert rising["run-still-rising"] == (
        "warning",
        "val_AP still rose by 0.100 in the last 2 epochs: the training was too short.",
    )
    assert rising["run-ap"][1] == "val_AP was highest in the last epoch, 10: 0.450."


def test_classes_at_zero_come_with_their_objects(tmp_path):
    metrics = {"AP": 0.3, "AP_per_class": {"cat": 0.6, "ant": 0.0, "dog": 0.0, "owl": None}}
    found = titles(tmp_path, loss=FALLING, metrics=metrics)["run-classes-zero"]
    assert found == (
        "warning",
        "2 of 3 measured classes have AP 0: dog (4 training objects), ant (6 training objects).",
    )
    poor = {"AP_per_class": {"cat": 0.001, "ant": 0.0, "dog": 0.0}}
    assert "run-classes-zero" not in titles(tmp_path, loss=FALLING, metrics=poor)


def test_learning_by_heart(tmp_path):
    fallen = [0.1, 0.3, 0.4, 0.5, 0.52, 0.5, 0.45, 0.42, 0.41, 0.4]
    found = titles(tmp_path, loss=FALLING, val_AP=fallen)["run-gap"]
    assert found == (
        "warning",
        "val_AP fell from 0.520 (epoch 5) to 0.400, while the training loss still fell: the "
        "model overfits the training images.",
    )
    assert "run-gap" not in titles(tmp_path, loss=[1.0] * 10, val_AP=fallen)
    rising = [1.0, 0.8, 0.7, 0.6, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert (
        "from 0.5 (epoch 5) to 1," in titles(tmp_path, loss=FALLING, val_loss=rising)["run-gap"][1]
    )


def test_unfinished_runs(tmp_path):
    found = titles(tmp_path, loss=FALLING[:4])["run-unfinished"][1]
    assert found.startswith("4 of 10 epochs done")


@pytest.mark.parametrize(
    "name, content, reason",
    [
        (
            "metrics",
            {"AP_per_class": [1, 2]},
            "`AP_per_class` of metrics.json must be a JSON object",
        ),
        ("metrics", {"AP_per_class": 5}, "`AP_per_class` of metrics.json must be a JSON object"),
        ("metrics", {"AP_per_class": {"cat": True}}, "`AP_per_class` of metrics.json must be a"),
        ("metrics", {"AP": float("nan")}, "`AP` of metrics.json must be a number in 0..1, or null"),
        ("metrics", {"AP50": "x"}, "`AP50` of metrics.json must be a number in 0..1"),
        ("metrics", {"AR100": 1e308}, "`AR100` of metrics.json must be a number in 0..1"),
        (
            "recipe",
            {"epochs": "x"},
            "`epochs` of recipe.json must be .* from 1 to 1,000,000. Received: 'x'",
        ),
        ("recipe", {"batch_size": -4}, "`batch_size` of recipe.json must .*Received: -4 in"),
        (
            "recipe",
            {"objects_per_class": {"cat": None}},
            "`objects_per_class` of recipe.json must be",
        ),
    ],
)
def test_values_of_another_kind(tmp_path, name, content, reason):
    (tmp_path / "history.csv").write_text("epoch,loss\n1,2\n")
    (tmp_path / f"{name}.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=reason):
        check_run(tmp_path)


def test_folders_that_are_no_runs(tmp_path):
    with pytest.raises(DataError, match="must hold history.csv. Received"):
        check_run(tmp_path)
    (tmp_path / "history.csv").mkdir()
    with pytest.raises(DataError, match=r"history.csv must be the table .*Is a directory"):
        check_run(tmp_path)
    (tmp_path / "history.csv").rmdir()
    (tmp_path / "history.csv").write_text("epoch,loss\n")
    with pytest.raises(DataError, match="must hold at least one row"):
        check_run(tmp_path)
    (tmp_path / "history.csv").write_text("epoch,loss\n1,two\n")
    with pytest.raises(DataError, match="must be the table that .*'loss' of row 1 is 'two'"):
        check_run(tmp_path)
    (tmp_path / "history.csv").write_text("epoch,loss\n1,2\n")
    (tmp_path / "recipe.json").write_text("[]")
    with pytest.raises(DataError, match="recipe.json must hold a JSON object. Received"):
        check_run(tmp_path)
