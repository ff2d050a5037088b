"""Corner losses against the original CornerNet, against float64, and by hand."""

import keras
import numpy as np
import pytest

from keras_det.losses import CornerFocalLoss, offset_loss, pull_push
from tests.helpers import golden, run_on_jax
from tests.losses.gradients import value_and_gradients

FILE = "cornernet/cornernet.npz"
# The original clamps p to 1e-4 .. 1 - 1e-4.
LARGEST_LOGIT = float(np.log((1 - 1e-4) / 1e-4))
# What the original's push is for a single object: 1.00017 in float32, 0.99990 in float64.
SINGLE = (1 - 1 / (np.float32(1) + np.float32(1e-4))) / np.float32(1e-4)


def clamped(logits):
    return keras.ops.clip(logits, -LARGEST_LOGIT, LARGEST_LOGIT)


def channels_last(maps):
    return np.ascontiguousarray(maps.transpose(0, 2, 3, 1))


# ---- Focal loss ----


# ln(1 + e^2) = 2.126928, sigmoid(2) = 0.880797, 0.880797^2 = 0.775803, 0.119203^2 = 0.0142093.
@pytest.mark.parametrize(
    "target, logit, expected",
    [
        (1.0, 0.0, 0.25 * np.log(2.0)),
        (0.0, 0.0, 0.25 * np.log(2.0)),
        (0.5, 0.0, 0.25 * np.log(2.0) / 16),
        (1.0, 2.0, 0.0142093 * 0.126928),
        (1.0, -2.0, 0.775803 * 2.126928),
        (0.0, 2.0, 0.775803 * 2.126928),
        (0.9, 2.0, 1e-4 * 0.775803 * 2.126928),
        (1.0, -100.0, 100.0),  # linear tail
        (0.0, 100.0, 100.0),
        (0.5, 100.0, 6.25),
        (1.0, 100.0, 0.0),
        (0.0, -100.0, 0.0),
    ],
)
def test_focal_loss_equals_values_by_hand(target, logit, expected):
    loss = CornerFocalLoss()(np.full((1, 1, 1, 1), target), np.full((1, 1, 1, 1), logit))
    np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-12)


def test_focal_loss_sums_classes_then_everything():
    y_true, logits = np.zeros((2, 3, 5, 4)), np.zeros((2, 3, 5, 4))
    each = 0.25 * np.log(2.0)
    cells = CornerFocalLoss(reduction=None)(y_true, logits)
    np.testing.assert_allclose(cells, np.full((2, 3, 5), 4 * each), rtol=1e-6)
    np.testing.assert_allclose(CornerFocalLoss()(y_true, logits), 120 * each, rtol=1e-6)


def original_focal(heatmaps, *stacks):
    """As the original divides, by the corners of the batch if there are any, and adds up."""
    positives = max(1, (heatmaps == 1).sum())
    return sum(CornerFocalLoss()(heatmaps, clamped(x)) for x in stacks) / positives


def test_focal_loss_and_gradient_equal_the_originals():
    file = golden(FILE)
    heatmaps, first, second = (
        channels_last(file[f"focal/{x}"]) for x in ("gt", "logits", "logits2")
    )
    value, (gradient,) = value_and_gradients(lambda x: original_focal(heatmaps, x), first)
    np.testing.assert_allclose(value, file["focal/loss_1stack"], rtol=1e-5)
    # Where 1 - p is 1e-4, the original's float32 gives it 3 digits.
    expected = channels_last(file["focal/grad_1stack"])
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-7)
    assert np.abs(gradient - expected).sum() < 1e-5 * np.abs(expected).sum()
    value = original_focal(heatmaps, first, second)
    np.testing.assert_allclose(value, file["focal/loss_2stack"], rtol=1e-5)
    value = original_focal(np.minimum(heatmaps, 0.9), first)
    np.testing.assert_allclose(value, file["focal/loss_nopos(gt=min(gt,.9))"], rtol=1e-5)


def focal_oracle(y_true, logits, alpha, beta):
    """Loss per cell and slope in float64."""
    y, x = y_true.astype("float64"), logits.astype("float64")
    s = np.where(y == 1, -x, x)
    p, softplus = 1 / (1 + np.exp(-s)), np.logaddexp(0, s)
    weight = np.where(y == 1, 1, (1 - y) ** beta)
    slope = weight * p**alpha * (alpha * (1 - p) * softplus + p)
    return (weight * p**alpha * softplus).sum(-1), np.where(y == 1, -slope, slope)


def focal_case(seed=0, shape=(2, 6, 5, 3)):
    rng = np.random.default_rng(seed)
    y_true = rng.choice([0.0, 0.3, 0.9945, 1.0 - 6e-8, 1.0], shape).astype("float32")
    logits = rng.normal(0, 6, shape).astype("float32")
    logits[0] = rng.choice([-100, -30, 30, 100], shape[1:])
    return y_true, logits


@pytest.mark.parametrize("alpha, beta", [(2.0, 4.0), (2, 4), (1.5, 2.5), (0.0, 4.0), (2.0, 0.0)])
def test_focal_loss_and_gradient_equal_the_paper_in_float64(alpha, beta):
    y_true, logits = focal_case()
    loss = CornerFocalLoss(alpha, beta)
    expected, expected_gradient = focal_oracle(y_true, logits, alpha, beta)
    np.testing.assert_allclose(loss.call(y_true, logits), expected, rtol=1e-5, atol=1e-7)
    value, (gradient,) = value_and_gradients(lambda x: loss(y_true, x), logits)
    np.testing.assert_allclose(value, expected.sum(), rtol=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-6)


def test_focal_loss_has_a_gradient_where_the_originals_has_none():
    y_true, logits = np.float32([[[[1, 0]]]]), np.float32([[[[-100, 100]]]])
    _, (gradient,) = value_and_gradients(lambda x: CornerFocalLoss()(y_true, x), logits)
    np.testing.assert_allclose(gradient, [[[[-1, 1]]]], rtol=1e-6)
    _, (gradient,) = value_and_gradients(lambda x: CornerFocalLoss()(y_true, clamped(x)), logits)
    assert not gradient.any()


def test_no_gradient_reaches_the_heatmaps():
    y_true, logits = focal_case()
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        y_true = tf.constant(y_true)
        with tf.GradientTape() as tape:
            tape.watch(y_true)
            value = CornerFocalLoss()(y_true, logits)
        assert tape.gradient(value, y_true) is None
    else:
        _, (_, gradient) = value_and_gradients(lambda x, y: CornerFocalLoss()(y, x), logits, y_true)
        assert not gradient.any()


def test_weight_of_a_cell_scales_loss_and_gradient():
    y_true, logits = focal_case()
    weight = np.random.default_rng(1).integers(0, 3, y_true.shape[:3]).astype("float32")
    expected, slope = focal_oracle(y_true, logits, 2, 4)
    value, (gradient,) = value_and_gradients(
        lambda x: CornerFocalLoss()(y_true, x, sample_weight=weight), logits
    )
    np.testing.assert_allclose(value, (weight * expected).sum(), rtol=1e-5)
    np.testing.assert_allclose(gradient, weight[..., None] * slope, rtol=1e-4, atol=1e-6)


def test_focal_config_round_trip():
    loss = CornerFocalLoss(alpha=1.5, beta=3.0, reduction=None, name="f")
    config = keras.losses.serialize(loss)
    assert config["registered_name"] == "keras_det>CornerFocalLoss"
    expected = {"name": "f", "reduction": None, "alpha": 1.5, "beta": 3.0}
    assert keras.losses.deserialize(config).get_config() == expected


@pytest.mark.parametrize("arguments", [{"alpha": -1}, {"beta": -0.1}, {"beta": float("nan")}])
def test_bad_powers_are_named(arguments):
    with pytest.raises(ValueError, match="`alpha` and `beta` must not be negative. Received: "):
        CornerFocalLoss(**arguments)


# ---- Pull and push ----


def embeddings(*rows):
    return np.array(rows, "float32")[..., None]


# One image. Means e = (1, 1.5); pull ((1 - 0)^2 + (1 - 2)^2 + 0 + 0) / 2 = 1. The two are 0.5
# apart: twice (1 - 0.5) / 2 = 0.5. The 1e-4 beside 2, 2 - 1 / 2 and 2 change the fifth digit.
def test_pull_and_push_by_hand():
    pull, push = pull_push(
        embeddings([0.0, 1.5, 99.0]), embeddings([2.0, 1.5, -7.0]), np.array([[True, True, False]])
    )
    np.testing.assert_allclose(pull, 2 / 2.0001, rtol=1e-6)
    np.testing.assert_allclose(push, (1 + 2 - 4 / 2.0001) / 2.0001, rtol=1e-5)


# Means 0, 1, 3: nobody within 1 of another (1 itself does not count), all that is left of push is
# (3 - 9 / 3.0001) / 6.0001.
def test_objects_one_apart_do_not_push():
    values = embeddings([0.0, 1.0, 3.0])
    pull, push = pull_push(values, values, np.ones((1, 3), bool))
    assert pull == 0
    np.testing.assert_allclose(push, (3 - 9 / 3.0001) / 6.0001, atol=2e-7)


def test_pull_push_and_gradients_equal_the_originals():
    file = golden(FILE)
    values = file["ae/tag_tl"], file["ae/tag_br"]
    # Images of 5, 1 and 0 objects.
    mask = file["ae/mask"].astype(bool)
    for place, (name, single) in enumerate({"pull": 0.0, "push": SINGLE}.items()):
        value, gradients = value_and_gradients(
            lambda *x, place=place: pull_push(*x, mask)[place], *values
        )
        np.testing.assert_allclose(value, file[f"ae/{name}"] - single, rtol=1e-5)
        for gradient, short in zip(gradients, ("tl", "br"), strict=True):
            expected = file[f"ae/{name}_grad_{short}"]
            np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)
        for i, expected in enumerate(file["ae/per_image_pull_push"][:, place]):
            found = pull_push(*(x[i : i + 1] for x in values), mask[i : i + 1])[place]
            np.testing.assert_allclose(found, expected - single * (i == 1), rtol=1e-5, atol=1e-7)


def pull_push_oracle(first, second, mask):
    """Loops in float64, image by image."""
    pull = push = 0.0
    for a, b, valid in zip(first, second, mask, strict=True):
        a, b = (x[valid].astype("float64") for x in (a, b))
        n, mean = len(a), (a + b) / 2
        pull += sum(((a - mean) ** 2 + (b - mean) ** 2) / (n + 1e-4))
        for j in range(n if n > 1 else 0):
            for k in range(n):
                near = max(0.0, 1 - abs(mean[j] - mean[k]))
                push += (near - 1 / (n + 1e-4)) / (n * (n - 1) + 1e-4)
    return pull, push


def grouping_case(seed=0, images=5, slots=9):
    """Slots are empty at random; image 0 has no object, image 1 one, image 2 two."""
    rng = np.random.default_rng(seed)
    first, second = rng.normal(0, 1, (2, images, slots)).astype("float32")
    mask = rng.random((images, slots)) < 0.6
    for i in range(3):
        mask[i] = np.arange(slots) < i
    return first, second, mask


@pytest.mark.parametrize("seed", range(3))
def test_pull_push_equal_plain_loops(seed):
    first, second, mask = grouping_case(seed)
    expected = pull_push_oracle(first, second, mask)
    np.testing.assert_allclose(pull_push(first, second, mask), expected, rtol=1e-5)
    # With the axis of length one that outputs have.
    found = pull_push(first[..., None], second[..., None], mask)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("slots", [0, 1, 4])
def test_nothing_pulls_or_pushes_without_objects(slots):
    values = np.full((2, slots, 1), 3.0, "float32")
    assert [float(x) for x in pull_push(values, -values, np.zeros((2, slots), bool))] == [0, 0]


def test_a_single_object_pulls_but_does_not_push():
    pull, push = pull_push(embeddings([1.0]), embeddings([3.0]), np.ones((1, 1), bool))
    np.testing.assert_allclose(pull, 2 / 1.0001, rtol=1e-6)
    assert push == 0


# ---- Offsets ----


# |0.5| and |3|: 0.5^2 / 2 + 3 - 1 / 2 = 2.625; the second object is exact, the third not there.
def test_offset_loss_by_hand():
    y_true = np.float32([[[0.5, 0.25], [0.1, 0.2], [0.0, 0.0]]])
    y_pred = np.float32([[[1.0, -2.75], [0.1, 0.2], [9.0, 9.0]]])
    mask = np.array([[True, True, False]])
    np.testing.assert_allclose(offset_loss(y_true, y_pred, mask), 2.625 / 2.0001, rtol=1e-6)
    value = offset_loss(y_true, y_pred, mask, num_objects=np.int32(7))
    np.testing.assert_allclose(value, 2.625 / 7.0001, rtol=1e-6)
    assert offset_loss(y_true, y_pred, mask & False) == 0


def test_offset_loss_and_gradient_equal_the_originals():
    file = golden(FILE)
    value, (gradient,) = value_and_gradients(
        lambda x: offset_loss(file["off/gt"], x, file["off/mask"].astype(bool)), file["off/regr"]
    )
    np.testing.assert_allclose(value, file["off/loss"], rtol=1e-5)
    np.testing.assert_allclose(gradient, file["off/grad"], rtol=1e-5, atol=1e-7)


# The two halves, divided by the objects of both, add up to the whole, value and gradient.
def test_shares_of_a_batch_add_up():
    rng = np.random.default_rng(0)
    y_true, y_pred = rng.random((2, 6, 5, 2)).astype("float32") * [[[[3]]], [[[1]]]]
    y_true, y_pred, mask = (
        y_true.astype("float32"),
        y_pred.astype("float32"),
        rng.random((6, 5)) < 0.5,
    )
    whole, (gradient,) = value_and_gradients(lambda x: offset_loss(y_true, x, mask), y_pred)
    shares = [
        value_and_gradients(
            lambda x, part=part: offset_loss(y_true[part], x, mask[part], mask.sum()), y_pred[part]
        )
        for part in (slice(0, 2), slice(2, 6))
    ]
    np.testing.assert_allclose(sum(value for value, _ in shares), whole, rtol=1e-6)
    joined = np.concatenate([gradients[0] for _, gradients in shares])
    np.testing.assert_allclose(joined, gradient, rtol=1e-6)


# ---- All together ----


def whole_loss(stacks, heatmaps, offsets, mask):
    """The original's total: stacks of (heat maps, heat maps, embeddings x 2, offsets x 2)."""
    total = 0.0
    for outputs in stacks:
        focal = sum(original_focal(y, x) for y, x in zip(heatmaps, outputs[:2], strict=True))
        pull, push = pull_push(*outputs[2:4], mask)
        shift = sum(offset_loss(y, x, mask) for y, x in zip(offsets, outputs[4:], strict=True))
        total = total + focal + 0.1 * pull + 0.1 * push + shift
    return total / len(stacks)


def test_whole_loss_equals_the_originals():
    file = golden(FILE)
    outputs = [file[f"full/out{i}"] for i in range(12)]
    outputs = [channels_last(x) if x.ndim == 4 else x for x in outputs]
    value = whole_loss(
        (outputs[:6], outputs[6:]),
        [channels_last(file[f"full/gt_{short}"]) for short in ("tl", "br")],
        [file[f"full/off_{short}"] for short in ("tl", "br")],
        file["full/mask"].astype(bool),
    )
    # Of the three images one has a single object.
    np.testing.assert_allclose(value, file["full/loss"][0] - 0.1 * SINGLE, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_inputs_give_float32_losses(dtype):
    ops = keras.ops
    y_true, logits = focal_case()
    first, second, mask = grouping_case()
    halves = [ops.cast(x, dtype) for x in (logits, first, second)]
    singles = [np.array(ops.cast(x, "float32")) for x in halves]
    offsets = ops.cast(np.stack([first, second], axis=-1), dtype)
    error = np.abs(np.array(ops.cast(offsets, "float32"))[mask])
    smooth = np.where(error < 1, error**2 / 2, error - 0.5).sum() / (mask.sum() + 1e-4)
    focal = focal_oracle(y_true, singles[0], 2, 4)[0]
    pairs = [
        (CornerFocalLoss().call(y_true, halves[0]), focal),
        (CornerFocalLoss()(y_true, halves[0]), focal.sum()),
        *zip(pull_push(*halves[1:], mask), pull_push_oracle(*singles[1:], mask), strict=True),
        (offset_loss(0 * offsets, offsets, mask), smooth),
    ]
    for found, expected in pairs:
        assert keras.backend.standardize_dtype(found.dtype) == "float32"
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def compiled_case():
    y_true, logits = focal_case()
    first, second, mask = grouping_case()
    return [y_true, logits, first, second], mask


def all_losses(y_true, logits, first, second, mask):
    offsets = keras.ops.stack([first, second], axis=-1)
    return keras.ops.stack(
        [
            CornerFocalLoss()(y_true, logits),
            *pull_push(first, second, mask),
            offset_loss(0 * offsets, offsets, mask),
        ]
    )


def check_all_losses(found):
    (y_true, logits, first, second), mask = compiled_case()
    error = np.abs(np.stack([first, second], axis=-1)[mask])
    smooth = np.where(error < 1, error**2 / 2, error - 0.5).sum() / (mask.sum() + 1e-4)
    expected = [focal_oracle(y_true, logits, 2, 4)[0].sum()]
    expected += [*pull_push_oracle(first, second, mask), smooth]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_losses_under_xla():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("tf.function needs the TensorFlow backend")
    import tensorflow as tf

    arrays, mask = compiled_case()
    check_all_losses(tf.function(all_losses, jit_compile=True)(*map(tf.constant, [*arrays, mask])))


JAX_SCRIPT = """
import jax
from tests.losses.test_corner import *

arrays, mask = compiled_case()
check_all_losses(jax.jit(all_losses)(*arrays, mask))
y_true, logits = arrays[:2]
slope = jax.jit(jax.grad(lambda x, y: CornerFocalLoss()(y, x)))(logits, y_true)
np.testing.assert_allclose(slope, focal_oracle(y_true, logits, 2, 4)[1], rtol=1e-4, atol=1e-6)
print("without TensorFlow")
"""


@pytest.mark.slow
def test_losses_on_jax():
    run_on_jax(JAX_SCRIPT)
