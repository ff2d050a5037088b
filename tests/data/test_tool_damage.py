"""Damaged files of annotation tools: each is refused, or what is left out is noted."""

import copy
import json
import random
import re
import warnings

import numpy as np
import pytest

from keras_det.data import read_cvat, read_label_studio, read_labelme
from keras_det.errors import DataError
from tests.data import test_cvat, test_label_studio, test_labelme
from tests.data.builders import write_image
from tests.data.every_format import places

# No texts and no small numbers: those could be another right value.
JUNK = (None, [], {}, True, float("nan"), float("inf"), -1e12, 10**400, [[]], {"a": None})
TRIES = 100


def spoiled(content, rng):
    """A copy with one value replaced, or one key of an object removed."""
    content = copy.deepcopy(content)  # not by JSON: a value that stands twice is spoiled twice
    *path, last = rng.choice(list(places(content)))
    inside = content
    for key in path:
        inside = inside[key]
    if rng.random() < 0.3 and isinstance(last, str):
        del inside[last]
    else:
        inside[last] = rng.choice(JUNK)
    return json.dumps(content)


def cut(data, rng):
    """The bytes of a file with a part removed, doubled, overwritten, or its end missing."""
    a, b = sorted(rng.randrange(len(data)) for _ in range(2))
    junk = bytes(rng.randrange(256) for _ in range(5))
    return rng.choice(
        [data[:a], data[:a] + data[b:], data[:b] + data[a:], data[:a] + junk + data[a + 5 :]]
    )


def outcome(read, path):
    """Boxes, classes and notes of a file, or None where it is refused with a DataError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = read(path)
        except DataError as error:
            assert "Received: " in str(error)
            return None
    assert np.isfinite(dataset.boxes).all()
    return sorted(map(tuple, dataset.boxes.tolist())), len(dataset), dataset.notes


def labelme_content():
    circle = test_labelme.shape("dog", [[30, 20], [33, 24]], "circle")
    outline = test_labelme.shape("dog", [[1, 1], [50, 20], [30, 55]], "polygon", group_id=1)
    return test_labelme.content([test_labelme.CAT, circle, outline], "a.png")


def label_studio_content():
    turned = test_label_studio.rectangle("dog", 20, 20, 10, 10, 30)
    outline = {"points": [[1, 1], [50, 20], [30, 60]], "polygonlabels": ["cat"]}
    regions = [test_label_studio.rectangle(), turned, test_label_studio.region(outline)]
    return [test_label_studio.task(k, *regions, image=f"{k}.png") for k in (1, 2)]


@pytest.fixture
def tools(tmp_path):
    """`{tool: (reader, file, JSON content or text)}`, with images beside the files."""
    write_image(tmp_path / "a.png", 60, 80)
    for k in (1, 2):
        write_image(tmp_path / "images" / f"{k}.png", 100, 200)
    shapes = [test_cvat.box(), '<ellipse label="cat" cx="30" cy="25" rx="9" ry="5"/>']
    xml = test_cvat.write(tmp_path, test_cvat.image(0, "a.png", *shapes), images=["a.png"])
    return {
        "labelme": (read_labelme, tmp_path / "a.json", labelme_content()),
        "label_studio": (read_label_studio, tmp_path / "p.json", label_studio_content()),
        "cvat": (read_cvat, xml, xml.read_text()),
    }


@pytest.mark.parametrize("tool", ["labelme", "label_studio"])
def test_a_wrong_value_is_refused_noted_or_harmless(tools, tool):
    read, path, content = tools[tool]
    path.write_text(json.dumps(content))
    good = outcome(read, path)
    rng = random.Random(3)
    refused = noted = 0
    for _ in range(TRIES):
        path.write_text(text := spoiled(content, rng))
        found = outcome(read, path)
        if found is None:
            refused += 1
        elif found[:2] != good[:2]:
            assert found[2] != good[2], text
            noted += 1
    assert refused and noted > 3


def test_a_wrong_attribute_of_cvat_is_refused_noted_or_harmless(tools):
    read, path, text = tools["cvat"]
    good = outcome(read, path)
    found = list(re.finditer(r'(\w+)="([^"]*)"', text.partition("</meta>")[2]))
    start = text.index("</meta>") + len("</meta>")
    rng = random.Random(3)
    noted = 0
    for _ in range(TRIES):
        match = rng.choice(found)
        value = rng.choice(["", "x", "nan", "inf", "-1e400", "1,5", "9" * 400])
        new = rng.choice(["", f'{match[1]}="{value}"'])
        if match[1] in ("label", "name") and new:
            continue
        path.write_text(text[: start + match.start()] + new + text[start + match.end() :])
        result = outcome(read, path)
        if result is not None and result[:2] != good[:2]:
            assert result[2] != good[2], new
            noted += 1
    assert noted > 3


@pytest.mark.parametrize("tool", ["labelme", "label_studio", "cvat"])
def test_damaged_bytes_never_end_in_another_error(tools, tool):
    read, path, content = tools[tool]
    data = (content if tool == "cvat" else json.dumps(content)).encode()
    rng = random.Random(3)
    refused = 0
    for _ in range(TRIES):
        path.write_bytes(cut(data, rng))
        refused += outcome(read, path) is None
    assert refused > TRIES / 2


@pytest.mark.parametrize("tool", ["labelme", "label_studio", "cvat"])
def test_deep_and_empty_files(tools, tool):
    read, path, _ = tools[tool]
    deep = {
        "labelme": '{"shapes": [' + "[" * 10**5,
        "label_studio": '[{"result": ' + "[" * 10**5,
        "cvat": "<annotations>" + "<image>" * 10**5,
    }
    for text in (deep[tool], "", "\0\0\0\0", "\ufeff"):
        path.write_text(text)
        assert outcome(read, path) is None


def test_a_key_that_stands_twice_is_never_lost_in_silence(tmp_path):
    for name in ("a", "b"):
        write_image(tmp_path / f"{name}.png")
        text = json.dumps({"shapes": [], "imagePath": f"{name}.png"})
        (tmp_path / f"{name}.json").write_text(text)
    text = text.replace("{", '{"shapes": [{"label": "cat"}], ', 1)
    (tmp_path / "b.json").write_text(text)
    with pytest.warns(UserWarning, match="1 of 2 files left out.*'shapes' twice in .*b.json"):
        assert len(read_labelme(tmp_path)) == 1
    (tmp_path / "p.json").write_text('[{"id": 1, "id": 2, "data": {}, "annotations": []}]')
    with pytest.raises(DataError, match="only once in a JSON object.*'id' twice in .*p.json"):
        read_label_studio(tmp_path / "p.json")
