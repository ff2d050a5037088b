"""Turns what the readers note into findings."""

import dataclasses
import os
import re
from typing import NamedTuple

from keras_det.doctor.collection import Collection
from keras_det.doctor.finding import Finding, Harm


class _Kind(NamedTuple):
    """Notes with these words are findings of this kind."""

    words: str
    code: str
    harm: Harm
    cure: str


# The first that fits counts.
KINDS = (
    _Kind(
        r"boxes left out.*zero area",
        "boxes-without-area",
        "warning",
        "Draw them again, or delete them: they are not trained on.",
    ),
    _Kind(
        r"clipped to the image",
        "boxes-outside",
        "warning",
        "Look at some: if whole boxes are shifted, image and annotation do not belong together.",
    ),
    _Kind(
        r"classes are not selected",
        "other-classes",
        "note",
        "Nothing to do: class_names= (--classes) asks for this.",
    ),
    _Kind(
        r"split left out, because they have no annotation",
        "images-without-annotation",
        "warning",
        "Add the annotations, or empty ones where an image shows no object.",
    ),
    _Kind(
        r"because they have no XML file",
        "images-not-used",
        "warning",
        "Annotate them, or give them an XML file without an object where they show none.",
    ),
    _Kind(
        r"without a \.txt file",
        "images-without-annotation",
        "note",
        "Annotate them if they show objects. An empty .txt file says that an image shows none.",
    ),
    _Kind(
        r"Width and height are swapped",
        "sizes-exchanged",
        "warning",
        "Look at some: the boxes must lie on the objects. Correct the tool that wrote the sizes.",
    ),
    _Kind(
        r"another size than annotated",
        "images-size-mismatch",
        "warning",
        "Look at some: the boxes must lie on the objects. Put back the annotated images if not.",
    ),
    _Kind(
        r"with two classes",
        "boxes-two-classes",
        "warning",
        "Decide for one class. If both are right, keep them.",
    ),
    _Kind(
        r"no such file|not found|ambiguous names",
        "annotations-without-image",
        "warning",
        "Add the files, or give the folder that holds them: image_dir= (--image-dir).",
    ),
    _Kind(
        r"image is not listed",
        "annotations-of-unlisted-images",
        "warning",
        "Export images and annotations together: these objects are not trained on.",
    ),
    _Kind(
        r"images listed again|files are listed again|listed more than once",
        "images-listed-twice",
        "warning",
        "List each image once. Their objects are joined: check that no object is there twice.",
    ),
    _Kind(
        r"repeated|annotated twice|same image, class and box|same box|same object",
        "boxes-repeated",
        "warning",
        "Delete the copies in the annotations.",
    ),
    _Kind(
        r"left out: unreadable",
        "records-unreadable",
        "warning",
        "Correct or remove these records, or export the annotations again.",
    ),
    _Kind(
        r"groups other classes",
        "class-dummy",
        "note",
        "Nothing to do: the model has no output for this class.",
    ),
    _Kind(
        r"differ only in|are as similar|read as one class",
        "class-names-alike",
        "warning",
        "If they are one class, give it one name in the annotations.",
    ),
    _Kind(
        r"EXIF|orientation",
        "images-orientation",
        "note",
        "Look at some of these pictures: the boxes must lie on the objects.",
    ),
)
# Said by checks of the doctor with the split's use in mind.
SAID_ELSEWHERE = re.compile(r"^No object |^Every object ")
_LOST = re.compile(r"left out|dropped|removed|ignored|skipped|not read|missing shards", re.I)
_COUNT = re.compile(r"\b([\d,]+)(?: of ([\d,]+))?\b")
_FIRST = re.compile(r"\((?:the )?first:? (.*?)\)\.?$")


def note_findings(data: Collection, seen: frozenset[str]) -> list[Finding]:
    """One finding a note of a reader; a note that several splits share is one finding.

    Args:
        data: all splits.
        seen: codes that checks have found already, better than the note says it.
    """
    splits: dict[str, list[str]] = {}
    for split, each in data.splits.items():
        for note in each.notes:
            if not SAID_ELSEWHERE.search(note):
                splits.setdefault(note, []).append(split)
    found = [_finding(note, names, len(data.splits)) for note, names in splits.items()]
    found = [finding for finding in found if finding.code not in seen]
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


def _finding(note: str, splits: list[str], num_splits: int) -> Finding:
    code, harm, cure = _judged(note)
    first = _FIRST.search(note)
    title = note[: first.start()].strip() if first else note
    if 0 < len(splits) < num_splits:
        title = f"{', '.join(splits)}: {title}"
    numbers = _COUNT.search(title)
    count, total = (int((text or "0").replace(",", "")) for text in numbers.groups()) if numbers \
        else (1, 0)  # fmt: skip
    return Finding(
        code=code,
        harm=harm,
        title=title if title.endswith(".") else f"{title}.",
        cure=cure,
        count=count,
        total=total if total >= count else 0,
        examples=(first[1],) if first else (),
    )


def _judged(note: str) -> tuple[str, Harm, str]:
    """Code, harm and cure of a note."""
    for kind in KINDS:
        if re.search(kind.words, note):
            return kind.code, kind.harm, kind.cure
    if _LOST.search(note):
        return "left-out", "warning", "These records are not used. Correct them if they matter."
    return "reader-note", "note", "Check that this is right for your data."
