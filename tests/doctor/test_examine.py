"""What `examine` takes, and what its report holds."""

import json
import shutil
import sys
import types

import numpy as np
import pytest

from keras_det.data import Dataset, load
from keras_det.data.split_choice import role_of_split
from keras_det.doctor import Finding, examine
from keras_det.doctor.examine import Report
from keras_det.doctor.thresholds import THRESHOLDS
from tests.data.builders import write_voc

EMPTY = Dataset.from_samples([], ["cat"])


def codes(report):
    return {finding.code for finding in report.findings}


def test_facts_of_a_folder(drawn):
    facts = examine(drawn, quick=True).facts
    assert facts["format"] == "COCO"
    assert list(facts["splits"]) == ["train", "val"]
    train = load(drawn, "train")
    assert facts["splits"]["train"] == {
        "images": 60,
        "objects": len(train.labels),
        "images without objects": 0,
        "crowd": 0,
    }
    first = facts["classes"][0]
    assert (first["label"], first["name"], first["source id"]) == (0, "circle", 1)
    assert first["objects"]["train"] == train.class_counts["circle"]
    assert facts["image sizes"]["largest side"] == 80


def test_dataset_and_dict_give_the_findings_of_the_folder(drawn):
    sets = {name: load(drawn, name) for name in ("train", "val")}
    assert codes(examine(sets)) == codes(examine(drawn))
    alone = examine(sets["train"], quick=True)
    assert "no-validation" in codes(alone) and list(alone.splits) == ["train"]


def test_joint_splits_are_left_out_and_chosen_ones_are_read(tmp_path):
    stems = [f"i{k}" for k in range(12)]
    objects = {stem: [("cat", 2, 2, 5, 5, 0)] for stem in stems}
    splits = {"train": stems[:6], "val": stems[6:9], "test": stems[9:], "trainval": stems[:9]}
    root = write_voc(tmp_path, objects, splits)
    report = examine(root, quick=True)
    assert list(report.facts["splits"]) == ["train", "val", "test"]
    assert "images-listed-in-two-splits" not in codes(report)
    chosen = examine(root, splits=["trainval", "val"], quick=True)
    assert list(chosen.facts["splits"]) == ["trainval", "val"]
    assert "images-listed-in-two-splits" in codes(chosen)


def test_split_by_makes_the_splits(tmp_path):
    objects = {f"i{k}": [("cat", 2, 2, 5, 5, 0)] for k in range(10)}
    root = write_voc(tmp_path, objects)
    assert list(examine(root, quick=True).facts["splits"]) == ["all"]
    made = examine(root, quick=True, split_by=0.7).facts["splits"]
    assert {name: row["images"] for name, row in made.items()} == {"train": 7, "val": 3}


def test_data_that_cannot_be_read_is_one_error_with_the_message(tmp_path):
    for path in (tmp_path / "nothing", tmp_path):
        report = examine(path)
        assert [finding.code for finding in report.findings] == ["unreadable-data"]
        assert "Received: " in report.findings[0].examples[0]
        assert report.worst == "error"


def test_splits_with_other_class_orders(drawn):
    train = load(drawn, "train")
    val = load(drawn, "val", class_names=("square", "circle", "triangle"))
    report = examine({"train": train, "val": val}, quick=True)
    assert report.findings[0].code == "classes-differ" and report.worst == "error"
    # Classes are compared by their names, so nothing else goes wrong.
    assert not codes(report) & {"class-not-in-train", "classes-shifted"}


def test_boxes_of_a_dataset_are_checked_without_a_reader(drawn):
    train = load(drawn, "train")
    boxes = train.boxes.copy()
    boxes[0] = [5, 5, 5, 9]
    boxes[1] = [-40, 5, 30, 30]
    fields = ("image_paths", "image_ids", "image_sizes", "labels", "crowd", "area", "row_splits")
    same = {name: getattr(train, name) for name in fields}
    damaged = Dataset(boxes=boxes, class_names=train.class_names, **same)
    found = {f.code: f for f in examine(damaged, quick=True).findings}
    assert found["boxes-without-area"].harm == "error"
    assert found["boxes-outside"].count == 1
    np.testing.assert_array_equal(found["boxes-outside"].boxes[0], boxes[1:2])


def test_interruption_is_said(drawn, monkeypatch):
    from keras_det.doctor import scan

    monkeypatch.setattr(scan, "BLOCK", 16)

    def stop(done, total):
        raise KeyboardInterrupt

    report = examine(drawn, progress=stop)
    assert report.facts["interrupted"] is True
    assert "interrupted" in codes(report)
    assert "16 of 80" in next(f for f in report.findings if f.code == "interrupted").title


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"data": None}, "needs `data` or `run`"),
        ({"data": None, "run": "r", "model": "m"}, "`model` without `data`"),
        ({"data": "d", "image_size": 320}, "`image_size` needs `model`. Received"),
        ({"data": "d", "overfit": True}, "`overfit` needs `model`. Received"),
        (
            {"data": "d", "model": object(), "image_size": 320},
            "`image_size` is only for a model that is given by its name",
        ),
        (
            {"data": EMPTY, "box_format": "xyxy"},
            "`box_format` has an effect only if",
        ),
        ({"data": EMPTY, "splits": ["train"]}, "`splits` has an effect only if `data` is a path"),
    ],
)
def test_arguments_without_effect_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        examine(**arguments)


@pytest.mark.parametrize("data", [{}, {"train": [1, 2]}, [1, 2]])
def test_data_must_be_a_path_or_data_sets(data):
    with pytest.raises(TypeError, match="a dict of Datasets by split. Received: a"):
        examine(data)


def test_data_set_without_images_is_an_error(drawn):
    report = examine(load(drawn, "train").select([]))
    assert report.worst == "error" and "split-without-objects" in codes(report)
    assert report.text() and report.json()


def test_images_of_an_unreadable_split_are_not_called_unused(tmp_path):
    stems = [f"i{k}" for k in range(8)]
    objects = {stem: [("cat", 2, 2, 5, 5, 0)] for stem in stems}
    root = write_voc(tmp_path, objects, {"train": stems[:5], "val": stems[5:]})
    write_voc(tmp_path, {"extra": [("cat", 2, 2, 5, 5, 0)]})
    assert "images-not-used" in codes(examine(root, quick=True))
    (root / "ImageSets" / "Main" / "val.txt").write_text("lost\n")
    found = codes(examine(root, quick=True))
    assert "unreadable-data" in found and "images-not-used" not in found


def test_model_and_run_findings_are_added(drawn, monkeypatch, tmp_path):
    seen = {}

    def check_model(dataset, model, *, validation, **settings):
        seen["model"] = (dataset.split, model, validation.split, settings)
        return [Finding("anchors-miss", "error", "Nothing fits.", "Change it.", images=(3,))]

    def check_run(folder):
        seen["run"] = folder
        return [Finding("loss-rises", "warning", "The loss rises.", "Lower the rate.")]

    for name, function in (("model_checks", check_model), ("run_checks", check_run)):
        module = types.ModuleType(name)
        setattr(module, function.__name__, function)
        monkeypatch.setitem(sys.modules, f"keras_det.doctor.{name}", module)
    report = examine(drawn, model="efficientdet_d0", image_size=96, run=tmp_path, quick=True)
    settings = {"quick": True, "image_size": 96, "overfit": False, "say": None}
    assert seen == {"model": ("train", "efficientdet_d0", "val", settings), "run": tmp_path}
    assert report.findings[0].code == "anchors-miss" and report.worst == "error"
    assert report.findings[0].split == "train"
    assert report.json()["findings"][0]["images"] == [load(drawn, "train").image_paths[3]]
    alone = examine(None, run=tmp_path)
    assert codes(alone) == {"loss-rises"} and alone.splits == {}


def test_json_holds_paths_and_plain_types(drawn, tmp_path):
    report = examine(drawn)
    report.write_json(tmp_path / "report.json")
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["worst"] == "note" and content["facts"]["pixels read"] is True
    shown = [path for finding in content["findings"] for path in finding["images"]]
    assert shown and all(path.endswith(".jpg") for path in shown)


def test_roles_of_splits():
    names = ("train2017", "Train", "valid", "validation", "val2017", "test-dev", "trainval")
    assert [role_of_split(name) for name in names] == [
        "train", "train", "val", "val", "val", "test-dev", "trainval",
    ]  # fmt: skip


def test_every_threshold_has_a_reason_and_is_used():
    import pathlib

    from keras_det import doctor

    sources = "".join(
        path.read_text() for path in pathlib.Path(doctor.__file__).parent.glob("*_checks.py")
    )
    sources += "".join(
        (pathlib.Path(doctor.__file__).parent / name).read_text()
        for name in ("copies.py", "box_pairs.py")
    )
    for name, (value, reason) in THRESHOLDS.items():
        assert value > 0 and len(reason) > 10, name
        assert f'"{name}"' in sources, name


def test_report_without_findings():
    report = Report([], {})
    assert report.worst is None
    assert report.text() == "Nothing was found: the data can be trained on."


def test_photos_that_labelimg_left_without_a_file_are_one_finding(tmp_path):
    write_voc(tmp_path / "in", {f"i{k}": [("cat", 2, 2, 5, 5, 0)] for k in range(8)})
    for name in ("Annotations", "JPEGImages"):
        for path in (tmp_path / "in" / name).iterdir():
            path.rename(tmp_path / path.name)
    shutil.rmtree(tmp_path / "in")
    (tmp_path / "i7.xml").unlink()
    (tmp_path / "._i1.jpg").write_bytes(b"a Mac's")
    report = examine(tmp_path, quick=True)
    (found,) = [each for each in report.findings if "i7" in " ".join(each.examples)]
    assert found.code == "images-not-used" and found.count == 1
    assert "The data set has only 7 images." in [each.title for each in report.findings]
