"""Which outputs of a file are a model's classes: by name, in order, or as told."""

import pytest

from keras_det.errors import DataError
from keras_det.weights.common.class_outputs import (
    class_outputs,
    class_rows,
    classes_of,
    names_of_outputs,
)
from keras_det.weights.common.coco_classes import COCO_CLASSES


def test_background_and_the_holes_of_coco_are_no_classes():
    coco = classes_of(91)
    assert len(coco) == 80 and (coco[1], coco[13], coco[90]) == (
        "person",
        "stop sign",
        "toothbrush",
    )
    assert not {0, 12, 26, 91} & set(coco)
    assert classes_of(4) == {1: "class_0", 2: "class_1", 3: "class_2"}


@pytest.mark.parametrize(
    "names, num_outputs, classes, expected",
    [
        (["toothbrush", "person"], 91, None, [90, 1]),
        (["toothbrush", "rocket"], 91, None, None),
        (["red", "green"], 3, None, [1, 2]),
        (["red", "green"], 4, None, None),
        (["red", "green"], 4, [3, 0], [3, 0]),
    ],
)
def test_outputs_of_the_classes(names, num_outputs, classes, expected):
    assert class_outputs(names, num_outputs, classes) == expected


def test_eighty_classes_without_names_are_cocos():
    names = [f"class_{i}" for i in range(80)]
    assert class_outputs(names, 91) == list(classes_of(91))


@pytest.mark.parametrize("classes", [[1], [1, 4], [-1, 2]])
def test_impossible_outputs_are_refused(classes):
    with pytest.raises(DataError, match=r"one output of the file, 0 to 3, for each class of"):
        class_outputs(["red", "green"], 4, classes)


def test_ninety_outputs_are_cocos_ids():
    names = names_of_outputs(90)
    assert (names[0], names[11], names[12], names[89]) == (
        "person",
        None,
        "stop sign",
        "toothbrush",
    )
    assert sum(name is not None for name in names) == 80
    assert names_of_outputs(3) is None and names_of_outputs(2, ["a", None]) == ["a", None]


@pytest.mark.parametrize("names", [["a"], ["a", "a"], ["a", "b", "c"]])
def test_names_must_be_those_of_the_outputs(names):
    with pytest.raises(DataError, match=r"for each class output of the file .* Received"):
        names_of_outputs(2, names)


@pytest.mark.parametrize(
    "class_names, num_outputs, names, expected",
    [
        (["b", "x", "a"], 3, ["a", None, "b"], [2, None, 0]),
        (["class_0", "class_1"], 2, ["a", "b"], [0, 1]),
        (["x", "y"], 2, None, [0, 1]),
        (["x", "y"], 3, None, [None, None]),
        (["class_0", "class_1"], 3, ["a", "b", "c"], [None, None]),
    ],
)
def test_rows_of_the_classes(class_names, num_outputs, names, expected):
    assert class_rows(class_names, num_outputs, names) == expected


def test_cocos_eighty_names_pick_their_rows_of_ninety():
    rows = class_rows(list(COCO_CLASSES.values()), 90, names_of_outputs(90))
    assert rows == [k - 1 for k in COCO_CLASSES]
