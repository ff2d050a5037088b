"""torchvision's RetinaNet in ours: its outputs, names, anchors, classes, and what does not fit."""

import functools
import types

import keras
import numpy as np
import pytest

from keras_det.backbones import resnet
from keras_det.errors import DataError
from keras_det.layers.anchor_generator import AnchorGenerator
from keras_det.models import RetinaNet
from keras_det.necks import FPN, PAFPN
from keras_det.weights import load_torchvision_retinanet, torchvision_arguments
from keras_det.weights.common.coco_classes import COCO_CLASSES
from tests.helpers import ROOT
from tests.weights.common.torch_writer import write_torch_file
from tests.weights.retinanet import torchvision_recipe as recipe

TOLERANCE = 1e-3  # of a level's standard deviation
CLASS_BIAS = "head.classification_head.cls_logits.bias"
BOX_BIAS = "head.regression_head.bbox_reg.bias"
SIZES = ((32, 40, 50), (64, 80, 101), (128, 161, 203), (256, 322, 406), (512, 645, 812))
P6 = "backbone.fpn.extra_blocks.p6.weight"


@functools.cache
def drawn(frozen=False):
    return recipe.weights(recipe.retinanet_shapes("resnet18", frozen=frozen))


def blank(variant="resnet18", num_outputs=91, frozen=False):
    """A state dict of zeros that takes no memory."""
    shapes = recipe.retinanet_shapes(variant, num_outputs, frozen)
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}


def build(found, image_size=(64, 96), **arguments):
    """The network that `torchvision_arguments` describes."""
    body = resnet(
        found.backbone,
        padding=found.padding,
        norm_epsilon=found.norm_epsilon,
        frozen_norm=found.frozen_norm,
    )
    anchors = AnchorGenerator(
        aspect_ratios=found.aspect_ratios,
        sizes=found.anchor_sizes,
        offset=found.anchor_offset,
        integer=found.integer_anchors,
    )
    arguments = {"class_names": found.class_names, "neck": FPN(256, extra="p5"), **arguments}
    return RetinaNet(body, image_size=image_size, **{"anchor_generator": anchors, **arguments})


@pytest.fixture(scope="module")
def model():
    return build(torchvision_arguments(drawn()))


@pytest.fixture(scope="module")
def three_classes():
    return build(torchvision_arguments(drawn()), (32, 32), class_names=["a", "b", "c"])


def numpy_of(variable):
    return keras.ops.convert_to_numpy(variable)


# ---- outputs ----


def worst_difference(model, theirs, logits="class_logits"):
    """Largest difference of any level from torchvision, in standard deviations of the level.

    Anchors are matched by their coordinates, so that nothing of the importer is used.
    """
    expected = theirs["anchors"].astype("float32")
    ours, order = np.lexsort(model.anchors.T), np.lexsort(expected.T)
    np.testing.assert_array_equal(model.anchors[ours], expected[order])
    same = np.empty_like(order)
    same[ours] = order
    ids = {name: index for index, name in COCO_CLASSES.items()}
    columns = [[ids[name] for name in model.class_names].index(i) for i in theirs["outputs"]]
    raw = model(recipe.image(*theirs["size"])[None], training=False)
    raw = {name: keras.ops.convert_to_numpy(output)[0] for name, output in raw.items()}
    mine = raw["class_logits"][:, columns[: theirs[logits].shape[1]]]
    pairs = [(mine, theirs[logits])]
    if logits == "class_logits":
        pairs.append((raw["box_deltas"], theirs["box_deltas"]))
    worst, start = 0, 0
    for count in 9 * theirs["cells"]:
        level = slice(start, start + count)
        for mine, outputs in pairs:
            level_of_theirs = outputs[same][level]
            std = level_of_theirs.std()
            assert 0.3 < std < 3, "the recipe must keep the size of every level's outputs"
            worst = max(worst, np.abs(mine[level] - level_of_theirs).max() / std)
        start += count
    assert start == len(same)
    return worst


@pytest.fixture(scope="module")
def theirs():
    # torch 2.13.0, torchvision 0.28.0: benchmarks/peer_torchvision_outputs.py fixtures.
    return dict(np.load(ROOT / "tests" / "golden" / "torchvision" / "resnet18.npz"))


@pytest.mark.slow
def test_outputs_and_anchors_are_torchvisions(model, theirs):
    report = load_torchvision_retinanet(model, drawn())
    assert worst_difference(model, theirs) < TOLERANCE
    assert report.missing == [] and len(report.loaded) == 136
    assert all(name.endswith("num_batches_tracked") for name in report.skipped)


@pytest.mark.slow
@pytest.mark.parametrize(
    "first, second",
    [
        ("backbone.body.layer3.0.bn1.bias", "backbone.body.layer3.0.bn1.running_mean"),
        ("head.classification_head.conv.2.0.weight", "head.regression_head.conv.2.0.weight"),
        (P6, "backbone.fpn.extra_blocks.p7.weight"),
    ],
)
def test_two_tensors_swapped_are_noticed(model, theirs, first, second):
    swapped = {**drawn(), first: drawn()[second], second: drawn()[first]}
    load_torchvision_retinanet(model, swapped)
    assert worst_difference(model, theirs) > 10 * TOLERANCE


@pytest.mark.slow
def test_frozen_statistics_want_no_epsilon(model, theirs):
    found = torchvision_arguments(drawn(frozen=True))
    frozen = build(found)
    report = load_torchvision_retinanet(frozen, drawn(frozen=True))
    assert worst_difference(frozen, theirs, "frozen_class_logits") < TOLERANCE
    assert report.skipped == {} and report.missing == []
    load_torchvision_retinanet(model, drawn(frozen=True))  # epsilon 1e-5
    assert worst_difference(model, theirs, "frozen_class_logits") > 10 * TOLERANCE


# ---- names and arguments ----


@pytest.mark.parametrize("variant", ["resnet18", "resnet34", "resnet50"])
@pytest.mark.parametrize("frozen", [False, True])
def test_arguments_are_read_from_names_and_shapes(variant, frozen):
    found = torchvision_arguments(blank(variant, frozen=frozen))
    assert found.backbone == variant
    assert found.norm_epsilon == (0 if frozen else 1e-5) and found.frozen_norm is frozen
    assert found.class_names == list(COCO_CLASSES.values()) and len(COCO_CLASSES) == 80
    assert found.class_names[11] == "stop sign" and COCO_CLASSES[13] == "stop sign"
    # By hand: int(32 * 1.2599) = 40, int(32 * 1.5874) = 50, and 812 of 512 * 1.5874 = 812.7.
    assert found.anchor_sizes[0] == (32, 40, 50) and found.anchor_sizes[4][2] == 812


def test_other_numbers_of_classes_leave_out_background():
    assert torchvision_arguments(blank(num_outputs=4)).class_names == [
        "class_0",
        "class_1",
        "class_2",
    ]


def test_older_names_are_the_same_tensors(model):
    load_torchvision_retinanet(model, drawn())
    expected = [numpy_of(variable) for variable in model.variables]
    older = recipe.older_names(drawn())
    assert (
        "head.regression_head.conv.6.bias" in older and "backbone.fpn.inner_blocks.2.bias" in older
    )
    load_torchvision_retinanet(model, blank())
    report = load_torchvision_retinanet(model, older)
    for variable, value in zip(model.variables, expected, strict=True):
        np.testing.assert_array_equal(numpy_of(variable), value, err_msg=variable.path)
    assert {*report.loaded, *report.skipped} == set(older)


# ---- anchors and classes ----


def test_channels_are_put_in_our_order_of_anchors_and_classes(model):
    # Theirs: channel = (3 * ratio + scale) * 91 + class, ratio of 0.5, 1, 2 height / width.
    channels = np.arange(819, dtype="float32")
    load_torchvision_retinanet(model, {**blank(), CLASS_BIAS: channels})
    ours = numpy_of(model.class_head.prediction.bias).reshape(3, 3, 80)
    assert model.anchor_generator.aspect_ratios == (1.0, 2.0, 0.5)  # width / height
    for scale in range(3):
        for ours_ratio, theirs_ratio in ((0, 1), (1, 0), (2, 2)):
            for column, class_id in ((0, 1), (11, 13), (79, 90)):
                expected = (3 * theirs_ratio + scale) * 91 + class_id
                assert ours[scale, ours_ratio, column] == expected


def test_box_channels_keep_the_order_of_coordinates(model):
    # Theirs: channel = (3 * ratio + scale) * 4 + coordinate.
    load_torchvision_retinanet(model, {**blank(), BOX_BIAS: np.arange(36, dtype="float32")})
    ours = numpy_of(model.box_head.prediction.bias).reshape(3, 3, 4)
    assert ours[2, 0].tolist() == [20, 21, 22, 23]  # scale 2, square: (3 * 1 + 2) * 4
    assert ours[0, 1].tolist() == [0, 1, 2, 3]  # scale 0, wide


def test_other_classes_keep_their_own_prediction(three_classes):
    prediction = three_classes.class_head.prediction
    before = [numpy_of(variable) for variable in prediction.variables]
    report = load_torchvision_retinanet(three_classes, drawn())
    for variable, value in zip(prediction.variables, before, strict=True):
        np.testing.assert_array_equal(numpy_of(variable), value)
    np.testing.assert_allclose(before[1], -np.log(99), rtol=1e-6)  # the prior of 0.01
    assert report.missing == [variable.path for variable in prediction.variables]
    reason = report.skipped[CLASS_BIAS]
    assert "the file has 80 classes, the model 3 of its own" in reason
    bias = numpy_of(three_classes.box_head.prediction.bias)
    np.testing.assert_array_equal(np.sort(bias), np.sort(drawn()[BOX_BIAS]))


def test_some_of_the_classes_are_picked(three_classes):
    channels = np.arange(819, dtype="float32")
    values = {**blank(), CLASS_BIAS: channels}
    report = load_torchvision_retinanet(three_classes, values, classes=[13, 1, 90])
    bias = numpy_of(three_classes.class_head.prediction.bias)
    assert bias[:3].tolist() == [3 * 91 + 13, 3 * 91 + 1, 3 * 91 + 90]  # square, scale 0
    assert report.missing == []
    with pytest.raises(DataError, match=r"one output of the file, 0 to 90.*Received: \[1, 91, 2\]"):
        load_torchvision_retinanet(three_classes, values, classes=[1, 91, 2])


# ---- what does not fit ----


def test_a_missing_tensor_changes_nothing(model):
    load_torchvision_retinanet(model, blank())
    for name in ("backbone.body.layer4.1.bn2.running_var", "head.regression_head.conv.3.0.bias"):
        values = {key: value for key, value in drawn().items() if key != name}
        with pytest.raises(DataError, match=rf"Received: .*, without '{name}' among 155 tensors"):
            load_torchvision_retinanet(model, values)
    assert all(not numpy_of(variable).any() for variable in model.backbone.variables)


@pytest.mark.parametrize(
    "name, shape, message",
    [
        (
            "backbone.body.layer4.1.se.weight",
            (2,),
            r"'backbone\.body\.layer4\.1\.se.*does not have",
        ),
        ("backbone.body.bn1.bias", (65,), r"must have shape \(64,\).*Received: \(65,\)"),
        (CLASS_BIAS, (818,), r"must have shape \(720,\).*Received: \(818,\)"),
        (BOX_BIAS, (), r"must have shape \(36,\).*Received: \(\)"),
        (P6, (256, 2048, 3, 3), "no level P6 made from P5"),
        (P6, (256,), "no level P6 made from P5"),
        ("head.classification_head.conv.0.1.weight", (256,), "retinanet_resnet50_fpn_v2"),
        ("backbone.fpn.inner_blocks.3.0.weight", (256, 512, 1, 1), "begins with P2"),
        ("head.regression_head.bbox_reg.weight", (24, 256, 3, 3), "24 box outputs .* 9 anchors"),
        ("backbone.body.layer1.2.conv1.weight", (64, 64, 3, 3), "no plain ResNet"),
        ("backbone.body.layer1.0.conv1.weight", (128, 64, 3, 3), "no plain ResNet"),
        ("backbone.body.layer1.0.conv1.weight", (), "no plain ResNet"),
    ],
)
def test_other_networks_are_refused(model, name, shape, message):
    values = {**blank(), name: np.broadcast_to(np.float32(0), shape)}
    with pytest.raises(DataError, match=message):
        load_torchvision_retinanet(model, values)


def test_a_plain_resnet_is_refused():
    values = {name: 0 for name in recipe.resnet_shapes("resnet18")}
    with pytest.raises(DataError, match=r"Received: no head\.classification_head\.cls_logits"):
        torchvision_arguments(values)


def anchors(**changes):
    return AnchorGenerator(**{"sizes": SIZES, "offset": 0.0, "integer": True, **changes})


def tower(repeats, norm=None):
    return types.SimpleNamespace(norms=[norm] * bool(norm), norm=norm, convolutions=[0] * repeats)


def built(neck):
    neck.build({f"P{level}": (None, 128 >> level, 128 >> level, 8) for level in (3, 4, 5)})
    return neck


@pytest.mark.parametrize(
    "part, make, message",
    [
        ("anchor_generator", lambda: anchors(sizes=None), "anchors must be torchvision's"),
        ("anchor_generator", lambda: anchors(offset=0.5), "anchors must be torchvision's"),
        ("anchor_generator", lambda: anchors(integer=False), "anchors must be torchvision's"),
        (
            "anchor_generator",
            lambda: anchors(aspect_ratios=(1, 3)),
            "anchors must be torchvision's",
        ),
        ("neck", lambda: built(FPN(8, extra="c5")), r"FPN\(extra=\"p5\"\).*Received: the neck FPN"),
        (
            "neck",
            lambda: built(FPN(8, extra="p5", norm=True)),
            "Received: the neck FPN .*'norm': True",
        ),
        ("neck", lambda: built(FPN(8, extra="p5", padding="same")), "Received: the neck FPN"),
        (
            "neck",
            lambda: built(FPN(8, extra="p5", max_level=6)),
            r"Received: levels \(3, 4, 5, 6\)",
        ),
        ("neck", lambda: built(PAFPN(8, extra="p5")), "Received: the neck PAFPN"),
        ("box_head", lambda: tower(2), "towers of 2 conv"),
        ("class_head", lambda: tower(4, norm="group"), "norm 'group'"),
        ("backbone", lambda: resnet("resnet18", padding="same"), "padding='symmetric'"),
        ("backbone", lambda: types.SimpleNamespace(layers=[], name="b"), "fill a ResNet.*'b'"),
    ],
)
def test_models_built_otherwise_are_refused(model, part, make, message):
    names = ("backbone", "neck", "class_head", "box_head", "anchor_generator", "class_names")
    parts = {name: getattr(model, name) for name in names}
    other = types.SimpleNamespace(**{**parts, part: make()}, num_classes=80)
    with pytest.raises(DataError, match=message):
        load_torchvision_retinanet(other, blank())


def test_anchors_of_the_same_kind_in_another_order_are_accepted(model):
    parts = ("backbone", "neck", "class_head", "box_head", "class_names")
    other = types.SimpleNamespace(**{part: getattr(model, part) for part in parts})
    other.num_classes, other.anchor_generator = 80, anchors(aspect_ratios=(0.5, 1.0, 2.0))
    values = {**blank(), BOX_BIAS: np.arange(36, dtype="float32")}
    load_torchvision_retinanet(other, values)
    ours = numpy_of(model.box_head.prediction.bias).reshape(3, 3, 4)
    # Scale 0: ours tall, square, wide (width / height); theirs wide first: 0, then 12, then 24.
    assert ours[0, :, 0].tolist() == [24, 12, 0]


@pytest.mark.slow
def test_a_file_becomes_a_model(tmp_path):
    write_torch_file(tmp_path / "weights.pth", drawn(frozen=True))
    loaded = RetinaNet.from_torchvision(tmp_path / "weights.pth", image_size=(64, 96))
    assert loaded.class_names[:2] == ["person", "bicycle"] and loaded.load_report.missing == []
    norm = loaded.backbone.get_layer("stem_norm")
    assert norm.epsilon == 0 and not norm.trainable
    np.testing.assert_array_equal(
        numpy_of(norm.moving_mean), drawn(frozen=True)["backbone.body.bn1.running_mean"]
    )
    raw = loaded(recipe.image(64, 96)[None], training=False)
    own = RetinaNet.from_torchvision(tmp_path / "weights.pth", num_classes=2, image_size=(64, 96))
    assert own.num_classes == 2 and len(own.load_report.missing) == 2
    mine = own(recipe.image(64, 96)[None], training=False)
    np.testing.assert_allclose(mine["box_deltas"], raw["box_deltas"], atol=1e-5)
