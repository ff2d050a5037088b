"""The batches at which a training diverged: kept, read and computed again."""

import dataclasses
import json
import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from keras_det.cli import main
from keras_det.data import Pipeline, draw_shapes_dataset, load
from keras_det.errors import DataError
from keras_det.training import replay
from keras_det.training.states import save_state
from tests.export.tiny import TinyDetector


@pytest.fixture(scope="module")
def train_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    draw_shapes_dataset(folder, num_train=6, num_val=1, image_size=64, seed=0)
    return load(folder, split="train")


@pytest.fixture(scope="module")
def pipeline(train_set):
    return Pipeline(train_set, (64, 64), 4, augment="ssj", seed=3, training=True)


@pytest.fixture(scope="module")
def kept(pipeline, train_set):
    batches = replay.batches_before(pipeline, 1, 1)
    paths = [[train_set.image_paths[i] for i in batch["image_index"]] for batch in batches]
    loss = {"loss": np.nan, "class_loss": np.nan, "box_loss": 0.25}
    return replay.Kept(batches, paths, "step 2 of epoch 2", loss, "epoch_0001.keras", [1, 2])


@pytest.fixture
def model(train_set):
    keras.utils.set_random_seed(0)
    return TinyDetector(train_set.class_names, (64, 64))


def test_the_batches_are_those_of_the_training(pipeline, kept):
    stream = pipeline.start(0).as_tf_dataset(training=True).take(4).as_numpy_iterator()
    for (images, targets), batch in zip(list(stream)[2:], kept.batches, strict=True):
        np.testing.assert_array_equal(images, batch["images"])
        for name in ("boxes", "labels", "image_index"):
            np.testing.assert_array_equal(targets[name], batch[name])
    assert len(replay.batches_before(pipeline, 1, 0)) == 1, "there is none before the first step"


def test_what_is_kept_is_read(kept, tmp_path):
    path = tmp_path / "diverged.npz"
    replay.save(path, kept)
    found = replay.read(path)
    assert np.isnan(found.loss["class_loss"]) and found.loss["box_loss"] == 0.25
    assert (found.paths, found.place, found.steps) == (kept.paths, kept.place, kept.steps)
    for a, b in zip(found.batches, kept.batches, strict=True):
        for name, value in b.items():
            np.testing.assert_array_equal(a[name], value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", "cut", "other"])
def test_other_files_are_refused(kept, tmp_path, content):
    path = tmp_path / "diverged.npz"
    replay.save(path, kept)
    if content == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif content == "other":
        np.savez(path, about=np.zeros(3, np.uint8))
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match="must be one that a training has written. Received: .*Giv"):
        replay.read(path)
    with pytest.raises(DataError, match="Received"):
        replay.read(tmp_path / "absent.npz")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "diverged.npz")
    with pytest.raises(DataError, match="a named pipe"):
        replay.read(tmp_path / "diverged.npz")


WRONG = {
    "paths": (dict(paths=[]), dict(paths=["ab"]), dict(paths=[[1, 2]])),
    "steps": (dict(steps=[1]), dict(steps=["1", "2"]), dict(steps=4), dict(place=3)),
    "state": (dict(state="../x.keras"), dict(state="/x"), dict(state="a\0"), dict(state=5)),
    "loss": (dict(loss=[]),),
    "description": (dict(more=1),),
}


@pytest.mark.parametrize("reason", WRONG)
def test_descriptions_of_another_kind_are_refused(kept, tmp_path, reason):
    path = tmp_path / "diverged.npz"
    replay.save(path, kept)
    with np.load(path) as archive:
        arrays = dict(archive)
    about = json.loads(arrays["about"].tobytes())
    for change in WRONG[reason]:
        text = json.dumps(about | change).encode()
        np.savez(path, **{**arrays, "about": np.frombuffer(text, np.uint8)})
        with pytest.raises(DataError, match=rf"Received: .*diverged\.npz \(its {reason}.*Give a"):
            replay.read(path)


@pytest.mark.parametrize(
    "name, change",
    [
        ("images", lambda array: array[:, 0]),
        ("images", lambda array: array.astype("complex64")),
        ("images", lambda array: array[:1]),
        ("boxes", lambda array: array.astype("U")),
        ("labels", lambda array: array.astype("float32")),
    ],
)
def test_arrays_of_another_kind_are_refused(kept, tmp_path, name, change):
    path = tmp_path / "diverged.npz"
    batches = [dict(kept.batches[0]), {**kept.batches[1], name: change(kept.batches[1][name])}]
    replay.save(path, dataclasses.replace(kept, batches=batches))
    with pytest.raises(DataError, match=rf"npz \({name} of batch 1 must be 4 rows of \d dim"):
        replay.read(path)


def test_boxes_and_labels_belong_together(kept, tmp_path):
    path = tmp_path / "diverged.npz"
    for change in (lambda boxes: boxes[..., :3], lambda boxes: boxes[:, :-1]):
        batch = {**kept.batches[1], "boxes": change(kept.batches[1]["boxes"])}
        replay.save(path, dataclasses.replace(kept, batches=[kept.batches[0], batch]))
        with pytest.raises(DataError, match=r"boxes of batch 1 must be \(4, \d+, 4\), not \("):
            replay.read(path)


def test_an_archive_that_unpacks_to_far_more_is_refused(kept, tmp_path, monkeypatch):
    monkeypatch.setattr(replay, "FREE", 1000)
    path = tmp_path / "diverged.npz"
    images = np.zeros((4, 1000, 1000, 3), np.uint8)
    replay.save(path, dataclasses.replace(kept, batches=[{**kept.batches[0], "images": images}]))
    with pytest.raises(DataError, match=r"would become [\d,]+ bytes, more than 100 times its"):
        replay.read(path)


def test_batches_that_do_not_fit_the_model_are_a_sentence(model, kept, tmp_path):
    model.save(tmp_path / "best.keras")
    batches = [{**each, "boxes": np.full_like(each["boxes"], np.nan)} for each in kept.batches]
    replay.save(tmp_path / "d.npz", dataclasses.replace(kept, batches=batches, state=None))
    with pytest.raises(DataError, match=r"must fit .*best\.keras\. Received: .*d\.npz \(Ground"):
        replay.replay(tmp_path / "d.npz")


def test_losses_and_gradients(model, kept):
    seen = replay.compute(model, kept.batches[1])
    batch = kept.batches[1]
    targets = {"boxes": batch["boxes"], "labels": batch["labels"]}
    with tf.GradientTape() as tape:
        parts = model.losses_of(targets, model(batch["images"], training=True))
        total = sum(parts[name] for name in model.LOSSES)
    for name in model.LOSSES:
        assert seen.losses[name] == pytest.approx(float(parts[name]), rel=1e-4)
    gradients = tape.gradient(total, [each.value for each in model.trainable_variables])
    expected = [float(tf.norm(tf.convert_to_tensor(gradient))) for gradient in gradients]
    norms = [norm for norm, _ in seen.gradients]
    np.testing.assert_allclose(norms, sorted(expected, reverse=True), rtol=1e-3, atol=1e-3)
    assert seen.finite and seen.objects == [(each >= 0).sum() for each in batch["labels"]]


def test_the_image_that_is_not_finite_comes_first(model, kept, tmp_path):
    batches = [{name: value.copy() for name, value in batch.items()} for batch in kept.batches]
    batches[1]["boxes"][2, 0] = [0, 0, np.inf, np.inf]
    batches[1]["labels"][2, 0] = 0
    spoiled = replay.Kept(batches, kept.paths, kept.place, kept.loss, None, kept.steps)
    replay.save(tmp_path / "diverged_1.npz", spoiled)
    with pytest.raises(DataError, match="must lie in the folder of its run"):
        replay.replay(tmp_path / "diverged_1.npz")
    model.compile()
    save_state(model, tmp_path / "checkpoints", 1)
    spoiled.state = "epoch_0001.keras"
    replay.save(tmp_path / "diverged_1.npz", spoiled)
    lines = replay.replay(tmp_path / "diverged_1.npz")
    assert lines[0].startswith("The training diverged at step 2 of epoch 2: loss nan, class_loss")
    assert "are not finite with the weights below either" in lines[1]
    first = lines.index(next(line for line in lines if line.startswith("Step 2: "))) + 1
    assert "nan" in lines[first] or "inf" in lines[first]
    assert lines[first].endswith(kept.paths[1][2])


def test_the_command(model, kept, tmp_path):
    model.compile()
    save_state(model, tmp_path / "checkpoints", 1)
    path = tmp_path / "diverged_1.npz"
    replay.save(path, kept)
    result = CliRunner().invoke(main, ["train", "--replay", str(path)])
    assert result.exit_code == 0, result.output
    assert "the weights had diverged before. Lower the learning rate." in result.output
    assert "Largest gradients:" in result.output
    for more in (["data"], ["--epochs", "3"]):
        result = CliRunner().invoke(main, ["train", *more, "--replay", str(path)])
        assert result.exit_code == 2 and "--replay must be given alone" in result.output
    result = CliRunner().invoke(main, ["train"])
    assert result.exit_code == 2 and "Missing argument" in result.output
