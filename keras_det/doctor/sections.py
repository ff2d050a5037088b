"""The section of docs/data.md that explains a finding."""

import dataclasses
from collections.abc import Sequence

from keras_det.doctor.finding import Finding

PAGE = "docs/data.md"
# Findings of these codes, and of codes that start like this where the code ends in "-". The first
# that fits counts.
SECTIONS = (
    ("images-size-mismatch", "image-sizes"),
    ("sizes-exchanged", "image-sizes"),
    ("images-orientation", "exif-orientation"),
    ("images-turned", "exif-orientation"),
    ("images-turned-unclear", "exif-orientation"),
    ("images-deep", "depth-of-pixels"),
    ("images-end-early", "broken-images"),
    ("images-unreadable", "broken-images"),
    ("images-repeated", "duplicates"),
    ("images-listed-twice", "duplicates"),
    ("boxes-repeated", "duplicates"),
    ("boxes-two-classes", "duplicates"),
    ("images-alike-across-splits", "splits"),
    ("names-in-two-splits", "splits"),
    ("images-without-objects", "empty-and-tiny-objects"),
    ("images-without-annotation", "image-files"),
    ("annotations-", "image-files"),
    ("boxes-tiny", "empty-and-tiny-objects"),
    ("boxes-without-area", "empty-and-tiny-objects"),
    ("boxes-outside", "box-formats"),
    ("class-names-alike", "class-names"),
    ("class-dummy", "class-names"),
    ("class-numbers", "class-names"),
    ("classes-differ", "class-names"),
    ("class-not-in-", "splits"),
    ("no-validation", "splits"),
    ("split-small", "splits"),
)


def with_sections(findings: Sequence[Finding]) -> list[Finding]:
    """Gives each finding without a section the one that its code belongs to, if there is one."""
    return [
        finding if finding.doc else dataclasses.replace(finding, doc=section_of(finding.code))
        for finding in findings
    ]


def section_of(code: str) -> str:
    """The section for a code; an empty text where none explains it."""
    for start, section in SECTIONS:
        if code == start or (start.endswith("-") and code.startswith(start)):
            return section
    return ""
