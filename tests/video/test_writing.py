"""Videos that are written can be read again, with the same size, rate and pixels."""

from fractions import Fraction

import numpy as np
import pytest

from keras_det.errors import DataError
from keras_det.video import VideoWriter, writing
from keras_det.video.frames import frames, opened
from keras_det.video.sources import find_sources

av = pytest.importorskip("av", reason="the extra `video`")

COLOURS = [(200, 30, 30), (30, 160, 60), (40, 60, 210), (128, 128, 128)]


def pictures(height=64, width=96):
    return [np.full((height, width, 3), colour, "uint8") for colour in COLOURS]


def read(path):
    return list(frames(find_sources(path), 1, print))


@pytest.mark.parametrize("encoder", writing.ENCODERS)
@pytest.mark.parametrize("rate", [25, Fraction(30000, 1001)])
def test_frames_come_back(tmp_path, monkeypatch, encoder, rate):
    monkeypatch.setattr(writing, "ENCODERS", (encoder,))
    path = tmp_path / "a.mp4"
    with VideoWriter(path, rate) as writer:
        for i, image in enumerate(pictures()):
            writer.add(image, float(i / rate))
        assert not path.exists()  # it is not complete yet
    assert [each.name for each in tmp_path.iterdir()] == ["a.mp4"]
    found = read(path)
    assert len(found) == 4 and found[0].rate == pytest.approx(float(rate), rel=1e-4)
    assert [frame.time for frame in found] == pytest.approx([i / rate for i in range(4)], abs=1e-3)
    for frame, image in zip(found, pictures(), strict=True):
        assert np.abs(frame.pixels.astype(int) - image).max() <= 8
    with opened(str(path)) as (_, stream):
        assert stream.codec_context.name == {"libx264": "h264"}.get(encoder, encoder)


def test_uneven_times_are_kept(tmp_path):
    times = [0, 0.04, 0.2, 0.24]
    with VideoWriter(tmp_path / "a.mp4", 25) as writer:
        for image, time in zip(pictures(), times, strict=True):
            writer.add(image, time)
    assert [f.time for f in read(tmp_path / "a.mp4")] == pytest.approx(times, abs=2e-3)


def test_an_odd_side_is_a_pixel_longer(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 25) as writer:
        for image in pictures(33, 47):
            writer.add(image)
    found = read(tmp_path / "a.mp4")
    assert found[0].pixels.shape == (34, 48, 3) and found[3].time == pytest.approx(0.12)


def test_after_an_exception_the_frames_so_far_are_there(tmp_path):
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / "a.mp4", 25) as writer:
        writer.add(pictures()[0])
        raise KeyboardInterrupt
    assert len(read(tmp_path / "a.mp4")) == 1


def test_without_frames_there_is_no_file(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 25):
        pass
    with VideoWriter(tmp_path / "b.mp4", 25) as writer:
        writer.add(pictures()[0])
        writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_frames_have_one_size(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 25) as writer:
        writer.add(pictures()[0])
        with pytest.raises(DataError, match="one size. Received: 10x20 after 96x64"):
            writer.add(np.zeros((20, 10, 3), "uint8"))
