"""Losses of one's own are checked where the model is built."""

import keras
import pytest
from keras import ops

from keras_det.losses import (
    BOX_LOSSES,
    CornerFocalLoss,
    SigmoidFocalLoss,
    SparseSigmoidFocalLoss,
    check_box_loss,
    check_class_loss,
    make_box_loss,
)


class OneHotFocal(keras.losses.Loss):
    """A loss of one's own of the right form."""

    def __init__(self, reduction="sum"):
        super().__init__(reduction=reduction)

    def call(self, y_true, y_pred):
        return SigmoidFocalLoss().call(ops.one_hot(y_true, y_pred.shape[-1]), y_pred)


@pytest.mark.parametrize("num_classes", [1, 3, 4])
def test_losses_of_the_right_form_pass(num_classes):
    weighted = SparseSigmoidFocalLoss(class_weights=[2.0] * num_classes)
    for loss in (SparseSigmoidFocalLoss(), weighted, OneHotFocal()):
        assert check_class_loss(loss, num_classes) is loss
    assert check_class_loss(CornerFocalLoss(), num_classes, "corners")
    for name in BOX_LOSSES:
        assert check_box_loss(make_box_loss(name))


@pytest.mark.parametrize(
    "loss, model, message",
    [
        (
            keras.losses.BinaryFocalCrossentropy(from_logits=True),
            "anchors",
            "fails on such a batch",
        ),
        (
            keras.losses.BinaryCrossentropy(from_logits=True),
            "corners",
            "it does not sum. Give it reduc",
        ),
        (OneHotFocal("sum_over_batch_size"), "anchors", "it does not sum. Give it reduction"),
        (OneHotFocal(None), "anchors", r"returns shape \(1, 4\) instead of one number"),
        (SigmoidFocalLoss(), "anchors", "fails on such a batch"),
    ],
)
def test_other_losses_are_refused_with_the_form(loss, model, message):
    with pytest.raises(ValueError, match=r"`class_loss` must be .*that sums.*" + message):
        check_class_loss(loss, 3, model)


def test_what_is_no_loss_is_a_type_error():
    with pytest.raises(TypeError, match="`class_loss` must be .* Received: 'mse'. Use keras_det"):
        check_class_loss("mse", 3)


def test_wrong_class_weights_are_named_by_the_loss_itself():
    with pytest.raises(ValueError, match="^`class_weights` must hold one number for each class"):
        check_class_loss(SparseSigmoidFocalLoss(class_weights=[1, 2]), 3)


def test_an_averaging_box_loss_is_refused():
    class Averaging(keras.losses.MeanSquaredError):
        inputs = "deltas"

    with pytest.raises(ValueError, match=r"`box_loss` must be .*it does not sum"):
        make_box_loss(Averaging())
    # Keras' mean over the four coordinates stays: the sum over the anchors is what counts.
    assert make_box_loss(Averaging(reduction="sum"))


def test_the_model_checks_both_losses():
    from keras_det import CornerNet, EfficientDet
    from keras_det.backbones import Hourglass

    class Averaging(keras.losses.Huber):
        inputs = "boxes"

    averaging = keras.losses.BinaryCrossentropy(from_logits=True)
    with pytest.raises(ValueError, match="`class_loss` must be"):
        CornerNet(Hourglass(2, (8, 12), (1, 1), 4), 2, image_size=47, class_loss=averaging)
    with pytest.raises(ValueError, match="`class_loss` must be"):
        EfficientDet("lite0", 2, image_size=64, class_loss=averaging)
    with pytest.raises(ValueError, match="`box_loss` must be"):
        EfficientDet("lite0", 2, image_size=64, box_loss=Averaging())
