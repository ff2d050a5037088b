"""Objects that become smaller than a pixel: shares, sizes and tiles by hand."""

import numpy as np
import pytest

from keras_det.data import Pipeline
from keras_det.data import augment as augmenting
from keras_det.data.augment import AUGMENTS, Augment
from keras_det.data.resize import resized_size
from keras_det.data.vanishing import (
    find_vanishing,
    input_boxes,
    input_scales,
    lost_shares,
    shown_boxes,
    target_warnings,
)
from tests.data.builders import write_image
from tests.doctor.made import dataset_of, square


@pytest.mark.parametrize("mode", ["letterbox", "stretch", "mediapipe"])
def test_scales_are_those_of_the_pipeline(mode):
    sizes = np.random.default_rng(0).integers(1, 900, (300, 2))
    scales = input_scales(sizes, (320, 256), mode)
    for (height, width), (scale_x, scale_y) in zip(sizes.tolist(), scales, strict=True):
        new_height, new_width = resized_size(height, width, (320, 256), mode)
        assert (scale_x, scale_y) == (new_width / width, new_height / height)


# 1500 x 1000 letterboxed to 320: scale 320 / 1500 = 0.2133; 213 rows for 1000: 0.213.
def test_boxes_move_with_their_image():
    data = dataset_of([[square(300, 100, 5)], []], [(1000, 1500), (8, 8)])
    expected = [[64.0, 21.3, 64 + 5 * 320 / 1500, 21.3 + 5 * 0.213]]
    np.testing.assert_allclose(input_boxes(data, (320, 320), "letterbox"), expected, rtol=1e-6)


# Side 1.065 is below a pixel while the scale is below 1 / 1.065 = 0.939: of 0.8 … 1.25 that is
# (0.939 - 0.8) / 0.45 = 0.309. Side 0.5 needs 2, side 2 needs 0.5: always and never.
def test_shares_of_scale_jitter_by_hand():
    shares = lost_shares(np.array([1.065, 0.5, 2.0, 0.0]), AUGMENTS["ssj"])
    np.testing.assert_allclose(shares, [0.309, 1.0, 0.0, 1.0], atol=1e-3)
    assert lost_shares(np.array([0.99, 1.0]), AUGMENTS["none"]).tolist() == [1.0, 0.0]
    assert lost_shares(np.array([1.9, 2.1]), Augment(scale=(0.5, 0.5))).tolist() == [1.0, 0.0]


def test_share_agrees_with_drawn_plans():
    import tensorflow as tf

    # The object lies where every window shows it.
    data = dataset_of([[square(500, 500, 5)]], [(1000, 1500)])
    found = find_vanishing(data, (320, 320), "letterbox", AUGMENTS["ssj"])
    draws = np.random.default_rng(0).uniform(size=(300, 4)).astype("float32")
    gone = 0
    for row in draws:
        plan = augmenting.draw_plan(
            tf.constant([1000, 1500]), (320, 320), "letterbox", AUGMENTS["ssj"], tf.constant(row)
        )
        boxes = augmenting.move_boxes(tf.constant(data.boxes), plan, augmenting.way_back(plan))
        gone += not bool(augmenting.stays(*boxes, AUGMENTS["ssj"])[0])
    assert found.share == pytest.approx(0.31, abs=0.01)
    assert gone / 300 == pytest.approx(found.share, abs=0.08)  # three standard deviations


# Ten objects of 5 pixels in 1500 x 1000. At most 1% lost: side * 0.8 >= about 1, so a side of
# 1.25 - 0.01 * … instead of 1.065: size 320 * 1.165 = 373, rounded up to 384.
def test_message_names_a_size_that_is_enough():
    data = dataset_of([[square(100 * i, 50, 5) for i in range(10)]], [(1000, 1500)])
    found = find_vanishing(data, (320, 320), "letterbox", AUGMENTS["ssj"])
    assert (found.objects, found.below_pixel, found.small) == (10, 0, 10)
    assert found.needed_size == (384, 384) and found.milder == "flip"
    assert 1280 <= found.tile <= 1300  # 1500 / 1.165
    (line,) = target_warnings(found)
    assert "31% of 10 objects are smaller than 1 pixel in an input of 320x320" in line
    assert "--image-size 384x384" in line and "learned as background" in line
    larger = find_vanishing(data, found.needed_size, "letterbox", AUGMENTS["ssj"])
    assert larger.share <= 0.01 and target_warnings(larger) == []


def test_without_jitter_objects_below_a_pixel_are_counted():
    data = dataset_of([[square(0, 0, 5), square(9, 9, 300)]], [(1000, 1500)])
    found = find_vanishing(data, (64, 64), "letterbox")
    assert (found.below_pixel, found.small, found.lost, found.share) == (1, 0, 1.0, 0.5)
    assert "1 of 2 objects is smaller than 1 pixel in an input of 64x64" in found.title
    assert found.milder is None


def test_objects_that_are_nothing_in_their_image_get_no_size():
    data = dataset_of([[square(3, 3, 0.01)]], [(100, 100)])
    found = find_vanishing(data, (320, 320), "letterbox")
    assert (found.needed_size, found.tile) == (None, None)
    assert found.cure.startswith("Check the boxes")


# A twentieth of the objects is nothing in the images themselves, so at most a tenth can be asked.
def test_size_for_most_objects_where_some_are_hopeless():
    boxes = [[square(9 * i, 50, 5) for i in range(19)] + [square(500, 500, 0.01)]]
    found = find_vanishing(dataset_of(boxes, [(1000, 1500)]), (64, 64), "letterbox")
    assert found.allowed == 0.1 and found.needed_size == (320, 320)  # 5 * 320 / 1500 = 1.07
    assert "Then at most 10% are lost." in found.cure
    larger = find_vanishing(dataset_of(boxes, [(1000, 1500)]), found.needed_size, "letterbox")
    assert larger.share == 0.05


TILES = augmenting.composed([augmenting.TileCrop(0.8)])


# Side 5 in 1000 x 1500: below a pixel in an input of 64 (scale 0.0427), always 5 in tiles of 64.
# So 20% of the draws lose it: those of whole images.
def test_in_tiles_objects_keep_their_size():
    data = dataset_of([[square(700, 500, 5)]], [(1000, 1500)])
    found = find_vanishing(data, (64, 64), "letterbox", TILES)
    assert found.share == pytest.approx(0.2) and (found.below_pixel, found.small) == (0, 0)
    assert "in an input of 64x64 that shows a tile or the whole image" in found.title
    assert found.cure == "Use smaller tiles, or a higher `probability` of TileCrop."
    assert find_vanishing(data, (64, 64), "letterbox", AUGMENTS["tiles"]).share <= 0.1


# Tiles of 320 in an input of 64: a scale of 0.2 / f, with f in 0.8 … 1.25. A side of 5 is 1 / f
# there, below a pixel for f above 1: of 0.45, that are 0.25.
def test_the_factor_of_a_tile_shrinks_objects():
    data = dataset_of([[square(700, 500, 5)]], [(1000, 1500)])
    augment = augmenting.composed([augmenting.TileCrop(1.0, 320)])
    found = find_vanishing(data, (64, 64), "letterbox", augment)
    assert found.share == pytest.approx(0.25 / 0.45)
    fixed = augmenting.composed([augmenting.TileCrop(1.0, 330, (1.0, 1.0))])
    assert find_vanishing(data, (64, 64), "letterbox", fixed).share == 1.0


# The centre (700.5, 500.5) modulo (96, 64) is (28.5, 52.5). In an image of 40 x 300, tiles of
# 64 x 96 are 40 x 96, and their scale is 1.
def test_boxes_lie_in_the_tile():
    data = dataset_of([[square(700, 500, 1)], [square(10, 20, 4)]], [(1000, 1500), (40, 300)])
    boxes = shown_boxes(data, (64, 96), "letterbox", TILES)
    np.testing.assert_allclose(boxes, [[28, 52, 29, 53], [10, 20, 14, 24]])
    np.testing.assert_allclose(
        shown_boxes(data, (64, 96), "letterbox", AUGMENTS["ssj"]),
        input_boxes(data, (64, 96), "letterbox"),
    )


def test_crowd_objects_do_not_count():
    data = dataset_of([[square(0, 0, 1), square(9, 9, 300)]], [(900, 900)], crowd=[True, False])
    assert find_vanishing(data, (64, 64), "letterbox").objects == 1
    none = find_vanishing(data.select([]), (64, 64), "letterbox")
    assert none.share == 0.0 and "has no object to learn" in target_warnings(none)[0]


def test_pipeline_warns_once_and_only_of_training(tmp_path, recwarn):
    write_image(tmp_path / "0.jpg", 100, 100)
    data = dataset_of([[square(5, 5, 1)]], [(100, 100)])
    object.__setattr__(data, "image_paths", (str(tmp_path / "0.jpg"),))
    pipeline = Pipeline(data, 32, batch_size=1)
    pipeline.as_tf_dataset(training=False)
    assert not [w for w in recwarn if "smaller than 1 pixel" in str(w.message)]
    pipeline.as_tf_dataset(training=True)
    pipeline.as_tf_dataset(training=True)
    assert len([w for w in recwarn if "1 of 1 object is smaller" in str(w.message)]) == 1


def test_pipeline_is_silent_about_good_data(tmp_path, recwarn):
    write_image(tmp_path / "0.jpg", 100, 100)
    data = dataset_of([[square(5, 5, 50)]], [(100, 100)])
    Pipeline(data, 32, batch_size=1, augment="ssj").as_tf_dataset()
    assert not [w for w in recwarn if "objects" in str(w.message)]
