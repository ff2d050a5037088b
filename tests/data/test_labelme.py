import json
import os
import warnings

import pytest

from keras_det.data import read_labelme
from keras_det.data.formats import labelme
from keras_det.errors import DataError
from tests.data.builders import write_image


def shape(label, points, shape_type="rectangle", **more):
    return {"label": label, "points": points, "shape_type": shape_type, "flags": {}, **more}


def content(shapes, image_path="a.png", height=60, width=80, **more):
    sizes = {"imageHeight": height, "imageWidth": width}
    head = {"version": "5.0", "flags": {}, "shapes": shapes, "imagePath": image_path}
    return {**head, "imageData": None, **sizes, **more}


def write(path, shapes, image=None, **more):
    """Writes a file, and its image beside it or at `image`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = image or path.with_suffix(".png")
    path.write_text(json.dumps(content(shapes, **{"image_path": image.name, **more})))
    write_image(image, 60, 80)
    return path


def read(path, **arguments):
    """The data set and its notes in one text."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = read_labelme(path, **arguments)
    return dataset, " ".join(dataset.notes)


CAT = shape("cat", [[40, 30], [4, 10]])


def test_rectangle_with_corners_in_any_order_and_sorted_classes(tmp_path):
    write(tmp_path / "a.json", [CAT, shape("ant", [[1, 2], [3, 5]])])
    write(tmp_path / "b.json", [])
    dataset, notes = read(tmp_path)
    assert dataset.class_names == ("ant", "cat")
    assert dataset.boxes.tolist() == [[4, 10, 40, 30], [1, 2, 3, 5]]
    assert dataset.labels.tolist() == [1, 0]
    assert dataset.row_splits.tolist() == [0, 2, 2]
    assert dataset.image_ids == ("a", "b")
    assert notes == ""


# Circle: centre (30, 20), a point 3 right and 4 below: radius 5. A mask includes its last row and
# column: points (2, 3), (9, 7) are 8 pixels by 5.
@pytest.mark.parametrize(
    "drawn, box, kind",
    [
        (shape("x", [[5, 6], [20, 1], [7, 30]], "polygon"), [5, 1, 20, 30], "1 polygon ("),
        (shape("x", [[5, 6], [20, 1], [7, 30]], None), [5, 1, 20, 30], "1 polygon ("),
        (shape("x", [[30, 20], [33, 24]], "circle"), [25, 15, 35, 25], "1 circle ("),
        (shape("x", [[2, 3], [9, 7]], "mask", mask="…"), [2, 3, 10, 8], "1 mask ("),
        (
            shape("x", [[10, 0], [20, 10], [10, 20], [0, 10]], "rotation", direction=0.8),
            [0, 0, 20, 20],
            "1 rotated box (",
        ),
        (shape("x", [[1, 2], [9, 2], [9, 8], [1, 8]]), [1, 2, 9, 8], ""),
    ],
)
def test_box_around_other_shapes_with_a_note(tmp_path, drawn, box, kind):
    write(tmp_path / "a.json", [drawn])
    dataset, notes = read(tmp_path)
    assert dataset.boxes.tolist() == [box]
    assert (f"as the box around their shape: 1, drawn as {kind}" in notes) if kind else not notes


def test_points_and_lines_are_left_out_and_counted(tmp_path):
    others = [
        shape("nose", [[1, 2]], "point"),
        shape("nose", [[1, 3]], "point"),
        shape("edge", [[1, 2], [5, 5]], "line"),
        shape("edge", [[1, 2], [5, 5], [9, 9]], "linestrip"),
        shape("cat", [[1, 2], [5, 5]], "polygon"),
        shape("__ignore__", [[1, 2], [5, 5]]),
    ]
    write(tmp_path / "a.json", [CAT, *others])
    dataset, notes = read(tmp_path)
    assert dataset.class_names == ("cat",) and len(dataset.labels) == 1
    assert (
        "Shapes left out, because they have no box or no class: 6, 2 points, 1 line, 1 linestrip"
        in notes
    )
    assert "1 region __ignore__ (first: " in notes and "a.json, shapes[1])" in notes


def test_polygons_with_one_group_are_one_object_and_boxes_are_not(tmp_path):
    triangle = [[10, 10], [20, 10], [15, 20]]
    far = [[40, 40], [50, 40], [45, 55]]
    shapes = [
        shape("cat", triangle, "polygon", group_id=1),
        shape("cat", far, "polygon", group_id=1),
        shape("dog", far, "polygon", group_id=1),
        shape("cat", triangle, "polygon", group_id=None),
        shape("cat", [[0, 0], [9, 9]], group_id=2),
        shape("cat", [[20, 20], [29, 29]], group_id=2),
    ]
    write(tmp_path / "a.json", shapes)
    dataset, notes = read(tmp_path)
    assert dataset.boxes.tolist() == [
        [10, 10, 50, 55],
        [40, 40, 50, 55],
        [10, 10, 20, 20],
        [0, 0, 9, 9],
        [20, 20, 29, 29],
    ]
    assert "Parts merged into one object, because they have the same class and group: 1" in notes
    assert "Boxes with the same class and group as another box of their image: 1." in notes


def test_labels_txt_gives_the_order_without_background(tmp_path):
    (tmp_path / "labels.txt").write_text("__ignore__\n_background_\nzebra\ncat\n", "utf-8-sig")
    write(tmp_path / "a.json", [CAT, shape("new", [[1, 1], [5, 5]])])
    dataset, notes = read(tmp_path)
    assert dataset.class_names == ("zebra", "cat", "new")
    assert "Classes that come after the listed ones: 1 not in" in notes and "new" in notes
    (tmp_path / "labels.txt").rename(tmp_path / "label_names.txt")
    write(tmp_path / "labels" / "b.json", [])
    (tmp_path / "labels" / "classes.txt").write_text("new\ncat\n")
    assert read(tmp_path)[0].class_names == ("new", "cat")


@pytest.mark.parametrize("folder", ["annotations", "labels", "json"])
def test_files_in_a_folder_beside_the_images(tmp_path, folder):
    write(tmp_path / folder / "a.json", [CAT], tmp_path / "images" / "a.png")
    dataset, notes = read(tmp_path)
    assert dataset.image_paths == (str(tmp_path / "images" / "a.png"),)
    assert notes == ""


@pytest.mark.parametrize("name", ["..\\images\\a.png", "../images/a.png", "C:\\work\\a.png"])
def test_paths_of_windows_and_of_other_folders(tmp_path, name):
    path = write(
        tmp_path / "labels" / "a.json", [CAT], tmp_path / "images" / "a.png", image_path=name
    )
    dataset, _ = read(tmp_path)
    assert os.path.samefile(dataset.image_paths[0], tmp_path / "images" / "a.png")
    assert os.path.samefile(read(path)[0].image_paths[0], tmp_path / "images" / "a.png")


def test_split_folders_with_the_same_file_names(tmp_path):
    write(tmp_path / "train" / "a.json", [CAT])
    write(tmp_path / "val" / "a.json", [shape("dog", [[1, 2], [5, 9]])])
    layout = labelme.find(tmp_path)
    assert list(layout.splits) == ["train", "val"]
    train, val, both = (read(tmp_path, split=split)[0] for split in ("train", "val", None))
    assert train.class_names == val.class_names == ("cat", "dog")
    assert (train.labels.tolist(), val.labels.tolist()) == ([0], [1])
    assert both.image_paths == train.image_paths + val.image_paths
    with pytest.raises(DataError, match="`split` must name a split .*'test'.* train, val"):
        read(tmp_path, split="test")


def test_splits_below_annotations_and_images(tmp_path):
    for split, height in (("train", 20), ("valid", 30)):
        image = tmp_path / "images" / split / "a.png"
        write(tmp_path / "labels" / split / "a.json", [shape("x", [[0, 0], [9, height]])], image)
    assert list(labelme.find(tmp_path).splits) == ["train", "valid"]
    for split, height in (("train", 20), ("valid", 30)):
        dataset, _ = read(tmp_path, split=split)
        assert dataset.image_paths == (str(tmp_path / "images" / split / "a.png"),)
        assert dataset.boxes.tolist() == [[0, 0, 9, height]]


def test_image_dir_of_several_splits(tmp_path):
    for split in ("train", "val"):
        image = tmp_path / "pictures" / split / "a.png"
        write(tmp_path / "data" / split / "a.json", [CAT], image)
    dataset, _ = read(tmp_path / "data", image_dir=tmp_path / "pictures")
    folder = tmp_path / "pictures"
    assert dataset.image_paths == (str(folder / "train" / "a.png"), str(folder / "val" / "a.png"))


def test_images_inside_the_file_only(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content([CAT], imageData="iVBORw0KGgo=")))
    with pytest.raises(DataError, match="only inside .*Give the folder .*labelme_export_"):
        read(tmp_path)
    write(tmp_path / "b.json", [CAT])
    dataset, notes = read(tmp_path)
    assert dataset.image_ids == ("b",)
    assert "only inside their JSON file (`imageData`), and so are not read: 1" in notes


def test_a_renamed_file_and_foreign_files_are_noted(tmp_path):
    write(tmp_path / "a.json", [CAT], tmp_path / "old.png")
    (tmp_path / "config.json").write_text('{"images": 3}')
    dataset, notes = read(tmp_path)
    assert dataset.image_paths == (str(tmp_path / "old.png"),)
    assert "not named like the image in their `imagePath`: 1" in notes
    assert "because they have no `shapes` and `imagePath`: 1" in notes and "config.json" in notes


def test_difficult_shapes_of_x_anylabeling_are_crowd(tmp_path):
    write(tmp_path / "a.json", [{**CAT, "difficult": True}, {**CAT, "difficult": False}])
    assert read(tmp_path)[0].crowd.tolist() == [True, False]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_encodings(tmp_path, encoding):
    path = write(tmp_path / "a.json", [shape("Käse", [[1, 2], [5, 9]])])
    path.write_text(path.read_text(), encoding)
    assert read(tmp_path)[0].class_names == ("Käse",)


def test_one_unreadable_file_is_left_out_and_many_are_refused(tmp_path):
    for i in range(3):
        write(
            tmp_path / f"{i}.json",
            [CAT, {**CAT, "points": [[1, "x"], [5, 5]]}][: 2 if i == 0 else 1],
        )
    (tmp_path / "1.json").write_text('{"shapes": [')
    dataset, notes = read(tmp_path)
    assert len(dataset) == 2 and dataset.boxes.tolist() == [[4, 10, 40, 30]] * 2
    assert "1 of 3 files left out: unreadable (first: " in notes and "1.json" in notes
    assert "0.json, shapes[1]: `points` must hold [x, y] as numbers. Received: [1, 'x']" in notes
    (tmp_path / "2.json").write_text('{"shapes": 5, "imagePath": "2.png"}')
    with pytest.raises(DataError, match="At most 5% of the files .*2 of 3"):
        read(tmp_path)


def test_find_is_for_labelme_only(tmp_path):
    (tmp_path / "instances_train.json").write_text('{"images": [], "annotations": []}')
    assert labelme.find(tmp_path) is None
    assert labelme.find(tmp_path / "instances_train.json") is None
    assert labelme.resembles(tmp_path) is None
    (tmp_path / "b.json").write_text('[{"shape_type": "rectangle"}]')
    assert "b.json" in labelme.resembles(tmp_path)
    with pytest.raises(DataError, match="A LabelMe data set must hold"):
        read_labelme(tmp_path)


def test_same_boxes_as_globox(tmp_path):
    globox = pytest.importorskip("globox")
    for i, name in enumerate("abc"):
        write(tmp_path / f"{name}.json", [shape("cat", [[i, 2], [30, 40 + i]]), CAT])
    expected = globox.AnnotationSet.from_labelme(tmp_path)
    dataset, _ = read(tmp_path)
    for sample in dataset:
        boxes = expected[os.path.basename(sample.image_path)].boxes
        ours = [[float(v) for v in box] for box in sample.boxes]
        assert ours == [list(map(float, box.ltrb)) for box in boxes]


def test_a_missing_image_is_not_taken_from_another_split(tmp_path):
    for name in ("train/a", "train/b", "valid/c"):
        file = tmp_path / f"{name}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({"shapes": [], "imagePath": f"{file.stem}.png"}))
    for name in ("train/a", "valid/b", "valid/c"):
        write_image(tmp_path / f"{name}.png")
    with pytest.warns(UserWarning, match="1 of 3 images left out: no such file.*train/b.png"):
        assert len(read_labelme(tmp_path)) == 2
