import io

import numpy as np
import pytest
from PIL import Image

from keras_det.data import read_image
from keras_det.data.image import read_size, rgb_pixels
from keras_det.errors import DataError


def encode(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_path_and_bytes(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    contents = encode(Image.fromarray(pixels), "PNG")
    (tmp_path / "a.png").write_bytes(contents)
    np.testing.assert_array_equal(read_image(contents), pixels)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), pixels)
    assert read_size(tmp_path / "a.png") == (5, 7)


@pytest.mark.parametrize(
    "mode, color, expected",
    [
        ("L", 90, [90, 90, 90]),
        ("LA", (90, 0), [90, 90, 90]),
        ("RGBA", (1, 2, 3, 0), [1, 2, 3]),
        ("I;16", 90 * 256 + 200, [90, 90, 90]),
        ("1", 1, [255, 255, 255]),
    ],
)
def test_modes_become_rgb_as_tensorflow_does(mode, color, expected):
    import tensorflow as tf

    contents = encode(Image.new(mode, (3, 2), color), "PNG")
    np.testing.assert_array_equal(read_image(contents), np.full((2, 3, 3), expected))
    np.testing.assert_array_equal(read_image(contents), tf.io.decode_png(contents, channels=3))


def test_cmyk():
    # No black, all cyan: (0, 255, 255) up to JPEG's rounding.
    contents = encode(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "JPEG", quality=95)
    np.testing.assert_allclose(read_image(contents)[8, 8], [0, 255, 255], atol=3)


def test_exif_orientation_is_ignored_as_in_tensorflow():
    import tensorflow as tf

    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees to show"
    contents = encode(Image.new("RGB", (16, 8), (200, 30, 30)), "JPEG", exif=exif)
    assert read_image(contents).shape == (8, 16, 3)
    assert tf.io.decode_image(contents).shape == (8, 16, 3)


def test_wrong_input(tmp_path):
    with pytest.raises(DataError, match="must exist at the given path. Received: .*x.jpg"):
        read_image(tmp_path / "x.jpg")
    with pytest.raises(DataError, match="must be a whole JPEG.*Received: 3 bytes"):
        read_image(b"abc")
    contents = encode(Image.new("RGB", (64, 64)), "JPEG")
    with pytest.raises(DataError, match="does not decode .*[Tt]runcated.* Replace"):
        read_image(contents[:-100])
    (tmp_path / "y.jpg").write_bytes(b"abc")
    with pytest.raises(DataError, match="names no size must be readable. Received: .*y.jpg"):
        read_size(tmp_path / "y.jpg")


def test_other_objects_and_folders_are_refused_with_advice(tmp_path):
    with pytest.raises(TypeError, match=r"Received: Image\. Turn a PIL image into numpy.asarray"):
        read_image(Image.new("RGB", (2, 2)))
    with pytest.raises(TypeError, match="Received: generator.*into a list"):
        read_image(path for path in tmp_path.iterdir())
    with pytest.raises(DataError, match="must be a file. Received: .* is a folder"):
        read_image(tmp_path)


def test_pixels_of_an_array_and_of_a_file(tmp_path):
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert rgb_pixels(pixels) is pixels
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(rgb_pixels(tmp_path / "a.png"), pixels)


@pytest.mark.parametrize(
    "shape, dtype, message",
    [
        (
            (4, 4),
            "uint8",
            r"the shape \(height, .*Received: uint8 \(4, 4\).*Repeat a grey",
        ),
        ((3, 4, 4), "uint8", r"Received: uint8 \(3, 4, 4\).*put the channels last"),
        ((4, 4, 3), "float32", r"must be uint8.*Received: float32 \(4, 4, 3\).*by 255 first"),
        ((0, 4, 3), "uint8", r"at least 1 pixel high.*Received: .*\(0, 4, 3\)"),
    ],
)
def test_arrays_that_are_no_images_are_refused(shape, dtype, message):
    with pytest.raises(ValueError, match=message):
        rgb_pixels(np.zeros(shape, dtype))
