"""What one look at an image file shows."""

import io

import numpy as np
import pytest
from PIL import Image

from keras_det.data import drawn_images
from keras_det.doctor.scan import look_at_header, look_at_pixels, perceptual_hash, scan_images
from tests.data.huge_files import hollow_jpeg


@pytest.fixture
def picture():
    return Image.fromarray(drawn_images(1, (96, 128), seed=5)[0])


def saved(path, image, **options):
    image.save(path, **options)
    return str(path)


def test_perceptual_hash_equals_that_of_imagehash(picture):
    imagehash = pytest.importorskip("imagehash")
    square = picture.convert("L").resize((32, 32), Image.Resampling.LANCZOS)
    expected = int(str(imagehash.phash(square)), 16)
    assert perceptual_hash(square) == expected


# Left half 0, right half 200: mean 100, deviation 100, and every 2x2 block is of one value.
def test_statistics_of_two_halves(tmp_path):
    pixels = np.zeros((64, 64), np.uint8)
    pixels[:, 32:] = 200
    look = look_at_pixels(saved(tmp_path / "a.png", Image.fromarray(pixels)))
    assert (look.mean, look.deviation, look.sharpness, look.colour) == (100, 100, 0, 0)
    assert look.size == (64, 64) and look.format == "PNG" and look.problem == ""


# Columns 0, 200, 0, 200 …: each block has the mean 100, so the variance is all within blocks.
def test_sharpness_is_the_variance_within_blocks(tmp_path):
    pixels = np.zeros((64, 64), np.uint8)
    pixels[:, 1::2] = 200
    look = look_at_pixels(saved(tmp_path / "a.png", Image.fromarray(pixels)))
    assert look.sharpness == 100**2


def test_odd_and_tiny_images_have_statistics(tmp_path):
    for size in ((1, 1), (3, 2), (63, 41), (1, 500)):
        image = Image.new("RGB", size, (10, 20, 90))
        look = look_at_pixels(saved(tmp_path / f"{size}.png", image))
        assert look.thumbnail is not None and look.sharpness == 0
        assert look.colour == 80


def test_blur_takes_sharpness_away(tmp_path, picture):
    from PIL import ImageFilter

    sharp = look_at_pixels(saved(tmp_path / "a.jpg", picture, quality=95))
    blurred = picture.filter(ImageFilter.GaussianBlur(6))
    assert look_at_pixels(saved(tmp_path / "b.jpg", blurred)).sharpness < sharp.sharpness / 5


def test_large_jpeg_is_read_at_a_reduced_size_with_nearly_the_same_statistics(tmp_path):
    image = Image.fromarray(drawn_images(1, (480, 640), seed=1)[0])
    jpeg = look_at_pixels(saved(tmp_path / "a.jpg", image, quality=98))
    png = look_at_pixels(saved(tmp_path / "a.png", image))
    assert jpeg.size == png.size == (480, 640)
    assert abs(jpeg.mean - png.mean) < 2
    assert bin(jpeg.bits ^ png.bits).count("1") <= 4


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_every_mode_has_statistics(tmp_path, picture, mode):
    suffix = "tif" if mode in ("CMYK", "YCbCr") else "png"
    image = picture.convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image, np.uint16) * 256)
    look = look_at_pixels(saved(tmp_path / f"a.{suffix}", image))
    assert look.problem == "" and look.thumbnail is not None
    assert 40 < look.mean < 216
    assert (look.colour == 0) == (mode in ("1", "L", "LA", "I;16"))
    assert look.mode.endswith("+alpha") == (mode in ("LA", "RGBA"))


@pytest.mark.parametrize("look_at", [look_at_header, look_at_pixels])
def test_problems_of_files(tmp_path, look_at):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("404")
    assert look_at(str(tmp_path / "empty.jpg")).problem == "empty"
    assert look_at(str(tmp_path / "lost.jpg")).problem == "missing"
    look = look_at(str(tmp_path / "text.jpg"))
    assert (look.problem, look.message) == ("unreadable", "not an image")


def test_a_jpeg_that_holds_nothing_is_unreadable(tmp_path):
    (tmp_path / "a.jpg").write_bytes(hollow_jpeg(13_000, 13_000))
    look = look_at_pixels(str(tmp_path / "a.jpg"))
    assert look.problem == "unreadable" and "at least 330,078 bytes" in look.message


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp"])
def test_half_a_file_is_truncated_or_unreadable(tmp_path, picture, suffix):
    file = io.BytesIO()
    picture.save(file, {"jpg": "JPEG"}.get(suffix, suffix))
    content = file.getvalue()
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content[: len(content) // 2])
    look = look_at_pixels(str(path))
    assert look.problem in ("truncated", "unreadable") and look.message
    assert look.thumbnail is None


def test_each_file_is_looked_at_once_and_reported_in_order(tmp_path, picture):
    a, b = saved(tmp_path / "a.png", picture), saved(tmp_path / "b.png", picture.convert("L"))
    seen = []
    scan = scan_images([a, b, a], False, lambda done, total: seen.append((done, total)))
    assert seen == [(2, 2)]
    assert [look.mode for look in scan.looks] == ["RGB", "L", "RGB"]
    assert scan.pixels and not scan.interrupted


def test_interruption_keeps_what_was_seen(tmp_path, picture, monkeypatch):
    from keras_det.doctor import scan as module

    monkeypatch.setattr(module, "BLOCK", 1)
    paths = [saved(tmp_path / f"{k}.png", picture) for k in range(3)]

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    scan = scan_images(paths, False, stop)
    assert scan.interrupted
    assert [look is None for look in scan.looks] == [False, False, True]
