"""Detections in the forms of other tools."""

import sys
import types

import numpy as np
import pytest

from keras_det import results
from keras_det.errors import DataError

FOUND = {
    "boxes": np.array([[1.006, 2, 31, 42], [10, 20, 30, 60]], "float32"),
    "scores": np.array([0.987654, 0.5], "float32"),
    "labels": np.array([1, 0], "int32"),
    "num_detections": 2,
    "class_names": ["dog", "cat"],
}
NOTHING = {
    "boxes": np.zeros((0, 4), "float32"),
    "scores": np.zeros(0, "float32"),
    "labels": np.zeros(0, "int32"),
    "num_detections": 0,
    "class_names": [],
}


def test_coco_rows_have_width_and_height():
    first, second = results.to_coco(FOUND, 7)
    assert first == {
        "image_id": 7,
        "category_id": 1,
        "bbox": [1.01, 2, 29.99, 40],
        "score": 0.98765,
    }
    assert second["bbox"] == [10, 20, 20, 40]
    assert [row["category_id"] for row in results.to_coco(FOUND, 7, [18, 17])] == [17, 18]
    assert results.to_coco(NOTHING, 7) == []


def test_rows_of_a_frame_have_its_number_its_time_and_the_tracks():
    frame = {**FOUND, "frame": 12, "time": 0.48049, "track_ids": np.array([3, -1], "int32")}
    rows = results.to_coco(frame, 0)
    assert [(row["frame"], row["time"], row["track_id"]) for row in rows] == [
        (12, 0.48, 3),
        (12, 0.48, -1),
    ]
    image = {**FOUND, "frame": None, "time": None}
    assert results.to_coco(image, 0) == results.to_coco(FOUND, 0)


def test_a_table_of_frames_has_their_numbers_and_tracks():
    pytest.importorskip("pandas", reason="the extra `notebooks`")
    frame = {**FOUND, "frame": 12, "time": 0.48, "track_ids": np.array([3, -1], "int32")}
    table = results.to_dataframe(frame)
    assert table.columns.tolist() == [*results.COLUMNS, "frame", "time", "track_id"]
    assert table["track_id"].tolist() == [3, -1] and table["frame"].tolist() == [12, 12]


def test_methods_do_what_the_functions_do():
    found = results.Detections(FOUND)
    assert found.to_coco(7, [18, 17]) == results.to_coco(FOUND, 7, [18, 17])
    for name in ("to_dataframe", "to_supervision"):
        package = name.removeprefix("to_").replace("dataframe", "pandas")
        pytest.importorskip(package, reason="the extra `video` or `notebooks`")
        assert type(getattr(found, name)()) is type(getattr(results, name)(FOUND))


def test_coco_evaluates_these_rows(tmp_path):
    from keras_det.metrics import coco_metrics

    rows = results.to_coco(FOUND, 0)
    boxes = [[x, y, x + w, y + h] for x, y, w, h in (row["bbox"] for row in rows)]
    truth = [{"boxes": np.array(boxes), "labels": [row["category_id"] for row in rows]}]
    assert coco_metrics(truth, [FOUND], ["cat", "dog"])["AP"] == pytest.approx(1.0)


def test_a_table_has_a_row_for_each_detection():
    pytest.importorskip("pandas", reason="the extra `notebooks`")
    table = results.to_dataframe([FOUND, NOTHING, FOUND], images=["a.jpg", "b.jpg", "c.jpg"])
    assert table.columns.tolist() == ["image", *results.COLUMNS] and len(table) == 4
    assert table["image"].tolist() == ["a.jpg", "a.jpg", "c.jpg", "c.jpg"]
    assert table["class_name"].tolist()[:2] == ["dog", "cat"]
    np.testing.assert_array_equal(table[["x1", "y1", "x2", "y2"]].to_numpy()[:2], FOUND["boxes"])
    one = results.to_dataframe(FOUND)
    assert one.columns.tolist() == list(results.COLUMNS) and one["label"].tolist() == [1, 0]
    assert results.to_dataframe([]).columns.tolist() == list(results.COLUMNS)
    with pytest.raises(ValueError, match="one name for each image. Received: 1 for 2"):
        results.to_dataframe([FOUND, FOUND], images=["a.jpg"])


def test_supervision_keeps_boxes_scores_and_names():
    pytest.importorskip("supervision", reason="the extra `video`")
    found = results.to_supervision(FOUND)
    np.testing.assert_array_equal(found.xyxy, FOUND["boxes"])
    np.testing.assert_array_equal(found.confidence, FOUND["scores"])
    assert found.class_id.tolist() == [1, 0] and found["class_name"].tolist() == ["dog", "cat"]
    assert len(results.to_supervision(NOTHING)) == 0


# FiftyOne brings a database, so a stand-in for its two classes notes what they are given.
def test_fiftyone_gets_shares_of_the_image(monkeypatch):
    noted = types.SimpleNamespace(Detection=dict, Detections=lambda detections: detections)
    monkeypatch.setitem(sys.modules, "fiftyone", noted)
    _, second = results.to_fiftyone(FOUND, (100, 200))
    assert second["label"] == "cat" and second["confidence"] == 0.5
    assert second["bounding_box"] == pytest.approx([0.05, 0.2, 0.1, 0.4])


@pytest.mark.parametrize("name", ["pandas", "supervision", "fiftyone"])
def test_a_missing_package_is_named(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    convert = {"pandas": results.to_dataframe, "supervision": results.to_supervision}
    function = convert.get(name, lambda found: results.to_fiftyone(found, (10, 10)))
    with pytest.raises(DataError, match=rf"needs the package {name}.*Install it with "):
        function(FOUND)
