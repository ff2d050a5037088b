"""Models of others as backbones: by declared pyramids, by layer names, errors."""

import keras
import numpy as np
import pytest

from keras_det.backbones import feature_pyramid


def plain_model(num_outputs=1):
    images = keras.Input((None, None, 3))
    x, outputs = images, []
    for level in range(1, 6):
        x = keras.layers.Conv2D(4, 3, strides=2, padding="same", name=f"level_{level}")(x)
        outputs.append(x)
    return keras.Model(images, x if num_outputs == 1 else outputs, name="plain")


def test_layers_by_name_give_their_outputs():
    model = plain_model()
    pyramid = feature_pyramid(model, {"P4": "level_4", "P3": "level_3", "P5": "level_5"})
    image = np.random.default_rng(0).normal(size=(1, 64, 48, 3)).astype("float32")
    outputs = pyramid(image)
    assert list(outputs) == ["P3", "P4", "P5"]
    np.testing.assert_array_equal(outputs["P5"], model(image))
    assert tuple(outputs["P3"].shape) == (1, 8, 6, 4)


def test_declared_pyramids_are_taken():
    model = plain_model()
    model.pyramid_outputs = {"P3": model.get_layer("level_3").output, "P4": model.output}
    assert list(feature_pyramid(model).output) == ["P3", "P4"]
    other = plain_model()
    other.pyramid_level_inputs = {"P3": "level_3", "P4": "level_4"}
    assert list(feature_pyramid(other).output) == ["P3", "P4"]


def test_a_pyramid_is_taken_as_it_is():
    pyramid = feature_pyramid(plain_model(), {"P3": "level_3", "P4": "level_4"})
    assert feature_pyramid(pyramid) is pyramid


def test_unnamed_levels_and_unknown_layers_are_errors():
    with pytest.raises(ValueError, match="Received: 'plain' with one output and no `pyramid"):
        feature_pyramid(plain_model())
    with pytest.raises(ValueError, match=r"`layers\['P3'\]` must be .*Received: 'stage_3'"):
        feature_pyramid(plain_model(), {"P3": "stage_3"})
    with pytest.raises(ValueError, match=r"Received: 'plain' with \['C3'\]"):
        feature_pyramid(plain_model(), {"C3": "level_3"})
