"""The report of an evaluation: what stands in its files."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from keras_det.data import load
from keras_det.metrics.columns import columns
from keras_det.metrics.engines import evaluate
from keras_det.metrics.error_kinds import error_kinds
from keras_det.metrics.matching import IOUS, match
from keras_det.metrics.score_facts import score_facts
from keras_det.report.page.page import KINDS
from keras_det.training.evaluate import Measured, Seen
from keras_det.training.report import write_report
from keras_det.training.report_rows import report_rows
from tests.helpers import data_set
from tests.report.test_page import Parts

RIGHT, CLASS, PLACE, BOTH, DUPLICATE, NOTHING, IGNORED = range(7)
NAMES = ["cat", "dog"]
BOX = np.array([10.0, 10, 60, 60])


def rows_of(truth, found):
    matches = match(*columns(truth, found, NAMES), IOUS[:1])
    return report_rows(matches, error_kinds(matches, 2), [0.3, 0.3])


def test_each_detection_gets_its_kind_and_each_object_its_score():
    truth = [
        {"boxes": [BOX, BOX + 200], "labels": [0, 1], "crowd": [False, False]},
        {"boxes": [BOX, BOX + 100], "labels": [1, 1], "crowd": [False, True]},
        {"boxes": [], "labels": []},
    ]
    found = [
        {
            "boxes": [BOX, BOX, BOX + 25, BOX + 200, BOX + 400],
            "labels": [0, 0, 0, 0, 1],
            "scores": [0.9, 0.8, 0.7, 0.6, 0.04],
        },
        {"boxes": [BOX + 105], "labels": [1], "scores": [0.5]},
        {"boxes": [], "labels": [], "scores": []},
    ]
    rows = rows_of(truth, found)
    assert [row[6] for row in rows.found[0]] == [RIGHT, DUPLICATE, PLACE, CLASS]  # 0.04 is too low
    assert [row[5] for row in rows.truth[0]] == [0.9, -1] and rows.truth[1][1][6] == 1
    assert [row[6] for row in rows.found[1]] == [IGNORED]
    # Three wrong detections and the dog that is missed; a missed dog; nothing.
    assert rows.errors.tolist() == [4, 1, 0]
    np.testing.assert_array_equal(rows.found[0][2][:4], BOX + 25)
    assert [name for name, _ in KINDS][IGNORED] == "ignored"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    dataset = load(data_set("drawn"), split="train2017")
    rng, names = np.random.default_rng(0), dataset.class_names
    truth = dataset.ground_truth(range(len(dataset)))
    found = [
        {
            "boxes": np.asarray(each["boxes"]) + rng.normal(0, 3, np.shape(each["boxes"])),
            "labels": each["labels"],
            "scores": rng.uniform(0.2, 1, len(each["labels"])),
        }
        for each in truth
    ]
    arrays = columns(truth, found, names)
    evaluation = evaluate(*arrays, len(names))
    facts = score_facts(found, [sample.original_size for sample in dataset], 0.3)
    measured = Measured(
        {"AP": 0.5, "AP50": 0.75},
        {},
        facts,
        seen=Seen(list(range(len(dataset))), match(*arrays, IOUS[:1]), evaluation, names),
    )
    folder = tmp_path_factory.mktemp("report")
    done = []
    history = [{"epoch": str(k), "loss": "1", "val_AP": "0.1"} for k in (1, 2)]
    write_report(
        *(folder / "new", measured, dataset, names, "best.keras"),
        history=history,
        recipe={"seed": 7},
        on_image=lambda *numbers: done.append(numbers),
    )
    return folder / "new", measured, dataset, done


def test_a_report_has_a_page_and_files_for_machines(report):
    folder, measured, dataset, done = report
    page = (folder / "index.html").read_text("utf-8")
    assert {each.name for each in folder.iterdir()} - {"plots"} == {
        *("analysis.json", "classes.csv", "images.csv", "index.html")
    }
    assert json.loads((folder / "analysis.json").read_text()) == measured.seen.analysis.as_dict()
    assert done[-1] == (len(dataset), len(dataset))
    for words in ("What to do next", "Errors", "Classes", "Curves", "Confusion", "Training"):
        assert words in page
    assert "&quot;seed&quot;: 7" in page and "keras_det" in page


def test_the_page_holds_every_image_with_its_boxes(report):
    folder, measured, dataset, _ = report
    page = Parts((folder / "index.html").read_text("utf-8"))
    images = json.loads(page.scripts[0])["images"]
    assert len(images) == len(dataset)
    assert sum(len(image["truth"]) for image in images) == len(measured.seen.matches.objects.labels)
    height, width = dataset[0].original_size[:2]
    assert (images[0]["h"], images[0]["w"]) == (height, width)


def test_the_tables_name_classes_and_images(report):
    folder, measured, dataset, _ = report
    classes = list(csv.DictReader((folder / "classes.csv").open()))
    assert [row["class"] for row in classes] == list(dataset.class_names)
    assert sum(int(row["objects"]) for row in classes) == measured.seen.analysis.objects
    images = list(csv.DictReader((folder / "images.csv").open()))
    errors = [int(row["errors"]) for row in images]
    assert len(images) == len(dataset) and errors == sorted(errors, reverse=True)


def test_measurements_without_the_images_are_refused(report, tmp_path):
    _, measured, dataset, _ = report
    bare = dataclasses.replace(measured, seen=None)
    with pytest.raises(ValueError, match="needs the images that were measured. Received: "):
        write_report(tmp_path / "x", bare, dataset, dataset.class_names, "m")
    assert not (tmp_path / "x").exists()
