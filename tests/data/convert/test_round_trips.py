"""What is written in one format is read again: boxes within 0.01 pixels, classes, images."""

import dataclasses
import warnings

import numpy as np
import pytest

from keras_det.data import Dataset, write_coco, write_csv, write_voc, write_yolo
from keras_det.data.reading import load_splits
from tests.data.convert.drawn import NAMES, drawn, largest_difference, splits, with_mask_areas

WRITERS = {"coco": write_coco, "voc": write_voc, "yolo": write_yolo, "csv": write_csv}


def read(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_splits(path)[0]


@pytest.mark.parametrize("chain", ["coco voc yolo csv coco", "csv yolo voc coco csv voc"])
def test_chain_of_formats_keeps_boxes(tmp_path, chain):
    first = last = splits(tmp_path)
    for number, form in enumerate(chain.split()):
        last = read(WRITERS[form](last, tmp_path / f"{number}"))
        assert set(last) == {"train", "val"}
        for name, dataset in first.items():
            assert last[name].class_names == NAMES
            assert last[name].image_sizes.tolist() == dataset.image_sizes.tolist()
            assert largest_difference(dataset, last[name]) < 0.01


@pytest.mark.parametrize("form", WRITERS)
def test_without_splits(tmp_path, form):
    first = drawn(tmp_path)
    WRITERS[form](first, tmp_path / "out")
    (last,) = read(tmp_path / "out").values()
    assert largest_difference(first, last) < 0.01
    assert [path.read_bytes() for path in sorted((tmp_path / "out").rglob("*.png"))] == [
        (tmp_path / "photos" / f"p {i}.png").read_bytes() for i in range(3)
    ]


def test_coco_keeps_ids_crowd_and_areas(tmp_path):
    first = with_mask_areas(drawn(tmp_path, "train", crowd=True))
    write_coco(first, tmp_path / "out")
    last = read(tmp_path / "out")["train"]
    assert last.category_ids == (3, 7, 90) and last.image_ids == (5, 7, 9)
    assert largest_difference(first, last) < 0.001
    np.testing.assert_allclose(last.area, first.area, atol=1e-3)


def test_coco_numbers_what_is_no_number(tmp_path):
    first = drawn(tmp_path)
    first = Dataset(**{**vars(first), "category_ids": ("a", "b", "c"), "image_ids": ("x", "y", 3)})
    with pytest.warns(UserWarning, match="Category ids are numbered from 1"):
        write_coco(first, tmp_path / "out")
    last = read(tmp_path / "out")["default"]
    assert last.category_ids == (1, 2, 3) and last.image_ids == (1, 2, 3)


@pytest.mark.parametrize("form", ["voc", "csv"])
def test_crowd_is_kept_and_mask_areas_are_noted(tmp_path, form):
    first = with_mask_areas(drawn(tmp_path, "train", crowd=True))
    with pytest.warns(UserWarning, match="Objects whose area is lost: 5"):
        WRITERS[form](first, tmp_path / "out")
    assert largest_difference(first, read(tmp_path / "out")["train"]) < 0.01


def test_yolo_leaves_out_crowd_with_a_note(tmp_path):
    with pytest.warns(UserWarning, match="Crowd objects left out: 2"):
        write_yolo(drawn(tmp_path, "train", crowd=True), tmp_path / "out")
    last = read(tmp_path / "out")["train"]
    assert last.class_counts == {"red cat": 1, "dog & co": 0, "7: <x>": 2}


def test_csv_with_other_names_of_splits(tmp_path):
    first = {"first half": drawn(tmp_path), "train": drawn(tmp_path, start=3)}
    write_csv(first, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").glob("*.csv")} == {
        "annotations.csv",
        "classes.csv",
    }
    last = read(tmp_path / "out")
    for name in first:
        assert largest_difference(first[name], last[name]) < 0.01


@pytest.mark.parametrize(
    "names", [("1", "2", "0"), ("yes", "null", "~"), ("none", "background", "nan"), ("&amp;",) * 1]
)
@pytest.mark.parametrize("form", WRITERS)
def test_names_of_classes_that_could_mean_something_else(tmp_path, form, names):
    names = (*names, *NAMES)[:3]
    first = dataclasses.replace(drawn(tmp_path), class_names=names)
    WRITERS[form](first, tmp_path / "out")
    (last,) = read(tmp_path / "out").values()
    assert last.class_names == names
    assert largest_difference(first, last) < 0.01
