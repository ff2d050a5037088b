"""The importer of official checkpoints: every variable once, averages first, nothing by halves."""

import numpy as np
import pytest

from keras_det.errors import DataError
from keras_det.models import EfficientDet
from keras_det.weights.efficientdet import (
    AVERAGE,
    load_efficientdet,
    read_checkpoint,
    variable_names,
)
from tests.helpers import golden


@pytest.fixture(scope="module")
def checkpoint():
    return read_checkpoint(golden("efficientdet/checkpoint_d0/model.index").with_suffix(""))


@pytest.fixture
def model():
    return EfficientDet("d0", num_classes=90, image_size=64)


def test_every_variable_of_the_official_checkpoint_is_used(model, checkpoint):
    report = load_efficientdet(model, checkpoint)
    assert len(report.loaded) == 709
    assert set(report.skipped) <= {"global_step", "_CHECKPOINTABLE_OBJECT_GRAPH"}
    assert set(report.skipped.values()) <= {"belongs to the training, not to the network"}
    assert report.missing == [] and report.averaged == []
    names = variable_names(model)
    for name in ("efficientnet-b0/blocks_3/se/conv2d_1/kernel", "class_net/class-1-bn-6/beta"):
        np.testing.assert_array_equal(names[name].numpy(), checkpoint[name])


def test_the_average_wins_and_slots_are_ignored(model, checkpoint):
    name = "resample_p6/conv2d/bias"
    values = {
        **checkpoint,
        name + AVERAGE: checkpoint[name] + 1,
        f"{name}/Momentum": checkpoint[name],
    }
    report = load_efficientdet(model, values)
    np.testing.assert_array_equal(variable_names(model)[name].numpy(), checkpoint[name] + 1)
    assert report.averaged == [name + AVERAGE] and name + AVERAGE in report.loaded
    assert report.skipped[name] == "its moving average is loaded"
    assert report.skipped[f"{name}/Momentum"] == "belongs to the training, not to the network"


def test_box_channels_are_permuted(model, checkpoint):
    load_efficientdet(model, checkpoint)
    theirs = checkpoint["box_net/box-predict/bias"].reshape(9, 4)  # ty, tx, th, tw
    ours = model.box_head.prediction.bias.numpy().reshape(9, 4)  # dx, dy, dw, dh
    np.testing.assert_array_equal(ours, theirs[:, [1, 0, 3, 2]])


def test_a_partial_load_is_refused_and_changes_nothing(model, checkpoint):
    before = model.get_weights()
    values = {name: value for name, value in checkpoint.items() if "box-2-bn-7/gamma" not in name}
    with pytest.raises(DataError, match=r"Received: no 'box_net/box-2-bn-7/gamma'"):
        load_efficientdet(model, values)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_another_number_of_classes_is_refused(checkpoint):
    other = EfficientDet("d0", num_classes=3, image_size=64)
    with pytest.raises(DataError, match=r"must have shape .* Received: .*number of classes"):
        load_efficientdet(other, checkpoint)


def test_a_missing_checkpoint_says_how_to_name_it(model, tmp_path):
    with pytest.raises(DataError, match=r"named by its prefix.* Received"):
        load_efficientdet(model, tmp_path / "absent")
