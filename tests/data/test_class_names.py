import numpy as np
import pytest

from keras_det.data.class_names import map_classes
from keras_det.data.raw import ReadOptions
from keras_det.errors import DataError
from tests.data.raw_annotations import raw_of


def mapped(class_names, labels, wanted=None, drop=False, **fields):
    """`(class names, ids, labels, notes)` after the mapping."""
    rows = [(0, label, 0, 0, 1, 1) for label in labels]
    raw = raw_of(["a.jpg"], rows=rows, class_names=class_names, **fields)
    wanted = None if wanted is None else tuple(wanted)
    names, ids = map_classes(raw, ReadOptions(class_names=wanted, drop_other_classes=drop))
    return names, ids, raw.labels.tolist(), raw.notes


def test_own_order_and_wanted_order():
    assert mapped(["cat", "dog"], [1, 0]) == (("cat", "dog"), (0, 1), [1, 0], [])
    names, ids, labels, notes = mapped(["cat", "dog"], [1, 1], ["ant", "dog"], category_ids=[3, 7])
    assert (names, ids, labels, notes) == (("ant", "dog"), (-1, 7), [1, 1], [])
    assert mapped(["cat"], [0], category_ids=["c1"])[1] == ("c1",)
    assert mapped([], []) == ((), (), [], [])


def test_blanks_around_names_and_encodings_of_accents_do_not_count():
    names, ids, labels, notes = mapped([" red", "green", "red", "\ufeffred\n"], [0, 2, 3, 1, 0])
    assert names == ("red", "green") and ids == (0, 1) and labels == [0, 0, 0, 1, 0]
    assert len(notes) == 1 and "read as one class" in notes[0]
    assert notes[0].startswith("' red' (2 objects), 'red' (1) and '\\ufeffred\\n' (1) are")
    names, _, labels, notes = mapped(["gr\u00f6n", "gro\u0308n"], [0, 1])
    assert names == ("gr\u00f6n",) and labels == [0, 0] and "gro\\u0308n" in notes[0]
    assert mapped([" red"], [0]) == (("red",), (0,), [0], [])
    assert mapped([" red"], [0], ["red"])[2] == [0]
    assert mapped(["red"], [0], [" red"])[::2] == (("red",), [0])
    with pytest.raises(DataError, match="must differ from each other. Received: 'red' more than"):
        mapped([" red", "red"], [0, 1], ["red", " red"])


@pytest.mark.parametrize(
    "first, second, difference",
    [
        ("Red", "red", "case"),
        ("traffic light", "traffic_light", "spaces, hyphens or underscores"),
        ("trafficlight", "traffic-light", "spaces, hyphens or underscores"),
        ("Traffic Light", "traffic_light", "case, spaces, hyphens, underscores or the Unicode"),
        ("\uff52ed", "red", "case, spaces, hyphens, underscores or the Unicode"),
        ("re\u200bd", "red", "case, spaces, hyphens, underscores or the Unicode"),
    ],
)
def test_names_that_differ_little(first, second, difference):
    names, _, labels, notes = mapped([first, "car", second], [0, 2, 2, 1])
    assert names == (first, "car", second) and labels == [0, 2, 2, 1]
    assert len(notes) == 1 and f"differ only in {difference}" in notes[0]
    assert "(1 object) and " in notes[0] and "(2) differ" in notes[0]
    assert "They stay two classes. If they are one class, correct the annotations." in notes[0]


def test_different_names_need_no_note():
    assert mapped(["1-1", "11", "t", "tt", "-", "_", "a b", "ab c"], [])[3] == []


def test_many_names_that_differ_little():
    names = [each for k in "abcde" for each in (k, k.upper())]
    notes = mapped([*names, "x y", "x_y", "x-y"], [])[3]
    assert len(notes) == 4 and notes[-1] == "Other groups of class names that are as similar: 3."


@pytest.mark.parametrize(
    "name, match",
    [
        ("", "must not be empty. Received: '' in labels.txt, line 1 .the first of 2 objects"),
        (" \ufeff", "must not be empty"),
        ("red\nblue", r"one line without control characters. Received: 'red\\nblue' in labels"),
        ("re\x07d", "one line without"),
    ],
)
def test_names_that_are_none(name, match):
    with pytest.raises(DataError, match=match):
        mapped(["cat", name], [0, 1, 1])
    with pytest.raises(DataError, match=match):
        mapped(["cat", name], [0, 1, 1], ["cat"])
    assert mapped(["cat", name], [0], ["cat"])[2] == [0]
    with pytest.raises(DataError, match="labels.txt, class 1"):
        mapped(["cat", name], [0])
    with pytest.raises(DataError, match="Each of `class_names` must"):
        mapped(["cat"], [0], ["cat", name])


def test_repeated_names():
    with pytest.raises(DataError, match="must be listed once. Received: 'cat' more than once in l"):
        mapped(["cat", "cat"], [0, 1])
    with pytest.raises(DataError, match="must differ from each other. Received: 'cat' more than"):
        mapped(["cat"], [0], ["cat", "cat"])


def test_class_that_groups_others():
    names = ["animals", "cat", "dog"]
    found, ids, labels, notes = mapped(names, [1, 2], dummy_classes=["animals"])
    assert found == ("cat", "dog") and ids == (1, 2) and labels == [0, 1]
    assert notes == ["Class 'animals' left out: it groups other classes and has no object."]
    assert mapped(names, [0, 2], dummy_classes=["animals"])[0] == tuple(names)
    assert mapped(names, [1], names, dummy_classes=["animals"])[0] == tuple(names)


def test_other_classes():
    with pytest.raises(
        DataError,
        match=r"one of `class_names` \(cats\). Received: 'cat' in labels.txt, line 0 \(the first "
        r"of 2 such objects\).*Did you mean 'cats'.*Correct the annotation, or add.*--classes",
    ):
        mapped(["cat", "dog"], [0, 1], ["cats"])
    names, _, labels, notes = mapped(["ox", "cat", "dog"], [1, 2, 0, 2], ["dog"], drop=True)
    assert names == ("dog",) and labels == [0, 0]
    assert notes[0].startswith("2 of 4 objects left out: their classes are not selected (")
    assert "'cat': 1" in notes[0] and "'ox': 1" in notes[0]


def test_labels_keep_their_type_with_many_classes():
    names, _, labels, _ = mapped([str(k) for k in range(300)], np.arange(300))
    assert len(names) == 300 and labels == list(range(300))


def test_more_classes_than_any_data_set_has(monkeypatch):
    monkeypatch.setattr("keras_det.data.class_names.MAX_CLASSES", 2)
    assert mapped(["a", "b"], [0])
    with pytest.raises(
        DataError, match=r"at most 2 classes. Received: 3 \('a', 'b', 'c', …\) in .* its kind"
    ):
        mapped(["a", "b", "c"], [0])
