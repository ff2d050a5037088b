"""Notes of the readers become findings."""

import dataclasses
from typing import get_args

import pytest

from keras_det.data import load
from keras_det.data.notes import Note, NoteCode
from keras_det.doctor.collection import Collection
from keras_det.doctor.notes import MEANING, note_findings
from tests.helpers import ROOT


@pytest.fixture
def found(drawn):
    """`found(note)` -> the findings for notes of the training split."""
    train, val = load(drawn, "train"), load(drawn, "val")

    def judge(*notes, seen=(), val_notes=()):
        splits = {
            "train": dataclasses.replace(train, notes=notes),
            "val": dataclasses.replace(val, notes=val_notes),
        }
        return note_findings(Collection.of(splits), frozenset(seen))

    return judge


def test_every_code_has_a_meaning_and_a_place_in_the_readers():
    codes = get_args(NoteCode)
    assert len(set(codes)) == len(codes)
    assert set(MEANING) == set(codes)
    files = [f for f in (ROOT / "keras_det" / "data").rglob("*.py") if f.name != "notes.py"]
    source = "".join(file.read_text() for file in files)
    assert [code for code in codes if f'"{code}"' not in source] == []


@pytest.mark.parametrize("code", get_args(NoteCode))
def test_note_is_judged_by_its_code_alone(found, code):
    meaning = MEANING[code]
    findings = found(Note(code, "Any words: left out, no such file, EXIF."))
    if meaning is None:
        assert findings == []
    else:
        assert [f.code for f in findings] == [meaning.code]
        assert findings[0].harm == meaning.harm and findings[0].cure == meaning.cure
        assert findings[0].title == "train: Any words: left out, no such file, EXIF."


@pytest.mark.parametrize(
    "code, finding, harm",
    [
        ("boxes-without-area", "boxes-without-area", "warning"),
        ("boxes-clipped", "boxes-outside", "warning"),
        ("images-missing", "annotations-without-image", "warning"),
        ("annotations-unlisted", "annotations-of-unlisted-images", "warning"),
        ("images-listed-again", "images-listed-twice", "warning"),
        ("objects-repeated", "boxes-repeated", "warning"),
        ("boxes-two-classes", "boxes-two-classes", "warning"),
        ("records-unreadable", "records-unreadable", "warning"),
        ("images-without-annotation", "images-without-annotation", "warning"),
        ("images-kept-empty", "images-without-annotation", "note"),
        ("classes-not-selected", "other-classes", "note"),
        ("class-grouping", "class-dummy", "note"),
        ("classes-alike", "class-names-alike", "warning"),
        ("orientation", "images-orientation", "note"),
        ("shards-missing", "left-out", "warning"),
        ("sizes-swapped", "sizes-exchanged", "warning"),
        ("sizes-differ", "images-size-mismatch", "warning"),
        ("boxes-first-pixel", "reader-note", "note"),
    ],
)
def test_meaning(code, finding, harm):
    assert MEANING[code][:2] == (finding, harm)


def test_counts_first_place_and_picture(found):
    first = "/x/labels/000003.xml, object 1"
    (finding,) = found(Note("boxes-clipped", "2 of 9 boxes clipped to the image", 2, 9, first))
    assert (finding.count, finding.total) == (2, 9)
    assert finding.examples == ("/x/labels/000003.xml, object 1",)
    assert finding.title == "train: 2 of 9 boxes clipped to the image."
    assert finding.images == (3,)


def test_note_of_all_splits_is_one_finding(found):
    (finding,) = found("Pixels are counted from 0.", val_notes=("Pixels are counted from 0.",))
    assert finding.title == "Pixels are counted from 0."


def test_what_checks_have_found_is_not_said_again(found):
    note = Note("boxes-two-classes", "Boxes with two classes: 2", 2, first="a")
    assert found(note, seen=["boxes-two-classes"]) == []
    note = Note("images-unreadable", "1 of 60 images unreadable", 1, 60)
    assert found(note, seen=["images-truncated"]) == [] != found(note)
