import numpy as np
import pytest
import tensorflow as tf

from keras_det.data import AUGMENTS, Augment
from keras_det.data import augment as augmenting
from keras_det.data.resize import tf_pad, tf_resize_pixels
from tests.helpers import painted_iou

SIZE = (112, 144)
BOTH = [Augment(0.5, (0.8, 1.25)), Augment(0.5, (0.5, 2.0)), Augment(flip=1.0), Augment()]


def draws_of(*values):
    return tf.constant(values, tf.float32)


def plan_of(augment, draws, shape=(96, 128), size=SIZE, mode="letterbox", max_ratio=1):
    return augmenting.draw_plan(shape, size, mode, augment, draws, max_ratio)


def apply(image, boxes, augment, draws, mode):
    """The whole augmentation on pixels and boxes, as the pipeline strings it together."""
    image = tf.cast(image, tf.uint8)
    plan = augmenting.draw_plan(tf.shape(image)[:2], SIZE, mode, augment, draws)
    pixels = tf_resize_pixels(augmenting.crop_window(image, plan), plan.height, plan.width)
    pixels = tf.where(plan.flip, tf.reverse(pixels, [1]), pixels)
    boxes, visible = augmenting.move_boxes(boxes, plan, augmenting.way_back(plan))
    return tf_pad(pixels, SIZE, 0), boxes, visible


@pytest.mark.parametrize("mode", ["letterbox", "stretch", "mediapipe"])
@pytest.mark.parametrize("augment", BOTH)
@pytest.mark.parametrize("in_graph", [False, True])
def test_painted_box_stays_with_its_pixels(augment, mode, in_graph):
    def run(image, box):
        image, boxes, _ = step(image, box[None])
        return image, np.asarray(boxes)[0]

    ious = []
    for seed in range(6):
        # The box may leave the window only partly: place 0.5 keeps the centre.
        draws = tf.random.stateless_uniform((4,), (seed, 1))
        draws = tf.concat([draws[:1], [0.4, 0.4], draws[3:]], axis=0)

        def step(image, boxes, draws=draws):
            function = lambda i, b: apply(i, b, augment, draws, mode)  # noqa: E731
            if not in_graph:
                return function(image, boxes)
            dataset = tf.data.Dataset.from_tensors((image, boxes)).map(function)
            return next(iter(dataset))

        ious.append(painted_iou(run, seed))
    # Boxes are exact; painted pixels are whole ones of boxes of about 30x20.
    assert min(ious) > 0.85 and np.mean(ious) > 0.92, ious


def test_no_boxes():
    _, boxes, visible = apply(
        np.zeros((96, 128, 3)),
        tf.zeros((0, 4)),
        AUGMENTS["lsj"],
        draws_of(0.9, 0.1, 0.2, 0),
        "stretch",
    )
    assert boxes.shape == (0, 4) and visible.shape == (0,)


# 96x128 into 112x144: letterbox scale 1.125 -> 108x144; x2 -> 216x288, window 112x144 of it at
# half its slack (52, 72), that is (26, 36) * (96/216, 128/288) * 2 ... in original pixels:
# corner (52 * 4/9, 72 * 4/9) = (23.1, 32) -> (23, 32), window (112 * 4/9, 64) = (49.8, 64).
def test_window_by_hand():
    plan = plan_of(AUGMENTS["lsj"], draws_of(1.0, 0.5, 0.5, 0.9))
    assert [int(v) for v in plan] == [1, 23, 32, 50, 64, 112, 144, 0]
    np.testing.assert_allclose(augmenting.way_back(plan), [64 / 144, 50 / 112, 32, 23])
    boxes = tf.constant([[32.0, 23, 64, 48], [0, 0, 40, 33], [100, 80, 120, 90]])
    moved, visible = augmenting.move_boxes(boxes, plan, augmenting.way_back(plan))
    # x: (64 - 32) * 144 / 64 = 72; y: (48 - 23) * 112 / 50 = 56.
    np.testing.assert_allclose(moved[0], [0, 0, 72, 56], atol=1e-4)
    # 8 of 40 columns and 10 of 33 rows of the second are inside; nothing of the third is.
    np.testing.assert_allclose(visible, [1, 8 * 10 / (40 * 33), 0], atol=1e-5)
    np.testing.assert_array_equal(
        augmenting.stays(moved, visible, AUGMENTS["lsj"]), [True, False, False]
    )


def test_flip_by_hand():
    plan = plan_of(AUGMENTS["flip"], draws_of(0, 0, 0, 0.49), size=(96, 128))
    assert bool(plan.flip)
    np.testing.assert_allclose(augmenting.way_back(plan), [-1, 1, 128, 0])
    moved, visible = augmenting.move_boxes(
        tf.constant([[8.0, 4, 28, 44]]), plan, augmenting.way_back(plan)
    )
    np.testing.assert_allclose(moved, [[100, 4, 120, 44]])
    np.testing.assert_allclose(visible, [1])
    assert not bool(plan_of(AUGMENTS["flip"], draws_of(0, 0, 0, 0.5)).flip)


# scale = 0.1 + 1.9 * draw. 480x640 -> 384x512: at scale 0.48 the step is 1.25 / 0.48 = 2.6.
@pytest.mark.parametrize(
    "scale, ratio", [(0.1, 4), (0.24, 4), (0.26, 2), (0.48, 2), (0.52, 1), (1.9, 1)]
)
def test_decoder_reduces_only_as_far_as_the_jitter(scale, ratio):
    draws = draws_of((scale - 0.1) / 1.9, 0.5, 0.5, 0.9)
    plan = plan_of(AUGMENTS["lsj"], draws, (480, 640), (512, 512), max_ratio=4)
    assert int(plan.ratio) == ratio
    assert int(plan_of(AUGMENTS["lsj"], draws, (480, 640), (512, 512)).ratio) == 1


def test_enlarged_images_are_not_reduced():
    # 50x60 into 512: 8.5-fold; a jitter of 0.3 still enlarges.
    plan = plan_of(AUGMENTS["lsj"], draws_of(0.1, 0, 0, 0), (50, 60), (512, 512), max_ratio=4)
    assert int(plan.ratio) == 1


def test_windows_lie_inside_the_image():
    rng = np.random.default_rng(0)
    function = tf.function(
        lambda shape, draws: plan_of(AUGMENTS["lsj"], draws, shape, (64, 96), max_ratio=4),
        input_signature=[tf.TensorSpec((2,), tf.int32), tf.TensorSpec((4,))],
    )
    for _ in range(300):
        shape, draws = rng.integers(1, 300, 2), rng.random(4)
        plan = [int(v) for v in function(shape.astype(np.int32), draws.astype(np.float32))]
        ratio, top, left, height, width, kept_height, kept_width, _ = plan
        decoded = -(-shape // ratio)
        assert min(top, left) >= 0 and min(height, width, kept_height, kept_width) >= 1
        assert top + height <= decoded[0] and left + width <= decoded[1]
        assert kept_height <= 64 and kept_width <= 96


def test_largest_boxes_are_kept_in_order():
    boxes = tf.constant([[0.0, 0, 2, 2], [0, 0, 1, 1], [0, 0, 9, 9], [0, 0, 3, 3]])
    kept, labels = augmenting.keep_largest(boxes, tf.range(4), 2)
    np.testing.assert_array_equal(labels, [2, 3])
    np.testing.assert_array_equal(kept, [[0, 0, 9, 9], [0, 0, 3, 3]])
    assert augmenting.keep_largest(boxes, tf.range(4), 9)[1].shape == (4,)


def test_wrong_arguments():
    with pytest.raises(
        ValueError,
        match="of none, light, published, strong, flip, ssj, lsj, tiles. Received: 'lsi'. Did you",
    ):
        augmenting.get_augment("lsi")
    with pytest.raises(ValueError, match=r"0 < low <= high. Received: \(2, 1\)"):
        Augment(scale=(2, 1))
    with pytest.raises(ValueError, match=r"`flip` must lie in \[0, 1\]. Received: 3"):
        Augment(flip=3)


# Boxes of 4 x 4 and 4 x 0.5 pixels: the second is thinner than one pixel; nothing visible never
# stays.
@pytest.mark.parametrize(
    "min_visible, expected", [(0.1, [True, True, False, False]), (0.5, [False, True, False, False])]
)
def test_objects_stay_from_min_visible_on(min_visible, expected):
    boxes = tf.constant([[0, 0, 4, 4], [0, 0, 4, 4], [0, 0, 4, 0.5], [0, 0, 4, 4]], tf.float32)
    visible = tf.constant([0.1, 0.5, 1.0, 0.0])
    kept = augmenting.stays(boxes, visible, Augment(min_visible=min_visible))
    assert kept.numpy().tolist() == expected
