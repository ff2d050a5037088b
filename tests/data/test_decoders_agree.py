"""Damaged images: the pipeline's decoder and `read_image` refuse the same, or see the same."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_det.data import read_image
from keras_det.data.augment import Plan
from keras_det.data.decoding import Annotated, decode_planned
from keras_det.errors import DataError
from tests.data.every_format import random_of, spoiled_bytes

SEEDS = 60  # for each kind


def encoded(kind, mode="RGB", **options):
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((29, 21)).convert(mode).save(file, kind, **options)
    return file.getvalue()


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


KINDS = {
    "jpeg": encoded("JPEG"),
    "turned jpeg": encoded("JPEG", exif=exif(6)),
    "progressive jpeg": encoded("JPEG", progressive=True),
    "png": encoded("PNG"),
    "palette png": encoded("PNG", "P"),
    "turned png": encoded("PNG", exif=exif(6)),
}


@tf.function(input_signature=[tf.TensorSpec((), tf.string)])
def whole(contents):
    def plan(shape, max_ratio):
        height, width = shape[0], shape[1]
        return Plan(tf.constant(1), 0, 0, height, width, height, width, tf.constant(False))

    return decode_planned(contents, plan, True, Annotated(tf.constant([0, 0])))[0]


def by_pipeline(contents):
    """The pixels, or None where the image is refused."""
    try:
        return whole(tf.constant(contents)).numpy()
    except (tf.errors.OpError, UnicodeDecodeError):  # its message may quote bytes
        return None


def by_read_image(contents):
    try:
        return read_image(contents, max_pixels=10**6)
    except DataError:
        return None


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_images(kind):
    refused, one_refuses = 0, 0
    for seed in range(SEEDS):
        contents = spoiled_bytes(KINDS[kind], random_of(kind, seed))
        first, second = by_read_image(contents), by_pipeline(contents)
        if first is None or second is None:
            refused += first is second
            one_refuses += first is not second
            continue
        assert first.shape == second.shape
        difference = np.abs(first.astype(int) - second)
        # What a damaged scan of a progressive JPEG lacks, each version of libjpeg guesses.
        assert difference.max() == 0 or (kind == "progressive jpeg" and difference.mean() < 8), seed
    assert refused
    # Bytes after a damaged end, or a damaged chunk without pixels: one decoder minds.
    assert one_refuses <= 0.05 * SEEDS


@pytest.mark.parametrize("kind", KINDS)
def test_whole_images(kind):
    np.testing.assert_array_equal(by_read_image(KINDS[kind]), by_pipeline(KINDS[kind]))
