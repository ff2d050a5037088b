"""What `train` says of its data before the first step."""

import dataclasses

import pytest

from keras_det.models import EfficientDet
from keras_det.training.quick_check import objects_per_image, quick_findings
from tests.doctor.made import dataset_of, square


@pytest.fixture(scope="module")
def model():
    return EfficientDet("lite0", class_names=["cat", "dog"], image_size=64)


def good(count=4, labels=(0, 1)):
    boxes = [[square(10, 10, 30), square(50, 40, 40)]] * count
    return dataset_of(boxes, [(100, 100)] * count, [list(labels)] * count, ("cat", "dog"))


def codes(remarks):
    return [(remark.code, remark.harm) for remark in remarks]


def test_good_data_get_no_line(model):
    assert quick_findings(good(), good(2), model, "ssj") == []
    assert quick_findings(good(), None, model) == []


def test_vanishing_objects_come_first(model):
    data = dataset_of(
        [[square(i * 50, 0, 5)] for i in range(9)], [(1000, 1500)] * 9, None, ("cat",)
    )
    remarks = quick_findings(data, data, model, "ssj")
    assert codes(remarks) == [("objects-vanish", "error"), ("anchors-unreached", "warning")]
    assert remarks[0].line.startswith("Error: 100% of 9 objects are smaller than 1 pixel")


def test_empty_sets_are_errors(model):
    empty = dataset_of([[], []], [(9, 9)] * 2, None, ("cat", "dog"))
    assert codes(quick_findings(empty, good(), model)) == [("no-objects", "error")]
    assert codes(quick_findings(good(), empty, model)) == [("no-validation-objects", "error")]


def test_classes_that_are_measured_but_not_trained(model):
    remarks = quick_findings(good(labels=(0, 0)), good(), model)
    assert codes(remarks) == [("classes-not-trained", "warning")]
    assert remarks[0].title == (
        "1 of 2 classes (dog) is in the validation set, but not in the training set: "
        "its AP stays 0."
    )
    remarks = quick_findings(good(labels=(0, 0)), None, model)
    assert codes(remarks) == [("classes-without-objects", "note")]


def test_more_objects_than_coco_counts(model):
    many = dataset_of([[square(10, 10, 40)] * 101], [(100, 100)], None, ("cat", "dog"))
    remarks = quick_findings(good(), many, model)
    assert codes(remarks) == [("more-than-counted", "warning")]
    assert "More than 100 objects are in 1 of 1 validation image (up to 101)" in remarks[0].title


def test_small_objects_are_a_note(model):
    # 64 / 100 pixels each: 3.2 pixels of the input.
    boxes = [[square(9 * i, 9 * i, 5) for i in range(3)] + [square(10, 10, 60)]]
    remarks = quick_findings(
        dataset_of(boxes, [(100, 100)], [[0, 1, 0, 1]], ("a", "b")), None, model
    )
    assert ("objects-small", "note") in codes(remarks)
    assert "3 of 4 objects have a side below 4 pixels" in remarks[-1].title


def test_objects_per_image_without_crowd():
    data = dataset_of(
        [[], [square(0, 0, 2)] * 3, [square(0, 0, 2)], []],
        [(9, 9)] * 4,
        crowd=[False, True, False, True],
    )
    assert objects_per_image(data).tolist() == [0, 2, 0, 0]


def test_copies_of_training_images_are_a_warning(model, tmp_path):
    for folder, contents in (("train", b"abcd"), ("val", b"xbcy")):
        (tmp_path / folder).mkdir()
        for i, content in enumerate(contents):
            (tmp_path / folder / f"{i}.jpg").write_bytes(bytes([content]) * 9)

    def in_folder(folder):
        paths = [str(tmp_path / folder / f"{i}.jpg") for i in range(4)]
        return dataclasses.replace(good(), image_paths=paths)

    (remark,) = quick_findings(in_folder("train"), in_folder("val"), model)
    assert (remark.code, remark.harm) == ("images-in-two-splits", "warning")
    assert remark.line.startswith("Warning: 2 of 4 validation images are copies of training images")
    assert f"(first: {tmp_path}/val/1.jpg, same as {tmp_path}/train/1.jpg)" in remark.title
