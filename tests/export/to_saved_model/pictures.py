"""Synthetic images as files."""

import io

import numpy as np
from PIL import Image

from keras_det.data import drawn_images


def encoded(image, kind="png", **options):
    """The bytes of an image file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def with_transparency(image, seed=0):
    """RGBA: the image with a synthetic fourth channel, which says nothing about its colours."""
    alpha = np.random.default_rng(seed).integers(0, 2, image.shape[:2], np.uint8) * 200
    return np.dstack([image, alpha])


def good_and_corrupt_rows():
    """A batch of a server: encoded images of several formats and sizes among corrupt bytes.

    Returns:
        `(rows, valid)`: bytes, and whether they are a whole image.
    """
    tall, wide, square = drawn_images(3, 150, seed=4)
    tall, wide = tall[:, :90].copy(), wide[:70].copy()
    jpeg, webp = encoded(tall, "jpeg"), encoded(wide, "webp", lossless=True)
    rows = [jpeg, b"no image", webp, webp[: len(webp) // 2], encoded(square), b"", jpeg[:400]]
    return rows, [True, False, True, False, True, False, False]
