"""Necks by name and as instances."""

import keras
import pytest

from keras_det.necks import FPN, NASFPN, NECKS, PAFPN, BiFPN, make_neck


@pytest.mark.parametrize(
    "name, kind", [("fpn", FPN), ("pafpn", PAFPN), ("nas_fpn", NASFPN), ("bifpn", BiFPN)]
)
def test_a_name_gives_its_class_with_the_arguments(name, kind):
    neck = make_neck(name, 24, 3, 7)
    assert type(neck) is kind is NECKS[name]
    assert (neck.channels, neck.levels, neck.name) == (24, (3, 4, 5, 6, 7), name)


def test_levels_reach_the_neck():
    assert make_neck("pafpn", 24, 2, 6).levels == (2, 3, 4, 5, 6)


def test_an_instance_is_returned_as_it_is():
    neck = FPN(8, 2, 5)
    assert make_neck(neck, 256, 2, 5) is neck


@pytest.mark.parametrize(
    "neck, message",
    [
        ("pafnp", r"Received: 'pafnp'. Did you mean 'pafpn'\?"),
        ("NAS_FPN", r"Received: 'NAS_FPN'. Did you mean 'nas_fpn'\?"),
        (None, r"must be one of \['fpn', 'pafpn', 'nas_fpn', 'bifpn'\] or a layer .* None"),
        (FPN, r"or a layer with a property `levels`. Received: <class"),
        (keras.layers.Conv2D(3, 3), r"or a layer with a property `levels`. Received: <Conv2D"),
        (FPN(8, 3, 6, name="mine"), r"levels 3 to 7, .* Received: mine with levels \[3, 4, 5, 6\]"),
    ],
)
def test_what_does_not_fit_is_named(neck, message):
    with pytest.raises(ValueError, match=message):
        make_neck(neck, 64, 3, 7)
