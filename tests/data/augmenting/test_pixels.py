import colorsys

import numpy as np
import pytest
import tensorflow as tf

from keras_det.data import Blur, JPEGNoise, Photometric
from keras_det.data.augmenting import pixels

SEED = tf.constant([0, 1], tf.int64)
COLOR = np.float32([200, 100, 50])


# A third of a circle about the grey axis: red -> green -> blue -> red. 100 % red of (200, 100, 50)
# becomes 100 % green.
def test_hue_by_hand():
    third = pixels.hue_matrix(tf.constant(2 * np.pi / 3))
    np.testing.assert_allclose(tf.linalg.matvec(third, COLOR), [50, 200, 100], atol=1e-4)
    np.testing.assert_allclose(tf.linalg.matvec(third, [9.0, 9, 9]), [9, 9, 9], atol=1e-5)
    # Half a circle: x -> 2 * mean - x. The mean is 350 / 3.
    half = pixels.hue_matrix(tf.constant(np.pi))
    np.testing.assert_allclose(tf.linalg.matvec(half, COLOR), 700 / 3 - COLOR, atol=1e-3)
    # A small turn has the direction of HSV's: towards yellow for an orange.
    small = tf.linalg.matvec(pixels.hue_matrix(tf.constant(0.1)), COLOR).numpy()
    assert colorsys.rgb_to_hsv(*small / 255)[0] > colorsys.rgb_to_hsv(*COLOR / 255)[0]


# 0.299 * 200 + 0.587 * 100 + 0.114 * 50 = 124.2.
def test_saturation_by_hand():
    grey = tf.linalg.matvec(pixels.saturation_matrix(tf.constant(0.0)), COLOR)
    np.testing.assert_allclose(grey, [124.2] * 3, rtol=1e-5)
    more = tf.linalg.matvec(pixels.saturation_matrix(tf.constant(2.0)), COLOR)
    np.testing.assert_allclose(more, 2 * COLOR - 124.2, rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (16, 8), (7, 31)])
def test_recoloured_equals_the_formula(shape):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    matrix, offset = (
        np.float32([[0.5, 0.7, 0.1], [0, 2, -0.5], [-1, 0, 1]]),
        np.float32([-3, 9, 40]),
    )
    expected = image.astype(np.float64) @ matrix.T.astype(np.float64) + offset
    found = pixels.recoloured(tf.constant(image), tf.constant(matrix), tf.constant(offset))
    assert found.shape == image.shape and found.dtype == tf.uint8
    assert np.abs(found.numpy() - np.clip(expected, 0, 255)).max() <= 0.5 + 1e-4


def only(**change):
    nothing = dict(brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, grey=0.0)
    return Photometric(**{**nothing, **change}, probability=1.0)


def draws_of(seed):
    return tf.random.stateless_uniform((6,), seed).numpy()


# Each amount is 1 + a * (2 u - 1), with u the draw of its own.
@pytest.mark.parametrize("seed", [(0, 1), (5, 2), (9, 9)])
def test_each_amount_by_its_formula(seed):
    rng = np.random.default_rng(0)
    image = rng.integers(60, 140, (8, 16, 3), dtype=np.uint8)
    image[::8, ::8] = image.reshape(-1, 3).mean(axis=0).round()
    draws = 2 * draws_of(seed) - 1
    run = lambda step: pixels.photometric(step, tf.constant(image), seed).numpy()  # noqa: E731
    np.testing.assert_allclose(run(only(brightness=0.4)), image * (1 + 0.4 * draws[0]), atol=0.51)
    mean = image[::8, ::8].astype(float).mean(axis=(0, 1))
    expected = mean + (image - mean) * (1 + 0.4 * draws[1])
    np.testing.assert_allclose(run(only(contrast=0.4)), expected, atol=0.51)
    grey = (image @ np.float64(pixels.LUMA))[..., None]
    expected = grey + (image - grey) * (1 + 0.4 * draws[2])
    np.testing.assert_allclose(run(only(saturation=0.4)), expected, atol=0.51)
    turn = pixels.hue_matrix(tf.constant(2 * np.pi * 0.1 * draws[3], tf.float32)).numpy()
    np.testing.assert_allclose(run(only(hue=0.1)), image @ turn.T, atol=0.51)
    np.testing.assert_allclose(run(only(grey=1.0)), np.tile(grey, (1, 1, 3)), atol=0.51)


def test_colours_of_each_image_are_drawn_alone():
    image = tf.fill((8, 8, 3), tf.constant(100, tf.uint8))
    values = {
        int(pixels.photometric(only(brightness=0.5), image, (0, k))[0, 0, 0]) for k in range(30)
    }
    assert len(values) > 15 and min(values) < 70 and max(values) > 130
    half = Photometric(probability=0.5)
    changed = [
        bool(tf.reduce_any(pixels.photometric(half, image, (0, k)) != 100)) for k in range(60)
    ]
    assert 15 < sum(changed) < 45


# sigma 1: weights exp(-d^2 / 2) = 0.13534, 0.60653, 1, … divided by their sum 2.48374.
def test_blur_by_hand():
    image = np.zeros((9, 9, 3), np.uint8)
    image[4, 4] = 255
    found = pixels.blurred(Blur(1.0, (1.0, 1.0)), tf.constant(image), SEED).numpy()
    weights = np.exp(-(np.arange(-2.0, 3) ** 2) / 2)
    weights /= weights.sum()
    expected = 255 * np.outer(weights, weights)
    np.testing.assert_allclose(found[2:7, 2:7, 1], expected, atol=0.51)
    flat = np.full((2, 3, 3), 77, np.uint8)
    np.testing.assert_array_equal(pixels.blurred(Blur(1.0), tf.constant(flat), SEED), flat)
    thin = np.full((1, 3, 3), 77, np.uint8)
    np.testing.assert_array_equal(pixels.blurred(Blur(1.0), tf.constant(thin), SEED), thin)


def test_jpeg_noise_is_that_of_the_quality():
    rng = np.random.default_rng(0)
    image = np.repeat(rng.integers(0, 256, (16, 24, 1), dtype=np.uint8), 3, axis=2)
    found = pixels.jpeg_noise(JPEGNoise(1.0, (30, 30)), tf.constant(image), SEED)
    expected = tf.io.decode_jpeg(tf.io.encode_jpeg(image, quality=30))
    assert np.abs(found.numpy().astype(int) - expected.numpy()).max() <= 40
    better = pixels.jpeg_noise(JPEGNoise(1.0, (95, 95)), tf.constant(image), SEED)
    errors = [np.abs(each.numpy().astype(int) - image).mean() for each in (found, better)]
    assert errors[1] < errors[0] / 2
