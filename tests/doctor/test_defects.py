"""Every mistake in otherwise good data is named; good data is left in peace."""

import pytest

from keras_det.doctor import examine
from tests.doctor.defects import DEFECTS, other_size

QUICK_MISSES = {"images-truncated", "images-one-colour", "images-dark", "images-bright"}
QUICK_MISSES |= {"images-blurred", "images-grey", "images-repeated", "images-in-two-splits"}
QUICK_MISSES |= {"images-alike-across-splits"}


@pytest.fixture(scope="module")
def clean(drawn):
    return examine(drawn)


def test_good_data_gives_no_error_and_no_warning(clean):
    assert [f for f in clean.findings if f.harm != "note"] == []
    assert clean.worst == "note"


@pytest.mark.parametrize(
    "damage, code, harm", [pytest.param(*each, id=each[0].__name__) for each in DEFECTS]
)
def test_defect_is_named(copy, clean, damage, code, harm):
    damage(copy)
    copy.save()
    found = {}
    for finding in examine(copy.root).findings:  # of one kind, the first is the worst
        found.setdefault(finding.code, finding)
    assert code in found, sorted(found)
    finding = found[code]
    assert finding.harm == harm
    assert finding.title.endswith(".") and finding.cure.endswith(".")
    assert code in {f.code for f in clean.findings} or finding.count > 0
    # One mistake must not raise a crowd of findings.
    more = found.keys() - {f.code for f in clean.findings} - {code}
    assert len(more) <= 4, more


@pytest.mark.parametrize(
    "damage, code",
    [
        pytest.param(damage, code, id=damage.__name__)
        for damage, code, _ in DEFECTS
        if code not in QUICK_MISSES
    ],
)
def test_quick_part_finds_all_that_needs_no_pixels(copy, damage, code):
    damage(copy)
    copy.save()
    report = examine(copy.root, quick=True)
    assert code in {finding.code for finding in report.findings}
    assert not report.facts.get("pixels read")


def test_image_of_another_size_is_left_out_and_named(copy):
    other_size(copy)
    report = examine(copy.root)
    assert report.worst == "warning"
    assert any("annotated as" in example for f in report.findings for example in f.examples)
