"""The report as text and as a page."""

import base64
import html.parser
import io
import re

import numpy as np
import pytest
from PIL import Image

from keras_det.doctor import Finding, examine
from keras_det.doctor.examine import Report
from keras_det.doctor.page import bars, histogram
from tests.doctor.defects import copy_across_splits, outside, two_classes, unreadable


@pytest.fixture
def report(copy):
    for damage in (unreadable, outside, two_classes, copy_across_splits):
        damage(copy)
    copy.save()
    return examine(copy.root)


def finding(code="a-code", harm="warning", title="A title.", **more):
    return Finding(code, harm, title, "A cure.", **more)


def test_text_begins_with_the_verdict_then_facts_then_the_worst(report):
    lines = report.text().splitlines()
    assert (
        lines[0].startswith("1 error, ")
        and "training would fail, or its results would mislead" in lines[0]
    )
    assert any(line.startswith("label  name") for line in lines[:12])
    places = [k for k, line in enumerate(lines) if re.match("ERROR|WARNING|NOTE", line)]
    kinds = [lines[k].split()[0] for k in places]
    assert kinds == sorted(kinds, key=["ERROR", "WARNING", "NOTE"].index)
    assert lines[places[0]] == "ERROR    1 of 80 images is also in another split."
    assert lines[places[0] + 1].startswith("         - val/000002.jpg: same as train/000005.jpg in")
    assert "[images-in-two-splits]" in report.text()


def test_text_fits_80_columns_and_60_lines():
    findings = [
        finding(f"code-{k}", title="word " * 30 + ".", examples=("x" * 120, "y" * 50, "z"))
        for k in range(40)
    ]
    text = Report(findings, {}).text()
    assert max(map(len, text.splitlines())) <= 80
    assert len(text.splitlines()) <= 62
    short = [finding(examples=("x",)), finding(examples=("x", "y", "z"))]
    assert "--all" not in Report(short[:1], {}).text() and "--all" in Report(short, {}).text()
    assert "--all" not in Report(short, {}).text(all=True)
    assert re.search(r"And \d+ warnings\.\n.*--all", text)
    full = Report(findings, {}).text(all=True)
    assert max(map(len, full.splitlines())) <= 80 or "x" * 100 in full
    assert full.count("[code-") == 40 and "And " not in full


def test_long_class_lists_are_cut_unless_all_is_asked_for(drawn):
    report = examine(drawn, quick=True)
    row = report.facts["classes"][0]
    report.facts["classes"] = [dict(row, label=k, name=f"n{k}") for k in range(50)]
    assert "… and 39 more classes" in report.text()
    assert "n49" in report.text(all=True)


class Tags(html.parser.HTMLParser):
    """Fails where tags are not closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.sources = [], []

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, self.getpos()


def test_page_is_well_formed_and_needs_nothing_else(report, tmp_path):
    report.write_html(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.sources and all(s.startswith("data:image/jpeg;base64,") for s in tags.sources)
    assert "<script" not in page and "http" not in page
    for each in report.findings:
        assert f'id="{each.code}"' in page
    assert page.count("<svg") == 3


def test_pictures_show_the_marked_box(report):
    from keras_det.doctor.page import _pictures

    wanted = next(f for f in report.findings if f.code == "boxes-two-classes")
    (figure,) = _pictures(report, wanted)
    data = re.search(r'base64,([^"]+)', figure)[1]
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))), np.int64)
    dataset, index = report.image_of(wanted, wanted.images[0])
    plain = np.asarray(Image.open(dataset.image_paths[index]), np.int64)
    x1, y1, x2, y2 = wanted.boxes[0][0].round().astype(int)
    changed = np.abs(drawn - plain).max(axis=-1) > 60
    assert changed[y1 : y2 - 1, x1].mean() > 0.5, "no line at the left side of the box"


def test_page_escapes_names():
    page_of = Report([finding(title="<b>.", examples=("<i>&",))], {})
    from keras_det.doctor.page import report_page

    page = report_page(page_of)
    assert "&lt;b&gt;" in page and "&lt;i&gt;&amp;" in page


# Two bars: 480 pixels for the largest, half of it for the other.
def test_bars_are_as_long_as_their_counts():
    svg = bars([(0, "cat", 10), (1, "a<b", 5)])
    assert re.findall(r'width="([\d.]+)" height="14"', svg) == ["480.0", "240.0"]
    assert "a&lt;b" in svg


def test_histogram_counts_every_value():
    svg = histogram(np.array([1.0, 1.0, 10.0, 100.0, np.nan, 0.0]))
    assert sorted(map(int, re.findall(r"<title>(\d+)</title>", svg)))[-3:] == [1, 1, 2]
    assert histogram(np.zeros(3)) == ""
