"""Splits a data set into training and validation images: balanced by class, copies together."""

import dataclasses
import hashlib
import os
import re
import unicodedata
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_det.data.dataset import Dataset, image_of_objects
from keras_det.errors import DataError
from keras_det.words import counted

# Share of the images for training where a command has to make the split.
FRACTION = 0.8
# File names tell groups of frames only where there are so many groups …
MIN_GROUPS = 10
# … none of which holds a larger share of the images …
LARGEST_GROUP = 0.2
# … and in so many of which all images are of one size, as the frames of a video are.
ONE_SIZE = 0.9
_ROBOFLOW = re.compile(r"^(?P<name>.+?)(?:_(?:jpe?g|png|bmp|webp|tiff?))?\.rf\.[\w-]+$", re.I)
_NUMBER = re.compile(r"[\s_.\-(\[]*\d+[)\]]?$")


def split(dataset: Dataset, fraction: float = FRACTION, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Splits a data set into one for training and one for validation.

    The split is stratified: iterative stratification (Sechidis et al. 2011,
    https://doi.org/10.1007/978-3-642-23808-6_10) gives both parts their share of the images of
    each class, rare classes first. A class that occurs in two or more groups of images is in both
    parts where that is possible; a class that occurs in only one is in the training part.

    Groups of images stay together:

    - copies that Roboflow made of one image (`name_jpg.rf.HASH.jpg`), always;
    - frames of one video: images of one folder whose names differ only in the number at the end.
      Many file names are like that without a video, so these groups count only where there are at
      least 10, none holds more than 20% of the images, at least 90% of those with two or more
      images hold images of one size only, and at least half of the classes lie in two or more of
      them (folders of classes are no videos).

    The same file names, classes and seed give the same split, in whatever order the images and the
    classes are, and in whatever folder.

    Args:
        dataset: `keras_det.data.Dataset`.
        fraction: fraction of the images for training, above 0 and below 1.
        seed: int. Another one gives another split.

    Returns:
        `(train, val)`, data sets in the order of `dataset`.

    Raises:
        DataError: there are fewer than two groups of images.
        ValueError: `fraction` is not between 0 and 1.
    """
    mask = validation_mask(dataset, fraction, seed)
    train, val = (dataset.select(np.flatnonzero(part).tolist()) for part in (~mask, mask))
    return dataclasses.replace(train, split="train"), dataclasses.replace(val, split="val")


def validation_mask(dataset: Dataset, fraction: float, seed: int) -> np.ndarray:
    """Returns which images go to validation, bool `(num_images,)`; see `split`."""
    check_fraction(fraction)
    names = names_in_folder(dataset.image_paths)
    image_of_row = image_of_objects(dataset)
    # By the names of the classes: the order that a caller gives them changes nothing.
    rank = np.argsort(np.argsort(np.array(dataset.class_names, str), kind="stable"), kind="stable")
    labels = rank[dataset.labels] if len(rank) else dataset.labels
    pairs = np.unique(np.stack([image_of_row, labels], axis=1), axis=0)
    groups = groups_of(names, dataset.image_sizes, pairs)
    return _assign(names, groups, pairs, fraction, seed)


def check_fraction(fraction: Any) -> None:
    """ValueError unless it is a share of images that leaves some for both parts."""
    is_number = isinstance(fraction, (int, float)) and not isinstance(fraction, bool)
    if not is_number or not 0 < fraction < 1:
        raise ValueError(
            "The fraction of images for training must be a number above 0 and below 1. Received: "
            f"{fraction!r}. Give 0.8 to keep 20% for validation."
        )


def names_in_folder(paths: Sequence[str]) -> list[str]:
    """The names of images below the folder that holds all of them, the same on every machine."""
    folder = os.path.commonpath([os.path.dirname(os.path.abspath(p)) for p in paths] or [os.sep])
    names = [os.path.relpath(os.path.abspath(path), folder) for path in paths]
    return [unicodedata.normalize("NFC", name.replace(os.sep, "/")) for name in names]


def groups_of(names: Sequence[str], sizes: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Returns the number of the group of each image, int `(num_images,)`; see `split`.

    Args:
        names: of the images.
        sizes: `(num_images, 2)`, of the images.
        pairs: `(n, 2)`, the images and the labels in them, each pair once.
    """
    stems = [os.path.splitext(name)[0] for name in names]
    found = [_ROBOFLOW.match(stem) for stem in stems]
    originals = [match["name"] if match else stem for match, stem in zip(found, stems, strict=True)]
    # Two files of one stem, such as a.jpg and a.png, are two images, not copies.
    copies = _numbered([o if m else n for o, m, n in zip(originals, found, names, strict=True)])
    frames = _numbered([_NUMBER.sub("", original) for original in originals])
    return frames if _are_frames(frames, sizes, pairs) else copies


def _numbered(keys: Sequence[str]) -> np.ndarray:
    number = {key: i for i, key in enumerate(sorted(set(keys)))}
    return np.array([number[key] for key in keys], np.int64)


def _are_frames(groups: np.ndarray, sizes: np.ndarray, pairs: np.ndarray) -> bool:
    """Whether groups of one name without number can be videos; see `split`."""
    counts = np.bincount(groups)
    if len(counts) < MIN_GROUPS or counts.max() > LARGEST_GROUP * len(groups):
        return False
    order = np.argsort(groups, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    areas = np.asarray(sizes, np.int64) @ [1_000_003, 1]  # one number for each size
    low, high = (f.reduceat(areas[order], starts) for f in (np.minimum, np.maximum))
    several = counts > 1
    if several.any() and (low == high)[several].mean() < ONE_SIZE:
        return False
    inside = np.unique(np.stack([groups[pairs[:, 0]], pairs[:, 1]], axis=1), axis=0)
    images_of_class, groups_of_class = (np.bincount(p[:, 1]) for p in (pairs, inside))
    several = images_of_class > 1
    return not several.any() or bool((groups_of_class[several] > 1).mean() >= 0.5)


def _assign(
    names: Sequence[str], groups: np.ndarray, pairs: np.ndarray, fraction: float, seed: int
) -> np.ndarray:
    """Iterative stratification of groups; returns which images go to validation."""
    sizes = np.bincount(groups, minlength=1)
    if len(sizes) < 2 or not len(groups):
        raise DataError(
            "A data set to split must hold at least two images that are not copies of each "
            f"other. Received: {counted(len(names), 'image')} in "
            f"{counted(min(len(sizes), len(names)), 'group')}. Add images, or train without "
            "validation (--no-val)."
        )
    order = _order(names, groups, sizes, seed)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    items = rank[groups]  # groups by their place in the order
    keys = np.stack([items[pairs[:, 0]], pairs[:, 1]], axis=1)
    keys, counts = np.unique(keys, axis=0, return_counts=True)
    parts = _Parts(sizes[order], keys, counts, fraction)
    parts.assign()
    parts.mend()
    return (parts.part == 1)[items]


def _order(names: Sequence[str], groups: np.ndarray, sizes: np.ndarray, seed: int) -> np.ndarray:
    """Groups in the order of their assignment: large ones first, then at random by their names."""
    first: dict[int, tuple[str, str]] = {}
    for name, group in zip(names, groups.tolist(), strict=True):
        key = (os.path.basename(name), name)
        first[group] = min(first.get(group, key), key)
    # By the file name, not by the folder: moved images keep their place.
    hashes = [hashlib.sha256(f"{seed}/{first[i][0]}".encode()).digest() for i in range(len(sizes))]
    return np.array(sorted(range(len(sizes)), key=lambda i: (-sizes[i], hashes[i], first[i])))


class _Parts:
    """Groups on their way into two parts: 0 for training, 1 for validation.

    Args:
        sizes: int `(num_groups,)`, images in each group.
        keys: `(n, 2)`, groups and the labels in them, each pair once, sorted.
        counts: `(n,)`, images of the group with this label.
        fraction: share of the images for part 0.
    """

    def __init__(
        self, sizes: np.ndarray, keys: np.ndarray, counts: np.ndarray, fraction: float
    ) -> None:
        self.sizes, self.counts, self.labels = sizes, counts, keys[:, 1]
        self.part = np.full(len(sizes), -1, np.int64)
        self.rows = np.searchsorted(keys[:, 0], np.arange(len(sizes) + 1))
        self.groups_of_row = keys[:, 0]
        num_classes = int(self.labels.max(initial=-1)) + 1
        self.num_groups = np.bincount(self.labels, minlength=num_classes)
        images = np.bincount(self.labels, self.counts, minlength=num_classes)
        # What each part still wants: images of each class, and images at all.
        val = images * (1 - fraction)
        several = self.num_groups > 1
        val = np.where(several, np.clip(val, 1, np.maximum(images - 1, 1)), 0.0)
        total = float(np.clip(sizes.sum() * (1 - fraction), 1, sizes.sum() - 1))
        self.wanted = np.stack([images - val, val])
        self.room = np.array([sizes.sum() - total, total])

    def assign(self) -> None:
        """Gives each group to the part that most wants its rarest class."""
        left = self.num_groups.copy()
        by_label = np.argsort(self.labels, kind="stable")
        starts = np.searchsorted(self.labels[by_label], np.arange(len(left) + 1))
        while (left > 0).any():
            label = int(np.argmin(np.where(left > 0, left, np.iinfo(np.int64).max)))
            for group in self.groups_of_row[by_label[starts[label] : starts[label + 1]]].tolist():
                if self.part[group] < 0:
                    self._give(group, self._choose(self.wanted[:, label]))
                    left[self.labels[self.rows[group] : self.rows[group + 1]]] -= 1
        for group in np.flatnonzero(self.part < 0):  # images without objects
            self._give(int(group), self._choose(self.room))

    def _choose(self, wanted: np.ndarray) -> int:
        """The part that wants more; where both want the same, the one with more room."""
        difference = wanted[0] - wanted[1]
        if abs(difference) < 1e-9:
            difference = self.room[0] - self.room[1]
        return int(difference < 0)

    def _give(self, group: int, part: int) -> None:
        before, rows = self.part[group], slice(self.rows[group], self.rows[group + 1])
        if before >= 0:
            self.wanted[before, self.labels[rows]] += self.counts[rows]
            self.room[before] += self.sizes[group]
        self.part[group] = part
        self.wanted[part, self.labels[rows]] -= self.counts[rows]
        self.room[part] -= self.sizes[group]

    def mend(self) -> None:
        """Moves groups so that both parts have images, and each class of two or more groups."""
        have = np.zeros((2, len(self.num_groups)), np.int64)
        for part in (0, 1):
            np.add.at(have[part], self.labels[self.part[self.groups_of_row] == part], 1)
        for part in (1, 0):
            for label in np.flatnonzero((have[part] == 0) & (self.num_groups > 1)):
                for group in self.groups_of_row[self.labels == label][::-1].tolist():
                    mine = self.labels[self.rows[group] : self.rows[group + 1]]
                    if (have[1 - part, mine] > 1).all():
                        self._give(group, part)
                        have[part, mine] += 1
                        have[1 - part, mine] -= 1
                        break
        for part in (0, 1):
            if not (self.part == part).any():
                self._give(len(self.part) - 1, part)


def names_digest(dataset: Dataset) -> str:
    """SHA-256 over the file names of the images, in any order: tells whether two sets are one."""
    names = sorted(unicodedata.normalize("NFC", os.path.basename(p)) for p in dataset.image_paths)
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def warn_of_common(train: Dataset, val: Dataset) -> None:
    """Warns of images that are in both splits: what is measured on them is too good."""
    common = set(train.image_paths).intersection(val.image_paths)
    if common:
        warnings.warn(
            f"{train.name}: {len(common)} of {counted(len(val), 'image')} for validation "
            f"{'is' if len(common) == 1 else 'are'} also used for training, so AP will be too high "
            f"(first: {min(common)}). Take them out of one of the two splits.",
            stacklevel=3,
        )
