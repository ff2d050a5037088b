"""The quick reading of headers gives what Pillow gives, or leaves the file to Pillow."""

import io

import numpy as np
import pytest
from PIL import Image

from keras_det.data.image import read_header
from keras_det.data.quick_header import BLOCK, quick_header

NOISE = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)


def encode(image, kind, orientation=None, thumbnail=0, **options):
    if orientation is not None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        exif[0x010E] = "x" * thumbnail  # a long field before the frame
        options["exif"] = exif
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


COMMON = {
    "baseline": encode(Image.fromarray(NOISE), "JPEG"),
    "progressive": encode(Image.fromarray(NOISE), "JPEG", progressive=True),
    "grey": encode(Image.fromarray(NOISE).convert("L"), "JPEG"),
    "cmyk": encode(Image.fromarray(NOISE).convert("CMYK"), "JPEG"),
    "comment": encode(Image.fromarray(NOISE), "JPEG", comment=b"c" * 60_000),
    "turned": encode(Image.fromarray(NOISE), "JPEG", 6),
    "long EXIF": encode(Image.fromarray(NOISE), "JPEG", 8, thumbnail=3 * BLOCK),
    "png": encode(Image.fromarray(NOISE), "PNG"),
    "palette": encode(Image.fromarray(NOISE).convert("P"), "PNG"),
    "turned png": encode(Image.fromarray(NOISE), "PNG", 3),
}
jpeg, deep = COMMON["baseline"], Image.fromarray(NOISE[..., 0].astype(np.uint16))
OTHERS = {
    "16 bits": encode(deep, "PNG"),
    "one bit": encode(Image.fromarray(NOISE).convert("1"), "PNG"),
    "webp": encode(Image.fromarray(NOISE), "WEBP"),
    "filled": jpeg[:2] + b"\xff" + jpeg[2:],
    "cut": jpeg[:100],
    "empty": b"",
    "damaged png": COMMON["png"][:16] + b"\x7f" + COMMON["png"][17:],
    "no frame": jpeg[: jpeg.index(b"\xff\xc0")] + jpeg[jpeg.index(b"\xff\xda") :],
}


@pytest.mark.parametrize("name", COMMON)
def test_common_files_give_what_pillow_gives(name, tmp_path):
    header = quick_header(io.BytesIO(COMMON[name]))
    with Image.open(io.BytesIO(COMMON[name])) as image:
        assert header == ((image.height, image.width), image.getexif().get(0x0112, 1))
    (tmp_path / "x").write_bytes(COMMON[name])
    assert read_header(tmp_path / "x")[:2] == header


@pytest.mark.parametrize("name", OTHERS)
def test_other_files_are_left_to_pillow(name):
    file = io.BytesIO(OTHERS[name])
    assert quick_header(file) is None and file.tell() == 0


def test_damaged_headers_raise_nothing():
    numbers = np.random.default_rng(1)
    for name in ("turned", "turned png"):
        for _ in range(300):
            data = np.frombuffer(COMMON[name], np.uint8).copy()
            places = numbers.integers(0, 400, 3)
            data[places] = numbers.integers(0, 256, 3)
            quick_header(io.BytesIO(data.tobytes()[: numbers.integers(2, len(data))]))
