"""`read_image` and the doctor refuse the PNG files that TensorFlow refuses."""

import struct
import zlib

import pytest
import tensorflow as tf

from keras_det.data import read_image
from keras_det.data.orientation import PNG_START
from keras_det.doctor.scan import look_at_pixels
from keras_det.errors import DataError


def png(*chunks, wrong=()):
    """The bytes of a file of chunks `(name, content)`; those in `wrong` get a wrong checksum."""
    data = PNG_START
    for name, content in chunks:
        checksum = zlib.crc32(name + content) ^ (name in wrong)
        data += struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)
    return data


GREY = (b"IHDR", struct.pack(">2I5B", 2, 2, 8, 0, 0, 0, 0))
PALETTED = (b"IHDR", struct.pack(">2I5B", 2, 2, 8, 3, 0, 0, 0))
PIXELS = (b"IDAT", zlib.compress(bytes([0, 1, 2, 0, 3, 4])))
PALETTE = (b"PLTE", bytes(range(15)))
TEXT, UNKNOWN, END = (b"tEXt", b"a\0b"), (b"ABCD", b"abc"), (b"IEND", b"")

WHOLE = {
    "grey": png(GREY, PIXELS, END),
    "paletted": png(PALETTED, PALETTE, PIXELS, END),
    "more after the end": png(GREY, PIXELS, END) + b"more",
    "a text": png(GREY, TEXT, PIXELS, END),
}
BROKEN = {
    "checksum of its chunk b'IDAT'": png(GREY, PIXELS, END, wrong=[b"IDAT"]),
    "checksum of its chunk b'IEND'": png(GREY, PIXELS, END, wrong=[b"IEND"]),
    "chunk b'ABCD', which no decoder": png(GREY, UNKNOWN, PIXELS, END),
    "its end (the chunk IEND) is missing": png(GREY, PIXELS),
    "its palette (the chunk PLTE) is missing": png(PALETTED, PIXELS, END),
    "chunk b'IEND' is cut off": png(GREY, PIXELS) + struct.pack(">I", 9) + b"IEND0000",
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_files_are_read_as_tensorflow_does(name, tmp_path):
    assert (read_image(WHOLE[name]) == tf.io.decode_png(WHOLE[name], channels=3)).numpy().all()
    (tmp_path / "a.png").write_bytes(WHOLE[name])
    assert look_at_pixels(str(tmp_path / "a.png")).problem == ""


@pytest.mark.parametrize("reason", BROKEN)
def test_broken_files_are_refused_as_tensorflow_does(reason, tmp_path):
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.io.decode_png(BROKEN[reason], channels=3)
    with pytest.raises(DataError) as caught:
        read_image(BROKEN[reason])
    assert reason in str(caught.value)
    (tmp_path / "a.png").write_bytes(BROKEN[reason])
    assert look_at_pixels(str(tmp_path / "a.png")).problem == "unreadable"
