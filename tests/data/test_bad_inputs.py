"""Bad inputs of every kind, drawn with seeds: refused in three parts, or accounted for in notes."""

import os
import re
import shutil

import numpy as np
import pytest

from keras_det.data import load
from keras_det.data.box_formats import judge
from keras_det.data.load import load_train_and_val
from keras_det.errors import DataError
from keras_det.names import BOX_ORDERS
from tests.data import every_format
from tests.data.every_format import FORMATS, PICTURES, Picture

SEEDS = 125  # for each of the eight formats: 1,000 in all
SLOW = 2.0  # seconds of this process


@pytest.mark.parametrize("name", FORMATS)
def test_the_data_set_is_read_right_in_every_format(tmp_path, name):
    result = every_format.outcome(every_format.write(tmp_path, every_format.files_of(name)), name)
    assert every_format.objects_by_image(result.dataset) == every_format.expected()


def check(result, spoiled):
    """Three parts, or right, or notes; numbers that are none must not be accepted in silence."""
    assert result.seconds < SLOW
    if result.dataset is None:
        assert re.search(r"[.:] Received: .*[.] [A-Z`].*[.]$", result.error, re.S), result.error
        return "refused"
    dataset = result.dataset
    sizes = np.repeat(dataset.image_sizes, np.diff(dataset.row_splits), axis=0)
    assert np.isfinite(dataset.area).all() and (dataset.area >= 0).all()
    assert (dataset.boxes[:, :2] >= 0).all() and (dataset.boxes[:, 2:] <= sizes[:, ::-1]).all()
    assert (dataset.boxes[:, 2:] > dataset.boxes[:, :2]).all()
    found = every_format.objects_by_image(dataset)
    if found == every_format.expected():
        return "right"
    if dataset.notes:
        return "noted"
    certain = (every_format.spoiled_number, every_format.spoiled_json)
    assert spoiled not in certain or renamed_or_emptied(found), found
    return "other"


def renamed_or_emptied(found):
    """Whether only a class was renamed, or a list of objects emptied: that is a valid file."""
    right = every_format.expected()
    boxes = {key: sorted(each[1:] for each in value) for key, value in found.items()}
    want = {key: sorted(each[1:] for each in value) for key, value in right.items()}
    return all(not boxes[key] or boxes[key] == want[key] for key in boxes)


@pytest.mark.parametrize("name", FORMATS)
def test_bad_inputs_are_named(tmp_path, name):
    files = every_format.files_of(name)
    outcomes = []
    for seed in range(SEEDS):
        bad, _, way = every_format.spoiled(files, every_format.random_of(name, seed))
        folder = every_format.write(tmp_path / "data", bad)
        outcomes.append(check(every_format.outcome(folder, name), way))
        shutil.rmtree(folder)
    # The generator spoils, but not all of a file.
    assert 0.1 < outcomes.count("right") / SEEDS < 0.9


# --- Single finds ---------------------------------------------------------------------------------

YOLO = every_format.files_of("yolo")


def read(folder, files=None, **options):
    """The data set and its notes in one text."""
    with pytest.warns(UserWarning) as caught:
        dataset = load(every_format.write(folder, files or {}), **options)
    return dataset, " ".join(str(each.message) for each in caught)


def test_a_link_in_a_circle_hides_no_other_file(tmp_path):
    every_format.write(tmp_path, YOLO)
    os.symlink("circle", tmp_path / "circle")
    dataset = load(tmp_path)
    assert every_format.objects_by_image(dataset) == every_format.expected()
    (tmp_path / "bare").mkdir()
    os.symlink("circle", tmp_path / "bare" / "circle")
    with pytest.raises(DataError, match="which holds circle"):
        load(tmp_path / "bare")


def test_a_path_that_the_system_refuses(tmp_path):
    with pytest.raises(DataError, match="must be readable. Received: .*too long"):
        load(tmp_path / ("a" * 5000))


def test_images_in_both_splits_are_named(tmp_path):
    lists = {"data.yaml": b"train: train.txt\nval: val.txt\nnames: [ant, cat]\n"}
    lists |= {"train.txt": b"a.png\nb.png\n", "val.txt": b"a.png\n"}
    every_format.write(tmp_path, YOLO | lists)
    with pytest.warns(UserWarning, match=r"1 of 1 image for validation is also used for .*a.png"):
        load_train_and_val(tmp_path)


def test_areas_that_no_object_has(tmp_path):
    files = every_format.files_of("coco")
    text = files["_annotations.coco.json"].replace(b'"area": 200', b'"area": 1e300')
    dataset, notes = read(tmp_path, files | {"_annotations.coco.json": text})
    assert (
        dataset.area[0] == 200
        and "areas replaced by the area of the box: 0 or less, or too large" in notes
    )


def test_createml_images_without_annotations(tmp_path):
    files = every_format.files_of("createml")
    text = files["_annotations.createml.json"].replace(b'"annotations"', b'"notes"', 1)
    _, notes = read(tmp_path, files | {"_annotations.createml.json": text})
    assert "Images without `annotations`, which are kept as images without objects: 1" in notes


@pytest.mark.parametrize(
    "names, match",
    [
        ("[ant, ' ']", "name of a class must not be empty.*the class 1 in `names` of .*data.yaml"),
        ("{0: ant, 1: ''}", "must not be empty.*class 1 in"),
        ("[ant, cat]\nnames: [cat, ant]", "the key 'names' occurs twice"),
        ("{0: ant, 1: cat, 1: dog}", "the key '1' occurs twice"),
    ],
)
def test_names_in_data_yaml(tmp_path, names, match):
    every_format.write(tmp_path, YOLO | {"data.yaml": f"train: .\nnames: {names}\n"})
    with pytest.raises(DataError, match=match):
        load(tmp_path)


@pytest.mark.parametrize("sign", ",;\t")
def test_csv_whose_first_line_names_the_sign_for_excel(tmp_path, sign):
    files = every_format.files_of("csv")
    text = files["annotations.csv"].decode().replace(",", sign)
    every_format.write(tmp_path, files | {"annotations.csv": f"sep={sign}\n{text}"})
    assert every_format.objects_by_image(load(tmp_path)) == every_format.expected()


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_csv_in_utf_16_without_a_mark(tmp_path, encoding):
    files = every_format.files_of("csv")
    text = files["annotations.csv"].decode().encode(encoding)
    every_format.write(tmp_path, files | {"annotations.csv": text})
    with pytest.raises(DataError, match="must be UTF-8 text. .* Save the file as UTF-8"):
        load(tmp_path)


def test_an_empty_csv_is_named(tmp_path):
    every_format.write(tmp_path, every_format.files_of("csv") | {"annotations.csv": b""})
    with pytest.raises(DataError, match="annotations.csv has no row that can be read"):
        load(tmp_path)


def test_files_that_a_mac_adds_beside_labelme(tmp_path):
    files = every_format.files_of("labelme")
    every_format.write(tmp_path, files | {f"._{name}": b"\0\5\x16\7" for name in files})
    assert every_format.objects_by_image(load(tmp_path)) == every_format.expected()


def test_shares_that_leave_the_image_are_not_called_pixels():
    # Two of three leave the image; as pixels, all would be smaller than one.
    boxes = np.array([[0.2, 0.5, 0.8, 1.25], [0.1, 0.2, 0.3, 1.2], [0.1, 0.1, 0.5, 0.5]])
    found = judge(boxes, "rel_xyxy", np.full((3, 2), 50))
    assert found.own < 0.5 and found.shares.keys() == {f"rel_{order}" for order in BOX_ORDERS}


# --- Files that are no images ---------------------------------------------------------------------

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
FOREIGN = {
    "HEIC image: convert it": HEIC,
    "JPEG 2000 image": b"\0\0\0\x0cjP  \r\n\x87\n",
    "a video": b"\0\0\0\x18ftypmp42",
    "SVG drawing": b'<?xml version="1.0"?><svg xmlns="x"/>',
    "empty file": b"",
    "zeros": b"\0" * 9,
    "web page": b"<!DOCTYPE html>",
    "git lfs pull": b"version https://git-lfs.github.com/spec/v1\n",
    "damaged image": b"\x89PNG\r\n",
    "not an image": b"hello",
}


@pytest.mark.parametrize("what, data", FOREIGN.items(), ids=list(FOREIGN))
def test_an_annotated_file_that_is_no_image_is_named(tmp_path, what, data):
    pictures = (PICTURES[0]._replace(name="a.jpg"), PICTURES[1])
    for name in ("coco", "createml"):  # with and without annotated sizes
        files = every_format.files_of(name, pictures) | {"a.jpg": data}
        _, notes = read(tmp_path / name, files)
        assert re.search(f"1 of 2 images.*a.jpg.*{what}", notes)
        files["b.png"] = data
        with pytest.raises(DataError, match=f"a.jpg.*{what}"):
            load(every_format.write(tmp_path / name, files))


def test_a_folder_of_heic_images_only(tmp_path):
    files = YOLO | {"a.HEIC": HEIC, "b.HEIC": HEIC}
    del files["a.png"], files["b.png"]
    with pytest.raises(DataError, match="no images there that can be read; .*a.HEIC is a HEIC"):
        load(every_format.write(tmp_path, files))


def test_an_image_of_one_pixel(tmp_path):
    picture = Picture("p.png", 1, 1, ((0, 0, 0, 1, 1),))
    for name in ("coco", "yolo", "csv", "labelme", "label_studio", "cvat"):
        folder = every_format.write(tmp_path / name, every_format.files_of(name, [picture]))
        found = every_format.objects_by_image(load(folder))
        assert found == every_format.expected([picture])
