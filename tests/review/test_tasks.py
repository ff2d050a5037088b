"""Proposals are written so that the readers of each format find them again."""

import dataclasses
import json
import warnings

import numpy as np
import pytest

from keras_det.data import Dataset, Sample, read_coco, read_cvat, read_label_studio
from keras_det.review import (
    LabelFinding,
    corrected,
    predicted_tasks,
    rank_images,
    tasks_of,
    write_tasks,
)
from keras_det.review.tasks import where_from
from tests.data.builders import write_image

NAMES = ("cat", '<dog> & "co"')
BOXES = np.array([[4, 10, 40, 30], [50, 20, 70, 50]], "float32")


@pytest.fixture
def dataset(tmp_path):
    """Three images of 80x60 with two objects each; names with what URLs and XML escape."""
    samples = []
    for number, name in enumerate(("a.png", "sub/b c&d.png", "e.png")):
        path = tmp_path / "images" / name
        write_image(path, 60, 80)
        area = np.array([720, 600], "float32")
        crowd = np.array([False, False])
        samples.append(
            Sample(str(path), BOXES, np.array([0, 1]), crowd, area, (60, 80), number + 5)
        )
    return Dataset.from_samples(samples, NAMES, name="drawn")


NEW, MOVED = (8.0, 32.0, 24.0, 56.0), (52.0, 24.0, 72.0, 54.0)
FINDINGS = [
    LabelFinding("missing", 0.9, 1, proposed_label=1, proposed_box=NEW, detected=0.8),
    LabelFinding("swapped", 0.8, 1, 0, 0, tuple(BOXES[0]), 1, (5.0, 10.0, 41.0, 30.0), 0.7),
    LabelFinding("misplaced", 0.7, 2, 1, 1, tuple(BOXES[1]), 1, MOVED, 0.6),
    LabelFinding("spurious", 0.6, 2, 0, 0, tuple(BOXES[0])),
    LabelFinding("spurious", 0.5, 1, 0, 0, tuple(BOXES[0])),  # the first about this object counts
]
# What images 1 and 2 should become: a swapped class keeps its box.
PROPOSED = {
    1: ([[4, 10, 40, 30], [50, 20, 70, 50], [*NEW]], [1, 1, 1]),
    2: ([[*MOVED]], [1]),
}


def test_findings_are_applied(dataset):
    changed, scores = corrected(dataset, FINDINGS)
    assert np.array_equal(changed[0].boxes, BOXES) and changed[0].labels.tolist() == [0, 1]
    for image, (boxes, labels) in PROPOSED.items():
        assert changed[image].boxes.tolist() == boxes
        assert changed[image].labels.tolist() == labels
    np.testing.assert_array_equal(scores, [np.nan, np.nan, 0.8, np.nan, 0.9, 0.7])
    assert changed[1].area.tolist() == [720, 600, 16 * 24] and changed[2].area.tolist() == [600]
    same, scores = corrected(dataset, [])
    assert np.array_equal(same.boxes, dataset.boxes) and np.isnan(scores).all()


def quiet(reader, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return reader(*args, **kwargs)


def read_again(path, to, home):
    """The images of a file of tasks by their base names."""
    readers = {"coco": read_coco, "cvat": read_cvat, "label-studio": read_label_studio}
    found = quiet(readers[to], path, image_dir=home)
    return found, {p.rpartition("/")[2]: found[i] for i, p in enumerate(found.image_paths)}


@pytest.mark.parametrize("to", ["coco", "cvat"])
def test_proposals_are_read_again(dataset, tmp_path, to):
    tasks = tasks_of(dataset, FINDINGS)
    assert tasks.urgency == pytest.approx([2.2, 1.3])  # the sum of the scores of each image
    (path,) = write_tasks(tmp_path, tasks, to)
    found, images = read_again(path, to, tasks.home)
    assert found.class_names == NAMES and set(images) == {"b c&d.png", "e.png"}
    for image, name in ((1, "b c&d.png"), (2, "e.png")):
        boxes, labels = PROPOSED[image]
        assert images[name].boxes.tolist() == boxes and images[name].labels.tolist() == labels
        assert images[name].original_size == (60, 80)
    text = path.read_text()
    if to == "cvat":
        assert text.count('source="auto"') == 3 and text.count('source="manual"') == 1
    else:
        content = json.loads(text)
        assert sorted(a["score"] for a in content["annotations"] if "score" in a) == [0.7, 0.8, 0.9]
        assert content["images"][0]["reason"].startswith(
            'missing object: <dog> & "co" (0.90); wrong'
        )
        assert [image["id"] for image in content["images"]] == [6, 7]


def test_label_studio_has_labels_and_proposals(dataset, tmp_path):
    tasks = tasks_of(dataset, FINDINGS)
    path, config = write_tasks(tmp_path, tasks, "label-studio")
    _, images = read_again(path, "label-studio", tasks.home)  # reads the annotations
    np.testing.assert_allclose(images["b c&d.png"].boxes, BOXES, atol=1e-3)
    content = json.loads(path.read_text())
    assert content[0]["data"]["image"] == "/data/local-files/?d=sub/b%20c%26d.png"
    assert content[0]["data"]["urgency"] == 2.2
    # The predictions in the place of the annotations: the same reader checks their geometry.
    for task in content:
        task["annotations"] = task.pop("predictions")
    scores = [r.get("score") for r in content[0]["annotations"][0]["result"]]
    assert scores == [0.8, None, 0.9]
    # 4, 10, 40, 30 in an image of 80x60: 5%, 16.666667%, 45% and 33.333333%.
    value = content[0]["annotations"][0]["result"][0]["value"]
    assert (value["x"], value["y"]) == (5.0, 16.666667)
    assert (value["width"], value["height"]) == (45.0, 33.333333)
    (tmp_path / "proposed").mkdir()
    (tmp_path / "proposed" / "tasks.json").write_text(json.dumps(content))
    found, images = read_again(tmp_path / "proposed" / "tasks.json", "label-studio", tasks.home)
    for image, name in ((1, "b c&d.png"), (2, "e.png")):
        np.testing.assert_allclose(images[name].boxes, PROPOSED[image][0], atol=1e-3)
        names = [found.class_names[k] for k in images[name].labels]
        assert names == [NAMES[k] for k in PROPOSED[image][1]]
    assert '<Label value="cat"/>' in config.read_text()
    assert "&lt;dog&gt; &amp; " in config.read_text()


def test_coco_of_all_images(dataset, tmp_path):
    tasks = tasks_of(dataset, FINDINGS, all_images=True)
    (path,) = write_tasks(tmp_path, tasks, "coco")
    _, images = read_again(path, "coco", tasks.home)
    assert len(images) == 3 and images["a.png"].boxes.tolist() == BOXES.tolist()
    assert tasks.urgency[-1] == 0 and tasks.reasons[-1] == ""


def test_crowd_regions_are_no_boxes_of_the_programs(dataset, tmp_path):
    crowd = np.array([True, False] * 3)
    marked = dataclasses.replace(dataset, crowd=crowd)
    tasks = tasks_of(marked, FINDINGS[:1])
    assert write_tasks(tmp_path, tasks, "cvat")[0].read_text().count("<box ") == 2
    content = json.loads(write_tasks(tmp_path, tasks, "label-studio")[0].read_text())
    assert len(content[0]["annotations"][0]["result"]) == 1
    coco = json.loads(write_tasks(tmp_path, tasks, "coco")[0].read_text())
    assert [row["iscrowd"] for row in coco["annotations"]] == [1, 0, 0]


@pytest.mark.parametrize("to", ["coco", "cvat", "label-studio"])
def test_unlabelled_images_get_what_was_detected(dataset, tmp_path, to):
    rows = [
        {"boxes": BOXES, "labels": np.array([0, 1]), "scores": np.array([0.9, 0.1])},
        {"boxes": np.zeros((0, 4)), "labels": np.zeros(0, int), "scores": np.zeros(0)},
        {"boxes": BOXES, "labels": np.array([1, 0]), "scores": np.array([0.45, 0.6])},
    ]
    ranked = rank_images(rows, [0.4, 0.4])
    tasks = predicted_tasks(dataset, ranked, rows, [0.4, 0.4])
    assert [len(each.labels) for each in tasks.proposed] == [2, 1, 0]
    path = write_tasks(tmp_path, tasks, to)[0]
    if to == "label-studio":
        content = json.loads(path.read_text())
        assert "annotations" not in content[0]
        scores = [each["score"] for each in content[0]["predictions"][0]["result"]]
        assert scores == [0.45, 0.6]
    else:
        _, images = read_again(path, to, tasks.home)
        assert images["e.png"].labels.tolist() == [1, 0]
        assert images["a.png"].boxes.tolist() == BOXES[:1].tolist()


def test_wrong_format_and_where_from(dataset, tmp_path):
    tasks = tasks_of(dataset, FINDINGS)
    with pytest.raises(
        ValueError, match="`to` must be one of coco, .* Received: 'cvt'. Did you me"
    ):
        write_tasks(tmp_path, tasks, "cvt")
    home = str(tmp_path / "images")
    assert tasks.home == home
    for to in ("coco", "cvat", "label-studio"):
        assert home in where_from(tasks, to)
