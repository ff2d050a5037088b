"""Which images, videos and cameras arguments mean."""

import pathlib

import pytest

from keras_det.errors import DataError
from keras_det.video import sources
from keras_det.video.sources import Source, find_images, find_sources


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Images, a video and a text file in two folders; the package that reads videos is there."""
    monkeypatch.setattr(sources, "is_installed", lambda package: True)
    (tmp_path / "in").mkdir()
    for name in ("b.png", "a.JPG", "c.mp4", "d.txt", "in/e.webp"):
        (tmp_path / name).touch()
    return tmp_path


def named(found, folder):
    return [(each.kind, str(pathlib.Path(each.path).relative_to(folder))) for each in found]


def test_a_folder_is_searched_whole_in_sorted_order(folder):
    images = [("image", "a.JPG"), ("image", "b.png")]
    inside = ("image", str(pathlib.Path("in", "e.webp")))
    assert named(find_sources(folder), folder) == [*images, ("video", "c.mp4"), inside]
    assert [path.name for path in find_images([str(folder)])] == ["a.JPG", "b.png", "e.webp"]


def test_videos_in_a_folder_wait_for_the_extra(folder, monkeypatch):
    monkeypatch.setattr(sources, "is_installed", lambda package: False)
    with pytest.warns(UserWarning, match=r"1 video in .*. Reading videos needs the extra `video`"):
        assert len(find_sources(str(folder))) == 3


def test_patterns_files_and_cameras(folder):
    pattern = str(folder / "*.[pJ]*")
    assert named(find_sources(pattern), folder) == [("image", "a.JPG"), ("image", "b.png")]
    deep = find_sources([str(folder / "**" / "*.webp"), folder / "d.txt", 2])
    assert [each.kind for each in deep] == ["image", "image", "camera"]
    assert deep[2] == Source("camera", "camera 2", 2)
    (folder / "odd[1].png").touch()  # a name that looks like a pattern
    assert named(find_sources(str(folder / "odd[1].png")), folder) == [("image", "odd[1].png")]


@pytest.mark.parametrize(
    "given, error, message",
    [
        ("b.pgn", DataError, r"A source must exist. Received: .*b.pgn. Did you mean 'b.png'"),
        ("*.txt", DataError, r"must match images or videos. Received: .*\*.txt, which matches 1 o"),
        ("empty", DataError, "A folder must hold images.* or videos. Received: .*empty"),
        (-1, DataError, "index of a camera must be 0 or more. Received: -1"),
        ([], DataError, "at least one source. Received: none"),
        (True, TypeError, "A source must be a path.*Received: True"),
        ([3.5], TypeError, "A source must be a path.*Received: 3.5"),
    ],
)
def test_what_is_no_source(folder, given, error, message):
    (folder / "empty").mkdir()
    with pytest.raises(error, match=message):
        find_sources(str(folder / given) if isinstance(given, str) else given)
