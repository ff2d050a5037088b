"""All splits of a data set side by side, for checks that look at every image or object."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from keras_det.data.dataset import Dataset
from keras_det.data.split_choice import role_of_split
from keras_det.doctor.finding import Finding, Harm
from keras_det.words import counted

EXAMPLES, PICTURES = 8, 8


@dataclass(frozen=True)
class Collection:
    """The images and objects of all splits, one after the other.

    Attributes:
        splits: the data sets by the name of their split.
        class_names: the classes of all splits.
        paths: of the images.
        sizes: `(num_images, 2)`, annotated (height, width).
        split_of: int `(num_images,)`, index of the split.
        boxes: float64 `(num_objects, 4)`, xyxy pixels.
        labels: int `(num_objects,)`, indices into `class_names`.
        crowd: bool `(num_objects,)`.
        image_of: int `(num_objects,)`, index of the image.
        counts: int `(num_images,)`, objects of each image.
    """

    splits: Mapping[str, Dataset]
    class_names: tuple[str, ...]
    paths: tuple[str, ...]
    sizes: np.ndarray
    split_of: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    image_of: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, splits: Mapping[str, Dataset]) -> "Collection":
        """Joins splits; classes are joined by their names."""
        sets = list(splits.values())
        names = tuple(dict.fromkeys(name for each in sets for name in each.class_names))
        label_of = {name: label for label, name in enumerate(names)}
        maps = [np.array([label_of[n] for n in each.class_names], np.int64) for each in sets]
        counts = np.concatenate([np.diff(each.row_splits) for each in sets])
        return cls(
            splits=dict(splits),
            class_names=names,
            paths=tuple(path for each in sets for path in each.image_paths),
            sizes=np.concatenate([each.image_sizes for each in sets]).astype(np.int64),
            split_of=np.repeat(np.arange(len(sets)), [len(each) for each in sets]),
            boxes=np.concatenate([each.boxes for each in sets]).astype(np.float64),
            labels=np.concatenate([m[d.labels] for m, d in zip(maps, sets, strict=True)]),
            crowd=np.concatenate([each.crowd for each in sets]),
            image_of=np.repeat(np.arange(len(counts)), counts),
            counts=counts,
        )

    @cached_property
    def names(self) -> list[str]:
        """Names of the splits in order."""
        return list(self.splits)

    @cached_property
    def starts(self) -> np.ndarray:
        """First object of each image and, last, their number."""
        return np.concatenate([[0], np.cumsum(self.counts)])

    @cached_property
    def sides(self) -> np.ndarray:
        """Width and height of each box, `(num_objects, 2)`."""
        return self.boxes[:, 2:] - self.boxes[:, :2]

    @cached_property
    def shares(self) -> np.ndarray:
        """Boxes in normalised coordinates (0 to 1), `(num_objects, 4)`."""
        size = np.maximum(self.sizes[self.image_of], 1)
        return self.boxes / size[:, [1, 0, 1, 0]]

    @cached_property
    def box_sides(self) -> np.ndarray:
        """Square root of each box's area, as a fraction of the image size."""
        sides = self.shares[:, 2:] - self.shares[:, :2]
        return np.sqrt(np.maximum(sides[:, 0] * sides[:, 1], 0))

    @cached_property
    def places(self) -> list[str]:
        """Absolute paths of the images."""
        return [os.path.abspath(path) for path in self.paths]

    @cached_property
    def folder(self) -> str:
        """The folder that holds all images."""
        folders = {os.path.dirname(path) for path in self.places}
        try:
            return os.path.commonpath(folders) if folders else ""
        except ValueError:  # on two drives
            return ""

    def rows_in(self, split: str) -> np.ndarray:
        """Mask of the objects of a split."""
        mask: np.ndarray = self.split_of[self.image_of] == self.names.index(split)
        return mask

    def image_name(self, image: int) -> str:
        """The file of an image, below the folder of all images."""
        path = self.places[image]
        return os.path.relpath(path, self.folder) if self.folder else path

    def object_name(self, row: int) -> str:
        """The file, number, class and size of an object."""
        image = int(self.image_of[row])
        width, height = self.sides[row]
        return (
            f"{self.image_name(image)}, object {row - int(self.starts[image])}: "
            f"{self.class_names[self.labels[row]]} {width:.4g}x{height:.4g}"
        )


def about_images(
    data: Collection,
    code: str,
    harm: Harm,
    title: str,
    cure: str,
    images: np.ndarray,
    say: Callable[[int], str] | None = None,
    total: int | None = None,
    pictures: Sequence[int] | None = None,
) -> list[Finding]:
    """A finding on these images, or none if there are none.

    Args:
        data: all splits.
        code, harm, title, cure: as of `Finding`; the title begins after the count, such as "has no
            pixels|have no pixels": the second form is for several.
        images: indices.
        say: what to add to the name of an example.
        total: out of how many images; None means all.
        pictures: indices of what to show; None means `images`.
    """
    if not len(images):
        return []
    total = len(data.paths) if total is None else total
    examples = [
        data.image_name(int(i)) + (f": {say(int(i))}" if say else "") for i in images[:EXAMPLES]
    ]
    return [
        Finding(
            code=code,
            harm=harm,
            title=counted_of(len(images), total, "image", title),
            cure=cure,
            count=len(images),
            total=total,
            examples=tuple(examples),
            images=tuple(int(i) for i in (images if pictures is None else pictures)[:PICTURES]),
        )
    ]


def about_objects(
    data: Collection,
    code: str,
    harm: Harm,
    title: str,
    cure: str,
    rows: np.ndarray,
    say: Callable[[int], str] | None = None,
    total: int | None = None,
) -> list[Finding]:
    """A finding on these objects, or none if there are none; arguments as of `about_images`."""
    if not len(rows):
        return []
    total = len(data.labels) if total is None else total
    images = list(dict.fromkeys(data.image_of[rows[:1000]].tolist()))[:PICTURES]
    boxes = [data.boxes[rows[data.image_of[rows] == image]] for image in images]
    examples = [
        data.object_name(int(row)) + (f" {say(int(row))}" if say else "") for row in rows[:EXAMPLES]
    ]
    return [
        Finding(
            code=code,
            harm=harm,
            title=counted_of(len(rows), total, "object", title),
            cure=cure,
            count=len(rows),
            total=total,
            examples=tuple(examples),
            images=tuple(images),
            boxes=tuple(boxes),
        )
    ]


def counted_of(count: int, total: int, what: str, title: str) -> str:
    """ "3 of 40 images have no pixels." from "has no pixels|have no pixels"."""
    one, _, several = title.partition("|")
    return f"{count:,} of {counted(total, what)} {one if count == 1 else several or one}."


def share_of(count: int, total: int) -> float:
    """The share, 0 where there is nothing."""
    return count / total if total else 0.0


def training_split(names: Sequence[str]) -> str:
    """The split for training, or the first one where none is called so."""
    return next((name for name in names if role_of_split(name) == "train"), names[0])
