"""Which outputs of a file are a model's classes: by name, in order, or as told."""

import pytest

from keras_det.errors import DataError
from keras_det.weights.class_outputs import class_outputs, classes_of


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
    with pytest.raises(DataError, match=r"one output of the file, 0 to 3, for each of the 2"):
        class_outputs(["red", "green"], 4, classes)
