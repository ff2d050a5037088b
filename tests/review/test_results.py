"""The files of a review: what is in them, and that names from strangers do no harm."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from keras_det.review import LabelFinding, write_findings
from keras_det.review.pictures import IN_DATA, OTHERS, PROPOSED, draw_finding
from keras_det.review.results import counts_of
from tests.review.test_tasks import BOXES, FINDINGS, MOVED, NEW, dataset  # noqa: F401


def test_tables_and_page(dataset, tmp_path):  # noqa: F811
    page, table, content = write_findings(tmp_path, dataset, FINDINGS, pictures=3)
    rows = list(csv.DictReader(table.open()))
    assert [row["kind"] for row in rows] == [each.kind for each in FINDINGS]
    assert rows[0]["rank"] == "1" and rows[0]["object"] == rows[0]["x1"] == ""
    assert [float(rows[0][f"proposed_{c}"]) for c in ("x1", "y1", "x2", "y2")] == [*NEW]
    assert rows[1]["label"] == "cat" and rows[1]["proposed_label"] == '<dog> & "co"'
    assert rows[3]["proposed_x1"] == "" and float(rows[3]["x2"]) == 40
    found = json.loads(content.read_text())
    assert found["images"] == 3 and found["findings"][2]["proposed_box"] == [*MOVED]
    assert found["findings"][0]["image_id"] == 6
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names == [
        "0001_missing_b c&d.jpg",
        "0002_swapped_b c&d.jpg",
        "0003_misplaced_e.jpg",
    ]
    text = page.read_text()
    assert "<dog>" not in text and "missing object: &lt;dog&gt; &amp;" in text
    assert text.count("<figure>") == 3 and "http" not in text
    write_findings(tmp_path, dataset, FINDINGS[:1])
    assert len(list((tmp_path / "pictures").iterdir())) == 1  # older ones would be mistaken


def test_counts():
    rows = counts_of(FINDINGS, 0.6)
    assert rows == {"missing": (1, 1), "spurious": (2, 1), "swapped": (1, 1), "misplaced": (1, 1)}


def colours_at(picture, *points):
    return [tuple(picture[y, x].tolist()) for x, y in points]


def test_colours_of_a_drawn_finding(dataset):  # noqa: F811
    # The whole image is shown, 6 times as large: 480 / 80.
    Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(dataset.image_paths[2])
    picture = draw_finding(dataset, FINDINGS[2])
    assert picture.shape == (360, 480, 3)
    left_of_data, left_of_new = (50 * 6, 23 * 6), (52 * 6, 52 * 6)
    assert colours_at(picture, left_of_data, left_of_new) == [IN_DATA, PROPOSED]
    assert colours_at(picture, (4 * 6, 20 * 6)) == [OTHERS]
    assert colours_at(draw_finding(dataset, FINDINGS[3]), (4 * 6, 20 * 6)) == [IN_DATA]


def test_only_the_surroundings_are_drawn(dataset, tmp_path):  # noqa: F811
    path = dataset.image_paths[0]
    Image.fromarray(np.zeros((600, 800, 3), np.uint8)).save(path)
    large = dataclasses.replace(dataset, image_sizes=[(600, 800), (60, 80), (60, 80)])
    finding = LabelFinding("missing", 0.9, 0, proposed_label=0, proposed_box=(400, 300, 500, 350))
    # Three times the longer side of the box, 300 pixels, enlarged to 480.
    assert draw_finding(large, finding).shape == (480, 480, 3)


@pytest.mark.parametrize("finding", FINDINGS)
def test_words(finding, dataset):  # noqa: F811
    text = finding.text(dataset.class_names)
    assert text in {
        'missing object: <dog> & "co"',
        'wrong class: cat, should be <dog> & "co"',
        'badly placed box: <dog> & "co"',
        "no object there: cat",
    }
    assert finding.as_dict(dataset)["image"].endswith(".png") and len(BOXES) == 2
