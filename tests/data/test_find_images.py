import os
import unicodedata

import pytest

from keras_det.data import folders as folders_module
from keras_det.data.find_images import find_images
from keras_det.data.folders import Folder
from keras_det.data.image_names import clean_path
from keras_det.data.image_search import outermost
from keras_det.data.raw import ReadOptions
from keras_det.errors import DataError
from tests.data.raw_annotations import raw_of

ROOT = Folder(os.sep)


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def find(root, names, folders=("",), image_dir=None, **fields):
    """`(found paths relative to root, notes)`."""
    raw = raw_of(names, [root / folder for folder in folders], **fields)
    paths = find_images(raw, ReadOptions(image_dir=image_dir))
    return [os.path.relpath(path, root) for path in paths], raw.notes


@pytest.mark.parametrize(
    "name, path",
    [
        ("a/b.jpg", "a/b.jpg"),
        ("./a//b.jpg", "a/b.jpg"),
        ("../a/b.jpg", "a/b.jpg"),
        (r"C:\photos\a b.jpg", "photos/a b.jpg"),
        (r"\\server\photos\b.jpg", "server/photos/b.jpg"),
        ("/home/me/b.jpg", "home/me/b.jpg"),
        (" 'b.jpg' ", "b.jpg"),
        ("a%20b%2Fc.jpg", "a b/c.jpg"),
        ("a%2520b.jpg", "a b.jpg"),
        ("100%.jpg", "100%.jpg"),
        ("file:///C:/a%20b.jpg", "a b.jpg"),
        ("/data/local-files/?d=set/b%20c.jpg", "set/b c.jpg"),
        ("https://host/x/b.jpg?token=1#top", "host/x/b.jpg"),
        ("s3://bucket/b.jpg", "bucket/b.jpg"),
        ("what?.jpg", "what?.jpg"),
        ("..", ""),
        ("", ""),
    ],
)
def test_paths_of_other_systems(name, path):
    assert clean_path(name) == path


def test_exact_names_need_no_note_and_the_first_folder_wins(tmp_path):
    touch(tmp_path, "one/a.jpg", "two/a.jpg", "two/sub/b.jpg", "two/A.jpg")
    paths, notes = find(tmp_path, ["a.jpg", "sub/b.jpg", "A.jpg"], ["none", "one", "two"])
    assert paths == ["one/a.jpg", "two/sub/b.jpg", "two/A.jpg"] and notes == []
    absolute = str(tmp_path / "two" / "a.jpg")
    assert find(tmp_path, [absolute], ["one"]) == (["two/a.jpg"], [])


def test_names_without_suffix_find_images_only(tmp_path):
    touch(tmp_path, "a.xml", "a.png", "b.2.jpg")
    assert find(tmp_path, ["a", "b.2"]) == (["a.png", "b.2.jpg"], [])


@pytest.mark.parametrize(
    "name, file, how",
    [
        ("sub\\a.jpg", "sub/a.jpg", "by their path, written in another way"),
        (" a%20b.jpg", "a b.jpg", "by their path, written in another way"),
        (r"C:\mine\a.jpg", "a.jpg", "by their base name"),
        ("/home/me/set/sub/a.jpg", "sub/a.jpg", "by their base name"),
        (unicodedata.normalize("NFC", "größe.jpg"), "gro\u0308ße.jpg", "in another Unicode form"),
        ("a.jpg", "a.JPG", "in another case"),
        ("IMG 1.jpg", "img\u202f1.jpg", "in another case"),
        ("a b.jpg", "a%20b.jpg", "in another case"),
        ("a.jpg", "a.png", "with another suffix"),
        ("Bild", "bild.jpg", "with another suffix"),
        ("/upload/0a1b2c3d-a.jpg", "a.jpg", "without Label Studio's prefix"),
        ("a.jpg", "0a1b2c3d-a.jpg", "without Label Studio's prefix"),
        ("a.jpg", "deep/er/A.jpg", "by their base name in a subfolder"),
        ("a", "deep/er/A.png", "by their base name in a subfolder"),
        ("0a1b2c3d-a.jpg", "deep/er/a.jpg", "by their base name in a subfolder"),
    ],
)
def test_names_as_other_tools_write_them(tmp_path, name, file, how):
    touch(tmp_path, file, "other.jpg")
    paths, notes = find(tmp_path, ["other.jpg", name])
    assert paths == ["other.jpg", file]
    assert len(notes) == 1 and notes[0].startswith("Images found by") and how in notes[0]
    assert str(tmp_path / file) in notes[0]


def test_one_note_counts_every_way(tmp_path):
    touch(tmp_path, "a.JPG", "b.JPG", "c.png")
    _, notes = find(tmp_path, ["a.jpg", "b.jpg", "c.jpg"])
    assert len(notes) == 1 and "Images found by their name in another case" in notes[0]
    assert "; by their name with another suffix: 1 (first: 'a.jpg' is" in notes[0]


def test_longest_end_of_a_path_wins(tmp_path):
    touch(tmp_path, "a.jpg", "sub/a.jpg", "deep/x/b.jpg", "deep/y/b.jpg")
    paths, _ = find(tmp_path, [r"D:\set\sub\a.jpg", "/old/y/b.jpg"])
    assert paths == ["sub/a.jpg", "deep/y/b.jpg"]


def test_a_file_with_an_exact_name_is_not_taken_for_another(tmp_path):
    touch(tmp_path, "a.jpg", "sub/b.jpg")
    paths, notes = find(tmp_path, ["a.jpg", "a.png", "A.jpg", r"C:\a.jpg", "sub/b.jpg", "b.jpg"])
    assert paths == ["a.jpg", "sub/b.jpg"] and len(notes) == 1
    assert (
        "4 of 6 images left out: no such file (first: 'a.png'; the first one found is in"
        in notes[0]
    )


def test_names_that_fit_two_files(tmp_path):
    good = [f"{i}.jpg" for i in range(20)]
    touch(tmp_path, *good, "x/a.jpg", "y/a.jpg", "b.jpg", "b.png")
    paths, notes = find(tmp_path, [*good, "a.jpg"])
    assert paths == good and len(notes) == 1
    assert "1 of 21 images left out: ambiguous names (first: 'a.jpg' matches" in notes[0]
    assert str(tmp_path / "x/a.jpg") in notes[0] and str(tmp_path / "y/a.jpg") in notes[0]
    with pytest.raises(DataError, match="must match exactly one file.*1 of 1 ambiguous"):
        find(tmp_path, ["a.jpg"])
    with pytest.raises(
        DataError, match="must match exactly one file.*2 of 22 ambiguous.*image_dir="
    ):
        find(tmp_path, [*good, "a.jpg", "b"])
    assert find(tmp_path, ["b"], other_names=["b.png"]) == (["b.png"], [])
    touch(tmp_path, "same.jpg")
    with pytest.raises(DataError, match=r"'p/same.jpg' and 'q/same.jpg' match .*same.jpg"):
        find(tmp_path, ["p/same.jpg", "q/same.jpg"])


def test_masks_and_other_splits_are_not_taken_for_images(tmp_path):
    touch(tmp_path, "img/a.jpg", "SegmentationClass/b.png", "gt_masks/c.jpg", "val/d.jpg")
    paths, _ = find(tmp_path, ["a.jpg", "b.png", "c.jpg", "d.jpg"])
    assert paths == ["img/a.jpg"]
    assert find(tmp_path, ["d.jpg"], split="validation")[0] == ["val/d.jpg"]
    touch(tmp_path, "twins/1.jpg", "twins/1.png", "twins/2.png")  # 2.png is a mask
    assert find(tmp_path, ["1.jpg", "2.jpg"], ["twins"])[0] == ["twins/1.jpg"]


def test_what_a_mac_adds_is_never_taken(tmp_path):
    touch(tmp_path, "__MACOSX/set/a.jpg", "set/._a.jpg", "set/b.jpg")
    paths, notes = find(tmp_path, ["b.jpg", "a.jpg", "._a.jpg"], ["set", ""])
    assert paths == ["set/b.jpg"] and "2 of 3 images left out" in notes[0]


def test_second_names(tmp_path):
    touch(tmp_path, "b.jpg", "c.jpg")
    names = {"names": ["a", "b", "d"], "other_names": ["c.jpg", "c.jpg", "b.jpg"]}
    paths, notes = find(tmp_path, **names)
    assert paths == ["c.jpg", "b.jpg"] and "(first: 'd'" in notes[0]


def test_another_prefix_of_label_studio_means_another_image(tmp_path):
    touch(tmp_path, "1111aaaa-1.jpg", "sub/2222bbbb-1.jpg", "3.jpg", "sub/4444dddd-4.jpg")
    paths, _ = find(tmp_path, ["99999999-1.jpg", "0000aaaa-3.jpg", "4.jpg", "1111aaaa-1.jpg"])
    assert paths == ["3.jpg", "sub/4444dddd-4.jpg", "1111aaaa-1.jpg"]


def test_more_than_half_missing_is_a_note(tmp_path):
    touch(tmp_path, *(f"{i}.jpg" for i in range(20, 25)))
    paths, notes = find(tmp_path, [f"{i}.jpg" for i in range(25)])
    assert len(paths) == 5 and "20 of 25 images left out: no such file (first: '0.jpg'" in notes[0]
    assert "more than half" in notes[0] and "--image-dir" in notes[0]


def test_objects_of_missing_images_go(tmp_path):
    touch(tmp_path, "b.jpg")
    raw = raw_of(["a.jpg", "b.jpg"], [tmp_path], [(0, 0, 1, 1, 2, 2), (1, 1, 1, 1, 3, 3)])
    find_images(raw, ReadOptions())
    assert raw.labels.tolist() == [1] and raw.image_index.tolist() == [0]
    assert raw.where(0) == "labels.txt, line 1"


def test_no_image_at_all(tmp_path):
    with pytest.raises(DataError, match=r"no 'a.jpg' in .* \(no images there\)\. Give"):
        find(tmp_path, ["a.jpg"])
    with pytest.raises(DataError, match=r"in .*nowhere \(no such folders\)\. Give the folder"):
        find(tmp_path, ["a.jpg"], ["nowhere"])
    touch(tmp_path, "sub/tra\u0131n_1.jpg", "sub/other.jpg")
    with pytest.raises(
        DataError, match=r"none of 1 image found; no 'train_1.jpg' in .*tra\\u0131n_1.jpg"
    ):
        find(tmp_path, ["train_1.jpg"])


def test_image_dir_is_the_only_place(tmp_path):
    touch(tmp_path, "old/a.jpg", "new/x/a.jpg", "new/b.jpg", "newer/a.jpg")
    absolute = [str(tmp_path / "old" / "a.jpg"), str(tmp_path / "new" / "b.jpg")]
    paths, notes = find(tmp_path, absolute, ["old"], image_dir=tmp_path / "new")
    assert paths == ["new/x/a.jpg", "new/b.jpg"] and "in a subfolder" in notes[0]
    paths, _ = find(tmp_path, [str(tmp_path / "newer/a.jpg")], image_dir=tmp_path / "new")
    assert paths == ["new/x/a.jpg"]
    with pytest.raises(DataError, match=r"must be an existing.*does not exist\. Did you mean 'new"):
        find(tmp_path, absolute, image_dir=tmp_path / "news")
    with pytest.raises(DataError, match="b.jpg, which is a file"):
        find(tmp_path, absolute, image_dir=tmp_path / "new" / "b.jpg")


def test_large_folders_are_not_searched(tmp_path, monkeypatch):
    touch(tmp_path, "a.jpg", "sub/b.jpg", "sub/c.jpg")
    monkeypatch.setattr(folders_module, "MAX_FILES", 3)
    paths, notes = find(tmp_path, ["a.jpg", "b.jpg"])
    assert paths == ["a.jpg"] and "contains too many files: its subfolders were not" in notes[0]


def test_the_root_of_all_files_is_not_searched(tmp_path):
    touch(tmp_path, "set/x/a.jpg")
    top = outermost([Folder(str(tmp_path / each)) for each in ("set", "set/x", "none")] + [ROOT])
    assert [os.path.relpath(folder.path, tmp_path) for folder in top] == ["set"]


def test_links_to_folders_above_end(tmp_path):
    touch(tmp_path, "set/sub/a.jpg")
    (tmp_path / "set" / "sub" / "loop").symlink_to(tmp_path / "set")
    assert find(tmp_path, ["a.jpg"], ["set", "set/sub/loop"])[0] == ["set/sub/a.jpg"]


@pytest.mark.parametrize("name", ["", ".", "/", "\0.jpg", "a\0/b.jpg", "x" * 5000, "\udc80.jpg"])
def test_names_that_no_file_can_have(tmp_path, name):
    touch(tmp_path, "a.jpg")
    assert find(tmp_path, ["a.jpg", name])[0] == ["a.jpg"]


def test_blanks_around_a_name_are_not_called_a_difference_in_case(tmp_path):
    touch(tmp_path, " lead.png", "b.png")
    paths, (note,) = find(tmp_path, ["lead.png", "b.png"])
    assert paths == [" lead.png", "b.png"]
    assert "by their name with or without spaces around it: 1" in note and "case" not in note
