"""CornerNet's public checkpoint in ours: outputs, names, classes, and what does not fit."""

import functools
import re

import numpy as np
import pytest

from keras_det import CornerNet
from keras_det.backbones import HOURGLASSES, Hourglass
from keras_det.errors import DataError
from keras_det.weights import load_cornernet
from keras_det.weights.common.coco_classes import COCO_CLASSES
from tests.helpers import golden
from tests.weights.common.torch_writer import write_torch_file
from tests.weights.cornernet import recipe

ROW = Hourglass(2, (8, 10, 12), (2, 1, 2), 6)
NAMES = {
    "top_left_heatmaps": "tl_heats",
    "top_left_embeddings": "tl_tags",
    "top_left_offsets": "tl_regrs",
    "bottom_right_heatmaps": "br_heats",
    "bottom_right_embeddings": "br_tags",
    "bottom_right_offsets": "br_regrs",
}


@functools.cache
def drawn(num_classes=3):
    return recipe.weights(recipe.shapes(ROW, num_classes))


def build(num_classes=3, **arguments):
    return CornerNet(ROW, num_classes, image_size=47, **arguments)


def test_names_and_shapes_are_those_of_the_original():
    lines = golden("cornernet/hourglass104_state_dict.txt").read_text().splitlines()
    wanted = {}
    for line in lines:
        name, shape = line.split("\t")
        wanted[name] = tuple(int(side) for side in re.findall(r"\d+", shape))
    assert recipe.shapes(HOURGLASSES["hourglass104"], 80) == wanted


# The numbers of NumPy in float64: the network sees blue, green, red, (x / 255 - mean) / std.
def test_outputs_of_all_stacks_are_the_oracles():
    model = build()
    report = load_cornernet(model, drawn())
    assert not report.missing and len(report.loaded) == sum(
        not name.endswith("tracked") for name in drawn()
    )
    image = np.random.default_rng(0).integers(0, 256, (47, 47, 3))
    mean, std = [0.40789654, 0.44719302, 0.47026115], [0.28863828, 0.27408164, 0.27809835]
    seen = (image[..., ::-1] / 255 - np.array(mean)) / np.array(std)
    wanted = recipe.Network(drawn(), ROW)(seen.transpose(2, 0, 1))
    features = model.backbone(model.normalization(image[None].astype("uint8")))
    for i, (head, maps) in enumerate(zip(model.heads, wanted, strict=True)):
        found = head(features[f"stack_{i}"])
        for ours, theirs in NAMES.items():
            assert maps[theirs].std() > 0.03
            tolerance = 2e-5 * max(maps[theirs].std(), np.abs(maps[theirs]).max())
            np.testing.assert_allclose(found[ours][0], maps[theirs], rtol=0, atol=tolerance)
    last = model(image[None].astype("uint8"))
    np.testing.assert_allclose(
        last["top_left_offsets"], found["top_left_offsets"], rtol=1e-5, atol=1e-6
    )


def test_file_of_parallel_training_in_torchs_older_form(tmp_path):
    path = tmp_path / "CornerNet_500000.pkl"
    write_torch_file(path, {f"module.{name}": value for name, value in drawn().items()})
    model, other = build(), build()
    model.start_from(path)
    load_cornernet(other, drawn())
    for ours, theirs in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not model.load_report.missing
    assert set(model.load_report.skipped.values()) == {"counts training steps"}


# Of COCO's 80 outputs: "dog" is the 17th name, "person" the first; "ghost" starts from the prior.
def test_classes_are_taken_by_name():
    names = list(COCO_CLASSES.values())
    assert (names.index("person"), names.index("dog")) == (0, 16)
    values = drawn(80)
    model = CornerNet(ROW, class_names=["dog", "ghost", "person"], image_size=47)
    report = load_cornernet(model, values)
    assert report.classes == {"dog": "dog", "ghost": None, "person": "person"}
    for stack, head in enumerate(model.heads):
        for corner, layer in (("tl", head.predictions[0]), ("br", head.predictions[3])):
            theirs = values[f"{corner}_heats.{stack}.1.bias"]
            wanted = [theirs[16], np.float32(-2.19), theirs[0]]
            np.testing.assert_array_equal(layer.bias, np.array(wanted))
    unnamed = build(80)
    assert load_cornernet(unnamed, values).classes["class_0"] == "person"


def test_from_checkpoint_has_cocos_names(tmp_path):
    path = tmp_path / "net.pth"
    write_torch_file(path, drawn(80))
    model = CornerNet.from_checkpoint(ROW, path, image_size=47)
    assert model.class_names[:2] == ["person", "bicycle"] and len(model.class_names) == 80


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda v: v.pop("cnvs.1.conv.weight"), "without 'cnvs.1.conv.weight'"),
        (lambda v: v.pop("tl_heats.0.1.weight"), "must be those of CornerNet"),
        (lambda v: v.update({"fc.weight": np.zeros(3)}), "with 'fc.weight', which"),
        (lambda v: v.update({"pre.1.bn1.bias": np.zeros(5)}), "'pre.1.bn1.bias' must have shape"),
        (
            lambda v: [v.pop(name) for name in list(v) if name.startswith("kps.1.")],
            'file with 1. Build "hourglass52"',
        ),
    ],
)
def test_what_does_not_fit_changes_nothing(change, message):
    values = dict(drawn())
    change(values)
    model = build()
    before = model.get_weights()
    with pytest.raises(DataError, match=message):
        model.start_from(values)
    for ours, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, old)


def test_partial_loads_say_what_is_missing():
    values = {name: value for name, value in drawn().items() if not name.startswith("br_tags.1")}
    model = build()
    report = load_cornernet(model, values, partial=True)
    assert len(report.missing) == 4
    assert all("bottom_right_embeddings" in path for path in report.missing)


def test_names_of_another_count_are_refused():
    with pytest.raises(DataError, match=r"each class output of the file \(3 in all\)"):
        load_cornernet(build(), drawn(), source_class_names=["a"])


@pytest.mark.parametrize("weights", ["coco", "imagenet"])
def test_words_say_where_the_file_is(weights):
    with pytest.raises(DataError, match="README of princeton-vl/CornerNet"):
        build(weights=weights)
