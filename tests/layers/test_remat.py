"""Recomputed blocks: the same outputs, gradients, statistics and random numbers."""

import keras
import numpy as np
import pytest

from keras_det import EfficientDet, RetinaNet
from keras_det.backbones import efficientnet, resnet
from keras_det.layers.batch_norm import BatchNorm
from tests.export.tiny import TinyDetector


def after_steps(remat, dropout=0.0):
    """Variables and average after two steps: statistics, weights and states of generators too."""
    keras.utils.set_random_seed(0)
    model = TinyDetector(["cat"], (64, 64), max_level=5, dropout=dropout, remat=remat)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9, use_ema=True, ema_momentum=0.5))
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3)).astype("float32")
    box = np.array([[[8, 8, 40, 30]]], "float32")
    targets = {"boxes": np.tile(box, (4, 1, 1)), "labels": np.zeros((4, 1), "int32")}
    for _ in range(2):
        model.train_on_batch(images, targets)
    held = [*model.variables, *model.optimizer.variables]
    return [(each.path, np.array(each)) for each in held]


def test_a_step_gives_the_same_weights_statistics_and_random_numbers():
    plain, again = after_steps(False, 0.3), after_steps(True, 0.3)
    for (name, expected), (_, value) in zip(plain, again, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-6, err_msg=name)


# Three levels. Per level of the heads and per node, one normalisation; it runs once more where the
# block is computed again. None of them runs again outside training.
def test_every_block_runs_again_in_the_backward_pass(monkeypatch):
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("tf.GradientTape")
    found, calls, fused = {}, [], BatchNorm._fused_call

    def counted(self, inputs, training):
        calls.append(self)
        return fused(self, inputs, training)

    monkeypatch.setattr(BatchNorm, "_fused_call", counted)
    for remat in (False, True):
        model = TinyDetector(["cat"], (64, 64), max_level=5, remat=remat)
        calls.clear()
        model(np.zeros((1, 64, 64, 3), "float32"), training=False)
        assert len(calls) == len(set(map(id, calls)))
        calls.clear()
        with tf.GradientTape() as tape:
            raw = model(np.zeros((1, 64, 64, 3), "float32"), training=True)
            loss = sum(tf.reduce_sum(each) for each in raw.values())
        tape.gradient(loss, [each.value for each in model.trainable_variables])
        found[remat] = len(calls)
    assert found[True] == 2 * found[False]


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        lambda r: efficientnet("lite0", (64, 64), 0.4, remat=r),
        lambda r: resnet("resnet18", (64, 64), remat=r),
    ],
)
def test_backbones_have_the_same_outputs_gradients_and_statistics(make):
    tf = pytest.importorskip("tensorflow")
    images, found = np.random.default_rng(0).normal(size=(4, 64, 64, 3)).astype("float32"), []
    for remat in (False, True):
        keras.utils.set_random_seed(0)
        model = make(remat)

        @tf.function
        def step(model=model):
            with tf.GradientTape() as tape:
                outputs = model(images, training=True)
                loss = tf.add_n([tf.reduce_mean(each**2) for each in outputs.values()])
            return outputs, tape.gradient(loss, [v.value for v in model.trainable_variables])

        outputs, gradients = step()
        fixed = [np.array(each) for each in model.non_trainable_variables]
        found.append([*(np.array(x) for x in (*outputs.values(), *gradients)), *fixed])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5 * max(1e-3, np.abs(one).max()))


@pytest.mark.parametrize(
    "make",
    [
        lambda **more: EfficientDet("lite0", num_classes=1, image_size=64, **more),
        lambda **more: RetinaNet(
            "resnet18", num_classes=1, image_size=64, neck="bifpn", neck_channels=8, **more
        ),
    ],
)
def test_the_argument_reaches_every_part_and_is_saved(make):
    for remat in (False, True):
        model = make(remat=remat)
        model = type(model).from_config(model.get_config())
        parts = [model.neck, model.class_head, model.box_head]
        assert [part.remat for part in parts] == [remat] * 3
        assert ("call" in vars(model.backbone)) is remat
    with pytest.raises(TypeError, match="`remat` must be True or False. Received: remat='yes'"):
        make(remat="yes")
