import numpy as np
import pytest
import tensorflow as tf

from keras_det.data import resize
from keras_det.data.resize import Transform, letterbox, resize_image, resized_size, stretch

MEAN = (123.675, 116.28, 103.53)


# 480x640 into 512x512: scale min(512/480, 512/640) = 0.8 -> 384x512. 427x640: 427 * 0.8 = 341.6
# -> 342. 3x2000 into 512: 3 * 0.256 = 0.768 -> 1. 1x2000: 0.256 -> at least 1.
@pytest.mark.parametrize(
    "height, width, expected",
    [
        (480, 640, (384, 512)),
        (427, 640, (342, 512)),
        (640, 427, (512, 342)),
        (512, 512, (512, 512)),
        (3, 2000, (1, 512)),
        (1, 2000, (1, 512)),
        (100, 50, (512, 256)),
    ],
)
def test_letterbox_size(height, width, expected):
    assert resized_size(height, width, (512, 512), "letterbox") == expected
    sides = [tf.constant(side, tf.int64) for side in (height, width)]
    assert tuple(int(s) for s in resized_size(*sides, (512, 512), "letterbox")) == expected


def test_transforms():
    assert letterbox(427, 640, (512, 512)) == Transform(0.8, 342 / 427, 0.0, 0.0)
    assert stretch(480, 640, (320, 512)) == Transform(0.8, 320 / 480, 0.0, 0.0)
    box = np.float32([[10, 20, 30, 40]])
    np.testing.assert_allclose(letterbox(480, 640, (512, 512)).apply(box), [[8, 16, 24, 32]])
    # A flip: x -> 100 - x.
    np.testing.assert_allclose(Transform(-1, 1, 100, 0).apply(box), [[70, 20, 90, 40]])


def test_inverse_gives_the_boxes_back():
    rng = np.random.default_rng(0)
    for _ in range(200):
        height, width, *size = (int(v) for v in rng.integers(1, 2000, 4))
        boxes = np.sort(rng.uniform(0, 1, (5, 2, 2)), axis=1).reshape(5, 4)
        boxes = boxes * [width, height, width, height]
        for transform in (
            letterbox(height, width, size),
            stretch(height, width, size),
            Transform(-rng.uniform(0.1, 9), rng.uniform(0.1, 9), *rng.uniform(-99, 99, 2)),
        ):
            back = transform.inverse().apply(transform.apply(boxes))
            np.testing.assert_allclose(back, boxes, rtol=1e-12, atol=1e-9)


def test_pixels_equal_tf_image_resize():
    rng = np.random.default_rng(1)
    for _ in range(20):
        image = rng.integers(0, 256, (*rng.integers(1, 40, 2), 3), dtype=np.uint8)
        height, width = (int(v) for v in rng.integers(1, 40, 2))
        reference = tf.image.resize(image, (height, width), antialias=False).numpy()
        expected = np.floor(reference + np.float32(0.5)).astype(np.uint8)
        np.testing.assert_array_equal(resize.resize_pixels(image, height, width), expected)


@pytest.mark.parametrize("half_pixel", [True, False])
def test_a_huge_image_is_resized_to_the_same_pixels(monkeypatch, half_pixel):
    image = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    expected = resize.tf_resize_pixels(image, 24, 31, half_pixel)
    monkeypatch.setattr(resize, "HUGE", 37 * 53 * 3 - 1)
    kinds = []
    kernel = tf.raw_ops.ResizeBilinear

    def noted(images, **settings):
        kinds.append(images.dtype)
        return kernel(images=images, **settings)

    monkeypatch.setattr(tf.raw_ops, "ResizeBilinear", noted)
    np.testing.assert_array_equal(resize.tf_resize_pixels(image, 24, 31, half_pixel), expected)
    assert kinds == [tf.uint8], "without a copy in float32"


def test_pixels_by_hand():
    # 0, 100 -> 4 columns: positions -0.25, 0.25, 0.75, 1.25 -> 0, 25, 75, 100; rows of one value.
    image = np.repeat(np.uint8([[[0], [100]]]), 3, axis=-1)
    expected = [[0, 25, 75, 100]] * 2
    np.testing.assert_array_equal(resize.resize_pixels(image, 2, 4)[..., 0], expected)
    # 0, 1 -> one column at position 0.5: 0.5, rounded up.
    image = np.repeat(np.uint8([[[0], [1]]]), 3, axis=-1)
    assert resize.resize_pixels(image, 1, 1).tolist() == [[[1, 1, 1]]]


def test_mediapipe_samples_from_the_corner():
    # 0, 100 -> 4 columns: positions 0, 0.5, 1, 1.5 -> 0, 50, 100, 100.
    image = np.repeat(np.uint8([[[0], [100]]]), 3, axis=-1)
    pixels, transform = resize_image(image, {"mode": "mediapipe", "size": (1, 4)})
    assert pixels[..., 0].tolist() == [[0, 50, 100, 100]]
    assert transform == stretch(1, 2, (1, 4))
    # 0 to 4 -> 2 columns: positions 0 and 2.5, where half-pixel sampling takes 0.75 and 3.25.
    image = np.repeat(np.arange(0, 250, 50, dtype=np.uint8)[None, :, None], 3, axis=-1)
    for mode, columns in (("mediapipe", [[0, 125]]), ("stretch", [[38, 163]])):
        pixels, _ = resize_image(image, {"mode": mode, "size": (1, 2)})
        assert pixels[..., 0].tolist() == columns


@pytest.mark.parametrize("mode", resize.RESIZE_MODES)
def test_numpy_and_tensorflow_agree_to_the_last_bit(mode):
    size = (48, 80)
    in_graph = tf.function(
        lambda image: resize.tf_resize_image(image, mode, size, MEAN),
        input_signature=[tf.TensorSpec((None, None, 3), tf.uint8)],
    )
    rng = np.random.default_rng(2)
    for _ in range(40):
        image = rng.integers(0, 256, (*rng.integers(1, 200, 2), 3), dtype=np.uint8)
        expected, transform = resize_image(image, {"mode": mode, "size": size}, MEAN)
        pixels, way_back = in_graph(image)
        np.testing.assert_array_equal(pixels, expected)
        np.testing.assert_allclose(way_back, transform.inverse(), rtol=1e-6)


def test_padding_is_the_fill_color_at_the_right_and_the_bottom():
    image = np.full((10, 20, 3), 7, np.uint8)
    pixels, _ = resize_image(image, {"mode": "letterbox", "size": (40, 40)}, MEAN)
    assert (pixels[:20] == 7).all() and (pixels[20:] == [124, 116, 104]).all()
    pixels, _ = resize_image(image[:, :5], {"mode": "letterbox", "size": (40, 40)}, 3)
    assert (pixels[:, :20] == 7).all() and (pixels[:, 20:] == 3).all()


def test_wrong_input():
    image = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(
        ValueError, match="`mode` must be one of letterbox, stretch, mediapipe. Received: 'st"
    ):
        resize_image(image, {"mode": "strech", "size": (4, 4)})
    with pytest.raises(ValueError, match=r"`size` must be \(height, width\).*Received: \(0, 4\)"):
        resize_image(image, {"mode": "stretch", "size": (0, 4)})
    with pytest.raises(ValueError, match=r"must be uint8.*Received: float32 \(4, 4, 3\)"):
        resize_image(image.astype("float32"), {"mode": "stretch", "size": (4, 4)})
