"""Wrong arguments of the constructors are refused before the network is built."""

import functools

import numpy as np
import pytest

from keras_det.backbones import Hourglass
from keras_det.models import CornerNet, EfficientDet, RetinaNet
from keras_det.models.anchor_detector import AnchorDetector
from keras_det.models.parts import check_class_names, check_image_size, mended_class_names
from keras_det.targets import ATSSTargets
from tests.export.tiny import small_backbone


def efficientdet(**arguments):
    return EfficientDet("lite0", **{"num_classes": 2, "image_size": 32, **arguments})


@functools.cache
def backbone():
    """Few layers, built once."""
    return small_backbone()


def retinanet(**arguments):
    return RetinaNet(backbone(), **{"num_classes": 2, "image_size": 32, **arguments})


def cornernet(**arguments):
    small = Hourglass(1, (4, 4), (1, 1), 4)
    return CornerNet(small, **{"num_classes": 2, "image_size": 47, **arguments})


def anchor_detector(**arguments):
    """The base class of the first two, without any part: the checks come before the network."""
    parts = ("normalization", "backbone", "neck", "class_head", "box_head", "anchor_generator")
    parts += ("resize_mode", "class_loss", "box_loss", "box_loss_weight")
    del arguments["num_classes"]
    given = {"image_size": (32, 32), "class_names": ["ant"], **dict.fromkeys(parts), **arguments}
    return AnchorDetector(**given)


MODELS = (efficientdet, retinanet, cornernet)
NAMES = "`class_names` must be a list of names"
WEIGHT = "must be a finite number of at least 0. Received: "
SCALE = "`anchor_scale` must be a number from 0.001 to 1000, and `num_octaves` .*Received: "
RATIOS = "`aspect_ratios` must hold one or more positive numbers.*Received: aspect_ratios="
LEVELS = "`min_level` and `max_level` must be whole numbers of at least 1.*Received: "
RATE = r"`drop_connect_rate` must be a number in \[0, 1\), or None. Received: "


@pytest.mark.parametrize(
    "error, message, wrong, models",
    [
        (TypeError, f"{NAMES}.*Received: 'cat'", {"class_names": "cat"}, MODELS),
        (TypeError, f"{NAMES}.*Received: ", {"class_names": {"ant", "bee"}}, MODELS),
        (TypeError, f"{NAMES}.*Received: ", {"class_names": {1: "ant"}}, MODELS),
        (TypeError, f"{NAMES}.*Received: 3", {"class_names": 3}, MODELS),
        (ValueError, "each name once. Received: 'ant'", {"class_names": ["ant"] * 2}, MODELS),
        (ValueError, "not empty.*Received: ''", {"class_names": ["ant", ""]}, MODELS),
        (
            ValueError,
            r"Received: ' ant', '\\u200bbee'",
            {"class_names": [" ant", "\u200bbee"]},
            MODELS,
        ),
        (TypeError, "`num_classes` must be an int. Received", {"num_classes": "2"}, MODELS),
        (TypeError, "`num_classes` must be an int. Received", {"num_classes": 2.5}, MODELS),
        (ValueError, "from 32 to 8,192 pixels. Received: 0", {"image_size": 0}, MODELS),
        (ValueError, "from 32 to 8,192 pixels. Received: 'big'", {"image_size": "big"}, MODELS),
        (ValueError, "from 32 to 8,192 pixels. Received: nan", {"image_size": np.nan}, MODELS),
        (
            ValueError,
            "`matcher` must be one of .* Received: matcher='atts'. Did you mean 'atss'",
            {"matcher": "atts"},
            (anchor_detector, *MODELS[1:2]),
        ),
        (TypeError, "`assign`. Received: matcher=0", {"matcher": 0}, MODELS[1:2]),
        (
            TypeError,
            "`assign`. Received: matcher=<class",
            {"matcher": ATSSTargets},
            (anchor_detector,),
        ),
        (TypeError, "`assign`. Received: targets=3", {"targets": 3}, MODELS[2:]),
        *(
            (ValueError, f"`{name}` {WEIGHT}{name}={value!r}", {name: value}, models)
            for name, models in {
                "box_loss_weight": (anchor_detector,),
                "pull_weight": MODELS[2:],
                "push_weight": MODELS[2:],
                "offset_weight": MODELS[2:],
            }.items()
            for value in (float("nan"), float("inf"), -1.0, "2", True)
        ),
        (ValueError, f"{SCALE}anchor_scale=nan", {"anchor_scale": np.nan}, MODELS[:2]),
        (ValueError, f"{SCALE}anchor_scale='4'", {"anchor_scale": "4"}, MODELS[:2]),
        (ValueError, rf"{SCALE}anchor_scale=1e\+308", {"anchor_scale": 1e308}, MODELS[:2]),
        (ValueError, f"{SCALE}.*num_octaves=2.5", {"num_octaves": 2.5}, MODELS[:2]),
        (ValueError, f"{SCALE}.*num_octaves='3'", {"num_octaves": "3"}, MODELS[:2]),
        (ValueError, f"{SCALE}.*num_octaves=0", {"num_octaves": 0}, MODELS[:2]),
        (ValueError, f"{RATIOS}2.0", {"aspect_ratios": 2.0}, MODELS[:2]),
        (ValueError, rf"{RATIOS}\('1'", {"aspect_ratios": "12"}, MODELS[:2]),
        (ValueError, rf"{RATIOS}\(nan", {"aspect_ratios": (np.nan,)}, MODELS[:2]),
        (ValueError, f"{LEVELS}min_level=3.0", {"min_level": 3.0}, MODELS[:2]),
        (ValueError, f"{LEVELS}min_level=3, max_level='7'", {"max_level": "7"}, MODELS[:2]),
        (ValueError, f"{LEVELS}min_level=3, max_level=2", {"max_level": 2}, MODELS[:2]),
        (ValueError, f"{RATE}drop_connect_rate=1", {"drop_connect_rate": 1}, MODELS[:1]),
        (ValueError, f"{RATE}drop_connect_rate=-0.1", {"drop_connect_rate": -0.1}, MODELS[:1]),
        (ValueError, f"{RATE}drop_connect_rate='0'", {"drop_connect_rate": "0"}, MODELS[:1]),
    ],
)
def test_wrong_arguments_are_refused(error, message, wrong, models):
    for model in models:
        with pytest.raises(error, match=message) as caught:
            model(**{"num_classes": None if "class_names" in wrong else 2, **wrong})
        assert "Received: " in str(caught.value)


def test_right_values_of_numpy_are_taken():
    assert check_class_names(np.int64(2), np.array(["ant", "bee"])) == ["ant", "bee"]


def test_names_that_older_versions_allowed_are_mended_with_a_warning():
    config = EfficientDet("lite0", class_names=["ant", "bee", "wasp"], image_size=64).get_config()
    assert EfficientDet.from_config(config).class_names == ["ant", "bee", "wasp"]
    config["class_names"] = [" ant", "", "wasp "]
    with pytest.warns(UserWarning, match="Changed: ' ant' to 'ant', '' to 'class_1', 'wasp '"):
        model = EfficientDet.from_config(config)
    assert model.class_names == ["ant", "class_1", "wasp"]
    assert mended_class_names(["a\tb", "bee", "bee "]) == ["a\\tb", "class_1", "class_2"]
    assert check_class_names(None, ("ant", "bee")) == ["ant", "bee"]
    assert check_image_size(np.int64(40)) == check_image_size(np.array([40, 40])) == (40, 40)
    assert check_image_size([32, 40.0]) == (32, 40)
