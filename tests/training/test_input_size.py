"""The input that fits the images, against a search over all sizes."""

import itertools
import math

import numpy as np
import pytest

from keras_det.data.resize import letterbox
from keras_det.training.input_size import build_for, fit_input_size, fitted_input


class Images:
    """A data set with only the attributes that the search uses."""

    def __init__(self, sizes):
        self.image_sizes = np.array(sizes, np.int32).reshape(-1, 2)
        self.class_names = ("cat",)

    def __len__(self):
        return len(self.image_sizes)


def scale(size, sizes):
    """Geometric mean of the scale factors of the images."""
    return math.exp(np.mean([math.log(min(size[0] / h, size[1] / w)) for h, w in sizes]))


WIDE, TALL = (480, 640), (640, 480)


@pytest.mark.parametrize(
    ("sizes", "side", "expected"),
    [
        ([WIDE], 320, (288, 352)),
        ([TALL], 320, (352, 288)),
        ([WIDE], 256, (224, 288)),
        ([(1080, 1920)], 512, (384, 672)),
        ([WIDE] * 9 + [TALL], 512, (448, 576)),
        ([(100, 3000)], 320, (160, 640)),  # at most four times as wide as high
    ],
)
def test_the_images_are_as_large_as_they_can_be(sizes, side, expected):
    fitted = fit_input_size(Images(sizes), side)
    assert fitted.size == expected
    height, width = fitted.size
    assert height * width <= side * side and height % 32 == width % 32 == 0
    sides = range(32, 4 * side, 32)
    allowed = [
        (h, w)
        for h, w in itertools.product(sides, sides)
        if h * w <= side * side and max(h, w) <= 4 * min(h, w)
    ]
    best = max(scale(size, sizes) for size in allowed)
    assert scale(fitted.size, sizes) == pytest.approx(best)
    assert fitted.gain == pytest.approx(best / scale((side, side), sizes))


def test_the_gain_is_that_of_the_resized_image():
    fitted = fit_input_size(Images([WIDE]), 320)
    small, large = (letterbox(*WIDE, size).scale_x for size in ((320, 320), fitted.size))
    assert fitted.gain == pytest.approx(large / small)
    assert str(fitted) == (
        "Input 288x352 (height x width) instead of 320x320: it fits the shape of the images and "
        "has no more pixels."
    )


@pytest.mark.parametrize("sizes", [[(512, 512)], [WIDE, TALL], [(470, 500)], []])
def test_the_square_stays_where_nothing_is_gained(sizes):
    assert fit_input_size(Images(sizes), 320) is None


def test_only_models_with_anchors_given_by_name_are_fitted():
    images = Images([WIDE])
    sizes = {name: fitted_input(name, images) for name in ("cornernet_tiny", "mine", None)}
    assert set(sizes.values()) == {None}
    assert fitted_input("efficientdet_d0", images).size == (448, 576)
    assert fitted_input("retinanet_resnet18", images).size == (544, 736)


def test_a_model_is_built_in_the_given_size_or_in_that_of_the_images(monkeypatch):
    monkeypatch.setattr("keras_det.training.input_size.build_model", lambda name, **k: k)
    wide, square = Images([WIDE]), Images([(64, 64)])
    named = {"class_names": ["cat"]}
    assert build_for("efficientdet_lite0", wide) == {**named, "image_size": (288, 352)}
    assert build_for("efficientdet_lite0", wide, 320) == {**named, "image_size": 320}
    assert build_for("efficientdet_lite0", square) == build_for("cornernet_tiny", wide) == named
