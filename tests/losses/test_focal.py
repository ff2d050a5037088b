"""Focal losses against torchvision, the original EfficientDet, and numbers by hand."""

import keras
import numpy as np
import pytest

from keras_det.losses import SigmoidFocalLoss, SparseSigmoidFocalLoss
from tests.helpers import golden
from tests.losses.gradients import value_and_gradients

LOSSES = [SigmoidFocalLoss, SparseSigmoidFocalLoss]


def one_hot(labels, num_classes):
    return (labels[..., None] == np.arange(num_classes)).astype("float32")


def targets_for(loss, labels, num_classes):
    return labels if isinstance(loss, SparseSigmoidFocalLoss) else one_hot(labels, num_classes)


def value_and_gradient(loss, y_true, logits, **kwargs):
    value, gradients = value_and_gradients(lambda x: loss(y_true, x, **kwargs), logits)
    return value, gradients[0]


# sigmoid(2) = 0.880797. Positive: 0.25 * 0.119203^2 * 0.126928 = 4.50891e-4.
# Negative: 0.75 * 0.880797^2 * 2.126928 = 1.237559. Logit 0: p = 1/2, ln 2.
@pytest.mark.parametrize("cls", LOSSES)
@pytest.mark.parametrize(
    "target, logit, expected",
    [
        (1, 0.0, 0.25 * 0.25 * np.log(2.0)),
        (0, 0.0, 0.75 * 0.25 * np.log(2.0)),
        (1, 2.0, 4.50891e-4),
        (0, 2.0, 1.237559),
        (1, -100.0, 25.0),  # linear tail: alpha * |logit|, still finite
        (0, -100.0, 0.0),
        (0, 100.0, 75.0),
        (1, 100.0, 0.0),
    ],
)
def test_focal_loss_equals_values_by_hand(cls, target, logit, expected):
    loss = cls()
    y_true = targets_for(loss, np.full((1, 1), target - 1), 1)
    result = loss(y_true, np.full((1, 1, 1), logit))
    atol = 1e-6 if cls is SparseSigmoidFocalLoss else 1e-12
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=atol)


# torchvision's targets are multi-label: one class each lets the sparse loss take part. alpha -1
# is torchvision's "unweighted", twice the loss at alpha 0.5. Its own float32 values are 1e-6 off
# (0.4% of the smallest), measured against float64.
@pytest.mark.parametrize("cls", LOSSES)
@pytest.mark.parametrize("alpha, key, factor", [(0.25, 0.25, 1), (0.5, 0.5, 1), (0.5, -1, 2)])
@pytest.mark.parametrize("gamma", [2.0, 1.5, 0.0])
def test_focal_loss_equals_torchvision(cls, alpha, key, factor, gamma):
    file = golden("ops/misc_ops.npz")
    logits = file["focal/logits"][..., None]
    loss = cls(alpha=alpha, gamma=gamma, reduction=None)
    y_true = targets_for(loss, file["focal/targets"].astype("int32") - 1, 1)
    value, gradient = value_and_gradient(loss, y_true, logits)
    prefix = f"focal/a{key}_g{gamma}"
    np.testing.assert_allclose(factor * value, file[f"{prefix}/loss"], rtol=2e-5, atol=2e-6)
    expected = file[f"{prefix}/grad_of_sum"]
    np.testing.assert_allclose(factor * gradient[..., 0], expected, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("cls", LOSSES)
def test_focal_loss_equals_the_originals(cls):
    file = golden("efficientdet/losses.npz")
    alpha, gamma = (float(x) for x in file["focal_alpha_gamma"])
    loss = cls(alpha=alpha, gamma=gamma, reduction=None)
    y_true = targets_for(loss, file["focal_y"].astype("int32") - 1, 1).reshape(2, 16 * 18, -1)
    y_true = y_true[..., 0] if cls is SparseSigmoidFocalLoss else y_true
    value = loss(y_true, file["focal_logits"].reshape(2, -1, 1)) / file["focal_normalizer"]
    expected = file["focal_ls0"].reshape(2, -1)
    # The sparse loss adds and subtracts the negative term of a positive entry: rounding of 1e-7.
    atol = 1e-7 if cls is SparseSigmoidFocalLoss else 1e-8
    np.testing.assert_allclose(value, expected, rtol=2e-5, atol=atol)


def random_case(seed, shape=(3, 50), num_classes=7, scale=6.0):
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(shape) < 0.7, -1, rng.integers(0, num_classes, shape))
    logits = rng.normal(0, scale, (*shape, num_classes)).astype("float32")
    return labels.astype("int32"), logits, rng.random(shape).astype("float32")


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 0.7, 3.3])
@pytest.mark.parametrize("seed", range(3))
def test_sparse_loss_equals_the_one_hot_loss(seed, gamma):
    labels, logits, weight = random_case(seed)
    sparse, dense = (cls(alpha=0.3, gamma=gamma) for cls in (SparseSigmoidFocalLoss, LOSSES[0]))
    value, gradient = value_and_gradient(sparse, labels, logits, sample_weight=weight)
    expected, expected_gradient = value_and_gradient(
        dense, one_hot(labels, 7), logits, sample_weight=weight
    )
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("cls", LOSSES)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.5, 2.0])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_extreme_logits_stay_finite(cls, gamma, dtype):
    logits = np.array([[[100.0, -100.0, 0.0, 88.8, -88.8, 30.0, -30.0]] * 3]).astype(dtype)
    loss = cls(gamma=gamma)
    y_true = targets_for(loss, np.array([[-1, 0, 1]]), 7)
    value, gradient = value_and_gradient(loss, y_true, logits)
    assert np.isfinite(value) and np.isfinite(gradient.astype("float32")).all()
    assert gradient.dtype == dtype and value.dtype == np.float32


# Labels that compare by sign, not by value: -1 is the last column in NumPy, never here.
def test_background_has_no_positive_entry():
    logits = np.array([[[3.0, -2.0, 1.0]]], "float32")
    as_sparse = SparseSigmoidFocalLoss()(np.array([[-1]]), logits)
    np.testing.assert_allclose(as_sparse, SigmoidFocalLoss()(np.zeros((1, 1, 3)), logits), 1e-6)


def test_weight_zero_stops_loss_and_gradient():
    labels, logits, _ = random_case(0)
    weight = np.zeros(labels.shape, "float32")
    value, gradient = value_and_gradient(
        SparseSigmoidFocalLoss(), labels, logits, sample_weight=weight
    )
    assert value == 0 and not gradient.any()


@pytest.mark.parametrize("compiled", [False, True])
def test_sparse_loss_in_a_graph_equals_eager(compiled):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("tf.function needs the TensorFlow backend")
    labels, logits, weight = random_case(5)
    loss = SparseSigmoidFocalLoss(gamma=1.5)
    expected = value_and_gradient(loss, labels, logits, sample_weight=weight)
    import tensorflow as tf

    @tf.function(
        jit_compile=compiled,
        input_signature=None if compiled else [tf.TensorSpec((None, None, 7))],
    )
    def function(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(labels, x, sample_weight=weight)
        return value, tape.gradient(value, x)

    value, gradient = function(tf.constant(logits))
    np.testing.assert_allclose(value, expected[0], rtol=1e-5)
    np.testing.assert_allclose(gradient, expected[1], rtol=1e-4, atol=1e-6)


def oracle(labels, logits, alpha, gamma, class_weights):
    """Value per anchor and slope per logit in float64: RetinaNet equation 5 and appendix B.

    d FL / d s = (1 - p)^gamma (gamma p log(p) + p - 1), where s is the logit of a positive entry
    and minus the logit of a negative one, p = sigmoid(s).
    """
    num_classes = logits.shape[-1]
    y = one_hot(labels, num_classes).astype("float64")
    sign = 2 * y - 1
    s = sign * logits.astype("float64")
    log_p, p, rest = -np.logaddexp(0, -s), 1 / (1 + np.exp(-s)), 1 / (1 + np.exp(s))
    alpha, class_weights = (np.broadcast_to(x, num_classes) for x in (alpha, class_weights))
    weight = class_weights * np.where(y == 1, alpha, 1 - alpha)
    value = (-weight * rest**gamma * log_p).sum(-1)
    return value, sign * weight * rest**gamma * (gamma * p * log_p - rest)


WEIGHTINGS = [
    {"alpha": 0.25},
    {"alpha": [0.1, 0.9, 0.5, 0.0, 1.0]},
    {"alpha": 0.6, "class_weights": [1.0, 0.2, 3.0, 10.0, 0.5]},
    {"alpha": np.array([0.1, 0.9, 0.5, 0.3, 0.7]), "class_weights": (1, 0.2, 3, 10, 0.5)},
]


# Logits of +-100 on purpose: what a step of `fit` sees when training runs away.
@pytest.mark.parametrize("cls", LOSSES)
@pytest.mark.parametrize("gamma", [0, 0.5, 5.0])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_value_and_gradient_equal_the_paper_in_float64(cls, weighting, gamma):
    labels, logits, _ = random_case(3, num_classes=5)
    logits[0, :12] = np.random.default_rng(1).choice([-100, -30, 30, 100], (12, 5))
    labels[0, :6] = [0, 1, 2, 3, 4, -1]
    loss = cls(gamma=gamma, **weighting)
    value, slope = oracle(
        labels, logits, weighting["alpha"], gamma, weighting.get("class_weights", 1.0)
    )
    y_true = targets_for(loss, labels, 5)
    # The sparse loss takes back the negative term of a positive entry: rounding of that term.
    atol = 2e-7 * 10 * 100 if cls is SparseSigmoidFocalLoss else 1e-7
    np.testing.assert_allclose(loss.call(y_true, logits), value, rtol=1e-5, atol=atol)
    total, gradient = value_and_gradient(loss, y_true, logits)
    np.testing.assert_allclose(total, value.sum(), rtol=1e-5)
    np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-6)


# Logits 0: every entry is ln 2, a positive of class 1 has 0.3 * 2, the negatives of classes 0 and 2
# have 0.9 * 1 and 0.5 * 4; the background anchor has 0.9 + 0.7 * 2 + 2.
@pytest.mark.parametrize("cls", LOSSES)
def test_per_class_weights_by_hand(cls):
    loss = cls(alpha=[0.1, 0.3, 0.5], gamma=0, class_weights=[1, 2, 4], reduction=None)
    y_true = targets_for(loss, np.array([[1, -1]]), 3)
    expected = np.log(2) * np.array([[0.6 + 0.9 + 2, 0.9 + 1.4 + 2]])
    np.testing.assert_allclose(loss(y_true, np.zeros((1, 2, 3))), expected, rtol=1e-6)


@pytest.mark.parametrize("cls", LOSSES)
def test_gamma_zero_is_keras_cross_entropy(cls):
    labels, logits, _ = random_case(4)
    loss = cls(alpha=0.5, gamma=0, reduction=None)
    value = 2 * loss(targets_for(loss, labels, 7), logits)
    expected = 7 * keras.losses.BinaryCrossentropy(from_logits=True, reduction=None)(
        one_hot(labels, 7), logits
    )
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("cls", LOSSES)
def test_fit_on_runaway_logits_recovers(cls):
    """A kernel that makes logits of +-100, half of them wrong, gets the step of the formula."""
    keras.utils.set_random_seed(0)
    kernel = np.array([[100.0, -100.0, 100.0, -100.0]], "float32")
    model = keras.Sequential([keras.Input((3, 1)), keras.layers.Dense(4, use_bias=False)])
    model.set_weights([kernel])
    loss = cls(alpha=[0.25, 0.5, 0.5, 0.25], class_weights=[1, 2, 1, 1])
    model.compile(keras.optimizers.SGD(1.0), loss, jit_compile=False)
    labels = np.array([[0, 1, -1]])
    model.fit(np.ones((1, 3, 1)), targets_for(loss, labels, 4), verbose=0)
    # Wrong entries only: class 0 twice a negative (0.75), class 1 once a positive (-0.5 * 2),
    # class 2 three times a negative (0.5).
    expected = kernel - [[1.5, -1.0, 1.5, 0.0]]
    np.testing.assert_allclose(model.get_weights()[0], expected, rtol=1e-6)


@pytest.mark.parametrize("cls", LOSSES)
@pytest.mark.parametrize(
    "weighting",
    [
        {"alpha": 0.4, "class_weights": None},
        {"alpha": [0.4, 0.2], "class_weights": [1.0, 2.0]},
    ],
)
def test_config_round_trip(cls, weighting):
    config = keras.losses.serialize(cls(gamma=1.5, reduction=None, name="f", **weighting))
    expected = {"name": "f", "reduction": None, "gamma": 1.5, **weighting}
    assert keras.losses.deserialize(config).get_config() == expected


def test_the_callers_list_is_copied():
    alpha, class_weights = [0.1, 0.2], [1.0, 2.0]
    loss = SparseSigmoidFocalLoss(alpha=alpha, class_weights=class_weights)
    alpha[0], class_weights[0] = 9.0, -1.0
    assert loss.get_config()["alpha"] == [0.1, 0.2]
    assert loss.get_config()["class_weights"] == [1.0, 2.0]


@pytest.mark.parametrize("cls", LOSSES)
@pytest.mark.parametrize(
    "arguments",
    [{"alpha": 1.5}, {"alpha": -1}, {"gamma": -0.1}, {"alpha": [0.5, 1.5]}, {"alpha": []}]
    + [{"alpha": float("nan")}, {"gamma": float("nan")}],
)
def test_bad_arguments_are_named(cls, arguments):
    with pytest.raises(ValueError, match="`alpha` must lie in .0, 1. and `gamma` must not be"):
        cls(**arguments)


@pytest.mark.parametrize("cls", LOSSES)
@pytest.mark.parametrize("weights", [[1.0, 0.0], [1.0, -2.0], [float("inf"), 1.0], []])
def test_bad_class_weights_are_named(cls, weights):
    with pytest.raises(ValueError, match="`class_weights` must be None or one positive number"):
        cls(class_weights=weights)


@pytest.mark.parametrize("cls", LOSSES)
@pytest.mark.parametrize("name, values", [("alpha", [0.5] * 3), ("class_weights", [2.0])])
def test_wrong_lengths_are_named_at_the_first_call(cls, name, values):
    loss = cls(**{name: values})
    message = (
        f"`{name}` must hold one number for each class of the logits.*Received: {len(values)} "
    )
    with pytest.raises(ValueError, match=message):
        loss(targets_for(loss, np.array([[1, -1]]), 2), np.zeros((1, 2, 2)))
