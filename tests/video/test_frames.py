"""Frames of videos: which, when, which way up; and what is kept of damaged files."""

import os
import sys
import types

import numpy as np
import pytest
from PIL import Image

from keras_det.errors import DataError
from keras_det.video import frames as module
from keras_det.video.frames import expected_frames, frames, upright
from keras_det.video.sources import find_sources
from tests.video.moving import write_video

REASON = "the extra `video`"


@pytest.fixture
def video(tmp_path):
    """40 frames at 25 a second; the grey level of frame i is 5 i."""
    pytest.importorskip("av", reason=REASON)
    images = [np.full((32, 48, 3), 5 * i, "uint8") for i in range(40)]
    return write_video(tmp_path / "clip.mp4", images)


def read(path, every=1):
    """What is read of a path, and the notes."""
    notes = []
    return list(frames(find_sources(path), every, notes.append)), notes


def levels(found):
    """The numbers of the frames, from their grey levels."""
    return [round(float(frame.pixels.mean()) / 5) for frame in found]


@pytest.mark.parametrize("every", [1, 7])
def test_frames_have_their_number_and_time(video, every):
    found, notes = read(video, every)
    assert notes == [] and levels(found) == list(range(0, 40, every))
    assert [frame.number for frame in found] == list(range(0, 40, every))
    assert [frame.time for frame in found] == pytest.approx([i / 25 for i in range(0, 40, every)])
    assert found[0].rate == 25 and found[0].pixels.shape == (32, 48, 3)
    assert expected_frames(find_sources(video)[0], every) == len(found)


def test_time_counts_from_the_first_frame(tmp_path):
    pytest.importorskip("av", reason=REASON)
    images = [np.full((32, 48, 3), 5 * i, "uint8") for i in range(4)]
    found, _ = read(write_video(tmp_path / "late.mkv", images, start=100))
    assert [frame.time for frame in found] == pytest.approx([0, 0.04, 0.08, 0.12], abs=2e-3)


# Four colours in the quarters; FFmpeg counts rotations against the clock and mirrors after them.
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("flips", [{}, {"hflip": True}])
def test_frames_are_upright(tmp_path, rotation, flips):
    pytest.importorskip("av", reason=REASON)
    image = np.zeros((32, 48, 3), "uint8")
    image[:16, :24], image[:16, 24:], image[16:, :24] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    path = write_video(tmp_path / "turned.mp4", [image] * 3, rotation=rotation, **flips)
    expected = np.rot90(image, rotation // 90)
    expected = expected[:, ::-1] if flips else expected
    for frame in read(path)[0]:
        assert frame.pixels.shape == expected.shape
        # The colours of pixels at the edges of quarters mix.
        assert np.median(np.abs(frame.pixels.astype(int) - expected)) <= 3


# x' = a x + c y, y' = b x + d y; rows: identity, quarter turn, mirrored, half a turn, 30 degrees.
@pytest.mark.parametrize(
    "abcd, expected",
    [
        ((1, 0, 0, 1), [[0, 1, 2], [3, 4, 5]]),
        ((0, 1, -1, 0), [[3, 0], [4, 1], [5, 2]]),
        ((-1, 0, 0, 1), [[2, 1, 0], [5, 4, 3]]),
        ((-1, 0, 0, -1), [[5, 4, 3], [2, 1, 0]]),
        ((0, 1, 1, 0), [[0, 3], [1, 4], [2, 5]]),
        ((0.87, 0.5, -0.5, 0.87), [[0, 1, 2], [3, 4, 5]]),
    ],
)
def test_display_matrix(abcd, expected):
    pixels = np.arange(6).reshape(2, 3)
    a, b, c, d = (round(65536 * each) for each in abcd)
    matrix = (a, b, 0, c, d, 0, 0, 0, 1 << 30)
    np.testing.assert_array_equal(upright(pixels[..., None], matrix)[..., 0], expected)
    assert upright(pixels, None) is pixels


def test_what_was_read_of_a_cut_off_video_is_kept(tmp_path):
    pytest.importorskip("av", reason=REASON)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (64, 64, 3)).astype("uint8") for _ in range(40)]
    path = write_video(tmp_path / "whole.avi", images)
    content = path.read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: len(content) // 2])
    found, notes = read(tmp_path / "cut.avi")
    assert 5 < len(found) < 40 and len(notes) >= 1
    assert f"{len(found)} of 40 frames could be read" in notes[-1]


def test_broken_frames_are_noted_and_the_others_kept(tmp_path):
    pytest.importorskip("av", reason=REASON)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (64, 64, 3)).astype("uint8") for _ in range(40)]
    path = write_video(tmp_path / "broken.mp4", images)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20_000] = bytes(20_000)  # about one of four groups of pictures
    path.write_bytes(content)
    found, notes = read(path)
    assert 20 <= len(found) <= 40
    assert (
        len(notes) == 1 and "is damaged" in notes[0] and "All decoded frames are used." in notes[0]
    )


@pytest.mark.parametrize(
    "content, message",
    [(b"", "must be a complete file"), (b"no video at all" * 100, "must be a complete file")],
)
def test_a_file_that_is_no_video_is_left_out(tmp_path, content, message):
    pytest.importorskip("av", reason=REASON)
    (tmp_path / "a.mp4").write_bytes(content)
    found, notes = read(tmp_path / "a.mp4")
    assert found == [] and len(notes) == 1 and message in notes[0] and "a.mp4" in notes[0]
    assert expected_frames(find_sources(tmp_path / "a.mp4")[0], 1) == 0


def test_a_playlist_opens_no_address(tmp_path):
    pytest.importorskip("av", reason=REASON)
    text = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"
    (tmp_path / "a.mp4").write_text(text)
    found, notes = read(tmp_path / "a.mp4")
    assert found == [] and "a.mp4" in notes[0]


def test_large_frames_are_refused(video):
    from keras_det.data.pixel_limit import default_pixel_limit

    with default_pixel_limit(32 * 48 - 1):
        assert "at most 1,535 pixels. Received: " in read(video)[1][0]
    with default_pixel_limit(32 * 48):
        assert len(read(video)[0]) == 40


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_closing_early_closes_the_file(video):
    def is_open():
        links = [os.path.join("/proc/self/fd", each) for each in os.listdir("/proc/self/fd")]
        return any(os.path.exists(x) and os.path.realpath(x) == str(video) for x in links)

    reading = frames(find_sources(video), 1, print)
    next(reading)
    assert is_open()
    reading.close()
    assert not is_open()


def test_images_are_read_and_broken_ones_noted(tmp_path):
    Image.fromarray(np.full((4, 6, 3), 10, "uint8")).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"broken")
    (found,), (note,) = read(tmp_path)
    assert (found.number, found.time, found.rate) == (None, None, None)
    assert found.pixels.shape == (4, 6, 3) and "b.png" in note


def test_without_the_extra_the_error_names_it(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").touch()
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DataError, match=r"needs the extra `video`.*package av.*Install it with"):
        read(tmp_path / "a.mp4")


# A camera is not at hand: a stand-in for OpenCV's reader gives three frames.
def test_a_camera_gives_frames_until_it_stops_and_is_freed(monkeypatch):
    events = []

    class Capture:
        def __init__(self, index):
            self.left, self.index = 3, index

        def isOpened(self):
            return self.index == 0

        def get(self, what):
            return 30.0 if what == 5 else 0.0

        def read(self):
            self.left -= 1
            return self.left >= 0, np.full((2, 2, 3), (30, 20, 10), "uint8")

        def release(self):
            events.append("released")

    monkeypatch.setitem(sys.modules, "cv2", types.SimpleNamespace(VideoCapture=Capture))
    found, notes = read(0, every=2)
    assert [frame.number for frame in found] == [0, 2] and found[0].rate == 30
    assert found[0].pixels[0, 0].tolist() == [10, 20, 30] and found[0].time == 0
    assert events == ["released"] and notes == []
    assert "camera 1, which cannot be opened" in read(1)[1][0] and len(events) == 2
    assert module.expected_frames(find_sources(0)[0], 1) is None
