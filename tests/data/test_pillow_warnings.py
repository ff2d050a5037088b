"""Pillow's warnings are hidden while an image is read, and no others, in any thread."""

import threading
import warnings

import numpy as np
import pytest
from PIL import Image

from keras_det.data.depth import to_rgb
from keras_det.data.image import read_image
from keras_det.data.pillow_warnings import without_pillow_warnings


def as_pillow(text="odd but readable"):
    """Warns in the name of one of Pillow's modules."""
    warnings.warn_explicit(text, UserWarning, "Image.py", 1, "PIL.Image")


def test_only_those_of_pillow_are_hidden_and_only_inside():
    with pytest.warns(UserWarning) as seen:
        as_pillow("before")
        with without_pillow_warnings():
            as_pillow()
            with without_pillow_warnings():
                as_pillow()
            as_pillow()
            warnings.warn("ours", UserWarning, stacklevel=1)
        as_pillow("after")
    assert [str(each.message) for each in seen] == ["before", "ours", "after"]


def test_another_thread_keeps_its_warnings():
    inside, outside = threading.Event(), threading.Event()

    def read():
        with without_pillow_warnings():
            inside.set()
            outside.wait(10)

    thread = threading.Thread(target=read)
    with pytest.warns(UserWarning, match="here"):
        thread.start()
        inside.wait(10)
        as_pillow("here")
        outside.set()
        thread.join()


def test_a_thread_that_reads_takes_no_warning_away(tmp_path, monkeypatch):
    """Filters of the whole process that are put back by a thread lose what others give."""
    photo = tmp_path / "photo.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(photo)
    decoding, go_on = threading.Event(), threading.Event()

    def slowly(*arguments):
        decoding.set()
        go_on.wait(10)
        return to_rgb(*arguments)

    monkeypatch.setattr("keras_det.data.image.to_rgb", slowly)
    thread = threading.Thread(target=read_image, args=[photo])
    thread.start()
    decoding.wait(10)
    with pytest.warns(UserWarning, match="ours"):
        go_on.set()
        thread.join()
        warnings.warn("ours", UserWarning, stacklevel=1)


def test_the_filters_do_not_grow(tmp_path):
    photo = tmp_path / "photo.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(photo)
    read_image(photo)
    with warnings.catch_warnings():
        before = len(warnings.filters)
        for _ in range(3):
            warnings.simplefilter("always")
            read_image(photo)
        assert len(warnings.filters) <= before + 1


def test_a_palette_with_transparency_is_read_without_a_warning(tmp_path):
    picture = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8), "P")
    picture.info["transparency"] = bytes(range(64))
    picture.putpalette(bytes(range(192)))
    picture.save(tmp_path / "palette.png")
    with warnings.catch_warnings(), pytest.warns(UserWarning, match="Palette images"):
        Image.open(tmp_path / "palette.png").convert("RGB")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(tmp_path / "palette.png").shape == (8, 8, 3)
