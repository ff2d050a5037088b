import json
import math
import warnings

import numpy as np
import pytest

from keras_det.data import read_label_studio
from keras_det.data.formats import label_studio
from keras_det.errors import DataError
from tests.data.builders import write_image

SIZE = {"original_width": 200, "original_height": 100, "image_rotation": 0}


def region(value, kind="rectanglelabels", **more):
    names = {"from_name": "label", "to_name": "image", "type": kind}
    return {**names, **SIZE, "value": value, **more}


def rectangle(label="cat", x=10, y=20, width=30, height=40, rotation=0, **more):
    box = {"x": x, "y": y, "width": width, "height": height, "rotation": rotation}
    return region({**box, "rectanglelabels": [label] if isinstance(label, str) else label}, **more)


def task(number, *results, image=None, **more):
    image = image or f"/data/upload/1/{number}.png"
    annotations = [{"id": 9, "was_cancelled": False, "result": list(results)}]
    return {"id": number, "annotations": annotations, "data": {"image": image}, **more}


def write(root, tasks, images=("1.png", "2.png"), name="project.json"):
    root.mkdir(exist_ok=True, parents=True)
    (root / name).write_text(json.dumps(tasks))
    for image in images:
        write_image(root / "images" / image, 100, 200)
    return root / name


def read(path, **arguments):
    """The data set and its notes in one text."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = read_label_studio(path, **arguments)
    return dataset, " ".join(dataset.notes)


# 10% and 30% of 200 are 20 and 60; 20% and 40% of 100 are 20 and 40.
BOX = [20, 20, 80, 60]


def test_rectangles_in_percent(tmp_path):
    path = write(tmp_path, [task(1, rectangle(), rectangle("ant", 0, 0, 50, 100)), task(2)])
    for place in (path, tmp_path):
        dataset, notes = read(place)
        np.testing.assert_allclose(dataset.boxes, [BOX, [0, 0, 100, 100]], rtol=1e-6)
        assert dataset.class_names == ("ant", "cat") and dataset.labels.tolist() == [1, 0]
        assert dataset.image_ids == (1, 2) and dataset.row_splits.tolist() == [0, 2, 2]
        assert "left out" not in notes


# A square of 20 by 20 pixels at (40, 40), turned by 45 degrees about its first corner: it reaches
# 14.142 to both sides and 28.284 down. The ellipse of radii 20 and 10 pixels at (100, 50), turned
# by 90 degrees, is 10 wide and 20 high to each side.
@pytest.mark.parametrize(
    "drawn, box, kind",
    [
        (
            rectangle("x", 20, 40, 10, 20, 45),
            [40 - 200**0.5, 40, 40 + 200**0.5, 40 + 800**0.5],
            "rotated box",
        ),
        (
            region({"x": 50, "y": 50, "radiusX": 10, "radiusY": 10, "ellipselabels": ["x"]}),
            [80, 40, 120, 60],
            "ellipse",
        ),
        (
            region(
                {"x": 50, "y": 50, "radiusX": 10, "radiusY": 10, "rotation": 90, "labels": ["x"]}
            ),
            [90, 30, 110, 70],
            "ellipse",
        ),
        (
            region({"points": [[10, 10], [20, 50], [5, 30]], "polygonlabels": ["x"]}),
            [10, 10, 40, 50],
            "polygon",
        ),
    ],
)
def test_box_around_other_shapes_with_a_note(tmp_path, drawn, box, kind):
    dataset, notes = read(write(tmp_path, [task(1, drawn)]))
    np.testing.assert_allclose(dataset.boxes, [box], rtol=1e-5)
    assert f"as the box around their shape: 1, drawn as 1 {kind} (" in notes


def test_a_turn_by_any_angle_encloses_the_turned_corners(tmp_path):
    for degrees in (10, 100, 200, 300):
        dataset, _ = read(write(tmp_path, [task(1, rectangle("x", 50, 50, 5, 10, degrees))]))
        angle = math.radians(degrees)
        turned = [
            (
                100 + a * math.cos(angle) - b * math.sin(angle),
                50 + a * math.sin(angle) + b * math.cos(angle),
            )
            for a in (0, 10)
            for b in (0, 10)
        ]
        expected = [*np.min(turned, axis=0), *np.max(turned, axis=0)]
        np.testing.assert_allclose(dataset.boxes, [expected], rtol=1e-5)


def test_regions_without_box_or_class_are_left_out(tmp_path):
    results = [
        rectangle(),
        region({"format": "rle", "rle": [1, 2], "brushlabels": ["cat"]}, "brushlabels"),
        region({"x": 1, "y": 2, "width": 0.4, "keypointlabels": ["nose"]}, "keypointlabels"),
        rectangle([]),
        region({"choices": ["good"]}, "choices"),
        {"type": "relation", "from_id": "a", "to_id": "b", "direction": "right"},
    ]
    dataset, notes = read(write(tmp_path, [task(1, *results)]))
    assert dataset.class_names == ("cat",) and len(dataset.labels) == 1
    assert (
        "Shapes left out, because they have no box or no class: 3, 1 brush mask, 1 key point"
        in notes
    )
    assert "1 region without class" in notes and "task 1, result[1]" in notes


def test_region_and_class_as_two_records_with_one_id(tmp_path):
    bare = {key: rectangle()["value"][key] for key in ("x", "y", "width", "height", "rotation")}
    results = [
        region(bare, "rectangle", id="r1"),
        region({**bare, "labels": ["dog"]}, "labels", id="r1"),
        region({**bare, "choices": ["wet"]}, "choices", id="r1"),
        rectangle(["cat", "dog"], 0, 0, id="r2"),
    ]
    dataset, notes = read(write(tmp_path, [task(1, *results)]))
    assert dataset.labels.tolist() == [1, 0] and dataset.class_names == ("cat", "dog")
    assert "1 region with several classes: the first class is used" in notes


def annotated(**more):
    return {"id": 1, "result": [rectangle("first")], "was_cancelled": False, **more}


def test_several_annotators_skipped_and_unlabelled_tasks(tmp_path):
    second = annotated(result=[rectangle("second")])
    tasks = [
        {**task(1), "annotations": [annotated(was_cancelled=True), second]},
        {**task(2), "annotations": [annotated(), {**second, "ground_truth": True}]},
        {**task(3), "annotations": [annotated(was_cancelled=True)]},
        {**task(4), "annotations": []},
        {**task(5), "annotations": [], "predictions": [annotated()]},
    ]
    dataset, notes = read(write(tmp_path, tasks))
    assert dataset.class_names == ("second",) and dataset.image_ids == (1, 2)
    for text in (
        "1 task annotated by several people: the annotation marked as ground truth is read",
        "1 task left out: skipped (first: ",
        "1 task left out: not labelled",
        "1 task left out: only predictions, which are not ground truth",
    ):
        assert text in notes


def test_only_predictions_are_refused(tmp_path):
    tasks = [{**task(k), "annotations": [], "predictions": [annotated()]} for k in (1, 2)]
    with pytest.raises(DataError, match="must be labelled.*2 tasks: only predictions"):
        read(write(tmp_path, tasks))


def test_old_completions(tmp_path):
    record = task(1, rectangle())
    record["completions"] = record.pop("annotations")
    assert len(read(write(tmp_path, [record]))[0].labels) == 1


def test_short_form_with_several_annotators(tmp_path):
    value = {**rectangle()["value"], "original_width": 200, "original_height": 100}
    head = {"image": "/data/upload/1/1.png", "id": 5, "created_at": "2024-01-01T00:00:00Z"}
    records = [
        {**head, "label": [value], "annotator": 1, "annotation_id": 1},
        {**head, "label": [{**value, "x": 0}], "annotator": 2, "annotation_id": 2},
        {**head, "image": "/data/upload/1/2.png", "id": 6, "annotator": 1, "annotation_id": 3},
    ]
    dataset, notes = read(write(tmp_path, records))
    np.testing.assert_allclose(dataset.boxes, [BOX], rtol=1e-6)
    assert dataset.row_splits.tolist() == [0, 1, 1]
    assert "1 task annotated by several people" in notes


def test_annotations_as_storages_hold_them(tmp_path):
    record = {"id": 3, **task(1, rectangle())["annotations"][0]}
    record["task"] = {"id": 1, "data": {"image": "s3://bucket/photos/1.png"}}
    assert read(write(tmp_path, record))[0].image_ids == (1,)


@pytest.mark.parametrize(
    "image",
    [
        "/data/upload/1/1.png",
        "/data/local-files/?d=photos/1.png",
        "s3://bucket/a/1.png",
        "https://example.org/x/1.png?X-Amz-Date=2024",
        "1.png",
    ],
)
def test_names_of_images(tmp_path, image):
    dataset, _ = read(write(tmp_path, [task(1, rectangle(), image=image)]))
    assert dataset.image_paths == (str(tmp_path / "images" / "1.png"),)


def test_uploaded_image_under_its_name_on_the_server(tmp_path):
    name = "1a2b3c4d-my_cat.png"
    record = task(1, rectangle(), image=f"/data/upload/7/{name}", file_upload=name)
    dataset, _ = read(write(tmp_path, [record], [name]))
    assert dataset.image_paths == (str(tmp_path / "images" / name),)


def test_the_image_is_found_by_its_target_or_its_suffix():
    names = label_studio.image_name
    (_, one), (_, two) = label_studio.tasks_of(
        [
            {"id": 1, "data": {"text": "a.txt", "view": "b.jpg"}, "annotations": []},
            {**task(2, {**rectangle(), "to_name": "left"}), "data": {"image": "r", "left": "l"}},
        ]
    )
    assert (names(one), names(two)) == ("b.jpg", "l")


def test_files_of_splits_and_several_exports(tmp_path):
    write(tmp_path, [task(1, rectangle("cat"))], name="train.json")
    write(tmp_path, [task(2, rectangle("dog"))], name="val.json")
    train, val = (read(tmp_path, split=split)[0] for split in ("train", "val"))
    assert train.class_names == val.class_names == ("cat", "dog")
    assert (train.image_ids, val.image_ids, read(tmp_path)[0].image_ids) == ((1,), (2,), (1, 2))
    write(tmp_path / "x", [task(1, rectangle())], name="project-1.json")
    write(tmp_path / "x", [task(1, rectangle())], name="project-2.json")
    with pytest.raises(DataError, match="`split` must name .* project-1, project-2"):
        read(tmp_path / "x")


def test_unreadable_records_are_left_out_or_refused(tmp_path):
    bad = [rectangle(x="10"), rectangle(width=float("nan")), rectangle(rotation=5)]
    del bad[2]["original_width"]
    good = [rectangle(x=k) for k in range(60)]
    dataset, notes = read(write(tmp_path, [task(1, *good, *bad)]))
    assert len(dataset.labels) == 60
    assert "3 of 63 shapes left out: unreadable (first: " in notes
    assert "task 1, result[60]: `x` must be a number, in percent. Received: '10'" in notes
    with pytest.raises(DataError, match="At most 5% of the shapes"):
        read(write(tmp_path, [task(1, *good[:3], *bad)]))
    with pytest.raises(DataError, match=r"at least one image.*`data` must name.*\['text'\]"):
        read(write(tmp_path, [{**task(1, rectangle()), "data": {"text": "hello"}}]))


def test_find_is_for_label_studio_only(tmp_path):
    createml = [{"image": "a.jpg", "annotations": [{"label": "x", "coordinates": {"x": 1}}]}]
    results = [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]
    for name, content in (("createml", createml), ("results", results), ("empty", [])):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(content))
        assert label_studio.find(path) is None
    assert label_studio.find(tmp_path) is None
    with pytest.raises(DataError, match="Label Studio's JSON must be a list of tasks"):
        read_label_studio(tmp_path)


def test_boxes_with_one_id_at_two_places_are_two_objects(tmp_path):
    """Scripts that write predictions give the number of the task to each box."""
    boxes = [(10, "cat"), (50, "dog")]
    results = [rectangle(label, x, 20, 30, 40, id="p-1") for x, label in boxes]
    dataset, notes = read(write(tmp_path, [task(1, *results)]))
    assert dataset.labels.tolist() == [0, 1] and dataset.boxes[:, 0].tolist() == [20, 100]
    assert "several classes" not in notes
