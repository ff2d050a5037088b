"""Trains three tiny detectors on one device, on two, or as one of several workers.

`python -m tests.models.shared_training ARRANGEMENT FOLDER` writes one `.npz` for each detector and
arrangement: its weights before and after the steps, by number, and its logs by name.
"""

import json
import os
import pathlib
import sys

import numpy as np

STEPS, BATCH = int(os.environ.get("TEST_STEPS", "20")), 4
DOUBLE = bool(os.environ.get("TEST_IN_DOUBLE"))
MODELS = ("efficientdet", "retinanet", "cornernet")
CHOSEN = os.environ.get("TEST_MODELS", " ".join(MODELS)).split()


def build(name, class_names):
    """A tiny detector for images of 64 pixels; all have batch normalisation."""
    import keras

    from keras_det import CornerNet, RetinaNet
    from keras_det.backbones.hourglass import Hourglass
    from tests.export.tiny import TinyDetector, small_backbone

    keras.utils.set_random_seed(3)
    dtype = "float64" if DOUBLE else "float32"
    if name == "efficientdet":
        return TinyDetector(class_names, 64, max_level=5, dtype=dtype)
    if name == "retinanet":
        parts = {"neck_channels": 8, "head_repeats": 1, "head_norm": "batch", "dtype": dtype}
        return RetinaNet(small_backbone(), class_names=class_names, image_size=64, **parts)
    small = Hourglass(1, (4, 6), (1, 1), 2)
    return CornerNet(small, class_names=class_names, image_size=63, dtype=dtype)


def optimizer():
    import keras

    return keras.optimizers.SGD(0.003, momentum=0.9)


def train(name, scope, epochs=2, **more):
    """The logs of a training, and the weights before and after it."""
    from keras_det.data import Pipeline, load
    from tests.helpers import data_set

    data = load(data_set("drawn"), split="train")
    with scope:
        model = build(name, data.class_names)
        model.compile(optimizer())
    before = model.get_weights()
    pipeline = Pipeline(data, model, BATCH, augment="ssj", seed=5)
    logs = model.fit(
        pipeline, epochs=epochs, steps_per_epoch=STEPS // epochs, verbose=0, **more
    ).history
    return logs, before, model.get_weights(), model


def keep(path, logs, before, after, model):
    arrays = {f"before_{i}": each for i, each in enumerate(before)}
    arrays |= {f"after_{i}": each for i, each in enumerate(after)}
    paths = np.array([each.path for each in model.weights])
    trained = {id(each) for each in model.trainable_weights}
    flags = np.array([id(each) in trained for each in model.weights])
    np.savez(path, logs=json.dumps(logs), paths=paths, trained=flags, **arrays)


def observed(folder):
    """Callbacks and validation data of a training whose files stand in a folder."""
    from keras_det.data import load
    from keras_det.training.callbacks import EvaluateAP, History, SaveBest
    from tests.helpers import data_set

    validation = load(data_set("drawn"), split="train")
    folder.mkdir()
    written = [SaveBest(folder / "best.keras"), History(folder / "history.csv")]
    return {"callbacks": [EvaluateAP(validation, 5), *written]}


def local(folder):
    import contextlib

    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    # One for all: TensorFlow numbers the exchanges of every strategy from the same number on.
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    assert strategy.num_replicas_in_sync == 2
    for name in CHOSEN:
        more = {} if DOUBLE or name != CHOSEN[0] else observed(folder / "one_device")
        keep(folder / f"{name}_one.npz", *train(name, contextlib.nullcontext(), **more))
        keep(folder / f"{name}_two.npz", *train(name, strategy.scope()))


def worker(folder):
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    for name in CHOSEN:
        more = {} if DOUBLE or name != CHOSEN[0] else observed(folder / f"worker_{index}")
        keep(folder / f"{name}_worker_{index}.npz", *train(name, strategy.scope(), **more))


def on_jax(folder):
    import contextlib

    import jax

    jax.config.update("jax_num_cpu_devices", 2)
    import keras

    for name in CHOSEN:
        keep(folder / f"{name}_one.npz", *train(name, contextlib.nullcontext()))
        keras.distribution.set_distribution(keras.distribution.DataParallel())
        keep(folder / f"{name}_two.npz", *train(name, contextlib.nullcontext()))
        keras.distribution.set_distribution(None)


if __name__ == "__main__":
    if DOUBLE:
        import keras

        keras.config.set_floatx("float64")
    {"local": local, "worker": worker, "jax": on_jax}[sys.argv[1]](pathlib.Path(sys.argv[2]))
    print("trained")
