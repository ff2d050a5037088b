"""A whole run on synthetic images: the folder, resuming, and what is refused."""

import csv
import dataclasses
import importlib.util
import json
import shutil
import signal

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from keras_det.cli import main
from keras_det.data import draw_shapes_dataset, load
from keras_det.data.augment import Flip, Mosaic, get_augment
from keras_det.data.resize import letterbox
from keras_det.errors import DataError
from keras_det.models import RetinaNet, load_model
from keras_det.names import RUN_LOCK
from keras_det.training import evaluate, saving, train
from keras_det.training.callbacks import History, StopDiverged
from keras_det.training.evaluate import detect_dataset
from keras_det.training.recipe import choose_recipe
from keras_det.training.resuming import chosen_before
from tests.export.tiny import TinyDetector, tiny

MODEL = "efficientdet_lite0"
SETTINGS = dict(image_size=64, batch_size=4, seed=1)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    draw_shapes_dataset(folder, num_train=6, num_val=3, image_size=64, seed=0)
    return load(folder, split="train"), load(folder, split="val")


@pytest.fixture(scope="module")
def run(drawn, tmp_path_factory):
    """A run of two epochs."""
    out, lines = tmp_path_factory.mktemp("runs") / "run", []
    metrics = train(MODEL, *drawn, out, epochs=2, say=lines.append, **SETTINGS)
    return out, metrics, lines


class Interrupted(Exception):
    pass


class Fitted:
    """Stands in for the result of `with_fitted_anchors`."""

    arguments = {}


def test_a_measured_precision_is_trained_and_noted(drawn, tmp_path, monkeypatch):
    asked = []

    def measured(model, arguments, training_set, recipe, say):
        asked.append((model, arguments["dtype"], recipe.batch_size))
        return "mixed_bfloat16"

    def stop(training, *_):
        asked.append(training.model.dtype_policy.name)
        raise Interrupted

    monkeypatch.setattr("keras_det.training.run.precision_of_run", measured)
    monkeypatch.setattr("keras_det.training.run.fit_rest", stop)
    with pytest.raises(Interrupted):
        train(MODEL, *drawn, tmp_path / "run", model_arguments={"dtype": "auto"}, **SETTINGS)
    assert asked == [(MODEL, "auto", 4), "mixed_bfloat16"]
    recipe = json.loads((tmp_path / "run/recipe.json").read_text())
    assert recipe["model_arguments"] == {"dtype": "mixed_bfloat16"}


@pytest.mark.slow
def test_the_run_folder_is_filled(run, drawn):
    out, metrics, lines = run
    names = {path.name for path in out.iterdir()}
    assert names == {
        "best.keras", "last.keras", "checkpoints", "history.csv", "recipe.json", "class_names.txt",
        "metrics.json", "pictures", "report",
        *(["curves.png"] if importlib.util.find_spec("matplotlib") else []),
    }  # fmt: skip
    assert (out / "class_names.txt").read_text().split() == list(drawn[0].class_names)
    assert json.loads((out / "recipe.json").read_text())["epochs"] == 2
    rows = list(csv.DictReader(open(out / "history.csv")))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {"loss", "class_loss", "box_loss", "positives_per_image", "val_AP"} <= set(rows[0])
    for row in rows:  # the whole is the sum of its parts
        parts = [float(row[f"val_{name}_loss"]) for name in ("class", "box")]
        assert float(row["val_loss"]) == pytest.approx(sum(parts), rel=1e-4)
    assert len(list((out / "pictures").iterdir())) == 3
    assert "Training" in (out / "report" / "index.html").read_text()
    assert (
        f"Report with all images and errors (open it in a browser): {out}/report/index.html"
        in lines
    )
    assert 0 <= metrics["AP"] <= 1 and json.loads((out / "metrics.json").read_text())["AP"] >= 0
    about = {"model": "last.keras", "data": drawn[1].name, "split": "val"}
    assert metrics["measured"] == {**about, "images": 3, "settings": {}}
    assert any("2 epochs of 2 steps" in line for line in lines)


def test_data_are_checked_before_the_first_step(drawn, tmp_path):
    lines = []

    def say(line):
        lines.append(line)
        if "The first step" in line:
            raise Interrupted

    for part in (0, 1):
        crowd = list(drawn)
        none = np.ones(len(drawn[part].labels), bool)
        crowd[part] = dataclasses.replace(drawn[part], crowd=none)
        with pytest.raises(DataError, match=r"Received: .* The (train|valid)\w+ .* no object to"):
            train(MODEL, *crowd, tmp_path / "run", epochs=1, say=say, **SETTINGS)
        assert not (tmp_path / "run").exists()
    twice = shutil.copy(drawn[0].image_paths[0], tmp_path)
    twins = dataclasses.replace(drawn[1], image_paths=(twice, *drawn[1].image_paths[1:]))
    with pytest.raises(Interrupted):
        train(MODEL, drawn[0], twins, tmp_path / "run", epochs=1, say=say, **SETTINGS)
    assert "1 of 3 validation images is a copy" in lines[0]
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert recipe["objects_per_class"] == drawn[0].class_counts
    assert recipe["training_images"] == len(drawn[0])
    assert recipe["training_objects"] == len(drawn[0].labels)


@pytest.mark.slow
def test_last_holds_the_averaged_weights(run):
    out, _, _ = run
    state = load_model(out / "checkpoints" / "epoch_0002.keras")
    last = load_model(out / "last.keras")
    averages = [np.array(value) for value in state.optimizer._model_variables_moving_average]
    for average, weight in zip(averages, last.trainable_variables, strict=True):
        np.testing.assert_array_equal(average, weight.numpy())


@pytest.mark.slow
def test_an_interrupted_run_resumes_to_the_same_weights(run, drawn, tmp_path, monkeypatch):
    out = tmp_path / "run"

    class Stop(saving.SaveState):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            raise Interrupted

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr("keras_det.training.fit_phases.SaveState", Stop)
        train(MODEL, *drawn, out, epochs=2, **SETTINGS)
    assert not (out / "last.keras").exists()
    train(MODEL, *drawn, out, epochs=2, resume=True, **SETTINGS)
    expected, found = load_model(run[0] / "last.keras"), load_model(out / "last.keras")
    for a, b in zip(expected.get_weights(), found.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)


def small(names):
    return RetinaNet(
        "resnet18", class_names=names, image_size=64, neck_channels=8, head_repeats=1,
        neck="fpn",
    )  # fmt: skip


@pytest.mark.slow
def test_a_run_of_two_phases_resumes_between_them(drawn, tmp_path, monkeypatch):
    settings = dict(epochs=2, batch_size=4, seed=1, heads_first=1, backbone_rate=0.5)
    whole, lines = tmp_path / "whole", []

    def run(out, **more):
        keras.utils.set_random_seed(0)
        model = small(drawn[0].class_names)
        return train(model, *drawn, out, say=lines.append, **settings, **more)

    class Stop(saving.SaveState):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            raise Interrupted

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr("keras_det.training.fit_phases.SaveState", Stop)
        run(tmp_path / "run")
    state = load_model(tmp_path / "run" / "checkpoints" / "epoch_0001.keras")
    heads = len(state.class_head.trainable_variables) + len(state.box_head.trainable_variables)
    assert len(state.trainable_variables) == heads, "the first phase trains the heads alone"
    run(tmp_path / "run", resume=True)
    run(whole)
    expected, found = (load_model(each / "last.keras") for each in (whole, tmp_path / "run"))
    for a, b in zip(expected.get_weights(), found.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)
    assert sum("only the heads in the first epoch" in line for line in lines) == 3
    chosen = json.loads((whole / "recipe.json").read_text())["chosen"]
    assert (chosen["heads_first"], chosen["backbone_rate"], chosen["epochs"]) == (1, 0.5, 2)
    with pytest.raises(DataError, match=r"keep its settings. Received: average=0.25, but the run"):
        run(whole, resume=True, average=0.25)


# Its file does not say what is frozen: a run that is resumed in the first phase would train all.
def test_heads_first_needs_a_detector_that_is_saved_with_what_is_frozen(drawn, tmp_path):
    class Unsaved(TinyDetector):
        def __init__(self, class_names, image_size, name=None):
            super().__init__(class_names, image_size)

    model = Unsaved(drawn[0].class_names, (64, 64))
    with pytest.raises(DataError, match="the argument `freeze`.*heads_first=1 for tiny, Unsaved"):
        train(model, *drawn, tmp_path / "run", epochs=2, heads_first=1, say=lambda line: None)
    assert not (tmp_path / "run").exists()


def test_anchors_are_fitted_for_models_that_have_them(drawn, tmp_path):
    def recipe(model=MODEL, **more):
        out = tmp_path / f"run{len(list(tmp_path.iterdir()))}"

        def say(line):
            if "The first step" in line:
                raise Interrupted

        with pytest.raises(Interrupted):
            train(model, *drawn, out, epochs=1, say=say, **{**SETTINGS, **more})
        return json.loads((out / "recipe.json").read_text())

    fitted = recipe()
    assert fitted["chosen"]["anchors"] == "auto" and "anchor_scale" in fitted["anchors_fitted"]
    own = recipe(model_arguments={"anchor_scale": 2.0})
    assert own["chosen"]["anchors"] == "published" and "anchors_fitted" not in own
    assert recipe(recipe="adamw")["chosen"]["anchors"] == "published"
    with pytest.raises(DataError, match="`anchors` is for models with anchors. .*cornernet_tiny"):
        recipe("cornernet_tiny", anchors="auto", image_size=127)
    with pytest.raises(DataError, match="left out if the anchors are given.*anchor_scale=2"):
        recipe(anchors="auto", model_arguments={"anchor_scale": 2})


def test_a_folder_in_use_and_a_run_that_is_none_are_refused(drawn, tmp_path):
    (tmp_path / "x").touch()
    with pytest.raises(DataError, match=r"must be new or empty. Received: .*--resume"):
        train(MODEL, *drawn, tmp_path, epochs=1)
    with pytest.raises(DataError, match=r"must have a recipe.json. Received"):
        train(MODEL, *drawn, tmp_path, epochs=1, resume=True)


def test_what_is_wrong_is_refused_before_anything_is_written(drawn, tmp_path):
    model, out = tiny(image_size=(64, 64)), tmp_path / "run"
    empty = drawn[1].select([])
    with pytest.raises(DataError, match=r"`validation_set` must have images. Received: .* 0 im"):
        train(MODEL, drawn[0], empty, out, epochs=1)
    with pytest.raises(DataError, match=r"`training_set` must have images. Received: .* 0 im"):
        train(MODEL, empty, drawn[1], out, epochs=1)
    for name, value in {"evaluate_every": 0, "learning_rate": float("nan"), "epochs": -1}.items():
        with pytest.raises(DataError, match=f"`{name}` must be .* Received: {name}={value}"):
            train(MODEL, *drawn, out, **{name: value})
    model = TinyDetector(drawn[0].class_names, (64, 64))
    model.published_optimizer = None  # as for a model that is in no paper
    with pytest.raises(TypeError):
        train(model, *drawn, out, epochs=1, recipe="published")
    assert not out.exists()


def test_a_second_process_is_refused_in_a_run_folder(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr("keras_det.training.run.finish", lambda *_: {})
    model, out, tried = TinyDetector(drawn[0].class_names, (64, 64)), tmp_path / "run", []

    def fit(*_):
        assert (out / RUN_LOCK).is_file()
        tried.append(0)
        monkeypatch.setattr("keras_det.training.run.fit_rest", lambda *_: pytest.fail("trained"))
        with pytest.raises(DataError, match="Only one process may train in a run folder. Receiv"):
            train(model, *drawn, out, epochs=1, resume=True)
        with pytest.raises(DataError, match="The output folder must be new or empty"):
            train(model, *drawn, out, epochs=1)

    monkeypatch.setattr("keras_det.training.run.fit_rest", fit)
    before = signal.getsignal(signal.SIGTERM)
    train(model, *drawn, out, epochs=1)
    assert tried and not (out / RUN_LOCK).exists()
    assert signal.getsignal(signal.SIGTERM) == before


class Recorder:
    """Stands in for `fit`: trains nothing, calls what saves."""

    def __init__(self, monkeypatch):
        self.calls, self.rates = [], []
        recorder = self

        def fit(model, pipeline, initial_epoch, epochs, callbacks, **_):
            recorder.calls.append((initial_epoch, epochs))
            model.optimizer.build(model.trainable_variables)
            for callback in callbacks:
                callback.set_model(model)
                callback.set_params({"epochs": epochs, "steps": 2})
            for epoch in range(initial_epoch, epochs):
                model.optimizer.iterations.assign(2 * (epoch + 1))
                recorder.rates.append(float(model.optimizer.learning_rate))
                for callback in callbacks:
                    if isinstance(callback, History | saving.SaveState | StopDiverged):
                        callback.on_epoch_end(epoch, {"loss": recorder.loss})

        monkeypatch.setattr(TinyDetector, "fit", fit)
        monkeypatch.setattr("keras_det.training.run.finish", lambda *_: {})
        self.loss = 1.0


def test_a_finished_run_is_lengthened_and_its_rate_is_changed(drawn, tmp_path, monkeypatch):
    fitted, lines, out = Recorder(monkeypatch), [], tmp_path / "run"

    def run(epochs, rate=None, out=out, **more):
        model = TinyDetector(drawn[0].class_names, (64, 64))
        settings = dict(batch_size=4, seed=1, recipe="adamw", say=lines.append, warmup_steps=1)
        train(model, drawn[0], None, out, epochs=epochs, learning_rate=rate, **settings, **more)
        return json.loads((out / "recipe.json").read_text())

    run(4, 0.01)
    assert fitted.calls == [(0, 4)] and fitted.rates[-1] == pytest.approx(0, abs=1e-6)
    run(4, resume=True)
    assert len(fitted.calls) == 1 and "already finished" in lines[-1]
    recipe = run(6, resume=True)
    assert fitted.calls[1:] == [(4, 6)] and recipe["epochs"] == recipe["chosen"]["epochs"] == 6
    assert recipe["changes"] == [{"after_epoch": 4, "epochs": [4, 6]}]
    assert any(line.startswith("Learning rate schedule recomputed for 6 epochs") for line in lines)
    # As if it had been planned so from the start.
    whole = Recorder(monkeypatch)
    run(6, 0.01, tmp_path / "whole")
    assert fitted.rates[4:] == pytest.approx(whole.rates[4:]) and whole.rates[4] > 1e-4
    fitted = Recorder(monkeypatch)
    lines.clear()
    recipe = run(8, 0.001, resume=True)
    assert recipe["learning_rate"] == recipe["chosen"]["learning_rate"] == 0.001
    expected = {"after_epoch": 6, "epochs": [6, 8], "learning_rate": [0.01, 0.001]}
    assert recipe["changes"][1:] == [expected]
    # Killed before the first state of the new schedule was there: it is recomputed again.
    for name in ("epoch_0007.keras", "epoch_0008.keras"):
        (out / "checkpoints" / name).unlink()
    rates, before = list(fitted.rates), recipe
    recipe = run(8, resume=True)
    assert fitted.calls[-1] == (6, 8) and fitted.rates[-2:] == pytest.approx(rates)
    assert recipe == before
    # A state from after the change has its schedule already.
    (out / "checkpoints" / "epoch_0008.keras").unlink()
    lines.clear()
    run(8, resume=True)
    assert fitted.calls[-1] == (7, 8) and fitted.rates[-1] == pytest.approx(rates[-1])
    assert not any("schedule recomputed" in line for line in lines)


def test_a_diverged_run_goes_back_twice_and_then_says_how_to_go_on(drawn, tmp_path, monkeypatch):
    fitted, out, lines = Recorder(monkeypatch), tmp_path / "run", []
    model = TinyDetector(drawn[0].class_names, (64, 64))
    settings = dict(batch_size=4, recipe="adamw", how_to_resume="keras-det train d --resume")
    settings["say"] = lines.append
    train(model, drawn[0], None, out, epochs=1, learning_rate=0.01, **settings)
    kept = {path.name: path.read_bytes() for path in (out / "checkpoints").iterdir()}
    fitted.loss = 1e10
    lines.clear()
    with pytest.raises(DataError) as caught:
        train(model, drawn[0], None, out, epochs=2, resume=True, **settings)
    reason, look, advice = str(caught.value).splitlines()
    assert reason.endswith("in epoch 2, after a lowest loss of 1. The training has diverged.")
    file = out / "diverged_epoch_0002_step_000002.npz"
    assert look == f"To see the batch: keras-det train --replay {file}" and file.is_file()
    assert advice.endswith(" --resume --learning-rate 8e-05")
    assert {path.name: path.read_bytes() for path in (out / "checkpoints").iterdir()} == kept
    went = [line.splitlines()[1] for line in lines if "goes back" in line]
    start = "The run goes back and continues after epoch 1 with the learning rate"
    assert went == [
        f"{start} 0.002 instead of 0.01 (attempt 1 of 2).",
        f"{start} 0.0004 instead of 0.002 (attempt 2 of 2).",
    ]
    changes = json.loads((out / "recipe.json").read_text())["changes"]
    assert [each.get("learning_rate") for each in changes[1:]] == [[0.01, 0.002], [0.002, 0.0004]]
    assert changes[1]["after_epoch"] == 1 and changes[2]["diverged"] == reason
    with pytest.raises(DataError, match="has diverged"):  # twice is in all, also after a resume
        train(model, drawn[0], None, out, epochs=2, resume=True, **settings)
    assert len(json.loads((out / "recipe.json").read_text())["changes"]) == 3
    fitted.loss = 1.0
    train(model, drawn[0], None, out, epochs=2, learning_rate=0.001, resume=True, **settings)
    assert fitted.calls[-1] == (1, 2)


def test_a_run_that_diverges_at_once_goes_back_to_its_start(drawn, tmp_path, monkeypatch):
    fitted, out, lines = Recorder(monkeypatch), tmp_path / "run", []
    model = TinyDetector(drawn[0].class_names, (64, 64))
    start = [np.array(each) for each in model.get_weights()]

    class Once(StopDiverged):
        def on_epoch_end(self, epoch, logs=None):
            if len(fitted.calls) == 1:
                self.model.set_weights([each + 1 for each in start])
                logs = {"loss": np.inf}
                self.epoch = epoch
                self.on_train_batch_end(1, logs)

    monkeypatch.setattr("keras_det.training.fit_phases.StopDiverged", Once)
    more = {"recipe": "adamw", "batch_size": 4, "epochs": 1, "learning_rate": 0.01}
    train(model, drawn[0], None, out, say=lines.append, **more)
    assert fitted.calls == [(0, 1), (0, 1)]
    assert json.loads((out / "recipe.json").read_text())["chosen"]["learning_rate"] == 0.002
    assert "continues from the start with the learning rate 0.002" in " ".join(lines)
    state = load_model(out / "checkpoints" / "epoch_0001.keras")
    for a, b in zip(start, state.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_missing_weights_are_refused_before_anything_is_written(drawn, tmp_path):
    with pytest.raises(DataError, match=r"start from must be an existing file. Received"):
        train(MODEL, *drawn, tmp_path / "run", epochs=1, weights="absent.keras", **SETTINGS)
    assert not (tmp_path / "run").exists()


def test_unknown_recipes_and_parts_are_refused_before_anything_is_written(drawn, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(
        DataError, match=r"must be one of auto, adamw, published.* Received: recipe='sgd'"
    ):
        train(MODEL, *drawn, out, epochs=1, recipe="sgd", **SETTINGS)
    with pytest.raises(
        DataError, match=r"for the recipes auto and adamw.* Received: recipe=.published"
    ):
        train(MODEL, *drawn, out, epochs=1, recipe="published", learning_rate=0.1, **SETTINGS)
    with pytest.raises(DataError, match=r"corner_pooling"):
        train(MODEL, *drawn, out, epochs=1, model_arguments={"corner_pooling": True}, **SETTINGS)
    assert not out.exists()


def test_a_resumed_run_keeps_its_parts_and_recipe(drawn, tmp_path):
    settings = {"model": MODEL, "model_arguments": {"neck": "fpn"}, "recipe": "adamw"}
    (tmp_path / "recipe.json").write_text(json.dumps(settings))
    for changed in ({"model_arguments": {"neck": "pafpn"}}, {"recipe": "published"}):
        with pytest.raises(
            DataError, match=r"must keep its settings. Received: (model_arg|recipe)"
        ):
            train(
                MODEL,
                *drawn,
                tmp_path,
                epochs=1,
                resume=True,
                **{"model_arguments": {"neck": "fpn"}, **changed},
            )


def test_a_resumed_run_keeps_its_classes_and_slots(drawn, tmp_path):
    names = list(drawn[0].class_names)

    def refusal(**recipe):
        (tmp_path / "recipe.json").write_text(json.dumps({"model": MODEL, **recipe}))
        with pytest.raises(DataError) as caught:
            train(MODEL, *drawn, tmp_path, epochs=1, resume=True, max_boxes=50)
        return str(caught.value)

    message = refusal(class_names=[*names[1:], "old"])
    assert "must keep its classes. Received: " in message
    assert f"(new: {names[0]}; missing: old)" in message
    assert f"--weights {tmp_path} --out ANOTHER_FOLDER" in message
    message = refusal(class_names=names[::-1])
    assert f"in another order). Read the data with class_names={names[::-1]} (--cl" in message
    message = refusal(class_names=names, max_boxes=100)
    assert "must keep its settings. Received: max_boxes=50, but the run has 100" in message


def test_a_validation_set_of_other_classes_is_refused_before_training(drawn, tmp_path):
    names = drawn[0].class_names
    other = dataclasses.replace(drawn[1], class_names=names[::-1])
    with pytest.raises(ValueError, match="must have the model's classes in the model's order"):
        train(MODEL, drawn[0], other, tmp_path / "run", epochs=1, **SETTINGS)
    assert not (tmp_path / "run").exists()


def test_slots_plain_epochs_and_notes_on_the_data_reach_the_pipeline_and_the_recipe(
    drawn, tmp_path, monkeypatch
):
    monkeypatch.setattr("keras_det.training.run.fit_rest", lambda rest, *_: made(rest.pipeline))
    monkeypatch.setattr("keras_det.training.run.finish", lambda *_: {})
    found = []
    made = found.append
    note = {"split_by": 0.8}
    more = {"epochs": 5, "augment": "strong", "plain_epochs": 2}
    train(MODEL, *drawn, tmp_path / "run", max_boxes=7, data=note, **more, **SETTINGS)
    assert found[0].max_boxes == 7 and found[0].plain_after == 3
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert recipe["max_boxes"] == 7 and recipe["data"] == note
    assert recipe["chosen"]["plain_epochs"] == 2


def test_the_augmentation_is_the_recipes_or_the_one_given(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr("keras_det.training.run.fit_rest", lambda rest, *_: made(rest.pipeline))
    monkeypatch.setattr("keras_det.training.run.finish", lambda *_: {})
    model = TinyDetector(drawn[0].class_names, (64, 64))
    monkeypatch.setattr("keras_det.training.run.model_to_train", lambda *_: (model, None))
    monkeypatch.setattr("keras_det.training.run.with_fitted_anchors", lambda *_: (model, Fitted()))
    found = []
    made = found.append
    steps = [Flip(), Mosaic(0.5)]
    for name, augment in {"auto": None, "named": "flip", "steps": steps}.items():
        out = tmp_path / name
        train(MODEL, *drawn, out, augment=augment, epochs=10, **SETTINGS)
        train(MODEL, *drawn, out, augment=augment, epochs=10, resume=True, **SETTINGS)
    assert [pipeline.augment for pipeline in found] == [
        get_augment(augment) for augment in ("ssj", "ssj", "flip", "flip", steps, steps)
    ]
    recipe = json.loads((out / "recipe.json").read_text())
    assert recipe["augment"] == str(steps) and recipe["chosen"]["augment"] is None
    assert recipe["chosen"]["plain_epochs"] == 1, "mosaic is strong"
    with pytest.raises(DataError, match=r"`augment` must be given again .* has \[Flip"):
        train(MODEL, *drawn, out, epochs=10, resume=True, **SETTINGS)
    result = CliRunner().invoke(main, ["train", "x", "--resume", "--out", str(out)])
    assert result.exit_code == 2
    assert "can be resumed only in Python, with the same `augment`. Received: " in result.output
    with pytest.raises(DataError, match="keep its settings. Received: augment='flip'"):
        train(MODEL, *drawn, out, augment="flip", epochs=10, resume=True, **SETTINGS)


def test_a_run_of_an_earlier_version_resumes_with_its_augmentation(tmp_path):
    chosen = dataclasses.asdict(choose_recipe("auto", 40, 500))
    del chosen["augment"]
    (tmp_path / "recipe.json").write_text(json.dumps({"augment": "lsj", "chosen": chosen}))
    assert chosen_before(tmp_path, {}).augment == "lsj"


def test_the_input_fits_the_images_and_a_resumed_run_keeps_it(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "keras_det.training.run.fit_rest", lambda rest, *_: found.append(rest.model)
    )
    monkeypatch.setattr("keras_det.training.run.finish", lambda *_: {})
    found, lines = [], []
    wide = dataclasses.replace(drawn[0], image_sizes=np.tile([48, 64], (6, 1)))
    tall = dataclasses.replace(drawn[0], image_sizes=np.tile([64, 48], (6, 1)))
    more = {"say": lines.append}
    train(MODEL, wide, None, tmp_path / "run", **more)
    words = [line.split()[0] for line in lines]  # the anchors are fitted in this input
    assert words.index("Recipe") < words.index("Input") < words.index("Anchors")
    train(MODEL, tall, None, tmp_path / "run", resume=True, **more)  # no epoch is finished yet
    assert [model.image_size for model in found] == [(288, 352)] * 2
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert recipe["image_size"] == recipe["chosen"]["image_size"] == [288, 352]
    assert sum(line.startswith("Input 288x352 (height x width) inst") for line in lines) == 1
    with pytest.raises(DataError, match=r"keep its settings. Received: image_size=\[320, 320\]"):
        train(MODEL, wide, None, tmp_path / "run", resume=True, image_size=320, **more)
    for name, given in {"a": {"image_size": 64}, "b": {"recipe": "adamw"}}.items():
        train(MODEL, wide, None, tmp_path / name, **{**more, **given})
    assert [model.image_size for model in found[2:]] == [(64, 64), (320, 320)]


def test_arguments_that_would_change_nothing_are_refused(drawn, tmp_path):
    model, out = tiny(image_size=(64, 64)), tmp_path / "run"
    for name, value in {
        "image_size": 96, "resize_mode": "stretch", "model_arguments": {"neck": "fpn"}
    }.items():  # fmt: skip
        with pytest.raises(DataError, match=f"`{name}` must be left out for a model that is built"):
            train(model, *drawn, out, epochs=1, **{name: value})
    with pytest.raises(DataError, match="`evaluate_every` must be left out without a validation"):
        train(MODEL, drawn[0], None, out, epochs=1, evaluate_every=2)
    assert not out.exists()


def test_plain_epochs_are_checked_before_weights_are_fetched(drawn, tmp_path, monkeypatch):
    def reached(*_):
        raise Interrupted

    monkeypatch.setattr("keras_det.training.run.model_to_train", reached)
    out = tmp_path / "run"
    with pytest.raises(DataError, match=r"`plain_epochs` must lie in 0\.\.2, .*Received: 3\."):
        train(MODEL, *drawn, out, epochs=2, plain_epochs=3, augment="strong", **SETTINGS)
    with pytest.raises(DataError, match="`plain_epochs` is for an augmentation with mosaic"):
        train(MODEL, *drawn, out, plain_epochs=3, **SETTINGS)
    # "auto" takes 28 epochs from random weights and 35 from trained ones: not known yet.
    many = drawn[0].select([0] * 292)
    with pytest.raises(Interrupted):
        train(MODEL, many, None, out, plain_epochs=30, augment="strong", seed=1)
    assert not out.exists()


def test_settings_of_a_measurement_are_named(drawn):
    with pytest.raises(TypeError, match=r"^evaluate\(\) takes no argument 'methode'.*'method'"):
        evaluate(Perfect(drawn[1]), drawn[1], methode="hard")
    with pytest.raises(TypeError, match=r"^detect_dataset\(\) takes no argument 'sigmas'"):
        detect_dataset(Perfect(drawn[1]), drawn[1], sigmas=0.1)


class Perfect:
    """A detector that returns the ground truth in pixels of a network input of half the size."""

    def __init__(self, dataset):
        self.dataset = dataset
        self.class_names = list(dataset.class_names)
        self.resize_policy = {"mode": "letterbox", "size": (32, 32)}
        self.next = 0

    def check_dataset(self, dataset):
        assert dataset is self.dataset

    def detect_function(self, **settings):
        def detect(images):
            slots = 20
            found = {
                "boxes": np.zeros((len(images), slots, 4), "float32"),
                "scores": np.zeros((len(images), slots), "float32"),
                "labels": np.full((len(images), slots), -1, "int32"),
                "num_detections": np.zeros(len(images), "int32"),
            }
            for i in range(len(images)):
                if self.next >= len(self.dataset):
                    break
                sample = self.dataset[self.next]
                count = len(sample.boxes)
                transform = letterbox(*sample.original_size, (32, 32))
                found["boxes"][i, :count] = transform.apply(sample.boxes)
                found["scores"][i, :count] = 0.9
                found["labels"][i, :count] = sample.labels
                found["num_detections"][i] = count
                self.next += 1
            return found

        return detect

    from keras_det.models.detector import Detector

    to_original = Detector.to_original


def test_ground_truth_fed_back_as_detections_scores_one(drawn):
    dataset, done = drawn[1], []
    metrics = evaluate(
        Perfect(dataset), dataset, batch_size=2, on_batch=lambda *counts: done.append(counts)
    )
    assert metrics["AP"] == pytest.approx(1.0) and metrics["AP75"] == pytest.approx(1.0)
    assert done == [(2, 3), (3, 3)]


def test_ground_truth_keeps_area_and_crowd(drawn):
    rows = drawn[1].ground_truth()
    assert [row["image_id"] for row in rows] == [0, 1, 2]
    np.testing.assert_array_equal(rows[0]["area"], drawn[1][0].area)
    assert rows[0]["crowd"].dtype == bool
