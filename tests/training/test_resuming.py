"""What a resumed run may change, what it notes of that, and how its schedule goes on."""

import dataclasses
import json

import keras
import numpy as np
import pytest

from keras_det.errors import DataError
from keras_det.names import RUN_LOCK
from keras_det.run_folder import write_recipe
from keras_det.training.phases import plan_anew
from keras_det.training.recipe import choose_recipe
from keras_det.training.resuming import (
    changes_of,
    chosen_before,
    kept_of,
    planned_anew,
    refuse_used,
    states_of,
)

# 100 images, batches of 8: 13 steps per pass.
RECIPE = choose_recipe("adamw", 100, 500, epochs=50, learning_rate=0.01, validation_images=10)
SETTINGS = {
    "model": "m", "model_arguments": {}, "image_size": None, "resize_mode": "letterbox",
    "batch_size": None, "augment": None, "recipe": "adamw", "max_boxes": 100, "seed": 0,
    "weights": None, "class_names": ["cat"],
}  # fmt: skip


def note(folder, **more):
    recipe = {**SETTINGS, "epochs": 50, "learning_rate": 0.01, **more}
    recipe.setdefault("chosen", dataclasses.asdict(RECIPE))
    (folder / "recipe.json").write_text(json.dumps(recipe))


def test_what_may_change_is_taken_and_noted(tmp_path):
    note(tmp_path, anchors_fitted={"anchor_scale": 3})
    given = {"epochs": 80, "learning_rate": 0.002, "patience": 9, "calibrate": True}
    changed = chosen_before(tmp_path, {**given, "average": None})
    expected = dataclasses.replace(RECIPE, steps=80 * 13, **given)
    assert changed == expected
    assert kept_of(tmp_path, changed, 50) == {
        "anchors_fitted": {"anchor_scale": 3},
        "changes": [
            {
                "after_epoch": 50,
                "epochs": [50, 80],
                "learning_rate": [0.01, 0.002],
                "patience": [None, 9],
                "calibrate": [False, True],
            }
        ],
    }
    note(tmp_path)
    assert kept_of(tmp_path, chosen_before(tmp_path, {"epochs": 50}), 7) == {}


def test_steps_that_are_no_epochs_are_refused(tmp_path):
    note(tmp_path, chosen={**dataclasses.asdict(RECIPE), "steps": 49})
    with pytest.raises(DataError, match="recipe of this version.*49 steps cannot be divided into"):
        chosen_before(tmp_path, {})


def test_changes_are_counted_from_the_last_one_of_the_schedule(tmp_path):
    earlier = [{"after_epoch": 5, "epochs": [40, 50]}, {"after_epoch": 9, "patience": [None, 3]}]
    note(tmp_path, changes=earlier)
    assert changes_of(tmp_path, RECIPE, 12) == earlier
    assert planned_anew(earlier) == 5 and planned_anew([]) == -1
    now = changes_of(tmp_path, dataclasses.replace(RECIPE, learning_rate=1.0), 12)
    assert now == [*earlier, {"after_epoch": 12, "learning_rate": [0.01, 1.0]}]
    assert planned_anew(now) == 12


@pytest.mark.parametrize(
    "given, sentence",
    [
        ({"average": 0.25}, "keep its settings. Received: average=0.25, but the run"),
        ({"warmup_steps": 3}, "keep its settings. Received: warmup_steps=3, but the run has 32"),
        ({"batch_size": 4}, "keep its settings. Received: batch_size=4, but the run has 8"),
        ({"learning_rate": float("nan")}, "`learning_rate` must be a finite number above 0. R"),
        ({"epochs": 0}, "`epochs` must be a whole number of at least 1. Received: epochs=0"),
    ],
)
def test_what_may_not_change_is_refused(tmp_path, given, sentence):
    note(tmp_path)
    with pytest.raises(DataError, match=sentence):
        chosen_before(tmp_path, given)


def test_other_weights_and_fewer_epochs_than_trained_are_refused(tmp_path):
    note(tmp_path, weights="coco")
    assert states_of(tmp_path, SETTINGS, print) == []
    assert states_of(tmp_path, {**SETTINGS, "weights": "coco"}, print) == []
    with pytest.raises(DataError, match="Received: weights='imagenet', but the run has 'coco'"):
        states_of(tmp_path, {**SETTINGS, "weights": "imagenet"}, print)
    shorter = chosen_before(tmp_path, {"epochs": 20})
    assert changes_of(tmp_path, shorter, 20)[0]["epochs"] == [50, 20]
    with pytest.raises(DataError, match="Received: epochs=20, but the run has trained for 21. Gi"):
        changes_of(tmp_path, shorter, 21)


def test_the_rate_of_the_published_recipe_is_its_own(tmp_path):
    published = choose_recipe("published", 100, 500)
    note(tmp_path, chosen=dataclasses.asdict(published), learning_rate=None)
    assert chosen_before(tmp_path, {"epochs": 80}).epochs == 80
    with pytest.raises(DataError, match="keep its settings. Received: learning_rate=0.1, but"):
        chosen_before(tmp_path, {"learning_rate": 0.1})


def test_a_run_of_an_earlier_version_may_change_too(tmp_path):
    note(tmp_path, chosen=None, learning_rate=None)
    assert chosen_before(tmp_path, {"epochs": 80}) is None
    assert changes_of(tmp_path, RECIPE, 3) == [], "it had the rate that is the default"
    longer = dataclasses.replace(RECIPE, epochs=80)
    assert changes_of(tmp_path, longer, 3) == [{"after_epoch": 3, "epochs": [50, 80]}]


def test_states_that_the_run_never_had_are_left_out(tmp_path):
    note(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    for name in ("epoch_0007.keras", "epoch_9999.keras", "epoch_x.keras", ".epoch_0008.keras"):
        (tmp_path / "checkpoints" / name).touch()
    rows = "".join(f"{epoch},1\n" for epoch in range(1, 8))
    (tmp_path / "history.csv").write_text(f"epoch,loss\n{rows}")
    lines = []
    found = states_of(tmp_path, SETTINGS, lines.append)
    assert [state.epochs for state in found] == [7]
    assert len(lines) == 1 and "epoch_9999.keras is not used: the run has 50 epochs." in lines[0]


def test_a_recipe_without_its_settings_is_refused(tmp_path):
    (tmp_path / "recipe.json").write_text("{}")
    with pytest.raises(DataError, match="must hold `epochs` or `chosen`. Received: .*recipe.json"):
        states_of(tmp_path, SETTINGS, print)


def test_a_recipe_that_was_changed_by_hand_is_noted(tmp_path):
    def notes():
        lines = []
        states_of(tmp_path, SETTINGS, lines.append)
        return lines

    write_recipe(tmp_path, {**SETTINGS, "epochs": 50, "chosen": dataclasses.asdict(RECIPE)})
    assert notes() == []
    text = (tmp_path / "recipe.json").read_text()
    (tmp_path / "recipe.json").write_text(text.replace('"steps": 650', '"steps": 600'))
    assert "recipe.json was changed after training wrote it." in notes()[0]


@pytest.mark.parametrize("content", [None, "", "epoch,loss\n1,2\n"])
def test_a_history_that_lacks_epochs_is_noted(tmp_path, content):
    note(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "epoch_0007.keras").touch()
    if content is not None:
        (tmp_path / "history.csv").write_text(content)
    lines = []
    states_of(tmp_path, SETTINGS, lines.append)
    rows = "1 row" if content else "0 rows"
    assert f"Note: history.csv has {rows}, but the run has trained for 7 epochs." in lines[0]


def test_a_run_whose_states_are_lost_does_not_start_again(tmp_path):
    note(tmp_path)
    (tmp_path / "history.csv").write_text("epoch,loss\n1,2.5\n")
    assert states_of(tmp_path, SETTINGS, print) == [], "killed in its first epoch"
    (tmp_path / "history.csv").write_text("epoch,loss\n1,2.5\n2,2\n")
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(
        DataError, match="a state in .*checkpoints. Received: none, but .* 2 epochs"
    ):
        states_of(tmp_path, SETTINGS, print)


def test_a_lock_alone_does_not_make_a_folder_used(tmp_path):
    (tmp_path / RUN_LOCK).touch()
    refuse_used(tmp_path)
    (tmp_path / "x").touch()
    with pytest.raises(DataError, match="must be new or empty"):
        refuse_used(tmp_path)


def trained(recipe, steps):
    """A model of one weight that was compiled with a recipe and has taken some steps."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(recipe.optimizer(model), loss="mse")
    model.optimizer.build(model.trainable_variables)
    for _ in range(steps):
        model.optimizer.apply([np.ones((1, 1), "float32")])
    return model


# Half a cosine from the end of the warm-up, 32 of 650 steps, to the last one:
# (1 + cos(pi * 618 / 618)) / 2 = 0 at the end of 50 epochs;
# (1 + cos(pi * (650 - 32) / (1040 - 32))) / 2 = 0.325 if they are 80: the warm-up stays.
def test_a_lengthened_run_goes_on_as_if_it_had_been_so_from_the_start():
    model = trained(RECIPE, 650)
    longer = dataclasses.replace(RECIPE, epochs=80, steps=80 * 13)
    state = [np.array(variable) for variable in model.optimizer.variables]
    assert float(model.optimizer.learning_rate) == pytest.approx(0.0, abs=1e-9)
    line = plan_anew(model, longer, 0, 80)
    expected = 0.01 * (1 + np.cos(np.pi * 618 / 1008)) / 2
    assert float(model.optimizer.learning_rate) == pytest.approx(expected, rel=1e-4)
    assert "recomputed for 80 epochs" in line and "continues at 0.0033 instead of 0," in line
    for before, now in zip(state, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(before, now)
    again = trained(longer, 650).optimizer
    assert model.optimizer.get_config()["learning_rate"] == again.get_config()["learning_rate"]


def test_a_new_rate_counts_for_the_rest():
    model = trained(RECIPE, 100)
    before = float(model.optimizer.learning_rate)
    plan_anew(model, dataclasses.replace(RECIPE, learning_rate=0.001), 0, 50)
    assert float(model.optimizer.learning_rate) == pytest.approx(before / 10, rel=1e-5)


def test_the_phase_after_the_heads_is_planned_for_its_own_length():
    recipe = dataclasses.replace(RECIPE, heads_first=10)
    model = trained(dataclasses.replace(RECIPE, epochs=40, steps=40 * 13), 130)
    plan_anew(model, dataclasses.replace(recipe, epochs=80, steps=80 * 13), 10, 80)
    rate = model.optimizer.get_config()["learning_rate"]["config"]
    assert rate["decay_steps"] + rate["warmup_steps"] == 70 * 13
