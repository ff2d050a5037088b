"""Every section that the doctor names is a heading of docs/data.md, and every code exists."""

import re

from keras_det.doctor.finding import Finding
from keras_det.doctor.sections import SECTIONS, section_of, with_sections
from tests.helpers import ROOT


def test_sections_are_headings():
    page = (ROOT / "docs" / "data.md").read_text()
    headings = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", page, re.M)
    }
    assert {section for _, section in SECTIONS} <= headings


def test_codes_exist():
    source = "".join(file.read_text() for file in (ROOT / "keras_det" / "doctor").glob("*.py"))
    for code, _ in SECTIONS:
        assert source.count(f'"{code}') > 1, code


def test_a_finding_keeps_its_own_section():
    found = with_sections(
        [Finding("boxes-tiny", "note", "", ""), Finding("run-gap", "note", "", "", doc="runs")]
    )
    assert [each.doc for each in found] == ["empty-and-tiny-objects", "runs"]
    assert section_of("boxes-long") == "" and section_of("class-not-in-val") == "splits"
