"""The truth in place of the parts of a CornerNet: all of them together find every object."""

import keras
import numpy as np
import pytest

import keras_det.data
from keras_det.backbones import Hourglass
from keras_det.data import draw_shapes_dataset
from keras_det.models import CornerNet
from keras_det.training.corner_parts import PARTS, replace_parts, true_parts


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = draw_shapes_dataset(tmp_path_factory.mktemp("shapes") / "data", 1, 6, image_size=96)
    return keras_det.data.load(folder, split="val")


@pytest.fixture(scope="module")
def model(shapes):
    """Random weights; images of 90 x 100 pixels are padded to 95 x 103, the maps have 24 x 26."""
    keras.utils.set_random_seed(0)
    names = shapes.class_names
    return CornerNet(Hourglass(1, (4, 6), (1, 1), 4), class_names=names, image_size=(90, 100))


@pytest.fixture(scope="module")
def measured(model, shapes):
    return replace_parts(model, shapes, batch_size=4)


def test_the_truth_of_all_parts_finds_every_object(measured):
    assert measured["heatmaps + embeddings + offsets"]["AP"] > 0.97


def test_each_part_alone_leaves_the_errors_of_the_others(measured):
    none = measured["none"]["AP"]
    assert none < 0.01
    assert measured["heatmaps"]["AP50"] > none + 0.1
    assert measured["heatmaps + offsets"]["AP"] > measured["heatmaps"]["AP"] + 0.02
    assert measured["embeddings"]["AP"] < 0.05 and measured["offsets"]["AP"] < 0.05


def test_without_the_true_embeddings_corners_stay_apart(model, shapes):
    """At a threshold of 0 only equal embeddings make a pair: the true ones, not random ones."""
    steps = [("heatmaps", "offsets"), PARTS]
    apart, joined = replace_parts(model, shapes, 4, steps, embedding_threshold=0.0).values()
    assert apart["AP"] < 0.1 and joined["AP"] > 0.97


def test_without_a_part_the_detector_is_measured_as_always(model, shapes, measured):
    from keras_det.training.evaluate import evaluate

    expected = evaluate(model, shapes, batch_size=4)
    for name in ("AP", "AP50", "AR_100"):
        assert measured["none"][name] == pytest.approx(expected[name], abs=1e-6)


def test_the_truth_of_one_box(model):
    """A box at (8, 4) to (40, 30); the network adds the margin of its padding."""
    height, width = 24, 26
    top, left = model.padding.before(model.image_size)
    raw = {
        f"{corner}_{part}": np.full((1, height, width, channels), 7, "float32")
        for corner in ("top_left", "bottom_right")
        for part, channels in (("heatmaps", model.num_classes), ("embeddings", 1), ("offsets", 2))
    }
    boxes = np.array([[[8, 4, 40, 30], [0, 0, 0, 0]]], "float32")
    found = true_parts(model, raw, boxes, np.array([[1, -1]]))
    x, y = (8 + left) * 26 / 103, (4 + top) * 24 / 95
    row, column = int(y), int(x)
    heatmap = found["top_left_heatmaps"][0]
    assert heatmap[row, column, 1] == 20 and (heatmap > 10).sum() == 1
    assert (heatmap[..., 0] < -1e6).all()
    assert found["top_left_offsets"][0, row, column] == pytest.approx([x - column, y - row])
    assert (found["top_left_offsets"] == 7).sum() == 2 * (height * width - 1)
    assert not found["top_left_embeddings"].any()


def test_the_nearest_corner_gives_a_cell_its_embedding(model):
    boxes = np.array([[[0, 0, 20, 20], [60, 0, 90, 20]]], "float32")
    shape = (1, 24, 26)
    raw = {
        f"{corner}_{part}": np.zeros((*shape, channels), "float32")
        for corner in ("top_left", "bottom_right")
        for part, channels in (("heatmaps", model.num_classes), ("embeddings", 1), ("offsets", 2))
    }
    found = true_parts(model, raw, boxes, np.array([[0, 0]]))["top_left_embeddings"][0, :, :, 0]
    assert found[:, :8].max() == 0 and found[:, 9:].min() == 1  # the middle is at 30 pixels


def test_an_unknown_part_is_named(model, shapes):
    with pytest.raises(ValueError, match="heatmaps, embeddings, offsets. Received: 'heatmap'"):
        replace_parts(model, shapes, steps=[("heatmap",)])
