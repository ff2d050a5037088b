"""The shared lists of choices equal the tables behind them, and a shared name has one value."""

import ast

import pytest

from keras_det import names
from tests.helpers import ROOT

# (command, option) and the list that it offers.
OPTIONS = {
    ("train", "freeze"): names.FREEZE_CHOICES,
    ("train", "resize_mode"): names.RESIZE_MODES,
    ("train", "augment"): names.AUGMENT_NAMES,
    ("train", "neck"): names.NECK_NAMES,
    ("train", "head_norm"): names.HEAD_NORMS,
    ("train", "matcher"): names.MATCHER_NAMES,
    ("train", "class_loss"): names.CLASS_LOSS_NAMES,
    ("train", "box_loss"): names.BOX_LOSS_NAMES,
    ("train", "dtype"): (*names.DTYPES, "auto"),
    ("train", "recipe"): names.RECIPE_NAMES,
    ("train", "anchors"): names.ANCHOR_CHOICES,
    ("export", "kind"): names.EXPORT_FORMATS,
    ("export", "quantize"): names.QUANTIZE_CHOICES,
    ("export", "postprocess"): (*names.TFLITE_POSTPROCESS, "nms"),
    ("export", "metadata"): names.METADATA_CHOICES,
    ("predict", "engine"): names.ENGINES,
    ("predict", "flip"): names.FLIP_CHOICES,
    ("evaluate", "fusion"): names.FUSION_CHOICES,
}
# Names that once had several values; each is defined in one module at most.
ONCE = ("MIN_SIDE", "COCO_OUTPUTS", "COCO_CLASSES", "JOINING")


def constants():
    """Yields (module, name, value as source) of every constant of a module."""
    for folder in (ROOT / "keras_det", ROOT / "export"):
        for path in sorted(folder.rglob("*.py")):
            for node in ast.parse(path.read_text()).body:
                targets = node.targets if isinstance(node, ast.Assign) else []
                for target in targets:
                    if isinstance(target, ast.Name) and target.id.isupper():
                        yield str(path.relative_to(ROOT)), target.id, ast.unparse(node.value)


def test_names_import_nothing():
    tree = ast.parse((ROOT / "keras_det" / "names.py").read_text())
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]


@pytest.mark.parametrize("name", ONCE)
def test_a_name_is_defined_once(name):
    assert len([module for module, other, _ in constants() if other == name]) <= 1


def test_a_shared_name_has_the_same_value_everywhere():
    shared = {name: value for module, name, value in constants() if module.endswith("det/names.py")}
    assert len(shared) > 20
    others = [(module, name, value) for module, name, value in constants() if name in shared]
    different = [each for each in others if each[2] != shared[each[1]]]
    assert [each for each in different if "(_BUILDERS)" not in each[2]] == []


def test_models_are_those_of_the_tables():
    from keras_det import models

    assert names.EFFICIENTDETS == tuple(models.EfficientDet.variants)
    assert names.RETINANETS == tuple(models.RetinaNet.variants)
    assert names.CORNERNETS == tuple(models.CornerNet.variants)
    assert names.MODEL_NAMES == models.MODEL_NAMES
    assert names.MODEL_NAMES[0] == "efficientdet_d0" and len(names.MODEL_NAMES) == 23


def test_choices_are_those_of_the_tables():
    from keras_det import data, losses, necks, targets
    from keras_det.heads import anchor_head
    from keras_det.models import fine_tuning
    from keras_det.runtime import augmented
    from keras_det.training import recipes

    assert names.FLIP_CHOICES == tuple(augmented.FLIPS)
    assert names.AUGMENT_NAMES == tuple(data.AUGMENTS)
    assert names.NECK_NAMES == tuple(necks.NECKS)
    assert names.MATCHER_NAMES == tuple(targets.MATCHERS)
    assert names.CLASS_LOSS_NAMES == tuple(losses.CLASS_LOSSES)
    assert names.BOX_LOSS_NAMES == tuple(losses.box_regression.BOX_LOSSES)
    assert (None, *names.HEAD_NORMS) == anchor_head.NORMS
    assert names.FREEZE_CHOICES == tuple(fine_tuning.FROZEN)
    assert names.RECIPE_NAMES == ("auto", *recipes.RECIPES)


def test_words_for_type_checkers_are_the_shared_choices():
    from typing import get_args, get_type_hints

    from keras_det import data, decode, layers, models, types
    from keras_det.decode.settings import DecoderSettings
    from keras_det.runtime import AugmentedDetector

    tables = {
        types.NMSMethod: names.NMS_METHODS,
        types.FlipName: names.FLIP_CHOICES,
        types.FusionName: names.FUSION_CHOICES,
        types.AugmentName: names.AUGMENT_NAMES,
        types.MatcherName: names.MATCHER_NAMES,
        types.ClassLossName: names.CLASS_LOSS_NAMES,
        types.SamplingName: names.SAMPLING_NAMES,
        types.EfficientDetVariant: names.EFFICIENTDETS,
        types.RetinaNetBackbone: names.RETINANETS,
        types.CornerNetVariant: names.CORNERNETS,
    }
    for words, table in tables.items():
        assert get_args(words) == table
    # Where they are arguments, a plain `str` is accepted too.
    arguments = [
        (types.NMSMethod, get_type_hints(DecoderSettings)["method"]),
        *((types.NMSMethod, each.__init__.__annotations__["method"])
          for each in (decode.AnchorDecoder, decode.CornerDecoder, layers.nms.NonMaxSuppression)),
        (types.FlipName, AugmentedDetector.__init__.__annotations__["flip"]),
        (types.FusionName, AugmentedDetector.__init__.__annotations__["fusion"]),
        (types.AugmentName, data.Pipeline.__init__.__annotations__["augment"]),
        *((word, each.__init__.__annotations__[argument])
          for each in (models.EfficientDet, models.RetinaNet)
          for word, argument in (
              (types.MatcherName, "matcher"), (types.ClassLossName, "class_loss"))),
        (types.SamplingName, data.Pipeline.__init__.__annotations__["sampling"]),
        (types.EfficientDetVariant, models.EfficientDet.__init__.__annotations__["variant"]),
        (types.RetinaNetBackbone, models.RetinaNet.__init__.__annotations__["backbone"]),
        (types.CornerNetVariant, models.CornerNet.__init__.__annotations__["variant"]),
    ]  # fmt: skip
    for words, annotation in arguments:
        assert {words, str} <= set(get_args(annotation))


@pytest.mark.parametrize("command, option", OPTIONS)
def test_the_command_line_offers_the_shared_choices(command, option):
    from keras_det.cli import main

    (parameter,) = [each for each in main.commands[command].params if each.name == option]
    assert tuple(parameter.type.choices) == OPTIONS[command, option]


# ImageNet's numbers are printed for pixels of 0..1: 0.485 * 255 = 123.675, 0.225 * 255 = 57.375.
def test_imagenets_mean_and_deviation():
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    assert names.IMAGENET_MEAN == pytest.approx([255 * value for value in mean])
    assert names.IMAGENET_DEVIATION == pytest.approx([255 * value for value in deviation])
