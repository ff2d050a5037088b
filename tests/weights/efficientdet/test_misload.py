"""A trained checkpoint with two tensors of one shape swapped starts with a higher loss."""

import keras
import numpy as np
import pytest

from keras_det import EfficientDet
from keras_det.data import Pipeline, draw_shapes_dataset, load
from keras_det.layers.batch_norm import BatchNorm
from keras_det.training.recipes import adamw
from keras_det.weights.efficientdet.names import variable_names

BLOCKS, NECK = "efficientnet-lite0", "fpn_cells"
PAIRS = (
    (f"{BLOCKS}/blocks_9/conv2d_1/kernel", f"{BLOCKS}/blocks_10/conv2d_1/kernel"),
    (f"{BLOCKS}/blocks_6/depthwise_conv2d/depthwise_kernel",
     f"{BLOCKS}/blocks_7/depthwise_conv2d/depthwise_kernel"),
    (f"{NECK}/cell_0/fnode3/op_after_combine8/conv/pointwise_kernel",
     f"{NECK}/cell_2/fnode3/op_after_combine8/conv/pointwise_kernel"),
    ("class_net/class-1-bn-4/moving_variance", "class_net/class-1-bn-4/gamma"),
    ("class_net/class-0/pointwise_kernel", "box_net/box-0/pointwise_kernel"),
)  # fmt: skip


def official(model):
    """The model's variables as an official checkpoint holds them: boxes as (ty, tx, th, tw)."""
    values = {name: np.array(variable) for name, variable in variable_names(model).items()}
    for name in ("box_net/box-predict/pointwise_kernel", "box_net/box-predict/bias"):
        value = values[name]
        by_anchor = value.reshape(*value.shape[:-1], 9, 4)
        values[name] = by_anchor[..., [1, 0, 3, 2]].reshape(value.shape)
    return values


@pytest.mark.slow
def test_the_loss_starts_lower_from_the_right_checkpoint(tmp_path):
    draw_shapes_dataset(tmp_path, num_train=8, num_val=1, image_size=64, seed=0)
    train = load(tmp_path, split="train")
    keras.utils.set_random_seed(0)
    model = EfficientDet("lite0", class_names=train.class_names, image_size=64, anchor_scale=2.0)
    for layer in model._flatten_layers():
        if isinstance(layer, BatchNorm):
            layer.momentum = 0.5  # statistics of the last few of a hundred steps
    model.compile(adamw(model, 8, 100, averaged=False))
    (images, targets), *_ = Pipeline(train, model, 8, training=False).as_tf_dataset()
    for _ in range(100):
        model.train_on_batch(images, targets)
    checkpoint = official(model)

    def loss_from(values):
        model.start_from(values)
        model.reset_metrics()
        return model.test_on_batch(images, targets, return_dict=True)["loss"]

    right = loss_from(checkpoint)
    for first, second in PAIRS:
        swapped = {**checkpoint, first: checkpoint[second], second: checkpoint[first]}
        assert loss_from(swapped) > 1.2 * right, f"{first} and {second}"
    assert loss_from(checkpoint) == pytest.approx(right, rel=1e-4)
    other = EfficientDet("lite0", class_names=train.class_names, image_size=64, anchor_scale=2.0)
    other.compile(run_eagerly=True)  # one batch: nothing to trace
    assert other.test_on_batch(images, targets, return_dict=True)["loss"] > 10 * right
