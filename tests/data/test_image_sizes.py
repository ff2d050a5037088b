"""Annotated sizes against the files, on raw annotations."""

import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from keras_det.data import image_sizes
from keras_det.data.image_sizes import check_sizes
from keras_det.data.raw import RawAnnotations, ReadOptions
from keras_det.errors import DataError


def write(path, height, width, orientation=1, value=100):
    tags = Image.Exif()
    tags[0x0112] = orientation
    Image.new("RGB", (width, height), (value, 0, 0)).save(path, exif=tags)
    return str(path)


def raw_of(sizes, boxes=None, box_format="xyxy"):
    """One box for each image; by default a small one."""
    count = len(sizes)
    boxes = [[0, 0, 2, 2]] * count if boxes is None else boxes
    return RawAnnotations(
        source="a.json",
        name="a",
        split=None,
        class_names=["x"],
        category_ids=[0],
        image_names=[f"{i}.jpg" for i in range(count)],
        image_ids=list(range(count)),
        image_sizes=np.array(sizes),
        image_index=np.arange(count),
        boxes=np.array(boxes, float),
        labels=np.zeros(count, int),
        crowd=np.zeros(count, bool),
        area=np.full(count, 4.0),
        where=lambda row: f"annotations[{row}]",
        folders=[pathlib.Path()],
        box_format=box_format,
    )


def checked(folder, stored, annotated, orientations=None, **more):
    """Writes images of the `stored` sizes, and checks the annotated ones."""
    sizes = more.pop("sizes", "check")
    orientations = orientations or [1] * len(stored)
    paths = [
        write(folder / f"{i}.jpg", *size, orientation)
        for i, (size, orientation) in enumerate(zip(stored, orientations, strict=True))
    ]
    raw = raw_of(annotated, **more)
    check_sizes(raw, ReadOptions(sizes=sizes), paths)
    assert len(paths) == len(raw.image_sizes) == len(raw.image_ids)
    return raw


def test_equal_sizes_say_nothing(tmp_path):
    raw = checked(tmp_path, [(6, 8), (8, 6)], [(6, 8), (8, 6)])
    assert raw.notes == [] and not raw.stored_pixels


def test_missing_sizes_are_those_of_the_upright_image(tmp_path):
    raw = checked(tmp_path, [(6, 8), (6, 8)], [(0, 0), (0, 0)], [1, 6])
    np.testing.assert_array_equal(raw.image_sizes, [(6, 8), (8, 6)])


# Sizes tell in images 0 and 1, not in image 2 (a square).
@pytest.mark.parametrize("annotated, stored", [((8, 6), False), ((6, 8), True)])
def test_the_majority_decides_which_way_up_squares_are(tmp_path, annotated, stored):
    raw = checked(tmp_path, [(6, 8), (6, 8), (8, 8)], [annotated, annotated, (8, 8)], [6, 8, 6])
    assert raw.stored_pixels == stored
    notes = " ".join(raw.notes)
    assert ("2 of 3 images used as stored" in notes) == stored
    assert "by the EXIF orientation: 1. Like most" in notes


def test_squares_alone_are_upright_with_a_note(tmp_path):
    raw = checked(tmp_path, [(8, 8), (8, 8)], [(8, 8), (8, 8)], [1, 3])
    assert not raw.stored_pixels
    (note,) = raw.notes
    assert note.startswith("1 of 2 images rotated upright by their EXIF") and "1.jpg" in note


# An image is 30 pixels high upright, and 30 wide as stored. The last boxes fit both ways.
@pytest.mark.parametrize(
    "box, stored, said",
    [
        ([0, 0, 29, 5], True, "3 of 3 images used as stored"),
        ([0, 0, 5, 29], False, "^$"),
        ([0, 0, 9, 9], False, "3 of 3 images rotated upright .*0.jpg.*`keras-det data prev"),
    ],
)
def test_boxes_tell_the_way_up_of_images_without_a_size(tmp_path, box, stored, said):
    raw = checked(tmp_path, [(10, 30)] * 3, [(0, 0)] * 3, [6, 8, 5], boxes=[box] * 3)
    assert raw.image_sizes.tolist() == [[10, 30] if stored else [30, 10]] * 3
    assert re.search(said, " ".join(raw.notes)) and len(raw.notes) <= 1


def test_relative_boxes_never_tell_the_way_up(tmp_path):
    boxes = [[0.5, 0.5, 0.5, 1]] * 3
    more = {"boxes": boxes, "box_format": "rel_center_xywh"}
    raw = checked(tmp_path, [(10, 30)] * 3, [(0, 0)] * 3, [6, 1, 8], **more)
    (note,) = raw.notes
    assert (note.code, note.number, note.total) == ("orientation", 2, 3)
    raw = checked(tmp_path, [(10, 30)] * 3, [(0, 0)] * 3, [1, 1, 1], **more)
    assert raw.notes == []


def test_boxes_that_fit_neither_way_leave_images_upright(tmp_path):
    boxes = [[0, 0, 29, 5], [0, 0, 29, 5], [0, 0, 29, 29]]
    raw = checked(tmp_path, [(10, 30)] * 3, [(0, 0)] * 3, [6, 6, 6], boxes=boxes)
    assert raw.image_sizes.tolist() == [[30, 10]] * 3


def test_swapped_width_and_height(tmp_path):
    boxes = [[0, 0, 8, 2], [1, 1, 3, 3]]  # the first does not fit 6 pixels of width
    raw = checked(tmp_path, [(6, 8), (6, 8)], [(8, 6), (8, 6)], boxes=boxes)
    np.testing.assert_array_equal(raw.image_sizes, [(6, 8), (6, 8)])
    assert "swapped in the annotation of 2 of" in raw.notes[0]
    # The box fits neither: 12 wide.
    with pytest.raises(DataError, match=r"2 of 2 images of a.json with another size"):
        checked(tmp_path, [(6, 8), (6, 8)], [(8, 6), (8, 6)], boxes=[[0, 0, 12, 2], [0, 0, 1, 1]])


def test_a_few_other_sizes_are_left_out(tmp_path):
    raw = checked(tmp_path, [(6, 8), (6, 9)], [(6, 8), (6, 8)])
    assert raw.image_ids == [0] and len(raw.boxes) == 1
    (note,) = raw.notes
    assert note.startswith("1 of 2 images left out: another size than annotated")
    assert "1.jpg, 9x6 (width x height), annotated as 8x6" in note


# Half the size each; a box that fits only the annotated size, or both.
@pytest.mark.parametrize(
    "true, box, scale, file",
    [
        ((6, 8), [0, 0, 16, 2], True, False),
        ((6, 8), [0, 0, 8, 2], True, True),
        ((6, 4), [0, 0, 4, 2], False, True),
        ((6, 4), [0, 0, 16, 2], False, False),
    ],
)
def test_only_cures_that_are_right_are_named(tmp_path, true, box, scale, file):
    with pytest.raises(DataError, match="another size; first: .*0.jpg.*Restore") as error:
        checked(tmp_path, [true] * 2, [(12, 16)] * 2, boxes=[box] * 2)
    assert ("--sizes scale" in str(error.value)) == scale
    assert ("--sizes file" in str(error.value)) == file


def test_boxes_are_scaled_or_kept(tmp_path):
    boxes = [[2, 4, 8, 6], [2, 4, 8, 6]]
    raw = checked(tmp_path, [(6, 4), (12, 16)], [(12, 16)] * 2, boxes=boxes, sizes="scale")
    # Half the height, a quarter of the width.
    np.testing.assert_array_equal(raw.boxes, [[0.5, 2, 2, 3], [2, 4, 8, 6]])
    np.testing.assert_array_equal(raw.area, [0.5, 4])
    np.testing.assert_array_equal(raw.image_sizes, [(6, 4), (12, 16)])
    assert "1 of 2 images with another size than annotated: the boxes are scaled" in raw.notes[0]
    raw = checked(tmp_path, [(6, 4), (12, 16)], [(12, 16)] * 2, boxes=boxes, sizes="file")
    np.testing.assert_array_equal(raw.boxes, boxes)
    np.testing.assert_array_equal(raw.image_sizes, [(6, 4), (12, 16)])
    assert "the size of the image file is used" in raw.notes[0]


def test_scaled_boxes_with_y_first(tmp_path):
    raw = checked(
        tmp_path, [(6, 4)], [(12, 16)], boxes=[[4, 2, 6, 8]], box_format="yxyx", sizes="scale"
    )
    np.testing.assert_array_equal(raw.boxes, [[2, 0.5, 3, 2]])


def test_relative_boxes_need_no_size(tmp_path):
    boxes = [[0, 0, 0.5, 1]] * 2
    raw = checked(tmp_path, [(6, 4)] * 2, [(12, 16)] * 2, boxes=boxes, box_format="rel_center_xywh")
    np.testing.assert_array_equal(raw.image_sizes, [(6, 4)] * 2)
    np.testing.assert_array_equal(raw.boxes, boxes)
    assert "2 of 2 images with another size than annotated: the boxes are in norm" in raw.notes[0]


def test_unreadable_files(tmp_path):
    paths = [write(tmp_path / f"{i}.jpg", 6, 8) for i in range(3)]
    pathlib.Path(paths[1]).write_bytes(b"abc")
    raw = raw_of([(6, 8)] * 3)
    check_sizes(raw, ReadOptions(), paths)  # the size is known: training skips the image
    assert len(raw.notes) == 1 and re.match(r"1 of 3 images unreadable .*1\.jpg", raw.notes[0])
    assert len(paths) == 3
    raw = raw_of([(0, 0)] * 3)
    check_sizes(raw, ReadOptions(), paths)
    assert "1 of 3 images without an annotated size left out" in raw.notes[0]
    assert "1.jpg" in raw.notes[0] and raw.image_ids == [0, 2] and len(paths) == 2
    with pytest.raises(
        DataError, match="must be readable. Received: .*x.jpg .* which has no image that can"
    ):
        check_sizes(raw_of([(0, 0)]), ReadOptions(), [str(tmp_path / "x.jpg")])


def test_large_data_sets_are_sampled_until_a_size_differs(tmp_path, monkeypatch):
    monkeypatch.setattr(image_sizes, "ALL_UP_TO", 4)
    monkeypatch.setattr(image_sizes, "SAMPLE", 2)
    read = []
    original = image_sizes.read_header
    monkeypatch.setattr(
        image_sizes, "read_header", lambda path: read.append(path) or original(path)
    )
    checked(tmp_path, [(6, 8)] * 5, [(6, 8)] * 5)
    assert sorted(pathlib.Path(path).stem for path in read) == ["0", "4"]
    with pytest.raises(DataError, match="3 of 5 images"):
        checked(tmp_path, [(6, 9), (6, 8), (6, 9), (6, 8), (6, 9)], [(6, 8)] * 5)


def test_headers_read_in_parts_keep_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr(image_sizes, "THREADS", 1)
    monkeypatch.setattr(image_sizes, "MAX_PART", 3)
    paths = [write(tmp_path / f"{i}.png", 4 + i, 8) for i in range(14)]
    (tmp_path / "5.png").write_bytes(b"")
    raw = raw_of([(0, 0) if i != 5 else (9, 8) for i in range(14)])
    check_sizes(raw, ReadOptions(), paths)
    assert raw.image_sizes.tolist() == [[4 + i, 8] for i in range(14)]
    assert raw.notes == [
        f"1 of 14 images unreadable (first: {paths[5]}, an empty file). Training "
        "skips such images, up to 5% of the images."
    ]


def test_twelve_bits_in_sixteen_are_noted(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.full((6, 8), 4000, np.uint16)).save(path)
    raw = raw_of([(6, 8)])
    check_sizes(raw, ReadOptions(), [str(path)])
    assert "a.png: all values of this 16-bit image are below 4096" in raw.notes[0]
