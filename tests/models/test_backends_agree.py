"""Twenty training steps agree on JAX and TensorFlow, and the trained file works on both."""

import keras
import numpy as np
import pytest

from keras_det import load_model
from tests.export.tiny import tiny
from tests.helpers import run_on_jax

STEPS, BATCH = 20, 4

# Trains start.keras on the batches of batches.npz, and writes what came out beside them.
TRAIN = """
import pathlib, sys
import keras, numpy as np
import tests.export.tiny
from keras_det import load_model

folder = pathlib.Path(sys.argv[1])
batches = np.load(folder / "batches.npz")
model = load_model(folder / "start.keras")
model.compile(keras.optimizers.SGD(1e-4, momentum=0.9))
losses = []
def note(batch, logs):
    losses.append(logs["loss"])
model.fit(
    *(batches["images"], {name: batches[name] for name in ("boxes", "labels")}),
    batch_size=4, shuffle=False, verbose=0,
    callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=note)],
)
backend = keras.backend.backend()
model.save(folder / f"{backend}.keras")
raw = model(batches["images"][:4].astype("float32"), training=False)
raw = {name: keras.ops.convert_to_numpy(value) for name, value in raw.items()}
np.savez(folder / f"{backend}.npz", losses=np.array(losses, "float64"), **raw)
if backend != "tensorflow":
    print("without TensorFlow")
"""


def largest_change(before, after):
    """The largest change of any weight."""
    pairs = zip(before.get_weights(), after.get_weights(), strict=True)
    return max(float(np.abs(a - b).max()) for a, b in pairs)


# Nothing in this model is random, so both backends compute the same up to rounding.
@pytest.mark.slow
def test_twenty_steps_agree_and_the_model_moves_between_backends(tmp_path, monkeypatch):
    keras.utils.set_random_seed(0)
    start = tiny((64, 64))
    start.save(tmp_path / "start.keras")
    rng = np.random.default_rng(0)
    count = STEPS * BATCH
    corners = rng.uniform(0, 40, (count, 3, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(8, 24, (count, 3, 2))], axis=-1)
    np.savez(
        tmp_path / "batches.npz",
        images=rng.integers(0, 256, (count, 64, 64, 3), dtype=np.uint8),
        boxes=boxes.astype("float32"),
        labels=rng.integers(0, len(start.class_names), (count, 3)).astype("int32"),
    )
    run_on_jax(TRAIN, tmp_path)
    monkeypatch.setattr("sys.argv", ["", str(tmp_path)])
    exec(compile(TRAIN, "train", "exec"), {})

    ours, theirs = (np.load(tmp_path / f"{name}.npz") for name in ("tensorflow", "jax"))
    assert len(ours["losses"]) == STEPS
    np.testing.assert_allclose(theirs["losses"], ours["losses"], rtol=1e-4)
    trained, moved = (load_model(tmp_path / f"{name}.keras") for name in ("tensorflow", "jax"))
    assert largest_change(trained, moved) < 1e-4 * largest_change(start, trained)
    # The file that JAX wrote computes on TensorFlow what it computed on JAX.
    images = np.load(tmp_path / "batches.npz")["images"][:BATCH].astype("float32")
    for name, value in moved(images, training=False).items():
        np.testing.assert_allclose(value, theirs[name], atol=1e-4, err_msg=name)
