import io

import numpy as np
import pytest
from PIL import Image

from keras_det.data import read_image
from keras_det.data.image import read_header, read_size, rgb_pixels
from keras_det.data.pixel_limit import default_pixel_limit
from keras_det.errors import DataError
from tests.data.huge_files import hollow_jpeg


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


# Adobe's programs write the inks inverted, and mark the file (APP14). Others do not.
def test_cmyk_without_the_mark_of_adobe():
    import tensorflow as tf

    marked = encode(Image.new("CMYK", (16, 16), (0, 255, 255, 100)), "JPEG", quality=95)
    start = marked.index(b"\xff\xee")
    length = int.from_bytes(marked[start + 2 : start + 4], "big")
    plain = marked[:start] + marked[start + 2 + length :]
    for contents, expected in ((marked, [155, 0, 0]), (plain, [0, 100, 100])):
        pixels = read_image(contents)
        np.testing.assert_allclose(pixels[8, 8], expected, atol=3)
        np.testing.assert_allclose(pixels, tf.io.decode_jpeg(contents, channels=3), atol=3)


def deep(values, kind):
    """A file with these values, of their own type: 16 bits, 32 bits or decimal numbers."""
    return encode(Image.fromarray(values), kind)


# 25600 = 100 * 256; 0.4 * 255 = 102; 32-bit whole numbers stay as they are.
@pytest.mark.parametrize(
    "value, dtype, kind, expected",
    [
        (25600 + 255, np.uint16, "PNG", 100),
        (25600 + 255, np.uint16, "TIFF", 100),
        (0.4, np.float32, "TIFF", 102),
        (1, np.float32, "TIFF", 255),
        (100, np.int32, "TIFF", 100),
    ],
)
def test_depth(recwarn, value, dtype, kind, expected):
    values = np.full((2, 3), value, dtype)
    assert read_image(deep(values, kind)).tolist() == np.full((2, 3, 3), expected).tolist()
    assert not recwarn.list


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_twelve_bits_in_sixteen_are_named(tmp_path, kind):
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(deep(np.full((2, 3), 4095, np.uint16), kind))
    with pytest.warns(UserWarning, match="a.*below 4096, as if it had 12 bits.*multiply .* by 16"):
        assert read_image(path).max() == 15
    assert read_header(path).deep


@pytest.mark.parametrize(
    "value, dtype, match",
    [
        (1.5, np.float32, r"floating-point numbers must have values in 0..1. Received: .* to 1.5"),
        (-0.5, np.float32, r"Received: .* with -0.5 to"),
        (np.nan, np.float32, "Received: .* with nan to nan"),
        (256, np.int32, r"32-bit integers must have values in 0..255. Received: .* to 256"),
    ],
)
def test_values_out_of_range_are_refused(value, dtype, match):
    values = np.zeros((2, 3), dtype)
    values[1, 1] = value
    with pytest.raises(DataError, match=match):
        read_image(deep(values, "TIFF"))


def test_huge_images_are_refused_before_they_are_decoded():
    contents = bytearray(encode(Image.new("L", (3, 2)), "BMP"))
    contents[18:26] = np.array([20_000, 15_000], "<i4").tobytes()  # 300 million pixels
    with pytest.raises(DataError, match=r"at most 178,956,970 pixels. Received: .*20000x15000"):
        read_image(bytes(contents))
    with pytest.raises(DataError, match="does not decode"):  # now it is, and there are no pixels
        read_image(bytes(contents), max_pixels=400_000_000)


def test_panoramas_are_read(monkeypatch, recwarn):
    # Pillow's own limit would be 2 * 5 pixels.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    contents = encode(Image.new("RGB", (4, 3), (9, 8, 7)), "PNG")
    assert read_image(contents, max_pixels=12).tolist() == np.full((3, 4, 3), [9, 8, 7]).tolist()
    assert Image.MAX_IMAGE_PIXELS == 5 and not recwarn.list
    with pytest.raises(DataError, match="at most 11 pixels"):
        read_image(contents, max_pixels=11)


# 13000x13000 pixels are 1625x1625 blocks of 8x8, each of at least one bit: 330,078 bytes.
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_needs_a_bit_for_each_block(progressive):
    with pytest.raises(DataError, match=r"at least 330,078 bytes. Received: \d+ bytes\. Most"):
        read_image(hollow_jpeg(13_000, 13_000, progressive=progressive))
    # One colour, the fewest bits that an encoder writes for it.
    plain = encode(Image.new("L", (800, 600), 128), "JPEG", progressive=progressive, optimize=True)
    assert read_image(plain).shape == (600, 800, 3)


def test_default_limit_of_the_process_and_its_end():
    contents = encode(Image.new("RGB", (4, 3)), "PNG")
    with default_pixel_limit(11):
        with pytest.raises(DataError, match=r"at most 11 pixels.*--max-pixels"):
            read_image(contents)
        assert read_image(contents, max_pixels=12).shape == (3, 4, 3)
    assert read_image(contents).shape == (3, 4, 3)
    for wrong, error in ((0, ValueError), (1e9, TypeError), (True, TypeError)):
        with pytest.raises(error, match="`max_pixels` must be .* Received: max_pixels="):
            read_image(contents, max_pixels=wrong)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_may_lack_its_end_marker_only(progressive):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    contents = encode(Image.fromarray(pixels), "JPEG", progressive=progressive)
    whole = read_image(contents)
    np.testing.assert_array_equal(read_image(contents[:-1]), whole)
    np.testing.assert_array_equal(read_image(contents[:-2]), whole)
    np.testing.assert_array_equal(read_image(contents + b"after the end"), whole)
    for cut in (3, 4, 10, 300):
        with pytest.raises(DataError, match="does not decode"):
            read_image(contents[:-cut])


@pytest.mark.parametrize(
    "kind, what", [("EPS", "a PostScript file"), ("PPM", "a PPM image"), ("ICO", "an icon")]
)
def test_other_formats_of_pillow_are_not_opened(tmp_path, kind, what, monkeypatch):
    import subprocess

    monkeypatch.setattr(subprocess, "check_call", None)  # Ghostscript would be run for EPS
    data = encode(Image.new("RGB", (32, 32)), kind)
    with pytest.raises(DataError, match=rf"does not decode \({what}: convert it to JPEG or PNG\)"):
        read_image(data)
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(DataError, match=what):
        read_size(tmp_path / "a.png")


def test_files_need_no_suffix(tmp_path):
    (tmp_path / "a").write_bytes(encode(Image.new("RGB", (3, 2)), "PNG"))
    assert read_image(tmp_path / "a").shape == (2, 3, 3)


def test_avif():
    contents = encode(Image.new("RGB", (16, 8), (200, 30, 30)), "AVIF", quality=100)
    np.testing.assert_allclose(read_image(contents)[4, 4], [200, 30, 30], atol=3)


def test_wrong_input(tmp_path):
    with pytest.raises(DataError, match="must exist at the given path. Received: .*x.jpg"):
        read_image(tmp_path / "x.jpg")
    with pytest.raises(DataError, match="must be a whole JPEG.*Received: 3 bytes"):
        read_image(b"abc")
    contents = encode(Image.new("RGB", (64, 64)), "JPEG")
    with pytest.raises(DataError, match="does not decode .*[Tt]runcated.* Replace"):
        read_image(contents[:-100])
    (tmp_path / "y.jpg").write_bytes(b"abc")
    with pytest.raises(
        DataError, match="without an annotated size must be readable. Received: .*y.jpg"
    ):
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
