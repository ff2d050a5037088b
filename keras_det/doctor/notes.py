"""Turns what the readers note into findings."""

import dataclasses
import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from keras_det.data.notes import Note, NoteCode
from keras_det.doctor.collection import Collection
from keras_det.doctor.finding import Finding, Harm


class Meaning(NamedTuple):
    """The finding that a note becomes.

    Attributes:
        code, harm, cure: as of `Finding`.
        said_by: other codes; where checks have found one of them, the note adds nothing.
    """

    code: str
    harm: Harm
    cure: str
    said_by: tuple[str, ...] = ()


INFORMATION = Meaning("reader-note", "note", "Check that this is right for your data.")
LEFT_OUT = Meaning(
    "left-out", "warning", "These records are not used. Correct them if they matter."
)
_UNREADABLE = "Correct or remove these records, or export the annotations again."
_LOOK = "Look at some of these pictures: the boxes must lie on the objects."
# What each note means; None where checks of the doctor say it, with the split's use in mind.
MEANING: Mapping[NoteCode, Meaning | None] = {
    "records-unreadable": Meaning("records-unreadable", "warning", _UNREADABLE),
    "records-of-lost-images": Meaning("records-unreadable", "warning", _UNREADABLE),
    "annotations-without-box": LEFT_OUT,
    "annotations-unlisted": Meaning(
        "annotations-of-unlisted-images",
        "warning",
        "Export images and annotations together: these objects are not trained on.",
    ),
    "tasks-left-out": LEFT_OUT,
    "annotators-chosen": INFORMATION,
    "files-left-out": LEFT_OUT,
    "shards-missing": LEFT_OUT,
    "paths-missing": LEFT_OUT,
    "frames-without-box": LEFT_OUT,
    "images-missing": Meaning(
        "annotations-without-image",
        "warning",
        "Add the files, or give the folder that holds them: image_dir= (--image-dir).",
    ),
    "images-found-otherwise": INFORMATION,
    "files-found-otherwise": INFORMATION,
    "images-embedded": LEFT_OUT,
    "images-unreadable": Meaning(
        "images-unreadable",
        "warning",
        "Replace these files or leave them out.",
        ("images-missing", "images-empty-file", "images-truncated"),
    ),
    "images-listed-again": Meaning(
        "images-listed-twice",
        "warning",
        "List each image once. Their objects are merged: check that no object is there twice.",
    ),
    "images-listed-twice": Meaning("images-listed-twice", "warning", "List each image once."),
    "images-without-annotation": Meaning(
        "images-without-annotation",
        "warning",
        "Add the annotations, or empty ones where an image shows no object.",
    ),
    "images-without-file": None,
    "images-hidden": Meaning(
        "images-hidden", "note", "Rename these files if they should be used.", ("images-not-used",)
    ),
    "images-kept-empty": Meaning(
        "images-without-annotation",
        "note",
        "Annotate them if they show objects. Without objects, they teach what is background.",
    ),
    "images-joined": INFORMATION,
    "images-unpacked": INFORMATION,
    "image-ids-changed": INFORMATION,
    "pixels-changed": INFORMATION,
    "pixels-of-12-bits": INFORMATION,
    "sizes-swapped": Meaning(
        "sizes-exchanged",
        "warning",
        "Look at some: the boxes must lie on the objects. Correct the tool that wrote the sizes.",
    ),
    "sizes-differ": Meaning(
        "images-size-mismatch",
        "warning",
        "Look at some: the boxes must lie on the objects. Restore the annotated images if not.",
    ),
    "orientation": Meaning("images-orientation", "note", _LOOK),
    "boxes-without-area": Meaning(
        "boxes-without-area",
        "warning",
        "Draw them again, or delete them: they are not trained on.",
    ),
    "boxes-clipped": Meaning(
        "boxes-outside",
        "warning",
        "Look at some: if whole boxes are shifted, image and annotation do not belong together.",
    ),
    "boxes-corners-swapped": INFORMATION,
    "boxes-two-classes": Meaning(
        "boxes-two-classes", "warning", "Decide for one class. If both are right, keep them."
    ),
    "boxes-format-chosen": INFORMATION,
    "boxes-format-doubtful": INFORMATION,
    "boxes-in-one-part": Meaning("boxes-in-one-part", "warning", _LOOK),
    "boxes-first-pixel": INFORMATION,
    "boxes-of-shapes": INFORMATION,
    "boxes-of-rotated-images": INFORMATION,
    "boxes-of-parts": INFORMATION,
    "areas-replaced": INFORMATION,
    "objects-repeated": Meaning(
        "boxes-repeated", "warning", "Delete the copies in the annotations."
    ),
    "objects-crowd": INFORMATION,
    "objects-reread": INFORMATION,
    "labels-of-several-images": INFORMATION,
    "classes-listed-twice": INFORMATION,
    "classes-chosen": INFORMATION,
    "classes-from": INFORMATION,
    "classes-not-selected": Meaning(
        "other-classes", "note", "Nothing to do: class_names= (--classes) asks for this."
    ),
    "classes-alike": Meaning(
        "class-names-alike",
        "warning",
        "If they are one class, give it one name in the annotations.",
    ),
    "classes-joined": Meaning(
        "class-names-alike",
        "warning",
        "Write the name in one way in the annotations, or give two classes different names.",
    ),
    "class-grouping": Meaning(
        "class-dummy", "note", "Nothing to do: the model has no output for this class."
    ),
    "class-ids-changed": INFORMATION,
    "classes-contradict": INFORMATION,
    "no-object": None,
    "all-crowd": None,
}


def note_findings(data: Collection, seen: frozenset[str]) -> list[Finding]:
    """One finding a note of a reader; a note that several splits share is one finding.

    Args:
        data: all splits. A note that is plain text is for information.
        seen: codes that checks have found already, better than the note says it.
    """
    splits: dict[str, list[str]] = {}
    for split, each in data.splits.items():
        for note in each.notes:
            splits.setdefault(note, []).append(split)
    found = []
    for note, names in splits.items():
        meaning = MEANING[note.code] if isinstance(note, Note) else INFORMATION
        if meaning is not None and seen.isdisjoint((meaning.code, *meaning.said_by)):
            found.append(_finding(note, meaning, names, len(data.splits)))
    if not found:
        return []
    stems = {_stem(path): i for i, path in reversed(list(enumerate(data.paths)))}
    return [_with_picture(finding, stems) for finding in found]


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path.replace("\\", "/")))[0]


def _with_picture(finding: Finding, stems: dict[str, int]) -> Finding:
    """The finding with the image that its example names, by the name of a file in it."""
    for word in re.split(r"[,:]\s|\s\(", " ".join(finding.examples)):
        if (image := stems.get(_stem(word.strip("'\"")))) is not None:
            return dataclasses.replace(finding, images=(image,))
    return finding


def _finding(note: str, meaning: Meaning, splits: list[str], num_splits: int) -> Finding:
    if not isinstance(note, Note):  # written by the caller of `Dataset`
        note = Note("classes-from", note)  # the code is not used here
    title = note.text if note.text.endswith(".") else f"{note.text}."
    title = f"{title} {note.more}" if note.more else title
    return Finding(
        code=meaning.code,
        harm=meaning.harm,
        title=f"{', '.join(splits)}: {title}" if len(splits) < num_splits else title,
        cure=meaning.cure,
        count=note.number,
        total=note.total,
        examples=(note.first,) if note.first else (),
    )
