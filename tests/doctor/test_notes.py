"""Notes of the readers become findings."""

import dataclasses

import pytest

from keras_det.data import load
from keras_det.doctor.collection import Collection
from keras_det.doctor.notes import note_findings


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


@pytest.mark.parametrize(
    "note, code, harm",
    [
        ("2 of 9 boxes left out: zero area or outside the image (first: a.xml, object 1).",
         "boxes-without-area", "warning"),
        ("2 of 9 boxes clipped to the image (first: a.xml, object 1).", "boxes-outside", "warning"),
        ("3 of 9 images left out: no such file (first: x/a.jpg).",
         "annotations-without-image", "warning"),
        ("3 of 9 images left out: ambiguous names (first: a.jpg).",
         "annotations-without-image", "warning"),
        ("2 annotations left out: their image is not listed (first: annotations[3]).",
         "annotations-of-unlisted-images", "warning"),
        ("2 of 9 images listed again: their objects are joined (first: a.jpg).",
         "images-listed-twice", "warning"),
        ("2 of 9 objects left out: the same image, class and box as another (first: a, as b).",
         "boxes-repeated", "warning"),
        ("Boxes with two classes: 2 (first: 'cat' and 'dog', a.xml).",
         "boxes-two-classes", "warning"),
        ("1 of 90 annotations left out: unreadable (first: a.json: bad).",
         "records-unreadable", "warning"),
        ("Images of the split left out, because they have no annotation: 2 (first: a.xml).",
         "images-without-annotation", "warning"),
        ("4 of 9 objects left out: their classes are not selected ('dog': 4).",
         "other-classes", "note"),
        ("Class 'things' left out: it groups other classes and has no object.",
         "class-dummy", "note"),
        ("'Cat' (2 objects) and 'cat' (3) differ only in case. They are two classes.",
         "class-names-alike", "warning"),
        ("2 of 9 images used as stored, without their EXIF orientation (first: a.jpg).",
         "images-orientation", "note"),
        ("2 of 9 images without a .txt file, kept as images without objects (first: a.jpg).",
         "images-without-annotation", "note"),
        ("Images that are not read, because they have no XML file: 2 (first: a.jpg).",
         "images-not-used", "warning"),
        ("Missing shards, read without them: 2 (first: a).", "left-out", "warning"),
        ("Width and height are swapped in the annotation of 2 of 9 images (first: a.jpg).",
         "sizes-exchanged", "warning"),
        ("2 of 9 images with another size than annotated: the boxes are scaled (a.jpg: 3x4).",
         "images-size-mismatch", "warning"),
        ("3 lines ignored.", "left-out", "warning"),
        ("Pixels are counted from 0.", "reader-note", "note"),
    ],
)  # fmt: skip
def test_note_is_judged(found, note, code, harm):
    (finding,) = found(note)
    assert (finding.code, finding.harm) == (code, harm)
    assert finding.title.startswith("train: ") and finding.title.endswith(".")


def test_counts_first_place_and_picture(found):
    (finding,) = found("2 of 9 boxes clipped to the image (first: /x/labels/000003.xml, object 1).")
    assert (finding.count, finding.total) == (2, 9)
    assert finding.examples == ("/x/labels/000003.xml, object 1",)
    assert finding.title == "train: 2 of 9 boxes clipped to the image."
    assert finding.images == (3,)


def test_note_of_all_splits_is_one_finding(found):
    (finding,) = found("Pixels are counted from 0.", val_notes=("Pixels are counted from 0.",))
    assert finding.title == "Pixels are counted from 0."


def test_what_checks_have_found_is_not_said_again(found):
    assert found("Boxes with two classes: 2 (first: a).", seen=["boxes-two-classes"]) == []
    assert found("No object is annotated: a model learns nothing from these images.") == []
