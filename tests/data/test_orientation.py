"""EXIF orientation: all readers against Pillow's own `exif_transpose`."""

import functools
import io
import itertools
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from keras_det.data import Dataset, Pipeline, Sample, read_image
from keras_det.data.image import read_header, read_size
from keras_det.data.orientation import exif_orientation, turned, turned_back
from keras_det.data.orientation_graph import exif_orientation as graph_orientation
from keras_det.errors import DataError

KINDS = ("JPEG", "PNG", "WEBP", "TIFF")
HEIGHT, WIDTH = 23, 34


def exif(orientation):
    tags = Image.Exif()
    tags[0x010E] = "a tag before it"
    tags[0x0112] = orientation
    return tags


def oriented(orientation, kind="JPEG", height=HEIGHT, width=WIDTH, **options):
    """Bytes of a coloured image that is stored `height` x `width`; 0: without EXIF."""
    coarse = np.random.default_rng(3).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    image = Image.fromarray(coarse).resize((width, height))
    image.save(file, kind, **({"exif": exif(orientation)} if orientation else {}), **options)
    return file.getvalue()


def pillow_upright(contents):
    return np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(contents))).convert("RGB"))


def data_set(folder, images, sizes, stored_pixels=False):
    samples = []
    for i, (contents, size) in enumerate(zip(images, sizes, strict=True)):
        path, none = folder / f"{i}.jpg", np.zeros(0)
        path.write_bytes(contents)
        samples.append(Sample(str(path), np.zeros((0, 4)), none, none, none, size, i))
    return Dataset.from_samples(samples, ["x"], stored_pixels=stored_pixels)


@functools.cache
def in_graph():
    spec = tf.TensorSpec((), tf.string)
    return tf.function(graph_orientation, input_signature=[spec])


def both(contents):
    """The orientation by Python and by TensorFlow, which must be the same."""
    found = exif_orientation(io.BytesIO(contents))
    assert int(in_graph()(contents)) == found
    return found


# 2x3 pixels 1..6, turned by hand. 6: a quarter turn clockwise, so the left column is on top.
@pytest.mark.parametrize(
    "orientation, expected",
    [
        (1, [[1, 2, 3], [4, 5, 6]]),
        (2, [[3, 2, 1], [6, 5, 4]]),
        (3, [[6, 5, 4], [3, 2, 1]]),
        (4, [[4, 5, 6], [1, 2, 3]]),
        (5, [[1, 4], [2, 5], [3, 6]]),
        (6, [[4, 1], [5, 2], [6, 3]]),
        (7, [[6, 3], [5, 2], [4, 1]]),
        (8, [[3, 6], [2, 5], [1, 4]]),
    ],
)
def test_turned(orientation, expected):
    stored = np.array([[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(turned(stored, orientation), expected)
    np.testing.assert_array_equal(turned_back(np.array(expected), orientation), stored)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_reader_equals_pillow(tmp_path, kind, orientation):
    contents = oriented(orientation, kind)
    upright = pillow_upright(contents)
    assert upright.shape[:2] == ((WIDTH, HEIGHT) if orientation > 4 else (HEIGHT, WIDTH))
    np.testing.assert_array_equal(read_image(contents), upright)
    (tmp_path / "a").write_bytes(contents)
    np.testing.assert_array_equal(read_image(tmp_path / "a"), upright)
    header = read_header(tmp_path / "a")
    assert (header.size, header.orientation) == ((HEIGHT, WIDTH), orientation)
    assert read_size(tmp_path / "a") == upright.shape[:2]
    if kind != "TIFF":
        assert both(contents) == orientation


@pytest.mark.parametrize("stored_pixels", [False, True])
def test_pipeline_and_samples_follow_the_annotated_size(tmp_path, stored_pixels):
    images, sizes, expected = [], [], []
    for kind, orientation, height in itertools.product(KINDS, range(1, 9), (HEIGHT, WIDTH)):
        contents = oriented(orientation, kind, height)
        upright = pillow_upright(contents)
        stored = turned_back(upright, orientation)
        told_apart = upright.shape != stored.shape
        for wanted in (upright, stored) if told_apart else (upright,):
            images.append(contents)
            sizes.append(wanted.shape[:2])
            expected.append(stored if stored_pixels and not told_apart else wanted)
    dataset = data_set(tmp_path, images, sizes, stored_pixels)
    check_samples(dataset, expected)
    check_samples(dataset.select(range(3, 60)), expected[3:60])
    (batch,) = Pipeline(dataset, WIDTH, len(images))
    for pixels, wanted in zip(batch[0], expected, strict=True):
        np.testing.assert_array_equal(pixels[: wanted.shape[0], : wanted.shape[1]], wanted)


def check_samples(dataset, expected):
    for sample, wanted in zip(dataset, expected, strict=True):
        np.testing.assert_array_equal(sample.read(), wanted)


def test_another_size_than_annotated_is_refused(tmp_path):
    dataset = data_set(tmp_path, [oriented(6)], [(HEIGHT, WIDTH + 1)])
    match = f"0.jpg with {HEIGHT}x{WIDTH} pixels .*, annotated as {WIDTH + 1}x{HEIGHT}. Restore"
    with pytest.raises(DataError, match=match):
        dataset[0].read()
    with pytest.warns(UserWarning, match=match), pytest.raises(DataError, match=match):
        list(Pipeline(dataset, 32, 1))


def block(order="<", kind=3, value=6, tag=0x0112, count=1):
    """An EXIF block with one field, in either byte order."""
    start = b"II*\0" if order == "<" else b"MM\0*"
    number = struct.pack(order + {3: "H", 4: "I", 7: "I"}[kind], value).ljust(4, b"\0")
    field = struct.pack(f"{order}HHI", tag, kind, 1) + number
    return start + struct.pack(f"{order}IH", 8, count) + field


def jpeg_with(*segments, fill=b""):
    """A JPEG with these APP1 segments before its others."""
    head = fill + b"\xff\xe1"
    plain = oriented(0)
    extra = b"".join(head + struct.pack(">H", len(s) + 2) + s for s in segments)
    return plain[:2] + extra + plain[2:]


EXIF = b"Exif\0\0"


@pytest.mark.parametrize(
    "segments, expected",
    [
        ([], 1),
        ([EXIF + block("<")], 6),
        ([EXIF + block(">")], 6),
        ([EXIF + block("<", 4)], 6),
        ([EXIF + block(">", 4)], 6),
        ([EXIF + block(value=8)], 8),
        ([EXIF + block(value=9)], 1),
        ([EXIF + block(value=0)], 1),
        ([EXIF + block(kind=7)], 1),
        ([EXIF + block(tag=0x0113)], 1),
        ([EXIF + block(count=0)], 1),
        ([EXIF + block(count=60000)], 6),  # more fields than the file has
        ([EXIF + b"II*\0"], 1),
        ([EXIF + b"no block at all"], 1),
        ([b"http://ns.adobe.com/xap/1.0/\0" + b"x" * 60000, EXIF + block(">", value=3)], 3),
    ],
)
def test_exif_blocks(segments, expected):
    assert both(jpeg_with(*segments)) == expected
    assert both(jpeg_with(*segments, fill=b"\xff\xff")) == expected


def test_chunks_after_the_pixels_count():
    png, webp = oriented(0, "PNG"), oriented(0, "WEBP", lossless=True)
    assert len(block()) == 22
    chunk = struct.pack(">I", 22) + b"eXIf" + block() + b"\0" * 4
    assert both(png[:-12] + chunk + png[-12:]) == 6
    assert both(png + chunk) == 1  # after the end
    assert both(webp + b"EXIF" + struct.pack("<I", 28) + EXIF + block(">", value=5)) == 5


def test_other_bytes_have_no_orientation():
    for contents in (b"", b"\xff\xd8\xff", b"GIF89a", b"RIFF1234WEBP", b"\x89PNG\r\n\x1a\n"):
        assert both(contents) == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_damaged_files_give_the_same_number_both_ways(kind):
    rng, contents = np.random.default_rng(0), oriented(6, kind)
    found = [both(contents[:cut]) for cut in (*range(0, 150, 3), len(contents) - 40)]
    for _ in range(100):
        damaged = bytearray(contents)
        for place in rng.integers(2, 90, 3):
            damaged[place] = rng.integers(256)
        found.append(both(bytes(damaged)))
    assert 6 in found and 1 in found
