"""The batches at which a training diverged: kept, read and computed again."""

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
