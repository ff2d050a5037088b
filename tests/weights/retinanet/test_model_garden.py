"""The importer of the Model Garden's RetinaNet, against outputs of the Garden's own network.

`tests/golden/model_garden/model_garden.npz` was written by `benchmarks/peer_model_garden.py`
(tf-models-official 2.20.0, 64 x 96 pixels, few channels, 2 classes and background) with the weights
of the recipe.
"""

import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from keras_det.backbones import resnet
from keras_det.boxes import decode_deltas
from keras_det.errors import DataError
from keras_det.layers.anchor_generator import AnchorGenerator
from keras_det.models import RetinaNet
from keras_det.models.compiled import compiled
from keras_det.necks import FPN
from keras_det.weights.common.coco_classes import COCO_CLASSES
from keras_det.weights.retinanet import model_garden, model_garden_file
from keras_det.weights.retinanet.model_garden import load_model_garden
from keras_det.weights.retinanet.model_garden_file import (
    model_garden_arguments,
    read_model_garden,
)
from tests.helpers import ROOT
from tests.weights.retinanet import model_garden_recipe as recipe

NARROW = {"blocks": recipe.NARROW_BLOCKS, "channels": recipe.NARROW_CHANNELS}
REPEATS = tuple(repeats for _, repeats in recipe.NARROW_BLOCKS)
LEVELS = "34567"
FILE = ROOT / "tests" / "golden" / "model_garden" / "model_garden.npz"


def build(found, **changes):
    """The network that `model_garden_arguments` describes, as `from_model_garden` builds it."""
    found = found._replace(**changes)
    levels = range(found.min_level, found.max_level + 1)
    return RetinaNet(
        resnet(found.backbone, padding=found.padding, norm_epsilon=found.norm_epsilon),
        class_names=found.class_names,
        image_size=(64, 96),
        neck=FPN(
            found.neck_channels,
            extra=found.neck_extra,
            norm=found.neck_norm,
            padding=found.padding,
        ),
        neck_channels=found.neck_channels,
        anchor_generator=AnchorGenerator(
            tuple(levels), aspect_ratios=found.aspect_ratios, sizes=found.anchor_sizes
        ),
        head_repeats=found.head_repeats,
        head_norm=found.head_norm,
    )


@pytest.fixture(scope="module", autouse=True)
def narrow_resnet():
    """A ResNet as narrow as the recipe's beside the published ones."""
    module = sys.modules["keras_det.backbones.resnet"]
    filters = tuple(filters for filters, _ in recipe.NARROW_BLOCKS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(module.RESNETS, "narrow", (REPEATS, True))
        patch.setattr(module, "STAGE_FILTERS", filters)
        patch.setitem(model_garden_file.BOTTLENECK_RESNETS, REPEATS, "narrow")
        yield


@pytest.fixture(scope="module")
def values():
    return recipe.draw_all(classes=3, **NARROW)


@pytest.fixture(scope="module")
def model(narrow_resnet, values):
    """One network for all tests; each loads what it needs."""
    return build(model_garden_arguments(values))


@pytest.fixture(scope="module")
def forward(model):
    return compiled(model, lambda raw: raw)


@pytest.fixture(scope="module")
def theirs():
    """Per level `(anchors, outputs)` in our order of outputs, deltas (dx, dy, dw, dh)."""
    file = dict(np.load(FILE))
    rows = {}
    for level in LEVELS:
        rows["class", level] = file[f"class_{level}"].reshape(-1, 3)[:, 1:]
        rows["box", level] = file[f"box_{level}"].reshape(-1, 4)[:, [1, 0, 3, 2]]
        rows["anchors", level] = file[f"anchors_{level}"].reshape(-1, 4)[:, [1, 0, 3, 2]]
    boxes = file["decoded_boxes"][0][:, [1, 0, 3, 2]]
    return SimpleNamespace(images=file["images"], rows=rows, boxes=boxes)


def shares(raw, theirs):
    """Per output and level the largest difference in standard deviations."""
    found = {"class": np.asarray(raw["class_logits"])[0], "box": np.asarray(raw["box_deltas"])[0]}
    places = np.cumsum([0] + [len(theirs.rows["anchors", level]) for level in LEVELS])
    result = {}
    for kind, ours in found.items():
        for i, level in enumerate(LEVELS):
            wanted = theirs.rows[kind, level]
            off = np.abs(ours[places[i] : places[i + 1]] - wanted).max()
            result[kind, level] = off / wanted.std()
    return result


@pytest.mark.slow
def test_the_outputs_are_the_gardens(model, forward, values, theirs):
    for kind in ("class", "box"):
        assert all(0.3 <= theirs.rows[kind, level].std() <= 3 for level in LEVELS)
    report = load_model_garden(model, values)
    assert sorted(report.loaded) == sorted(values)
    assert not report.skipped and not report.missing
    raw = forward(theirs.images.astype("float32"))
    assert max(shares(raw, theirs).values()) < 1e-4
    # Their float32 sums round once more than ours: one part in 2^23 of 1000 pixels.
    anchors = np.concatenate([theirs.rows["anchors", level] for level in LEVELS])
    np.testing.assert_allclose(model.anchors, anchors, rtol=0, atol=1.3e-4)
    boxes = np.asarray(decode_deltas(model.anchors, raw["box_deltas"]))[0]
    np.testing.assert_allclose(boxes, theirs.boxes, rtol=1e-4, atol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    "first, second",
    [
        ("decoder/layer_with_weights-5/kernel", "decoder/layer_with_weights-6/kernel"),
        ("decoder/layer_with_weights-4/bias", "decoder/layer_with_weights-7/bias"),
        ("decoder/layer_with_weights-11/gamma", "decoder/layer_with_weights-12/beta"),
        ("head/_cls_norms/1/2/gamma", "head/_cls_norms/2/1/gamma"),
        ("head/_box_norms/4/0/moving_mean", "head/_box_norms/4/1/moving_mean"),
        ("head/_cls_convs/0/kernel", "head/_box_convs/0/kernel"),
        ("backbone/layer_with_weights-3/_norm1/beta", "backbone/layer_with_weights-3/_norm2/beta"),
    ],
)
def test_a_swap_of_two_tensors_is_noticed(model, forward, values, theirs, first, second):
    assert values[first].shape == values[second].shape
    load_model_garden(model, {**values, first: values[second], second: values[first]})
    raw = forward(theirs.images.astype("float32"))
    assert max(shares(raw, theirs).values()) > 1e-3


# The shifts of a block's last norm and of its shortcut's add up: outputs cannot tell them apart.
def test_shifts_that_add_up_have_their_places(model, values):
    load_model_garden(model, values)
    for ours, attribute in (("norm3", "_norm3"), ("shortcut_norm", "_norm0")):
        np.testing.assert_array_equal(
            model.backbone.get_layer(f"stage3_block0_{ours}").beta.numpy(),
            values[f"backbone/layer_with_weights-3/{attribute}/beta"],
        )


def test_a_checkpoint_is_read_by_its_objects(tmp_path, values):
    prefix = recipe.write_checkpoint(tmp_path, values, held_by="model")
    for path in (prefix, f"{prefix}.index", tmp_path):
        found, of_training = read_model_garden(path)
        assert found.keys() == values.keys()
        assert all(np.array_equal(found[name], values[name]) for name in values)
    parts = {name.split("/")[0] for name in of_training}
    assert parts == {"global_step", "optimizer", "save_counter"}


def test_a_load_from_a_file_reports_what_belongs_to_the_training(tmp_path, model, values):
    prefix = recipe.write_checkpoint(tmp_path, values)
    report = load_model_garden(model, prefix)
    assert sorted(report.loaded) == sorted(values)
    assert set(report.skipped.values()) == {"belongs to the training, not to the network"}
    assert any(name.startswith("optimizer/iter") for name in report.skipped)


def test_a_backbone_alone_is_refused(tmp_path, values):
    stem = {name: values[name] for name in values if re.match(r"backbone/.*-[01]/", name)}
    prefix = recipe.write_checkpoint(tmp_path, stem, parts="backbone")
    with pytest.raises(DataError, match=r"without 'decoder'; it holds .*'backbone'"):
        read_model_garden(prefix)


def published(**changes):
    """Names and shapes of a published checkpoint, without the memory."""
    return {
        name: np.broadcast_to(np.float32(0), shape)
        for name, shape in recipe.shapes(**changes).items()
    }


def test_arguments_follow_from_names_and_shapes():
    found = model_garden_arguments(published())
    assert found.class_names == list(COCO_CLASSES.values())
    assert (found.backbone, found.padding, found.norm_epsilon) == (
        "resnet50",
        "same",
        1e-3,
    )
    assert (found.min_level, found.max_level, found.neck_channels) == (3, 7, 256)
    assert (found.head_repeats, found.head_norm, found.neck_norm) == (4, "batch", True)
    assert found.anchor_sizes[0] == pytest.approx((32, 40.3175, 50.7968), abs=1e-3)
    assert found.anchor_sizes[4][0] == 512 and found.aspect_ratios == (0.5, 1.0, 2.0)
    deeper = ((64, 3), (128, 4), (256, 23), (512, 3))
    found = model_garden_arguments(published(blocks=deeper, channels=64, classes=4))
    assert (found.backbone, found.neck_channels) == ("resnet101", 64)
    assert found.class_names == ["class_0", "class_1", "class_2"]


def without(values, part):
    return {name: value for name, value in values.items() if part not in name}


def renamed(values, old, new):
    return {name.replace(old, new): value for name, value in values.items()}


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda v: without(v, "_conv3"), r"Received: basic residual blocks in stages of \[3, 4"),
        (lambda v: without(v, "_shortcut"), r"one of .*resnet50.* stages of \[16\]"),
        (lambda v: without(v, "_classifier/k"), r"shared over the levels.*'head/_classifier/ker"),
        (lambda v: without(v, "decoder/layer_with_weights-9"), r"pyramid network .* 5 3x3 con.* 4"),
        (lambda v: {**v, "head/_box_regressor/bias": np.zeros(45)}, r"4 numbers .* Received: 45"),
        (lambda v: {**v, "head/_box_regressor/bias": np.zeros(24)}, r"4 numbers .* Received: 24"),
    ],
)
def test_arguments_of_other_networks_are_refused(change, message):
    with pytest.raises(DataError, match=message):
        model_garden_arguments(change(published()))


def test_other_anchors_have_to_be_said():
    values = published()
    with pytest.raises(DataError, match=r"predicts 9 anchors per cell. Received: 1 size x 3"):
        model_garden_arguments(values, num_octaves=1)
    ratios = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
    found = model_garden_arguments(values, 3.0, 1, ratios)
    assert found.anchor_sizes[0] == (24.0,) and found.aspect_ratios == ratios


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda v: without(v, "_box_norms/3/2/gamma"), r"without 'head/_box_norms/3/2/gamma'"),
        (lambda v: without(v, "decoder/layer_with_weights-12"), r"in the model, 4 in the file"),
        (
            lambda v: {**v, "head/_cls_convs/1/bias": np.zeros(8)},
            r"'head/_cls_convs/1/bias' must have shape \(16,\).* Received: \(8,\)",
        ),
        (
            lambda v: {**v, "backbone/layer_with_weights-2/_squeeze_excitation/w": np.zeros(2)},
            r"only tensors of .*Received: .*, with 'backbone/layer_with_weights-2/_squeeze",
        ),
    ],
)
def test_what_does_not_fit_changes_nothing(model, values, change, message):
    before = [variable.numpy() for variable in model.variables]
    moved = {name: value + 1 for name, value in values.items()}
    with pytest.raises(DataError, match=message):
        load_model_garden(model, change(moved))
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())


def test_attribute_heads_are_left_out(model, values):
    name = "head/_att_predictors/depth/kernel"
    report = load_model_garden(model, {**values, name: np.zeros(3)})
    assert report.skipped == {name: "attributes of objects are not predicted here"}


def test_other_classes_keep_their_prediction(model, values):
    wider = recipe.draw_all(classes=5, **NARROW)
    before = [variable.numpy() for variable in model.class_head.prediction.variables]
    report = load_model_garden(model, wider)
    assert sorted(report.skipped) == ["head/_classifier/bias", "head/_classifier/kernel"]
    assert "4 classes, the model 2" in report.skipped["head/_classifier/bias"]
    assert report.missing == [v.path for v in model.class_head.prediction.variables]
    for old, variable in zip(before, model.class_head.prediction.variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())
    np.testing.assert_array_equal(
        model.class_head.convolutions[0].bias.numpy(), wider["head/_cls_convs/0/bias"]
    )


# Anchor a's output of class k is channel 5 a + k there: classes 4 and 1 of anchor 0, then of 1 ….
def test_classes_can_be_chosen(model):
    wider = recipe.draw_all(classes=5, **NARROW)
    load_model_garden(model, wider, classes=[4, 1])
    expected = [5 * anchor + k for anchor in range(9) for k in (4, 1)]
    np.testing.assert_array_equal(
        model.class_head.prediction.bias.numpy(), wider["head/_classifier/bias"][expected]
    )


# The file's ratios are (0.5, 1, 2), the model's (1, 2, 0.5): its anchors 0, 1, 2 are 1, 2, 0 there.
def test_anchors_are_put_in_the_models_order(values):
    prediction = SimpleNamespace(variables=[SimpleNamespace(name="bias")])
    generator = AnchorGenerator(num_octaves=2, aspect_ratios=(1.0, 2.0, 0.5))
    order = model_garden._anchor_order(generator, 6, (0.5, 1.0, 2.0))
    assert order == [1, 2, 0, 4, 5, 3]
    (slot,) = model_garden._prediction(prediction, "head/_box_regressor", order, [1, 0, 3, 2])
    picked = slot.convert(np.arange(24.0))
    np.testing.assert_array_equal(picked[:8], [5, 4, 7, 6, 9, 8, 11, 10])
    with pytest.raises(DataError, match=r"aspect ratios \(0.5, 1.0, 3.0\). Received: 6 per cell"):
        model_garden._anchor_order(generator, 6, (0.5, 1.0, 3.0))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"padding": "symmetric"}, r"padding of the pyramid': 'symmetric'"),
        ({"extra": "c5"}, r"source of P6': 'c5'"),
        ({"norm": False}, r"pyramid normalised': False"),
    ],
)
def test_a_pyramid_of_another_structure_is_refused(changes, message):
    neck = FPN(16, **{"padding": "same", "norm": True, **changes})
    model = SimpleNamespace(
        backbone=SimpleNamespace(layers=[SimpleNamespace(name="stem", padding="same")]), neck=neck
    )
    with pytest.raises(DataError, match=message):
        model_garden._check_built(model)
