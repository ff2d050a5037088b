"""Lists of images and of classes beside Pascal VOC's annotations."""

import pytest

from keras_det.data.formats.voc_lists import read_class_names, read_list
from keras_det.errors import DataError

KEYS = [
    "img0",
    "img1",
    "img 2",
    "img 1",
    "a.b",
    "sub/c",
    "Üb",
    "WhatsApp Image 2024-01-00 at 10.00",
]


def listed(tmp_path, content, keys=KEYS, **more):
    path = tmp_path / "train.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_list(str(path), keys, **more)


@pytest.mark.parametrize(
    "line, key",
    [
        ("img0", "img0"),
        ("img0.jpg", "img0"),
        ("img0.JPEG", "img0"),
        ("img0.xml", "img0"),
        ("./img0.png  ", "img0"),
        ("img0 -1", "img0"),
        ("img0  1", "img0"),
        ("img0.jpg 0", "img0"),
        ("img\t1", "img"),
        ("img 2", "img 2"),
        ("img 2 -1", "img 2"),
        ("img 1", "img 1"),  # the name of an annotation comes before the column
        ("a.b", "a.b"),
        ("a.b.jpg", "a.b"),
        ('"img 2.jpg"', "img 2"),
        ("img%202.jpg", "img 2"),
        ("sub/c", "sub/c"),
        ("sub\\c.jpg", "sub/c"),
        ("c", "sub/c"),
        ("JPEGImages/sub/c.jpg", "sub/c"),
        ("/home/me/VOC2007/JPEGImages/img0.jpg", "img0"),
        ("C:\\data\\JPEGImages\\img0.jpg", "img0"),
        ("JPEGImages/img0.jpg Annotations/img0.xml", "img0"),
        ("IMG0.JPG", "img0"),
        ("U\u0308b.jpg", "Üb"),
        ("WhatsApp Image 2024-01-00 at 10.00", "WhatsApp Image 2024-01-00 at 10.00"),
        ("WhatsApp Image 2024-01-00 at 10.00.jpeg", "WhatsApp Image 2024-01-00 at 10.00"),
    ],
)
def test_names(tmp_path, line, key):
    found = listed(tmp_path, line + "\n", [*KEYS, "img"])
    assert found == ([key], [], [])


def test_key_with_a_suffix_of_its_own(tmp_path):
    assert listed(tmp_path, "a.jpg\nb\n", ["a.jpg", "b.jpg"]).keys == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_and_line_ends(tmp_path, codec):
    found = listed(tmp_path, "\r\nÜb\r\n\r\nimg0\r\n \r\nimg1".encode(codec))
    assert found == (["Üb", "img0", "img1"], [], [])


@pytest.mark.parametrize(
    "content", ["img0\nÜb".encode("latin-1"), "img0\nimg1".encode("utf-16-le")]
)
def test_other_encodings_are_refused(tmp_path, content):
    with pytest.raises(DataError, match=r"must be UTF-8 text, or UTF-16 .*train\.txt, line [12] "):
        listed(tmp_path, content)


def test_names_listed_twice_or_without_annotation(tmp_path):
    found = listed(tmp_path, "img0\nimg0.jpg\nnone\nimg1\nnone.png\nother/img1\n", broken=["img1"])
    assert found.keys == ["img0"] and found.missing == ["none"]
    assert "1 of 1 image listed more than once in" in found.notes[0] and "img0" in found.notes[0]


def test_a_column_is_one_only_if_all_lines_have_it(tmp_path):
    found = listed(tmp_path, "img0 1\nimg1 -1\nnone 0\n")
    assert found.keys == ["img0", "img1"] and found.missing == ["none"]
    found = listed(tmp_path, "img0\nimg1 1\n")  # perhaps the image "img1 1"
    assert found.keys == ["img0"] and found.missing == ["img1 1"]


def test_folder_of_a_listed_name_is_not_exchanged(tmp_path):
    found = listed(tmp_path, "img0\nday2/c\n")
    assert found.keys == ["img0"] and found.missing == ["day2/c"]
    two = listed(tmp_path, "x/c\nc\n", ["x/c", "y/c"])
    assert two.keys == ["x/c"] and two.missing == ["c"]  # "c" fits two


def test_lists_that_name_nothing(tmp_path):
    with pytest.raises(DataError, match=r"at least one image. Received: .*train.txt, which is emp"):
        listed(tmp_path, "\n \n")
    with pytest.raises(
        DataError,
        match=r"none of 2 names has a readable one; first: 'imgO.jpg'. Did you mean 'img[01]'",
    ):
        listed(tmp_path, "imgO.jpg\nimg9\n")
    with pytest.raises(DataError, match=r"all 1 are unreadable; first: 'img0'"):
        listed(tmp_path, "img0", broken=["img0"], keys=["img1"])
    with pytest.raises(DataError, match="must be a readable file"):
        read_list(str(tmp_path / "nowhere.txt"), KEYS)


def classes(tmp_path, name, content, annotated=("cat", "dog")):
    (tmp_path / name).write_bytes(content.encode("utf-8-sig"))
    where = {each: f"{each}.xml, object 0" for each in annotated}
    return read_class_names(str(tmp_path), {name.lower(): name}, where)


@pytest.mark.parametrize("name", ["class_names.txt", "Labels.txt", "classes.txt", "label_list.txt"])
def test_class_files(tmp_path, name):
    assert classes(tmp_path, name, "dog\r\n\r\n cat \r\nbird") == (["dog", "cat", "bird"], [])
    with pytest.raises(DataError, match=r"listed in .*\(dog\). Received: 'cat' in cat.xml, object"):
        classes(tmp_path, name, "dog\n")


def test_files_that_are_no_class_files(tmp_path):
    names, notes = classes(tmp_path, "labels.txt", "img0 1\nimg1 1\n")
    assert names == ["cat", "dog"] and "is not used" in notes[0]
    with pytest.raises(DataError, match="must be listed in"):
        classes(tmp_path, "class_names.txt", "kitten\n")


def test_labelmap(tmp_path):
    text = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ndog:1,2,3::\ncat:250,50,83:a,b:\n"
    assert classes(tmp_path, "labelmap.txt", text)[0] == ["dog", "cat"]
    with_background = classes(tmp_path, "labelmap.txt", text, ["background", "cat"])
    assert with_background[0] == ["background", "dog", "cat"]
