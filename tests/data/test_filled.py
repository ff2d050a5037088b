"""Files that hold too few pixels, and have an end marker all the same, are refused everywhere."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from keras_det.data import Pipeline, read_image
from keras_det.doctor.scan import look_at_pixels
from keras_det.errors import DataError
from tests.data.test_pipeline import make_dataset, take


def encoded(mode="RGB", kind="JPEG", **options):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (5, 7, 3), "uint8")).resize((70, 50))
    file = io.BytesIO()
    image.convert(mode).save(file, kind, **options)
    return file.getvalue()


def short_png(mode, share, interlace=False):
    """A PNG with sound chunks, of which only a share of the unpacked pixels is left."""
    contents = bytearray(encoded(mode, "PNG"))
    contents[28] = interlace
    parts, place = {}, 8
    while place < len(contents):
        length, name = struct.unpack_from(">I4s", contents, place)
        parts[name] = parts.get(name, b"") + bytes(contents[place + 8 : place + 8 + length])
        place += 12 + length
    rows = zlib.decompress(parts[b"IDAT"])
    rows = bytes(2 * len(rows)) if interlace else rows
    parts[b"IDAT"] = zlib.compress(rows[: int(len(rows) * share)])
    chunks = [struct.pack(">I", len(v)) + k + v + struct.pack(">I", zlib.crc32(k + v))
              for k, v in parts.items()]  # fmt: skip
    return bytes(contents[:8]) + b"".join(chunks)


def cut_jpeg(share, mode="RGB", **options):
    contents = encoded(mode, **options)
    start = contents.find(b"\xff\xda")
    stop = contents.find(b"\xff\xda", start + 2)
    stop = stop if stop > 0 else len(contents)  # of the first scan
    return contents[: start + int((stop - start) * share)] + b"\xff\xd9"


def cut_phone_jpeg():
    """A JPEG with a second picture, cut off in the first one."""
    second = Image.new("RGB", (70, 50))
    contents = encoded(kind="MPO", save_all=True, append_images=[second])
    start, stop = contents.find(b"\xff\xda"), contents.find(b"\xff\xd9")
    return contents[: start + (stop - start) // 2] + b"\xff\xd9"


DAMAGED = {
    "png": short_png("RGB", 0.5),
    "palette.png": short_png("P", 0.9),
    "grey.png": short_png("L", 0.5),
    "deep.png": short_png("I;16", 0.5),
    "interlaced.png": short_png("RGB", 0.2, True),
    "jpg": cut_jpeg(0.7),
    "grey.jpg": cut_jpeg(0.7, "L"),
    "cmyk.jpg": cut_jpeg(0.7, "CMYK"),
    "restarts.jpg": cut_jpeg(0.7, restart_marker_rows=1),
    "two pictures.jpg": cut_phone_jpeg(),
    "progressive.jpg": cut_jpeg(0.2, progressive=True),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_an_image_of_too_few_pixels_is_refused(tmp_path, name):
    with pytest.raises(DataError, match="does not decode .*truncated"):
        read_image(DAMAGED[name])
    path = tmp_path / name
    path.write_bytes(DAMAGED[name])
    assert look_at_pixels(str(path)).problem == "truncated"


def grey(mode, colour, kind, **options):
    file = io.BytesIO()
    Image.new(mode, (33, 17), colour).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    "contents",
    [
        grey("RGB", (128, 128, 128), "JPEG"),
        grey("L", 128, "JPEG", progressive=True),
        grey("CMYK", (127, 127, 127, 127), "JPEG"),
        grey("RGB", (0, 0, 0), "PNG"),
        grey("1", 0, "PNG"),
        short_png("RGB", 10595.5 / 21100, True),
        encoded(),
        encoded("P", "PNG"),
    ],
    ids=["grey", "progressive", "cmyk", "black", "bits", "interlaced", "jpeg", "png"],
)
def test_whole_images_that_end_like_damaged_ones_are_read(tmp_path, contents):
    assert np.array_equal(read_image(contents), Image.open(io.BytesIO(contents)).convert("RGB"))
    (tmp_path / "x").write_bytes(contents)
    assert not look_at_pixels(str(tmp_path / "x")).problem


@pytest.mark.parametrize("augment", [None, "lsj"])
def test_training_and_evaluation_skip_them(tmp_path, augment):
    dataset = make_dataset(tmp_path, 25, sizes=((50, 70),))
    (tmp_path / "3.jpg").write_bytes(DAMAGED["jpg"])
    Image.new("RGB", (70, 50), (128, 128, 128)).save(tmp_path / "4.jpg")
    pipeline = Pipeline(dataset, 32, 5, augment=augment, num_parallel_calls=1)
    with pytest.warns(UserWarning, match=r"is skipped: .*3\.jpg.*truncated"):
        seen = [int(i) for batch in take(pipeline, 5) for i in batch[1]["image_index"]]
    assert 4 in seen and pipeline.failed == [str(tmp_path / "3.jpg")]
    assert 3 not in seen or augment  # a window without missing pixels is of use
