"""Quality focal loss and varifocal loss against the papers' equations, by hand and in float64."""

import keras
import numpy as np
import pytest

from keras_det.losses import QualityFocalLoss, SigmoidFocalLoss, VarifocalLoss, make_class_loss
from keras_det.losses.contract import check_class_loss
from tests.losses.gradients import value_and_gradients

LOSSES = [QualityFocalLoss, VarifocalLoss]


def value_and_gradient(loss, labels, quality, logits, **kwargs):
    y_true = {"labels": labels, "quality": quality}
    value, gradients = value_and_gradients(lambda x: loss(y_true, x, **kwargs), logits)
    return value, gradients[0]


# Logit 0: p = 1/2, cross-entropy ln 2 for every target. sigmoid(2) = 0.880797, softplus(2) =
# 2.126928. QFL: |0.75 - 0.5|^2 ln 2; |0.5 - 0.880797|^2 (2.126928 - 0.5 * 2); negative 0.880797^2 *
# 2.126928. VFL: 0.75 ln 2; 0.5 (2.126928 - 0.5 * 2); negative 0.75 times that of QFL.
@pytest.mark.parametrize(
    "label, quality, logit, qfl, vfl",
    [
        (0, 0.75, 0.0, 0.0625 * np.log(2), 0.75 * np.log(2)),
        (0, 0.5, 2.0, 0.1450064 * 1.126928, 0.5 * 1.126928),
        (0, 1.0, 0.0, 0.25 * np.log(2), np.log(2)),
        (0, 0.0, 2.0, 0.7758034 * 2.126928, 0.75 * 0.7758034 * 2.126928),
        (-1, 0.9, 2.0, 0.7758034 * 2.126928, 0.75 * 0.7758034 * 2.126928),
        (-1, 0.0, 100.0, 100.0, 75.0),  # linear tails, still finite
        (0, 1.0, -100.0, 100.0, 100.0),
        (0, 1.0, 100.0, 0.0, 0.0),
    ],
)
def test_losses_equal_values_by_hand(label, quality, logit, qfl, vfl):
    y_true = {"labels": np.array([[label]]), "quality": np.array([[quality]])}
    logits = np.full((1, 1, 1), logit, "float32")
    np.testing.assert_allclose(QualityFocalLoss()(y_true, logits), qfl, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(VarifocalLoss()(y_true, logits), vfl, rtol=1e-5, atol=1e-6)


def random_case(seed, shape=(3, 40), num_classes=6, scale=5.0):
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(shape) < 0.6, -1, rng.integers(0, num_classes, shape))
    quality = rng.random(shape).astype("float32")
    quality[rng.random(shape) < 0.1] = 0.0
    logits = rng.normal(0, scale, (*shape, num_classes)).astype("float32")
    return labels.astype("int32"), quality, logits


def entry(cls, y, x, arguments):
    """One entry of the equation in float64, with p = sigmoid(x)."""
    log_p, log_rest = -np.logaddexp(0, -x), -np.logaddexp(0, x)
    p = np.exp(log_p)
    if cls is QualityFocalLoss:
        beta = arguments.get("beta", 2.0)
        return -(abs(y - p) ** beta) * ((1 - y) * log_rest + y * log_p)
    if y > 0:
        return -y * (y * log_p + (1 - y) * log_rest)
    return -arguments.get("alpha", 0.75) * p ** arguments.get("gamma", 2.0) * log_rest


def oracle(cls, labels, quality, logits, arguments, step=1e-6):
    """Value per anchor and, from differences, slope per logit: loops over every entry."""
    value, slope = np.zeros(labels.shape), np.zeros(logits.shape)
    for index, x in np.ndenumerate(logits.astype("float64")):
        y = float(quality[index[:2]]) if labels[index[:2]] == index[2] else 0.0
        value[index[:2]] += entry(cls, y, x, arguments)
        ends = [entry(cls, y, x + shift, arguments) for shift in (-step, step)]
        slope[index] = (ends[1] - ends[0]) / (2 * step)
    return value, slope


@pytest.mark.parametrize(
    "cls, arguments",
    [
        (QualityFocalLoss, {}),
        (QualityFocalLoss, {"beta": 0}),
        (QualityFocalLoss, {"beta": 1.0}),
        (QualityFocalLoss, {"beta": 2.5}),
        (VarifocalLoss, {}),
        (VarifocalLoss, {"alpha": 0.4, "gamma": 0}),
        (VarifocalLoss, {"alpha": 1.5, "gamma": 1.5}),
    ],
)
def test_value_and_gradient_equal_the_paper_in_float64(cls, arguments):
    labels, quality, logits = random_case(0)
    value, slope = oracle(cls, labels, quality, logits, arguments)
    y_true = {"labels": labels, "quality": quality}
    loss = cls(**arguments)
    np.testing.assert_allclose(loss.call(y_true, logits), value, rtol=1e-5, atol=2e-6)
    total, gradient = value_and_gradient(loss, labels, quality, logits)
    np.testing.assert_allclose(total, value.sum(), rtol=1e-5)
    np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=2e-6)


# With quality 1 the quality focal loss is the focal loss, twice that at alpha 0.5.
def test_quality_one_is_the_focal_loss():
    labels, _, logits = random_case(1)
    one_hot = (labels[..., None] == np.arange(6)).astype("float32")
    expected = 2 * SigmoidFocalLoss(alpha=0.5, gamma=2.0)(one_hot, logits)
    y_true = {"labels": labels, "quality": np.ones(labels.shape)}
    np.testing.assert_allclose(QualityFocalLoss()(y_true, logits), expected, rtol=1e-5)


@pytest.mark.parametrize("cls", LOSSES)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_extreme_logits_stay_finite(cls, dtype):
    logits = np.array([[[100.0, -100.0, 0.0, 88.8, -88.8]] * 4]).astype(dtype)
    labels, quality = np.array([[-1, 0, 1, 2]]), np.array([[0.5, 0.0, 1.0, 0.5]], "float32")
    value, gradient = value_and_gradient(cls(), labels, quality, logits)
    assert np.isfinite(value) and np.isfinite(gradient.astype("float32")).all()
    assert gradient.dtype == dtype and value.dtype == np.float32


@pytest.mark.parametrize("cls", LOSSES)
def test_weights_of_anchors_multiply_loss_and_gradient(cls):
    labels, quality, logits = random_case(2)
    weight = np.random.default_rng(0).integers(0, 3, labels.shape).astype("float32")
    each, slope = oracle(cls, labels, quality, logits, {})
    value, gradient = value_and_gradient(cls(), labels, quality, logits, sample_weight=weight)
    np.testing.assert_allclose(value, (weight * each).sum(), rtol=1e-5)
    np.testing.assert_allclose(gradient, weight[..., None] * slope, rtol=1e-4, atol=5e-6)


# No gradient may flow into the quality: the box head would learn to be bad.
@pytest.mark.parametrize("cls", LOSSES)
def test_the_quality_gets_no_gradient(cls):
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("tf.GradientTape needs the TensorFlow backend")
    labels, quality, logits = random_case(2)
    quality, logits = tf.constant(quality), tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(quality)
        value = cls()({"labels": labels, "quality": quality}, logits)
    assert tape.gradient(value, quality) is None


@pytest.mark.parametrize("cls", LOSSES)
def test_losses_in_a_graph_equal_eager(cls):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("tf.function needs the TensorFlow backend")
    import tensorflow as tf

    labels, quality, logits = random_case(5)
    expected = value_and_gradient(cls(), labels, quality, logits)

    @tf.function(input_signature=[tf.TensorSpec((None, None, 6))])
    def function(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = cls()({"labels": labels, "quality": quality}, x)
        return value, tape.gradient(value, x)

    value, gradient = function(tf.constant(logits))
    np.testing.assert_allclose(value, expected[0], rtol=1e-5)
    np.testing.assert_allclose(gradient, expected[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "cls, arguments",
    [(QualityFocalLoss, {"beta": 1.5}), (VarifocalLoss, {"alpha": 0.5, "gamma": 1.0})],
)
def test_config_round_trip(cls, arguments):
    config = keras.losses.serialize(cls(reduction=None, name="f", **arguments))
    expected = {"name": "f", "reduction": None, **arguments}
    again = keras.losses.deserialize(config)
    assert again.get_config() == expected and again.targets == "quality"


@pytest.mark.parametrize(
    "cls, arguments, message",
    [
        (QualityFocalLoss, {"beta": 0.5}, "`beta` must be 0 or a number of at least 1. Received"),
        (QualityFocalLoss, {"beta": -1}, "`beta` must be 0 or a number of at least 1. Received"),
        (VarifocalLoss, {"alpha": -1}, "`alpha` and `gamma` must be numbers of at least 0"),
        (VarifocalLoss, {"gamma": float("nan")}, "`alpha` and `gamma` must be numbers of at"),
    ],
)
def test_wrong_arguments_are_named(cls, arguments, message):
    with pytest.raises(ValueError, match=message):
        cls(**arguments)


def test_losses_by_name():
    focal = object()
    assert make_class_loss(None, focal) is focal and make_class_loss("focal", focal) is focal
    assert type(make_class_loss("quality_focal", focal)) is QualityFocalLoss
    assert type(make_class_loss("varifocal", focal)) is VarifocalLoss
    given = VarifocalLoss(alpha=0.5)
    assert make_class_loss(given, focal) is given
    with pytest.raises(ValueError, match="`class_loss` must be one of .*Did you mean 'varifocal'"):
        make_class_loss("varifocall", focal)


class LabelsOnly(keras.losses.Loss):
    targets = "quality"

    def call(self, y_true, y_pred):
        return keras.ops.sum(y_pred, axis=-1) + y_true


class Unknown(LabelsOnly):
    targets = "boxes"


def test_the_form_is_checked():
    for cls in LOSSES:
        assert check_class_loss(cls(), 3).targets == "quality"
        with pytest.raises(ValueError, match="does not double when the batch is doubled"):
            check_class_loss(cls(reduction="sum_over_batch_size"), 3)
        with pytest.raises(ValueError, match="corners have no quality. Received: "):
            check_class_loss(cls(), 3, "corners")
    with pytest.raises(ValueError, match='a dict of "labels" and "quality" .*fails on such a'):
        check_class_loss(LabelsOnly(reduction="sum"), 3)
    with pytest.raises(ValueError, match="attribute `targets` of `class_loss` must be .*'boxes'"):
        check_class_loss(Unknown(reduction="sum"), 3)
