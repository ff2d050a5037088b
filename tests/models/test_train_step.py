"""One training step of EfficientDet-D0 against the original's: losses, gradients, statistics.

The golden step (`train_step_d0.npz`): the weights of `net_d0.npz`, four normalised images of 128
pixels, training mode. No target coordinate of its batch is exactly 0, so that the coordinates which
the original's box loss drops make no difference here; the test makes sure of it.
"""

import keras
import numpy as np
import pytest

from keras_det.models import EfficientDet
from keras_det.optimizers import SGD
from keras_det.weights import load_efficientdet
from keras_det.weights.efficientdet.names import variable_names
from tests.helpers import golden

BOX_CHANNELS = ("box_net/box-predict/pointwise_kernel", "box_net/box-predict/bias")
MEAN, SCALE = np.array([[123.675, 116.28, 103.53], [58.395, 57.12, 57.375]], "float32")
FUSION = "fpn_cells/cell_{}/fnode{}/WSM{}"


def ground_truth(step):
    """The boxes and labels of the golden batch, padded."""
    file = golden("efficientdet/targets_128.npz")
    boxes, labels = np.zeros((4, 25, 4), "float32"), np.full((4, 25), -1, "int32")
    for i, case in enumerate(step["label_cases"]):
        rows = file[f"{case}/gt_boxes"][:, [1, 0, 3, 2]]
        boxes[i, : len(rows)], labels[i, : len(rows)] = rows, file[f"{case}/gt_classes"][:, 0] - 1
    return {"boxes": boxes, "labels": labels}


def by_name(model, values):
    """Values of the trainable variables, in their order, under the original's names and layout."""
    position = {id(v): i for i, v in enumerate(model.trainable_variables)}
    found = {}
    for name, variable in variable_names(model).items():
        if id(variable) in position:
            value = values[position[id(variable)]]
            if name in BOX_CHANNELS:  # ours (dx, dy, dw, dh) to theirs (ty, tx, th, tw)
                value = value.reshape(*value.shape[:-1], -1, 4)[..., [1, 0, 3, 2]]
                value = value.reshape(variable.shape)
            found[name] = value
    for index, node in enumerate(model.neck.nodes):
        cell, number = divmod(index, len(model.neck.wiring))
        for i, scalar in enumerate(values[position[id(node.blend.fusion_weights)]]):
            found[FUSION.format(cell, number, f"_{i}" if i else "")] = scalar
    return found


@pytest.fixture(scope="module")
def step():
    return golden("efficientdet/train_step_d0.npz")


def trained(step, optimizer):
    """The model after one step, its logs, and the gradients that the optimizer stepped along.

    At a rate of 1 the velocity after the first step is the gradient with the other sign.
    """
    model = EfficientDet("d0", num_classes=90, image_size=128)
    file = golden("efficientdet/net_d0.npz")
    names = [name for name in file.files if name.startswith("var/")]
    load_efficientdet(model, {name[4:]: file[name].astype("float32") for name in names})
    images = step["input"] * SCALE + MEAN  # the golden input is normalised
    model.compile(optimizer, run_eagerly=True)  # one step: nothing to trace
    logs = model.train_on_batch(images, ground_truth(step), return_dict=True)
    slopes = [-keras.ops.convert_to_numpy(v).astype("float64") for v in optimizer.momentums]
    return model, logs, by_name(model, slopes)


@pytest.fixture(scope="module")
def whole(step):
    """A step along the whole gradient."""
    return trained(step, SGD(1.0, momentum=0.9, kernel_l2=4e-5))


def test_no_target_of_the_batch_is_exactly_zero(step):
    file = golden("efficientdet/targets_128.npz")
    for case in step["label_cases"]:
        positive = file[f"{case}/cls_targets_flat"].ravel() >= 0
        assert file[f"{case}/box_targets_flat"].reshape(-1, 4)[positive].all()


@pytest.mark.slow
def test_losses_equal_the_originals(step, whole):
    _, logs, _ = whole
    _, detection, class_loss, box_loss, _ = step["losses(total,det,cls,box,l2)"]
    assert logs["loss"] == pytest.approx(detection, rel=1e-4)
    assert logs["class_loss"] == pytest.approx(class_loss, rel=1e-4)
    assert logs["box_loss"] == pytest.approx(50 * box_loss, rel=1e-4)
    # "num_positives_sum" is the batch's positives + 1.
    assert logs["positives_per_image"] == (step["num_positives_sum"] - 1) / 4


@pytest.mark.slow
def test_decayed_kernels_and_their_loss_are_the_originals(step, whole):
    model, _, _ = whole
    optimizer, variables = model.optimizer, model.trainable_variables
    flags = [np.full(v.shape, optimizer._use_weight_decay(v)) for v in variables]
    names = [name for name, flag in by_name(model, flags).items() if np.all(flag)]
    assert sorted(names) == sorted(step["l2_names"])
    file = golden("efficientdet/net_d0.npz")
    squares = sum(np.square(file[f"var/{name}"].astype("float64")).sum() for name in names)
    l2 = step["losses(total,det,cls,box,l2)"][-1]
    assert optimizer.kernel_l2 / 2 * squares == pytest.approx(l2, rel=1e-6)


@pytest.mark.slow
def test_gradients_equal_the_originals(step, whole):
    slopes = whole[2]
    assert set(slopes) == set(step["grad_names"])
    found = np.array([np.linalg.norm(slopes[name]) for name in step["grad_names"]])
    # Without oneDNN's kernels they differ by 2e-4 + 1e-5; the decay alone is worth up to 4e-4.
    np.testing.assert_allclose(found, step["grad_norms"], rtol=3e-4, atol=3e-5)
    np.testing.assert_allclose(np.linalg.norm(found), step["unclipped_global_norm"], rtol=1e-3)
    # A sum of n elements of either sign is no more exact than sqrt(n) of their norm's error.
    for name, total in zip(step["grad_names"], step["grad_sums"], strict=True):
        size, norm = np.size(slopes[name]), np.linalg.norm(slopes[name])
        allowed = size**0.5 * (1e-3 * norm + 1e-4)
        assert abs(slopes[name].sum() - total) <= allowed, name


@pytest.mark.slow
def test_whole_gradients_of_some_variables_equal_the_originals(step, whole):
    names = [name[5:] for name in step.files if name.startswith("grad/")]
    assert len(names) == 61
    for name in names:
        expected = step[f"grad/{name}"]
        allowed = 1e-3 * np.linalg.norm(expected) + 1e-4
        assert np.linalg.norm(whole[2][name] - expected) <= allowed, name


@pytest.mark.slow
def test_moving_statistics_equal_the_originals(step, whole):
    variables, names = variable_names(whole[0]), []
    for key in step.files:
        if key.startswith("after/"):
            names.append(key[6:])
            found = keras.ops.convert_to_numpy(variables[key[6:]])
            np.testing.assert_allclose(found, step[key], rtol=1e-5, atol=1e-6, err_msg=key)
    assert sorted(names) == sorted(name for name in variables if "/moving_" in name)


@pytest.mark.slow
def test_clipped_gradients_equal_the_originals(step, whole):
    model, _, slopes = whole
    optimizer = SGD(1.0, momentum=0.9, tensor_clipnorm=10.0, global_clipnorm=10.0)
    optimizer.build(model.trainable_variables)
    optimizer.apply([-keras.ops.convert_to_tensor(v) for v in model.optimizer.momentums])
    clipped = [-keras.ops.convert_to_numpy(v).astype("float64") for v in optimizer.momentums]
    clipped = by_name(model, clipped)
    limited = np.minimum(step["grad_norms"], 10.0)
    factor = step["clipped_global_norm"] / np.linalg.norm(limited)
    found = np.array([np.linalg.norm(clipped[name]) for name in step["grad_names"]])
    np.testing.assert_allclose(found, factor * limited, rtol=1e-3, atol=1e-4 * factor)
    assert np.linalg.norm(found) == pytest.approx(step["clipped_global_norm"], rel=1e-3)
    for name, norm in zip(step["grad_names"], step["grad_norms"], strict=True):
        expected = slopes[name] * factor * min(1.0, 10.0 / max(norm, 1e-9))
        allowed = 1e-3 * np.abs(expected).max() + 1e-9
        np.testing.assert_allclose(clipped[name], expected, rtol=1e-3, atol=allowed, err_msg=name)


# Block i of n is dropped with 0.2 * i / n where it has a skip connection (stride 1, equal width);
# stages of B1: 2, 3, 3, 4, 4, 5 and 2 blocks, 23 in all, the first of each without a skip.
@pytest.mark.slow
@pytest.mark.parametrize(
    "variant, arguments, rates",
    [
        ("d0", {"drop_connect_rate": 0.16}, 0.01 * np.array([2, 4, 6, 7, 9, 10, 12, 13, 14])),
        (
            "d1",
            {},
            0.2 / 23 * np.array([1, 3, 4, 6, 7, 9, 10, 11, 13, 14, 15, 17, 18, 19, 20, 22]),
        ),
    ],
)
def test_blocks_are_dropped_with_the_published_rates(variant, arguments, rates):
    model = EfficientDet(variant, num_classes=2, image_size=64, **arguments)
    layers = [x for x in model.backbone.layers if isinstance(x, keras.layers.Dropout)]
    np.testing.assert_allclose([layer.rate for layer in layers], rates)
    # One draw per sample drops its whole branch.
    assert all(tuple(layer.noise_shape) == (None, 1, 1, 1) for layer in layers)
