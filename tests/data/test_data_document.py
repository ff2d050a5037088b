"""docs/data.md: every tree in it is built and read, and what messages say of it exists."""

import re
import warnings

import numpy as np
import pytest
from PIL import Image

from keras_det.data import load
from keras_det.data.formats import FORMATS
from keras_det.data.formats.split_names import role_of
from keras_det.data.image import IMAGE_SUFFIXES
from keras_det.data.recognise import recognise
from tests.helpers import ROOT
from tests.test_readme import anchors

TEXT = (ROOT / "docs" / "data.md").read_text()
# What every record of the page says.
WIDTH, HEIGHT, BOX = 640, 480, [100, 120, 420, 360]
TITLES = {
    "coco": "COCO",
    "voc": "Pascal VOC",
    "yolo": "YOLO",
    "csv": "CSV",
    "createml": "CreateML",
    "labelme": "LabelMe",
    "label_studio": "Label Studio",
    "cvat": "CVAT",
    "hugging_face": "Hugging Face image folder",
}
# Binary: a text block cannot show them.
WITHOUT_TREE = {"TFRecord", "TensorFlow Datasets"}
# What files do not say, and the page tells the reader to give.
ARGUMENTS = {"hugging_face": {"box_format": "xywh"}}


def paths_of(tree):
    """The folder of a tree and its files as relative paths."""
    root, *lines = tree.splitlines()
    folders, files = [], []
    for line in lines:
        name = line.strip()
        depth = (len(line) - len(line.lstrip())) // 2
        folders[depth - 1 :] = [name]
        if not name.endswith("/"):
            files.append("".join(folders))
    return root.rstrip("/"), files


def layouts():
    """Pairs `(heading, tree, {path: content})` in the order of the page.

    Contents stand after the tree that needs them; later trees of the same heading need them too.
    """
    chapter = TEXT.split("\n## Layouts\n")[1].split("\n## ")[0]
    found = []
    for section in re.split(r"^### ", chapter, flags=re.MULTILINE)[1:]:
        heading, contents, trees = section.splitlines()[0], {}, []
        pattern = r"(?:^`([^`\n]+)`:\n\n)?^```\w+\n(.*?)^```$"
        for name, code in re.findall(pattern, section, re.MULTILINE | re.DOTALL):
            if name:
                contents[name] = code
                trees[-1][1].update(contents)
            elif code.splitlines()[0].endswith("/"):
                trees.append((code, dict(contents)))
        found += [(heading, *tree) for tree in trees]
    return found


def content_of(path, contents):
    """What a file holds: its own block, or that of a file of its kind, with its image's name."""
    if path in contents:
        return contents[path]
    stem = path.rpartition("/")[2].rpartition(".")[0]
    if stem.isdigit():
        number = stem
    else:
        number = "002" if any(role_of(part) == "val" for part in re.split("[/.]", path)) else "001"
    suffix = path.rpartition(".")[2]
    alike = [
        name
        for name in contents
        if name.endswith(suffix)
        and name.rpartition("/")[2].rpartition(".")[0].isdigit() == stem.isdigit()
    ]
    assert alike, f"the page shows no file like {path}"
    return contents[alike[-1]].replace("001", number)


def build(folder, tree, contents):
    """Makes the files of a tree; returns its folder and the names of its images."""
    name, files = paths_of(tree)
    images = []
    for path in files:
        target = folder / name / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix in IMAGE_SUFFIXES:
            images.append(target.name)
            grey = np.full((HEIGHT, WIDTH), 40 * len(images), np.uint8)
            Image.fromarray(grey).save(target)
        else:
            target.write_text(content_of(path, contents))
    return folder / name, images


@pytest.mark.parametrize("layout", layouts(), ids=lambda layout: layout[1].split("/")[0])
def test_every_tree_is_read(layout, tmp_path):
    heading, tree, contents = layout
    root, images = build(tmp_path, tree, contents)
    form, found = recognise(root)
    assert TITLES.get(form.name, form.title) == heading
    splits = [None] if len(images) == 1 else ["train", "val"]
    assert splits == [None] or len(found.splits) == 2
    for split, image in zip(splits, images, strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a page of good examples needs no notes
            dataset = load(root, split, **ARGUMENTS.get(form.name, {}))
        assert [path.rpartition("/")[2] for path in dataset.image_paths] == [image]
        np.testing.assert_allclose(dataset.boxes, [BOX])
        assert dataset.image_sizes.tolist() == [[HEIGHT, WIDTH]]
        assert dataset.class_names == ("cat",)


def test_every_format_has_a_tree():
    shown = {heading for heading, *_ in layouts()}
    assert {TITLES.get(each.name, each.title) for each in FORMATS} == shown | WITHOUT_TREE


def test_sections_that_findings_name_exist():
    known = anchors(ROOT / "docs" / "data.md")
    named = set()
    for path in (ROOT / "keras_det" / "doctor").glob("*.py"):
        named |= set(re.findall(r'doc="([\w-]+)"', path.read_text()))
    assert "sizes" in named and named <= known
