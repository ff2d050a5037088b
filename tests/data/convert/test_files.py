"""Names and files of images, and what writers refuse."""

import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from keras_det.data import Dataset, write_coco, write_csv, write_voc, write_yolo
from keras_det.data.convert.plan import portable, unique_names
from keras_det.data.convert.upright import turned_boxes
from keras_det.data.convert.voc import written_corners
from keras_det.data.cut_off import cut_off
from keras_det.data.orientation import turned
from keras_det.data.reading import load_splits
from keras_det.errors import DataError
from tests.data.builders import write_image
from tests.data.convert.drawn import drawn, largest_difference


def of_paths(*paths, box=(1, 1, 4, 5), **more):
    """One object in each image of 6 x 8 pixels."""
    count = len(paths)
    fields = {
        "image_paths": tuple(map(str, paths)),
        "image_ids": tuple(range(count)),
        "image_sizes": [(6, 8)] * count,
        "boxes": np.repeat([box], count, axis=0),
        "labels": np.zeros(count),
        "crowd": np.zeros(count),
        "area": np.full(count, 12),
        "row_splits": np.arange(count + 1),
        "class_names": ("cat",),
    }
    return Dataset(**{**fields, **more})


def test_names_differ_on_every_system():
    names = ["a/x.jpg", "a/X.jpg", "a/x.png", "a/x-2.jpg"]
    assert unique_names(names, by_stem=False) == (["a/x.jpg", "a/X-3.jpg", *names[2:]], [1])
    assert unique_names(names, by_stem=True) == (
        ["a/x.jpg", "a/X-3.jpg", "a/x-4.png", "a/x-2.jpg"],
        [1, 2],
    )


def test_portable_names():
    assert portable("train/images/a b.jpg") == "train/a b.jpg"
    assert portable(".hidden/50%: 'a'?.jpg") == "_.hidden/50__ 'a'_.jpg"
    assert portable("'a' .jpg ") == "a.jpg"


@pytest.mark.parametrize("writer", [write_voc, write_yolo])
def test_images_of_one_stem_get_two_label_files(tmp_path, writer):
    paths = [write_image(tmp_path / name) for name in ("a.png", "a.jpg", "b/a.png")]
    first = of_paths(*paths)
    with pytest.warns(UserWarning, match=r"1 of 3 images renamed.*'a.jpg' becomes 'a-2.jpg'"):
        writer(first, tmp_path / "out")
    (last,) = load_splits(tmp_path / "out")[0].values()
    assert len(last) == 3 and len(last.labels) == 3
    assert {os.path.basename(path) for path in last.image_paths} == {"a.png", "a-2.jpg"}


def test_links_and_copies(tmp_path):
    path = write_image(tmp_path / "in" / "a.png")
    write_coco(of_paths(path), tmp_path / "linked")
    write_coco(of_paths(path), tmp_path / "copied", images="copy")
    assert (tmp_path / "linked" / "images" / "a.png").samefile(path)
    assert not (tmp_path / "copied" / "images" / "a.png").samefile(path)


def test_copies_where_links_are_not_possible(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError("another disk")

    monkeypatch.setattr(os, "link", refuse)
    path = write_image(tmp_path / "in" / "a.png")
    write_coco(of_paths(path), tmp_path / "out")
    assert (tmp_path / "out" / "images" / "a.png").read_bytes() == path.read_bytes()


def test_without_images(tmp_path):
    first = drawn(tmp_path)
    with pytest.warns(UserWarning, match=r"Images were not copied.*--image-dir.*photos"):
        write_coco(first, tmp_path / "out", images="none")
    assert not (tmp_path / "out" / "images").exists()
    splits, _ = load_splits(tmp_path / "out", image_dir=tmp_path / "photos")
    assert largest_difference(first, splits["default"]) < 0.01


@pytest.mark.parametrize("writer", [write_coco, write_voc, write_yolo, write_csv])
def test_folder_that_is_not_empty_is_refused(tmp_path, writer):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").touch()
    with pytest.raises(DataError, match=r"must not exist yet.*Received: .*out.*Choose another"):
        writer(drawn(tmp_path), tmp_path / "out")


def test_nothing_is_left_after_an_error(tmp_path):
    path = write_image(tmp_path / "in" / "a.png")
    with pytest.raises(DataError, match=r"must be readable.*Received: .*gone.png"):
        write_coco(of_paths(path, tmp_path / "in" / "gone.png"), tmp_path / "out")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["in"]


def test_wrong_word_for_images(tmp_path):
    with pytest.raises(ValueError, match=r"link, copy, none. Received: 'links'. Did you mean"):
        write_coco(drawn(tmp_path), tmp_path / "out", images="links")


def test_splits_of_different_classes_are_refused(tmp_path):
    path = write_image(tmp_path / "a.png")
    data = {"train": of_paths(path), "val": of_paths(path, class_names=("dog",))}
    with pytest.raises(DataError, match="same classes.*Received: cat in train, dog in val"):
        write_coco(data, tmp_path / "out")


def test_image_with_other_objects_in_another_split(tmp_path):
    path = write_image(tmp_path / "a.png")
    data = {"train": of_paths(path), "val": of_paths(path, box=(2, 2, 4, 5))}
    with pytest.raises(
        DataError, match=r"the same objects in every split.*a.png.*in train than in val"
    ):
        write_voc(data, tmp_path / "out")
    write_coco(data, tmp_path / "coco")
    splits, _ = load_splits(tmp_path / "coco")
    assert [splits[name].boxes[0, 0] for name in ("train", "val")] == [1, 2]


def test_progress_counts_every_image(tmp_path):
    steps = []
    write_coco(drawn(tmp_path), tmp_path / "out", progress=steps.append)
    assert steps == [1, 1, 1]


# Counted from 1, x1 becomes x1 + 1 and x2 stays. The second box is 0.5 pixels wide at the right
# border of 8 pixels: it is written from 8 - 1.01 to 8. The third, at the left, from 0 to 1.01.
def test_thin_boxes_stay_boxes():
    boxes = np.array([[2, 1, 4, 5], [7.5, 1, 8, 5], [0, 1, 0.5, 5]])
    written, changed = written_corners(boxes, 1)
    assert changed == 2
    expected = [[3, 2, 4, 5], [7.99, 2, 8, 5], [1, 2, 1.01, 5]]
    np.testing.assert_allclose(written, expected, atol=1e-9)


def test_thin_box_is_noted_and_read(tmp_path):
    first = of_paths(write_image(tmp_path / "a.png"), box=(2, 1, 3, 5))
    with pytest.warns(UserWarning, match="Boxes of at most one pixel in width or height: 1"):
        write_voc(first, tmp_path / "out")
    (last,) = load_splits(tmp_path / "out")[0].values()
    np.testing.assert_allclose(last.boxes, [[1.99, 1, 3, 5]], atol=1e-5)


# All boxes end one pixel before the border: counted from 1, they would be read as from 0.
def test_voc_counts_pixels_so_that_they_are_read_so(tmp_path):
    paths = [write_image(tmp_path / f"{i}.png") for i in range(6)]
    first = of_paths(*paths, box=(2, 2, 7, 5), area=[15] * 6)
    with pytest.warns(UserWarning, match="These files count pixels from 0"):
        write_voc(first, tmp_path / "out")
    assert "<xmin>2</xmin>" in (tmp_path / "out" / "Annotations" / "0.xml").read_text()
    with pytest.warns(UserWarning, match="counted from 0"):
        (last,) = load_splits(tmp_path / "out")[0].values()
    assert last.boxes.tolist() == first.boxes.tolist()
    write_voc(first.select([0]), tmp_path / "one")
    assert "<xmin>3</xmin>" in (tmp_path / "one" / "Annotations" / "0.xml").read_text()


# Each orientation turns a painted rectangle as `turned` turns the pixels.
@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_turn_with_the_pixels(orientation):
    pixels = np.zeros((6, 8))
    pixels[1:3, 2:7] = 1
    upright = turned(pixels, orientation)
    rows, columns = np.nonzero(upright)
    boxes, size = turned_boxes(np.array([[2.0, 1, 7, 3]]), (6, 8), orientation)
    assert size == upright.shape
    expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert boxes.tolist() == [expected]


def turned_image(path):
    """A JPEG stored as 6 x 8 pixels that is 8 x 6 upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.full((6, 8, 3), 90, np.uint8)).save(path, exif=exif)
    return path


# Orientation 6 is a quarter turn clockwise: (x, y) stored -> (6 - y, x) upright.
def test_yolo_turns_boxes_that_were_drawn_on_stored_pixels(tmp_path):
    first = of_paths(turned_image(tmp_path / "a.jpg"), box=(1, 2, 4, 3))
    with pytest.warns(UserWarning, match="Images whose boxes were drawn on the stored pixels: 1"):
        write_yolo(first, tmp_path / "out")
    (last,) = load_splits(tmp_path / "out")[0].values()
    assert last.image_sizes.tolist() == [[8, 6]]
    np.testing.assert_allclose(last.boxes, [[3, 1, 4, 4]], atol=1e-5)


@pytest.mark.parametrize("writer", [write_coco, write_voc, write_csv])
def test_annotated_sizes_are_kept(tmp_path, writer):
    first = of_paths(turned_image(tmp_path / "a.jpg"), box=(1, 2, 4, 4), area=[6])
    writer(first, tmp_path / "out")
    with pytest.warns(UserWarning, match="used as stored"):
        (last,) = load_splits(tmp_path / "out")[0].values()
    assert last.image_sizes.tolist() == [[6, 8]]
    np.testing.assert_allclose(last.boxes, [[1, 2, 4, 4]], atol=1e-4)


def test_yolo_of_a_broken_image(tmp_path):
    good, broken = (write_image(tmp_path / f"{name}.png") for name in ("good", "broken"))
    broken.write_bytes(b"no image")
    with pytest.warns(UserWarning, match=r"Images that cannot be read: 1.*broken.png"):
        write_yolo(of_paths(good, broken), tmp_path / "out")
    # The box (1, 1, 4, 5) in 8 x 6 pixels: centre 2.5 / 8 and 3 / 6, sides 3 / 8 and 4 / 6.
    lines = (tmp_path / "out" / "labels" / "broken.txt").read_text()
    assert lines == "0 0.3125 0.5 0.375 0.66666667\n"


def test_images_without_their_end_are_noted(tmp_path):
    paths = [write_image(tmp_path / name) for name in ("a.png", "b.jpg", "c.jpg", "d.png")]
    for path, left in zip(paths[1:], (-2, -40, -20), strict=True):
        pathlib.Path(path).write_bytes(pathlib.Path(path).read_bytes()[:left])
    # "b.jpg" lacks the end marker only, and decodes.
    with pytest.warns(UserWarning, match=r"The end of 2 images is missing.*first: .*c\.jpg"):
        write_voc(of_paths(*paths), tmp_path / "out")
    (tmp_path / "e.jpg").touch()
    assert cut_off([*paths, str(tmp_path / "e.jpg")]) == [*paths[2:], str(tmp_path / "e.jpg")]
