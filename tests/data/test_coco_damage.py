"""Damaged COCO files: each is an error with its place, or a data set whose notes name each loss."""

import json
import random
import re
import warnings

import numpy as np
import pytest
from pycocotools.coco import COCO

from keras_det.data.formats import coco_repeated
from keras_det.data.formats.coco import read_coco
from keras_det.errors import DataError
from tests.data.builders import annotation, coco_content, write_coco, write_image

TEXT = json.dumps(coco_content([annotation(1, 10, [1, 1, 2, 2])]))


def write_bytes(tmp_path, data):
    for i in range(2):
        write_image(tmp_path / f"a{i}.png")
    (tmp_path / "x.json").write_bytes(data)
    return tmp_path / "x.json"


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"],
)
def test_encodings(tmp_path, encoding):
    dataset = read_coco(write_bytes(tmp_path, TEXT.encode(encoding)))
    assert dataset.class_names == ("dog", "cat") and len(dataset.labels) == 1


DAMAGED = [
    (b"", "which is empty"),
    (b" \n\0\0", "which is empty"),
    (b"{", "line 1, column 2: the file ends too early. Download or export it again"),
    (TEXT[:-30].encode(), "the file ends too early"),
    (b'{"images": [],\n "a": x}', "line 2, column 7: invalid character. Correct this place"),
    (b'{"images": [],\n "a": 1,}', "line 2, column 9: trailing comma"),
    (TEXT.encode() + b"}", "trailing characters"),
    (b"{'images': []}", "line 1, column 2: object keys must be strings"),
    (TEXT.replace('"a0.png"', '"\\ud800.png"').encode(), r"half a character, \\ud800"),
    (TEXT.replace("cat", "\xe9").encode("latin-1"), "the byte 0xe9 is not UTF-8. Save the file as"),
    (TEXT.replace("a0.png", "\xe9").encode("latin-1"), "byte 0xe9 is not UTF-8"),
    (TEXT.encode("utf-16")[:-1], "truncated data.* Save it as UTF-8"),
    (b'{"a": ' + b"[" * 100_000, "nested too deeply"),
    (b"version https://git-lfs.github.com/spec/v1\n", "pointer of Git LFS .* `git lfs pull`"),
    (b"<!DOCTYPE html>", "a web page or XML"),
    (b"PK\3\4", "a zip archive. Unpack it"),
    (b"\x1f\x8b\x08", "a gzip archive. Unpack it"),
]


@pytest.mark.parametrize("data, match", DAMAGED)
def test_damaged_json_names_the_place(tmp_path, data, match):
    with pytest.raises(DataError, match=r"Received: .*x\.json.*" + match) as caught:
        read_coco(write_bytes(tmp_path, data))
    assert str(caught.value).endswith(".")


NOT_COCO = [
    (
        '[{"image_id": 1, "bbox": [], "score": 1}]',
        "holds a list of detection results. Give the file",
    ),
    ("[1, 2]", "which is a list of 2 entries"),
    ('{"a": 1}', "an object with the keys 'a'"),
    ("{}", "an object with the keys none"),
    ("3", "which is only 3"),
    ('"x"', "which is only 'x'"),
    ('{"images": null}', "an object with the keys 'images'"),
    ('{"images": [], "annotations": [{"caption": "x"}]}', "which holds captions of images"),
    ('{"images": [], "annotations": [{"segments_info": []}]}', "holds a panoptic segmentation"),
    ('{"images": {"a": 1}}', "`images` .* must be a list. Received: {'a': 1} in"),
    ('{"images": [], "annotations": "x"}', "`annotations` .* must be a list. Received: 'x' in"),
    ('{"images": [], "annotations": NaN}', "`annotations` .* must be a list. Received: NaN in"),
    ('{"images": [], "categories": {}, "annotations": 1e400}', "`annotations` .* Received: 1e400"),
    ('{"images": [], "categories": 3}', "`categories` .* must be a list. Received: 3 in"),
    ('{"images": [], "categories": [1e400]}', "`categories` .* must be readable"),
    ('{"images": [{"id": 1}], "annotations": []}', "At least one of the images must be readable"),
    ('{"shapes": [], "imagePath": "a.png"}', "LabelMe's annotation of one image"),
]


@pytest.mark.parametrize("text, match", NOT_COCO)
def test_json_that_is_not_coco(tmp_path, text, match):
    with pytest.raises(DataError, match=match):
        read_coco(write_bytes(tmp_path, text.encode()))


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
@pytest.mark.parametrize("first", ["[]", '[{"images": NaN}]'])
def test_a_list_that_stands_twice_is_refused(tmp_path, key, first):
    text = TEXT.replace("{", f'{{"{key}": {first}, ', 1)
    with pytest.raises(DataError, match=f"only once.*x.json, where .*{key} .*more than once"):
        read_coco(write_bytes(tmp_path, text.encode()))


def test_names_of_lists_inside_of_values_are_not_repeated_lists(tmp_path):
    inside = {"images": [{"categories": "images"}], "annotations": "annotations"}
    text = TEXT.replace("{", f'{{"info": {json.dumps(inside)}, "type": "images", ', 1)
    assert len(read_coco(write_bytes(tmp_path, text.encode()))) == len(coco_content()["images"])


# Twenty objects: one bad record of them is left out, two are too many.
@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("field", ["bbox", "file_name", "image_id", "category_id", "iscrowd"])
def test_a_key_that_stands_twice_in_a_record_is_noted(tmp_path, monkeypatch, field, small):
    if not small:
        monkeypatch.setattr(coco_repeated, "SMALL", 0)
    objects = [annotation(i, 10 + i % 2, [0, 0, 2 + i / 9, 3], iscrowd=0) for i in range(20)]
    text = json.dumps(coco_content(objects))
    text = text.replace(f'"{field}": ', f'"{field}": 1, "{field}": ', 1)
    counted = small or field in ("bbox", "file_name")
    if field == "bbox":  # the value that is lost has the right type, too
        text = text.replace('"bbox": 1,', '"bbox": [0, 0, 1, 1],', 1)
    elif field == "file_name":
        text = text.replace('"file_name": 1,', '"file_name": "b.png",', 1)
    path = write_bytes(tmp_path, text.encode())
    for i in range(2):
        write_image(tmp_path / f"a{i}.png")
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        dataset = read_coco(path)
    list_name, count = ("images", 2) if field == "file_name" else ("annotations", 20)
    expected = f"1 of {count} {list_name} left out: unreadable .*x.json, {list_name}.0.: a key may"
    assert bool(re.search(f"{expected}.*'{field}' twice", dataset.summary)) == counted
    assert len(dataset.labels) == (20 - counted if list_name == "annotations" else 10)


@pytest.mark.parametrize("size", [0, 1 << 20])
def test_a_repeated_key_among_unusual_records(tmp_path, monkeypatch, size):
    monkeypatch.setattr(coco_repeated, "SMALL", size)
    objects = [annotation(i, "10", [0, 0, 2 + i / 9, 3], area=float("nan")) for i in range(20)]
    text = json.dumps(coco_content(objects)).replace(
        '"bbox": ', '"bbox": [0, 0, 1, 1], "bbox": ', 1
    )
    with pytest.warns(UserWarning, match="1 of 20 annotations left out.*'bbox' twice"):
        assert len(read_coco(write_bytes(tmp_path, text.encode())).labels) == 19


def test_names_of_keys_inside_of_values_are_not_repeated_keys(tmp_path):
    more = {"attributes": {"bbox": ["bbox"], "image_id": 3}, "note": "bbox"}
    content = coco_content([annotation(1, 10, [0, 0, 2, 3], **more)])
    content["images"][0]["extra"] = {"file_name": "file_name"}
    dataset = read_coco(write_bytes(tmp_path, json.dumps(content).encode()))
    assert len(dataset.labels) == 1 and dataset.notes == ()


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(DataError, match="must exist. Received: .*no.json"):
        read_coco(tmp_path / "no.json")
    with pytest.raises(DataError, match="must be readable. Received: "):
        read_coco(tmp_path)


def test_nan_inside_a_text_stays(tmp_path):
    content = coco_content([annotation(1, 10, [1, 1, 2, 2], area=float("nan"))])
    content["categories"][0]["name"] = "NaN, Infinity"
    with pytest.warns(UserWarning, match="1 of .* areas? replaced .* not numbers"):
        dataset = read_coco(write_coco(tmp_path, content))
    assert dataset.class_names == ("dog", "NaN, Infinity") and dataset.area.tolist() == [4]


ODD = [None, True, -1, 0, 1.5, "", "1", "x", [], [1, 2], {}, {"a": 1}, float("nan"), float("inf")]
ODD += [1e308, -(10**30), 10**400, "\ud800", [[1, 2, 3, 4]], "NaN", "é" * 100]


def original(seed):
    """Thirty objects in ten images, drawn."""
    numbers = random.Random(seed)
    rows = []
    for i in range(30):
        box = [numbers.randint(0, 3), numbers.randint(0, 2), 1 + numbers.random(), 2]
        rows.append(annotation(i + 1, 10 + numbers.randrange(10), box, numbers.choice([3, 7])))
        rows[-1] |= {"area": box[2] * 2, "iscrowd": 0, "segmentation": [[0, 0, 1, 0, 1, 1]]}
    return coco_content(rows, num_images=10), numbers


def damaged(seed):
    """One file with one to three damages, and how many bytes are left of it."""
    content, numbers = original(seed)
    for _ in range(numbers.randint(1, 3)):
        part = numbers.choice(["images", "annotations", "annotations", "categories"])
        records = content[part] if isinstance(content.get(part), list) else []
        record = numbers.choice(records) if records else None
        kind = numbers.randrange(8)
        if kind == 0:
            content[part] = numbers.choice(ODD)
        elif kind == 1:
            content.pop(part, None)
        elif kind == 2 and records:
            records[numbers.randrange(len(records))] = numbers.choice(ODD)
        elif kind == 3 and records:
            records.append(numbers.choice(records))
        elif isinstance(record, dict) and record and kind == 4:
            del record[numbers.choice(sorted(record))]
        elif isinstance(record, dict) and record:
            record[numbers.choice(sorted(record))] = numbers.choice(ODD)
    text = json.dumps(content).encode()
    return text[: numbers.randrange(len(text))] if numbers.random() < 0.1 else text


def accounted(dataset):
    """Objects, images and areas that the notes say were left out."""
    notes = " ".join(dataset.notes)
    left_out = re.findall(r"(\d+) (?:of \d+ )?((?:annotations|objects|boxes) left out)", notes)
    images = re.findall(r"(\d+) of \d+ images left out|(\d+) of \d+ images listed", notes)
    return sum(int(n) for n, _ in left_out), sum(int(a or b) for a, b in images)


def test_damaged_files_lose_nothing_in_silence(tmp_path):
    for i in range(10):
        write_image(tmp_path / f"a{i}.png")
    path = tmp_path / "x.json"
    read, refused = 0, 0
    for seed in range(400):
        data = damaged(seed)
        path.write_bytes(data)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                dataset = read_coco(path)
        except DataError as error:
            assert "Received: " in str(error), (seed, error)
            refused += 1
            continue
        content = json.loads(data)
        objects, images = accounted(dataset)
        # Objects of images that are missing or of another size are not counted.
        if not re.search("no such file|images left out: .*width x height", dataset.summary):
            assert len(dataset.labels) + objects == len(content.get("annotations") or []), seed
        assert len(dataset) + images == len(content["images"]), seed
        assert np.isfinite(dataset.boxes).all() and (dataset.area > 0).all(), seed
        read += 1
    assert read > 100 and refused > 100


@pytest.mark.parametrize("seed", range(3))
def test_undamaged_files_agree_with_pycocotools(tmp_path, seed):
    content, _ = original(seed)
    for image in content["images"]:
        write_image(tmp_path / image["file_name"])
    path = tmp_path / "x.json"
    path.write_text(json.dumps(content))
    dataset, oracle = read_coco(path), COCO(str(path))
    assert list(dataset.image_ids) == list(oracle.getImgIds())
    assert dataset.category_ids == tuple(sorted(oracle.getCatIds()))
    for i, image_id in enumerate(dataset.image_ids):
        rows = oracle.loadAnns(oracle.getAnnIds(imgIds=[image_id]))
        boxes = np.array([row["bbox"] for row in rows]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        np.testing.assert_allclose(dataset[i].boxes, boxes, rtol=1e-6)
        labels = [dataset.category_ids.index(row["category_id"]) for row in rows]
        assert dataset[i].labels.tolist() == labels
        np.testing.assert_allclose(dataset[i].area, [row["area"] for row in rows], rtol=1e-6)
