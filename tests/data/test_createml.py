import json
import random
import warnings

import numpy as np
import pytest

from keras_det.data import load
from keras_det.data.formats import createml
from keras_det.data.formats.createml import read_createml
from keras_det.data.raw import options_of
from keras_det.errors import DataError
from tests.data.builders import write_image


def box(label="cat", **changed):
    """The box [2, 1, 6, 4] of an image 6 high and 8 wide, by its centre."""
    return {"label": label, "coordinates": {"x": 4, "y": 2.5, "width": 4, "height": 3, **changed}}


def entry(*annotations, image="a.jpg", key="image"):
    return {key: image, "annotations": list(annotations)}


def write(root, content, name="_annotations.createml.json", images=("a.jpg",)):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    for image in images:
        write_image(path.parent / image)
    return root


def read(root):
    return createml.read(createml.find(root).everything, options_of())


@pytest.mark.parametrize("key", ["image", "imagefilename"])
def test_boxes_are_centres_in_pixels(tmp_path, key):
    content = [entry(box(), box("ant", x=3), key=key), entry(image="b.jpg", key=key)]
    root = write(tmp_path, content, "labels.json", ("a.jpg", "b.jpg"))
    for path in (root, root / "labels.json"):
        dataset = read_createml(path)
        assert dataset.class_names == ("ant", "cat") and dataset.labels.tolist() == [1, 0]
        np.testing.assert_allclose(dataset.boxes, [[2, 1, 6, 4], [1, 1, 5, 4]])
        assert len(dataset) == 2 and dataset.notes == ()


def test_roboflow_splits_share_one_class_order_and_keep_images_apart(tmp_path):
    write(tmp_path / "train", [entry(box("dog"))])
    write(tmp_path / "valid", [entry(box())])
    train, val, whole = (read_createml(tmp_path, split=s) for s in ("train", "valid", None))
    assert train.class_names == val.class_names == ("cat", "dog")
    assert train.labels.tolist() == [1] and val.labels.tolist() == [0] and len(whole) == 2
    assert len(load(tmp_path, "val")) == 1


def test_image_dir(tmp_path):
    root = write(tmp_path / "data", [entry(box())], images=())
    write_image(tmp_path / "photos" / "a.jpg")
    assert len(read_createml(root, image_dir=tmp_path / "photos")) == 1


def test_annotation_without_box_is_left_out(tmp_path):
    content = [entry(box(), {"label": "cat"}, {"label": "cat", "coordinates": {}})]
    raw = read(write(tmp_path, content))
    assert len(raw.labels) == 1
    assert (
        "Annotations without a box, which are left out: 2" in raw.notes[0]
        and "annotations[1]" in raw.notes[0]
    )


@pytest.mark.parametrize(
    "bad, match",
    [
        (box(x="wide"), r"image 0, annotations\[20\]: `coordinates.x` .* Received: 'wide'"),
        (box(width=None), "`coordinates.width` must be a number. Received: None"),
        (box(height=float("nan")), "`coordinates.height` must be a number. Received: nan"),
        (box(y=10**400), "`coordinates.y` must be a number"),
        ({"label": None, "coordinates": {}}, "`label` must be a name. Received: None"),
        ({"label": "cat", "coordinates": [1, 2]}, "`coordinates` must hold x, y, width, height"),
        (3, "must have `label` and `coordinates`. Received: 3"),
    ],
)
def test_a_bad_annotation_is_left_out_and_many_are_an_error(tmp_path, bad, match):
    raw = read(write(tmp_path, [entry(*[box()] * 20, bad)]))
    assert len(raw.labels) == 20
    assert "1 of 22 annotations left out" in raw.notes[0]
    with pytest.raises(DataError, match=f"may be unreadable.*{match}"):
        read(write(tmp_path, [entry(*[box()] * 20, *[bad] * 2)]))


@pytest.mark.parametrize(
    "content, match",
    [
        ('[{"image": "a.jpg", "annotations": [', "valid JSON. Received: .*json, line 1, column 37"),
        ("[" * 100_000, "nested too deeply"),
        ("[" + "9" * 5000 + "]", "valid JSON"),
        ([{"annotations": []}, 3], "`image` must be a file name. Received: {'annotations': "),
        ([{"image": "a.jpg", "annotations": 3}] * 2, "`annotations` must be a list. Received: 3"),
    ],
)
def test_damaged_files(tmp_path, content, match):
    with pytest.raises(DataError, match=match):
        read(write(tmp_path, content))


def test_other_json_is_not_createml(tmp_path):
    write(tmp_path, {"images": [], "annotations": []}, "a.json")
    write(tmp_path, [{"image": "a.jpg", "shapes": []}], "b.json")
    write(tmp_path, [1, 2], "c.json")
    assert createml.find(tmp_path) is None and createml.resembles(tmp_path) is None
    write(tmp_path, {}, "_annotations.createml.json")
    assert "is not a list of images" in createml.resembles(tmp_path)


def test_several_files(tmp_path):
    for name in ("a.json", "b.json"):
        write(tmp_path, [entry(box())], name)
    with pytest.raises(DataError, match="must hold the data set. Received: a.json, b.json in"):
        createml.find(tmp_path)


@pytest.mark.parametrize("seed", range(20))
def test_random_damage_is_an_error_or_a_note(tmp_path, seed):
    """One value anywhere in the file is replaced by one of another type."""
    draw = random.Random(seed)
    content = [entry(box(), box("dog")), entry(box(), image="b.jpg")]
    place = draw.choice(content)
    while True:
        key = draw.choice(range(len(place)) if isinstance(place, list) else sorted(place))
        if not isinstance(place[key], list | dict) or not place[key] or draw.random() < 0.3:
            break
        place = place[key]
    place[key] = draw.choice([None, True, -1, 1e999, "x", [], {}, [[]], "", 1e18])
    root = write(tmp_path, content, images=("a.jpg", "b.jpg"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            dataset = load(root)
        except DataError as error:
            assert "Received:" in str(error)
            return
    assert len(dataset) <= 2 and len(dataset.labels) <= 3
    assert len(dataset.labels) == 3 or caught or place[key] in (None, [], {})
