"""AnchorGenerator against the original EfficientDet's arrays and against numbers by hand."""

import keras
import numpy as np
import pytest

from keras_det.layers.anchor_generator import AnchorGenerator
from tests.helpers import check_layer, golden


def to_yxyx(boxes):
    return boxes[:, [1, 0, 3, 2]]


@pytest.mark.parametrize(
    "case, image_size, scale",
    [
        ("boxes_128", 128, 4.0),
        ("boxes_128_scale3", 128, 3.0),
        ("boxes_h130_w100", (130, 100), 4.0),
        ("boxes_str_100x130", (130, 100), 4.0),  # the original's strings are width x height
        ("boxes_h128_w160", (128, 160), 4.0),
    ],
)
def test_anchors_equal_the_originals(case, image_size, scale):
    anchors = AnchorGenerator(anchor_scale=scale).anchors(image_size)
    assert anchors.dtype == np.float32
    np.testing.assert_array_equal(to_yxyx(anchors), golden("efficientdet/anchors.npz")[case])


@pytest.mark.parametrize(
    "case, image_size, scale, levels",
    [
        ("d0_512", 512, 4.0, range(3, 8)),
        ("d1_640", 640, 4.0, range(3, 8)),
        ("d7_1536", 1536, 5.0, range(3, 8)),
        ("d7x_1536", 1536, 4.0, range(3, 9)),
        ("lite0_320", 320, 3.0, range(3, 8)),
        ("lite3_512", 512, 4.0, range(3, 8)),
        ("h896_w1600", (896, 1600), 4.0, range(3, 8)),
    ],
)
def test_anchors_of_published_models_equal_the_originals(case, image_size, scale, levels):
    file = golden("efficientdet/anchors.npz")
    anchors = to_yxyx(AnchorGenerator(levels, anchor_scale=scale).anchors(image_size))
    np.testing.assert_array_equal(anchors[:18], file[f"head_{case}"])
    np.testing.assert_array_equal(anchors[-18:], file[f"tail_{case}"])
    boxes = anchors.astype("float64")
    rows = np.arange(1, len(boxes) + 1)[:, None]
    sums = [len(boxes), boxes.sum(), np.abs(boxes).sum(), (boxes**2).sum(), (boxes * rows).sum()]
    np.testing.assert_allclose(sums, file[f"sum_{case}"], rtol=1e-12)
    np.testing.assert_allclose(boxes.sum(0), file[f"colsum_{case}"], rtol=1e-12)


# One level of stride 8 on an 8 x 16 image: centres (4, 4) and (12, 4), base side 2 * 8 = 16.
# Aspect 4 is width / height: 32 wide, 8 high.
def test_anchors_equal_values_by_hand():
    generator = AnchorGenerator((3,), anchor_scale=2.0, num_octaves=1, aspect_ratios=(1.0, 4.0))
    expected = [[-4, -4, 12, 12], [-12, 0, 20, 8], [4, -4, 20, 12], [-4, 0, 28, 8]]
    np.testing.assert_array_equal(generator.anchors((8, 16)), expected)
    assert generator.num_anchors_per_cell == 2


# Octaves come before aspect ratios: sides 8, 8 * 2^(1/2) = 11.3137, each square then 4 : 1.
def test_scales_vary_slower_than_aspect_ratios():
    generator = AnchorGenerator((3,), anchor_scale=1.0, num_octaves=2, aspect_ratios=(1.0, 4.0))
    boxes = generator.anchors(8)
    widths = [8.0, 16.0, 8 * 2**0.5, 16 * 2**0.5]
    np.testing.assert_allclose(boxes[:, 2] - boxes[:, 0], widths, rtol=1e-6)


def test_feature_sizes_round_up_at_every_halving():
    sizes = AnchorGenerator().feature_sizes((130, 100))
    assert sizes == [(17, 13), (9, 7), (5, 4), (3, 2), (2, 1)]


def test_given_feature_sizes_set_the_strides():
    generator = AnchorGenerator((3, 4), anchor_scale=1.0, num_octaves=1, aspect_ratios=(1.0,))
    by_dict = generator.anchors(12, {"P4": (1, 1), "P3": (1, 3)})
    # P3: strides 12 (y) and 4 (x); P4: one cell that covers the image.
    expected = [[0, 0, 4, 12], [4, 0, 8, 12], [8, 0, 12, 12], [0, 0, 12, 12]]
    np.testing.assert_array_equal(by_dict, expected)
    np.testing.assert_array_equal(by_dict, generator.anchors(12, [(1, 3), (1, 1)]))


def test_layer_passes_check_layer():
    images = np.zeros((2, 33, 50, 3), "float32")
    layer = check_layer(AnchorGenerator, {}, images, output_dtype="float32", gradient=False)
    np.testing.assert_array_equal(layer(images), layer.anchors((33, 50)))


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_layer_returns_float32_anchors_of_the_images(policy):
    layer = AnchorGenerator(dtype=policy)
    symbolic = layer(keras.Input((33, 50, 3)))
    real = layer(np.zeros((2, 33, 50, 3), "uint8"))
    assert tuple(symbolic.shape) == tuple(real.shape) == layer.anchors((33, 50)).shape
    assert symbolic.dtype == "float32"
    np.testing.assert_array_equal(real, layer.anchors((33, 50)))
    assert layer.compute_output_shape((None, None, 50, 3)) == (None, 4)


def test_config_round_trip_keeps_every_argument():
    layer = AnchorGenerator([4, 5], anchor_scale=3.0, num_octaves=2, aspect_ratios=[1.0, 3.0])
    config = keras.saving.serialize_keras_object(layer)
    copy = keras.saving.deserialize_keras_object(config)
    np.testing.assert_array_equal(copy.anchors((64, 96)), layer.anchors((64, 96)))


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"levels": (4, 3)}, "ascending pyramid levels"),
        ({"levels": ()}, "ascending pyramid levels"),
        ({"levels": (3, 10**12)}, "of at most 12"),
        ({"anchor_scale": 0}, "`anchor_scale` must be a number from 0.001 to 1000"),
        ({"anchor_scale": 1e308}, "Received: anchor_scale=1e\\+308"),
        ({"anchor_scale": 1e-300}, "Received: anchor_scale=1e-300"),
        ({"num_octaves": 0}, "`num_octaves` a whole number from 1 to 100"),
        ({"num_octaves": 10**9}, "`num_octaves` a whole number from 1 to 100"),
        ({"offset": float("nan")}, "`offset` must be a number from -1 to 1"),
        ({"aspect_ratios": (1.0, 1e308)}, "from 1/1000 to 1000"),
        ({"sizes": ((1e308,),) * 5}, "to 1,000,000 pixels"),
        ({"aspect_ratios": (1.0, -2.0)}, "width / height"),
    ],
)
def test_bad_arguments_are_named(arguments, match):
    with pytest.raises(ValueError, match=match):
        AnchorGenerator(**arguments)


@pytest.mark.parametrize("image_size", [0, (None, 64), (64, 64, 3)])
def test_bad_image_size_is_named(image_size):
    with pytest.raises(ValueError, match="`image_size` must be a positive int or a pair"):
        AnchorGenerator().anchors(image_size)


def test_wrong_number_of_feature_sizes_is_named():
    with pytest.raises(ValueError, match="one \\(height, width\\) per level"):
        AnchorGenerator().anchors(64, [(8, 8)])


# torchvision's AnchorGenerator, by hand, on a 20 x 30 image with 3 x 4 cells: strides 20 // 3 = 6
# and 30 // 4 = 7, centres at multiples of them. Side 9 at ratio 1: half 4.5 -> 4 (to even); side 9
# at ratio 2: 9 * sqrt 2 / 2 = 6.36 -> 6 wide, 9 / sqrt 2 / 2 = 3.18 -> 3 high.
def test_integer_geometry_equals_values_by_hand():
    generator = AnchorGenerator(
        (3,), aspect_ratios=(1.0, 2.0), sizes=((9,),), offset=0, integer=True
    )
    assert generator.num_anchors_per_cell == 2
    anchors = generator.anchors((20, 30), [(3, 4)])
    np.testing.assert_array_equal(anchors[:2], [[-4, -4, 4, 4], [-6, -3, 6, 3]])
    np.testing.assert_array_equal(anchors[2:4] - anchors[:2], [[7, 0, 7, 0]] * 2)
    np.testing.assert_array_equal(anchors[8:10] - anchors[:2], [[0, 6, 0, 6]] * 2)


def test_given_sizes_equal_the_same_by_scale():
    by_scale = AnchorGenerator((3, 4), anchor_scale=4.0, num_octaves=2)
    sides = [[4 * stride * 2 ** (octave / 2) for octave in (0, 1)] for stride in (8, 16)]
    given = AnchorGenerator((3, 4), sizes=sides)
    np.testing.assert_allclose(given.anchors(64), by_scale.anchors(64), rtol=1e-6)


@pytest.mark.parametrize("sizes", [((8,),), ((8,), (16, 20)), ((8,), (-1,)), ((), ())])
def test_sizes_must_fit_the_levels(sizes):
    with pytest.raises(ValueError, match="`sizes` must hold one tuple of positive sides"):
        AnchorGenerator((3, 4), sizes=sizes)


@pytest.mark.parametrize("more", [{"anchor_scale": 4.0}, {"num_octaves": 3}])
def test_sizes_exclude_what_computes_them(more):
    with pytest.raises(
        ValueError, match="`sizes` must be given without .*Received: sizes=.*=(4.0|3)"
    ):
        AnchorGenerator((3, 4), sizes=((8,), (16,)), **more)


# As release 0.1.0 stored it: a value for every argument.
def test_a_stored_scale_beside_sizes_loads():
    generator = AnchorGenerator((3, 4), sizes=((8,), (16,)))
    config = generator.get_config()
    assert config["anchor_scale"] is None and config["num_octaves"] is None
    again = AnchorGenerator.from_config({**config, "anchor_scale": 4.0, "num_octaves": 3})
    assert again.get_config() == config
    defaults = AnchorGenerator().get_config()
    assert (defaults["anchor_scale"], defaults["num_octaves"]) == (4.0, 3)


def test_generator_with_sizes_round_trips():
    generator = AnchorGenerator((3, 4), sizes=((8, 9), (16, 18)), offset=0, integer=True)
    again = AnchorGenerator.from_config(generator.get_config())
    np.testing.assert_array_equal(again.anchors(40), generator.anchors(40))


# One cell of stride 8 (level 3 of an 8-pixel image): side 8, centre at offset * 8.
@pytest.mark.parametrize("offset, centre", [(0.5, 4.0), (0, 0.0), (1.0, 8.0)])
def test_the_offset_moves_the_centre(offset, centre):
    generator = AnchorGenerator(
        (3,), anchor_scale=1.0, num_octaves=1, aspect_ratios=(1.0,), offset=offset
    )
    expected = [[centre - 4, centre - 4, centre + 4, centre + 4]]
    np.testing.assert_array_equal(generator.anchors(8), expected)


# A 9-pixel image has two cells of stride 4.5, floored to 4; half the side 4.5 is 2.25, rounded 2.
@pytest.mark.parametrize("integer, stride, half", [(False, 4.5, 2.25), (True, 4.0, 2.0)])
def test_integer_rounds_strides_and_sides(integer, stride, half):
    generator = AnchorGenerator((3,), aspect_ratios=(1.0,), sizes=((4.5,),), integer=integer)
    x1 = generator.anchors((9, 9))[:2, 0]
    np.testing.assert_array_equal(x1, [0.5 * stride - half, 1.5 * stride - half])


def test_sizes_replace_scale_and_octaves():
    generator = AnchorGenerator((3,), aspect_ratios=(1.0,), sizes=((2.0, 6.0),))
    assert generator.num_anchors_per_cell == 2
    np.testing.assert_array_equal(generator.anchors(8), [[3, 3, 5, 5], [1, 1, 7, 7]])
