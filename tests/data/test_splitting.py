"""The split into training and validation images: balanced, whole groups, the same every time."""

import dataclasses

import numpy as np
import pytest

from keras_det.data import Dataset, split
from keras_det.data.splitting import groups_of, names_digest, names_in_folder
from keras_det.errors import DataError


def dataset_of(images, folder="/set", sizes=None):
    """A data set from `{file name: classes}`."""
    labels = [list(classes) for classes in images.values()]
    flat = [label for row in labels for label in row]
    return Dataset(
        image_paths=[f"{folder}/{name}" for name in images],
        image_ids=list(range(len(images))),
        image_sizes=np.full((len(images), 2), 9) if sizes is None else sizes,
        boxes=np.tile([1.0, 1, 5, 5], (len(flat), 1)),
        labels=flat,
        crowd=np.zeros(len(flat)),
        area=np.full(len(flat), 16.0),
        row_splits=np.cumsum([0] + [len(row) for row in labels]),
        class_names=[f"c{i}" for i in range(max(flat, default=0) + 1)],
    )


def names(dataset):
    return sorted(path.rsplit("/", 1)[1] for path in dataset.image_paths)


def images_of_class(dataset, label):
    return sum(label in dataset[i].labels for i in range(len(dataset)))


def grouped(names, classes=None, sizes=None):
    """Sets of names that stay together."""
    classes = [[0]] * len(names) if classes is None else classes
    pairs = np.array([(i, label) for i, row in enumerate(classes) for label in row])
    sizes = np.full((len(names), 2), 9) if sizes is None else np.array(sizes)
    groups = groups_of(names, sizes, pairs.reshape(-1, 2))
    found = {}
    for name, group in zip(names, groups, strict=True):
        found.setdefault(group, []).append(name)
    return sorted(found.values())


def test_shares_of_every_class_by_hand():
    # 10 images of class 0, 5 of them also of class 1: of both, one in five is held out, and of the
    # images that hold neither, one of five.
    images = {f"a{i}.png": [0, 1] if i < 5 else [0] for i in range(10)}
    images |= {f"b{i}.png": [] for i in range(5)}
    train, val = split(dataset_of(images), 0.8)
    assert (len(train), len(val)) == (12, 3)
    assert [images_of_class(val, label) for label in (0, 1)] == [2, 1]
    assert (train.split, val.split) == ("train", "val")


def test_rare_classes_are_in_both_parts():
    # Class 1 is in two images: one each, although a fifth of two is less than one half. Class 2 is
    # in one image: it is for training.
    images = {f"{i}.png": [0] for i in range(17)}
    images |= {"r.png": [0, 1], "s.png": [0, 1], "t.png": [0, 2]}
    for seed in range(20):
        train, val = split(dataset_of(images), 0.8, seed)
        assert images_of_class(train, 1) == images_of_class(val, 1) == 1
        assert images_of_class(train, 2) == 1 and "t.png" in names(train)
        assert (len(train), len(val)) == (16, 4)


def test_groups_are_moved_where_a_common_class_would_be_in_one_part_only():
    # Rare classes first would leave one of the three classes out of one part.
    images = {"0.png": [], "1.png": [1, 2], "2.png": [0, 1, 2], "3.png": [0, 1]}
    _, val = split(dataset_of(images), 0.8)
    assert [0 < images_of_class(val, i) < n for i, n in enumerate((2, 3, 2))] == [True] * 3


def test_two_images_make_two_parts_and_one_makes_none():
    train, val = split(dataset_of({"a.png": [0], "b.png": [0]}), 0.9)
    assert len(train) == len(val) == 1
    train, val = split(dataset_of({"a.png": [], "b.png": [0]}), 0.9)
    assert len(train) == len(val) == 1
    with pytest.raises(DataError, match="at least two images that are not copies.*Received: 1 im"):
        split(dataset_of({"a.png": [0]}), 0.8)
    copies = {"a_jpg.rf.0a.jpg": [0], "a_jpg.rf.1b.jpg": [0]}
    with pytest.raises(DataError, match="Received: 2 images in 1 group"):
        split(dataset_of(copies), 0.8)
    with pytest.raises(DataError, match="Received: 0 images in 0 groups"):
        split(dataset_of({}), 0.8)


@pytest.mark.parametrize("fraction", [0, 1, 1.5, "0.8", True, None, float("nan")])
def test_the_share_lies_between_0_and_1(fraction):
    with pytest.raises(ValueError, match="above 0 and below 1. Received: .*Give 0.8"):
        split(dataset_of({"a.png": [0], "b.png": [0]}), fraction)


def random_images(seed, count=200):
    """Long-tailed classes, several an image, some without objects, every third a copy."""
    rng = np.random.default_rng(seed)
    images = {}
    for i in range(count):
        classes = np.flatnonzero(rng.random(8) < 0.5 ** np.arange(1, 9)).tolist()
        copy = i // 3 if i % 3 else i
        images[f"{copy:04d}_jpg.rf.{i:06x}.jpg" if i % 5 else f"x{i}.jpg"] = classes
    return images


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fraction", [0.5, 0.8, 0.9])
def test_properties_of_a_split(seed, fraction):
    images = random_images(seed)
    whole = dataset_of(images)
    train, val = split(whole, fraction, seed)
    assert not set(names(train)) & set(names(val)), "disjoint"
    assert sorted(names(train) + names(val)) == sorted(images), "complete"
    assert abs(len(train) / len(whole) - fraction) < 0.04
    for label in range(8):
        count, held_out = images_of_class(whole, label), images_of_class(val, label)
        assert abs(held_out - (1 - fraction) * count) <= max(2, 0.05 * count), label
        groups = {name.split("_")[0] for name, classes in images.items() if label in classes}
        assert len(groups) < 2 or 0 < held_out < count, "in both parts"
    for group in {name.split("_")[0] for name in images if ".rf." in name}:
        inside = [group == name.split("_")[0] for name in names(val)]
        assert sum(inside) in (0, sum(n.split("_")[0] == group for n in images)), "whole groups"


def test_same_names_and_seed_give_the_same_split():
    images = random_images(0)
    before = names(split(dataset_of(images), 0.8, 3)[1])
    shuffled = list(images.items())
    np.random.default_rng(0).shuffle(shuffled)
    assert names(split(dataset_of(dict(shuffled)), 0.8, 3)[1]) == before, "another order"
    assert names(split(dataset_of(images, "/else/where"), 0.8, 3)[1]) == before, "moved"
    images = {f"{i}.png": [i % 4, 3 - i // 8] for i in range(30)}  # classes of like size
    before = names(split(dataset_of(images), 0.8, 3)[1])
    whole = dataset_of(images)
    order = np.random.default_rng(1).permutation(whole.num_classes)
    classes = [whole.class_names[i] for i in np.argsort(order)]
    other = dataclasses.replace(whole, labels=order[whole.labels], class_names=classes)
    assert names(split(other, 0.8, 3)[1]) == before, "another order of the classes"
    assert names(split(dataset_of(images), 0.8, 4)[1]) != before, "another seed"


def test_the_split_of_these_names_never_changes():
    # What --resume and evaluate rely on, from one version to the next. Class 0 in the order of
    # sha256("0/NAME"): 6 2 14 8 12 0 | 10 18 4 16. Training wants 8 of the 10 and validation 2, so
    # six go to training. Then both want 2, and training has more room: 10 goes there, 18 to
    # validation, 4 to training again, 16 to validation. Class 1: 15 1 7 13 11 17 | 3 5 19 9.
    images = {f"{i}.png": [i % 2] for i in range(20)}
    _, val = split(dataset_of(images), 0.8, 0)
    assert names(val) == ["16.png", "18.png", "5.png", "9.png"]


def test_the_order_and_the_fields_of_the_data_set_are_kept():
    images = {f"{i}.png": [0] for i in range(10)}
    whole = dataclasses.replace(dataset_of(images), notes=("a note",), name="set")
    train, val = split(whole)
    assert list(train.image_ids) == sorted(train.image_ids)
    assert train.notes == ("a note",) and val.name == "set"


def test_copies_of_roboflow_stay_together():
    files = ["a_jpg.rf.0f3a.jpg", "a_jpg.rf.9B_x.jpg", "a.jpg", "a_png.rf.11.jpg", "b.rf.22.jpg"]
    assert grouped(files) == [
        ["a.jpg"], ["a_jpg.rf.0f3a.jpg", "a_jpg.rf.9B_x.jpg", "a_png.rf.11.jpg"], ["b.rf.22.jpg"]
    ]  # fmt: skip
    assert grouped(["a.jpg", "a.png"]) == [["a.jpg"], ["a.png"]], "two images of one stem"


def frames(videos=10, length=5):
    return [f"clip{chr(97 + v)}_frame_{i:03d}.jpg" for v in range(videos) for i in range(length)]


def test_frames_of_a_video_stay_together():
    found = grouped(frames())
    assert len(found) == 10 and all(len(group) == 5 for group in found)
    folders = [f"{v}/{i:05d}.png" for v in "abcdefghij" for i in range(5)]
    assert len(grouped(folders)) == 10
    copies = [f"v{chr(97 + i % 10)}-{i // 10}_jpg.rf.{i:x}.jpg" for i in range(40)]
    assert len(grouped(copies)) == 10


@pytest.mark.parametrize(
    "files, classes, sizes",
    [
        (frames(videos=9), None, None),  # too few groups
        ([f"IMG_{i:04d}.jpg" for i in range(50)], None, None),  # one group
        (frames() + [f"clipa_frame_{i}.jpg" for i in range(100, 110)], None, None),  # a large one
        (frames(), None, [[9, 9 + i % 2] for i in range(50)]),  # photos of many sizes
        (frames(), [[i // 5] for i in range(50)], None),  # one class each: no videos
    ],
    ids=["few", "camera", "large", "sizes", "classes"],
)
def test_names_that_are_no_frames(files, classes, sizes):
    assert len(grouped(files, classes, sizes)) == len(files)


def test_names_are_those_below_the_common_folder():
    assert names_in_folder(["/a/b/c/1.png", "/a/b/d/1.png"]) == ["c/1.png", "d/1.png"]
    assert names_in_folder(["x/gro\u0308\u00dfe.png"]) == ["gr\u00f6\u00dfe.png"]


def test_digest_tells_sets_of_names_apart():
    one = names_digest(dataset_of({"a.png": [0], "b.png": [0]}))
    assert one == names_digest(dataset_of({"b.png": [], "a.png": [0]}, "/moved"))
    assert one != names_digest(dataset_of({"a.png": [0], "c.png": [0]}))
