"""COCO's numbers: by hand, and equal to pycocotools fed in its usual way."""

import contextlib
import io
import math

import numpy as np
import pytest

from keras_det.metrics.coco import NUMBERS, coco_metrics, format_metrics

pytest.importorskip("pycocotools")
NAMES = ["apple", "bear", "cup"]
NOTHING = {"boxes": np.zeros((0, 4)), "labels": np.zeros(0, int), "scores": np.zeros(0)}


def image(boxes, labels, **more):
    return {"boxes": np.array(boxes, "float32").reshape(-1, 4), "labels": np.array(labels), **more}


def found(boxes, labels, scores):
    return image(boxes, labels, scores=np.array(scores))


TRUTH = [
    image([[0, 0, 20, 20], [30, 30, 80, 90]], [0, 1]),
    image([], []),
    image([[10, 10, 200, 150]], [0]),
]


def test_ground_truth_as_detections_scores_one():
    detections = [{**row, "scores": np.linspace(0.9, 0.5, len(row["labels"]))} for row in TRUTH]
    metrics = coco_metrics(TRUTH, detections, NAMES)
    for name in ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR_1", "AR_100"):
        assert metrics[name] == pytest.approx(1.0), name
    assert metrics["AP_per_class"]["apple"] == pytest.approx(1.0)
    assert metrics["AP_per_class"]["bear"] == pytest.approx(1.0)
    assert math.isnan(metrics["AP_per_class"]["cup"])
    assert all(type(metrics[name]) is float for name, *_ in NUMBERS)


def test_no_detections_score_zero():
    metrics = coco_metrics(TRUTH, [NOTHING] * 3, NAMES)
    assert [metrics[name] for name, *_ in NUMBERS] == [0.0] * 12
    assert metrics["AP_per_class"]["bear"] == 0.0


def test_nothing_to_find_is_nan():
    detections = [found([[0, 0, 5, 5]], [0], [0.5])]
    metrics = coco_metrics([image([], [])], detections, NAMES)
    assert all(math.isnan(metrics[name]) for name, *_ in NUMBERS)


def test_average_precision_by_hand():
    """Four objects; detections by score: hit, miss, hit, miss.

    Precision and recall: (1, 1/4), (1/2, 1/4), (2/3, 2/4), (1/2, 2/4). Interpolated at 101 recalls:
    1 at 0 .. 0.25 (26 points), 2/3 at 0.26 .. 0.50 (25 points), then 0:
    (26 + 25 * 2/3) / 101 = 0.422442.
    """
    corners = [[x, 0, x + 10, 10] for x in (0, 20, 40, 60)]
    detections = found(
        [corners[0], [0, 50, 10, 60], corners[1], [20, 50, 30, 60]], [0] * 4, [0.9, 0.8, 0.7, 0.6]
    )
    metrics = coco_metrics([image(corners, [0] * 4)], [detections], NAMES)
    assert metrics["AP"] == pytest.approx(0.422442, abs=1e-6)
    assert metrics["AP_per_class"]["apple"] == pytest.approx(0.422442, abs=1e-6)
    assert metrics["AR_1"] == pytest.approx(0.25) and metrics["AR_10"] == pytest.approx(0.5)
    assert math.isnan(metrics["AP_large"])


def test_ap_averages_ten_overlaps():
    """IoU 7 / 10 passes at .50, .55, .60, .65 and .70: 5 of 10 thresholds."""
    truth, detections = [image([[0, 0, 10, 10]], [0])], [found([[0, 0, 10, 7.0001]], [0], [0.9])]
    metrics = coco_metrics(truth, detections, NAMES)
    assert metrics["AP"] == pytest.approx(0.5) and metrics["AP50"] == pytest.approx(1.0)
    assert metrics["AP75"] == 0.0


def test_labels_mean_the_names_in_order():
    truth = [image([[0, 0, 9, 9], [20, 0, 29, 9], [40, 0, 49, 9]], [0, 1, 2])]
    detections = [found([[0, 0, 9, 9], [20, 0, 29, 9], [40, 0, 49, 9]], [0, 2, 1], [0.9] * 3)]
    metrics = coco_metrics(truth, detections, ["z", "a", "m"])
    assert metrics["AP_per_class"] == pytest.approx({"z": 1.0, "a": 0.0, "m": 0.0})


def test_detections_in_a_crowd_count_neither_way():
    truth = image([[0, 0, 10, 10], [50, 0, 100, 50]], [0, 0], crowd=np.array([False, True]))
    boxes = [[60, 5, 70, 15], [75, 5, 85, 15], [0, 0, 10, 10]]
    detections = found(boxes, [0, 0, 0], [0.9, 0.8, 0.7])
    assert coco_metrics([truth], [detections], NAMES)["AP"] == pytest.approx(1.0)
    truth["crowd"] = np.array([False, False])
    assert coco_metrics([truth], [detections], NAMES)["AP"] < 0.3


def test_the_annotations_area_decides_the_size():
    box = [[0, 0, 100, 100]]  # a large box of a thin object: mask of 500 square pixels
    detections = [found(box, [0], [0.9])]
    metrics = coco_metrics([image(box, [0], area=np.array([500.0]))], detections, NAMES)
    assert metrics["AP_small"] == pytest.approx(1.0) and math.isnan(metrics["AP_large"])


def test_empty_slots_are_left_out():
    box = [[0, 0, 10, 10], [0, 0, 0, 0]]
    metrics = coco_metrics([image(box, [0, -1])], [found(box, [0, -1], [0.9, 0.0])], NAMES)
    assert metrics["AP"] == pytest.approx(1.0)


def random_images(seed, number=12):
    rng = np.random.default_rng(seed)
    truth, detections = [], []
    for _ in range(number):
        count = rng.integers(0, 6)
        boxes = rng.uniform(0, 200, (count, 4))
        boxes[:, 2:] = boxes[:, :2] + rng.uniform(5, 150, (count, 2))
        labels = rng.integers(0, 3, count)
        crowd = rng.uniform(size=count) < 0.2
        truth.append(image(boxes, labels, crowd=crowd, area=rng.uniform(100, 20000, count)))
        noisy = np.concatenate([boxes + rng.normal(0, 4, boxes.shape), boxes[:2] + 30])
        labels = np.concatenate([labels, labels[:2]])
        detections.append(found(noisy, labels, rng.uniform(size=len(noisy))))
    return truth, detections


@pytest.mark.parametrize("seed", [0, 1])
def test_numbers_equal_pycocotools_fed_with_json(seed):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def xywh(box):
        return [float(v) for v in (box[0], box[1], box[2] - box[0], box[3] - box[1])]

    truth, detections = random_images(seed)
    coco, results = COCO(), []
    coco.dataset = {"images": [], "annotations": []}
    coco.dataset["categories"] = [{"id": k + 1, "name": name} for k, name in enumerate(NAMES)]
    for i, (row, hits) in enumerate(zip(truth, detections, strict=True)):
        coco.dataset["images"].append({"id": i})
        for box, label, crowd, area in zip(
            row["boxes"], row["labels"], row["crowd"], row["area"], strict=True
        ):
            entry = {"id": len(coco.dataset["annotations"]) + 1, "image_id": i, "bbox": xywh(box)}
            entry |= {"category_id": int(label) + 1, "iscrowd": int(crowd), "area": float(area)}
            coco.dataset["annotations"].append(entry)
        for box, label, score in zip(hits["boxes"], hits["labels"], hits["scores"], strict=True):
            entry = {"image_id": i, "category_id": int(label) + 1, "bbox": xywh(box)}
            results.append({**entry, "score": float(score)})
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate(), evaluation.accumulate(), evaluation.summarize()
    metrics = coco_metrics(truth, detections, NAMES)
    assert 0.05 < metrics["AP"] < 0.95
    numbers = [metrics[name] for name, *_ in NUMBERS]
    np.testing.assert_allclose(np.nan_to_num(numbers, nan=-1.0), evaluation.stats)


def test_nothing_is_printed_and_nothing_changed(capsys):
    truth, detections = random_images(2, number=2)
    before = [{key: value.copy() for key, value in row.items()} for row in truth]
    coco_metrics(truth, detections, NAMES)
    assert capsys.readouterr().out == ""
    for row, old in zip(truth, before, strict=True):
        assert set(row) == set(old)
        assert all(np.array_equal(row[key], old[key]) for key in row)


@pytest.mark.parametrize(
    "truth, detections, message",
    [
        (TRUTH, [NOTHING], "one dict per image.*Received: 3 images, 1 dict of"),
        (
            [image([[0, 0, 1, 1]], [3])],
            [NOTHING],
            r"`ground_truth\[0\]\['labels'\]`.*0..2.*Received: 3",
        ),
        (
            [image([], [])],
            [found([[0, 0, 1, 1]], [0, 1], [1, 1])],
            r"`detections\[0\]` must have one label per box.*Received: 1 box, 2 labels",
        ),
    ],
)
def test_wrong_input_is_named(truth, detections, message):
    with pytest.raises(ValueError, match=message):
        coco_metrics(truth, detections, NAMES)


def test_the_table_has_every_number():
    values = {name: k / 100 for k, (name, *_) in enumerate(NUMBERS)}
    values["AP_small"] = float("nan")
    values["AP_per_class"] = {"red cell": 0.25, "cup": float("nan"), "platelet": 0.75}
    lines = format_metrics(values).splitlines()
    assert len(lines) == 12 + 2 + 3
    assert lines[0].split() == [
        *("AP", "Average", "Precision", "IoU=0.50:0.95", "area=all", "detections=100", "0.000")
    ]
    assert lines[3].split()[-1] == "-" and lines[11].split()[-1] == "0.110"
    assert [line.split()[-1] for line in lines[14:]] == ["0.750", "0.250", "-"]
    assert lines[14].split()[0] == "platelet"


def test_of_many_classes_the_best_and_the_worst_are_shown():
    names = [f"class {k}" for k in range(80)]
    per_class = {name: k / 100 for k, name in enumerate(names)} | {"class 79": float("nan")}
    objects = {name: 3 * k for k, name in enumerate(names)} | {"class 78": 1, "class 2": 1234}
    lines = format_metrics({"AP_per_class": per_class}, objects).splitlines()
    assert lines[1] == "AP per class: the best and the worst of 80 (all are in the JSON file)"
    assert lines[2].split() == ["class", "78", "0.780", "1", "object"]
    assert [line.split()[1] for line in lines[2:12]] == [str(k) for k in range(78, 68, -1)]
    assert lines[12] == "  … 59 classes between"
    assert [line.split()[1] for line in lines[13:23]] == [str(k) for k in range(9, -1, -1)]
    assert lines[20].split()[2:] == ["0.020", "1,234", "objects"]
    assert lines[23:] == ["  … 1 class without objects"]
    assert max(map(len, lines)) <= 80
    few = {name: per_class[name] for name in names[:20]}
    assert len(format_metrics({"AP_per_class": few}).splitlines()) == 22
    long = format_metrics({"AP_per_class": {"x" * 300: 0.5}}, {"x" * 300: 5}).splitlines()
    assert max(map(len, long)) <= 80
