"""A subclass of `Detector` with the least that it must define, and what is refused."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_det.layers import Normalization
from keras_det.models import Detector
from tests.export.tiny import tiny

IMAGES = np.zeros((2, 8, 8, 3), "uint8")
TARGETS = {"boxes": np.float32([[[0, 0, 4, 4]]] * 2), "labels": np.int32([[0], [-1]])}


class Brightness(Detector):
    """One weight; its loss is that weight, times the objects."""

    LOSSES: tuple[str, ...] = ("class_loss",)

    def __init__(self, class_names=("ant",), image_size=(8, 8), name=None):
        images = keras.Input((*image_size, 3))
        normalization = Normalization((0.0,) * 3, (255.0,) * 3)
        bias = keras.layers.Dense(1, bias_initializer=keras.initializers.Constant(3.0))
        super().__init__(images, {"score": bias(normalization(images))}, name=name)
        self.describe(class_names, image_size, "stretch")
        self.normalization = normalization

    def losses_of(self, targets, raw):
        objects = ops.sum(ops.cast(targets["labels"] >= 0, "float32"))
        return {"class_loss": objects * ops.mean(raw["score"]), "positives_per_image": objects / 2}


class Forgetful(Brightness):
    """Returns a part that `LOSSES` does not name."""

    def losses_of(self, targets, raw):
        return {**super().losses_of(targets, raw), "size_loss": ops.mean(raw["score"])}


class Nameless(Brightness):
    """Names no part."""

    LOSSES = ()

    def losses_of(self, targets, raw):
        return {"positives_per_image": ops.mean(raw["score"])}


def compiled(kind):
    model = kind()
    model.compile(keras.optimizers.SGD(0.5), run_eagerly=True)
    return model


# One object, black images: the loss is the bias, its gradient 1.
def test_the_sum_of_its_parts_is_minimised():
    model = compiled(Brightness)
    logs = model.fit(IMAGES, TARGETS, batch_size=2, epochs=2, verbose=0).history
    np.testing.assert_allclose(logs["loss"], [3.0, 2.5], rtol=1e-6)
    assert logs["class_loss"] == logs["loss"] and logs["positives_per_image"] == [0.5, 0.5]


@pytest.mark.parametrize(
    "kind, received",
    [
        (Forgetful, r"'size_loss'\], but Forgetful.LOSSES = \('class_loss',\)"),
        (Nameless, "Nameless"),
    ],
)
def test_parts_that_would_not_be_minimised_are_refused(kind, received):
    with pytest.raises(ValueError, match=f"`losses_of` must return the parts.*{received}"):
        compiled(kind).fit(IMAGES, TARGETS, verbose=0)


def test_weights_need_a_loss_that_takes_them():
    with pytest.raises(ValueError, match="`sample_weight` needs.*for Brightness. Give its"):
        compiled(Brightness).fit(IMAGES, TARGETS, sample_weight=np.ones(2), verbose=0)


@pytest.mark.parametrize("parts", ["norm", "early", "backbone", "neck"])
def test_parts_that_it_does_not_have_are_not_frozen(parts):
    model = Brightness()
    message = f"Received: freeze='{parts}' for {model.name}, which has no backbone. Use \"none\"."
    with pytest.raises(ValueError, match=message):
        model.freeze(parts)
    model.freeze("none")


def test_parts_of_the_other_detectors_are_frozen():
    model = tiny(image_size=(64, 64))
    model.freeze("neck")
    heads = model.class_head.trainable_variables + model.box_head.trainable_variables
    assert len(model.trainable_variables) == len(heads) > 0
