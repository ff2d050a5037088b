"""An annotated data set in memory: arrays of annotations and paths of images, never pixels."""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from keras_det.data.sample import Sample
from keras_det.errors import DataError
from keras_det.words import counted, printable


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and their objects: immutable, indexable, fast with 100,000 images and more.

    `dataset[i]` is a `Sample`, `dataset[:10]` a data set of the first ten images. The objects of
    image i are the rows `row_splits[i]:row_splits[i + 1]` of `boxes`, `labels`, `crowd` and `area`.

    Attributes:
        image_paths: tuple of str, one per image.
        image_ids: tuple of int or str, the source's ids of the images, in the same order.
        image_sizes: int32 `(num_images, 2)`, (height, width) in pixels, as annotated.
        boxes: float32 `(num_objects, 4)`, xyxy pixels of the original image, inside it.
        labels: int32 `(num_objects,)` in `0..num_classes - 1`.
        crowd: bool `(num_objects,)`.
        area: float32 `(num_objects,)`, square pixels.
        row_splits: int64 `(num_images + 1,)`, first object of each image and, last, their number.
        class_names: tuple of str; label k means `class_names[k]`. Control characters in them are
            written as in `keras_det.words.printable`.
        category_ids: tuple of int or str, the source's id of each class (-1: not in the source).
        name: str. The source's name, for messages.
        split: str or None. The split that was read.
        notes: tuple of str. What the reader changed or left out; each is a sentence with a `code`.
        stored_pixels: bool `(num_images,)`, as of `Sample`; one bool counts for all images.

    Raises:
        DataError: lengths differ, or a label is out of range.
    """

    image_paths: tuple[str, ...]
    image_ids: tuple[int | str, ...]
    image_sizes: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    area: np.ndarray
    row_splits: np.ndarray
    class_names: tuple[str, ...]
    category_ids: tuple[int | str, ...] = ()
    name: str = "dataset"
    split: str | None = None
    notes: tuple[str, ...] = ()
    stored_pixels: np.ndarray | bool = False

    def __post_init__(self) -> None:
        dtypes: dict[str, type[np.generic]] = {
            "image_sizes": np.int32,
            "boxes": np.float32,
            "labels": np.int32,
            "crowd": np.bool_,
            "area": np.float32,
            "row_splits": np.int64,
            "stored_pixels": np.bool_,
        }
        for field, dtype in dtypes.items():
            array: np.ndarray = np.array(getattr(self, field), dtype)
            if field in ("image_sizes", "boxes"):
                array = array.reshape(-1, 2 if field == "image_sizes" else 4)
            if field == "stored_pixels" and not array.ndim:
                array = np.full(len(self.image_paths), array)
            array.setflags(write=False)
            object.__setattr__(self, field, array)
        for field in ("image_paths", "image_ids", "class_names", "category_ids", "notes"):
            object.__setattr__(self, field, tuple(getattr(self, field)))
        names = (printable(name) if isinstance(name, str) else name for name in self.class_names)
        object.__setattr__(self, "class_names", tuple(names))
        if not self.category_ids:
            object.__setattr__(self, "category_ids", tuple(range(len(self.class_names))))
        _check(self)

    @classmethod
    def from_samples(
        cls, samples: Iterable[Sample], class_names: Sequence[str], **fields: Any
    ) -> "Dataset":
        """Builds a data set from samples whose images lie on disk.

        Args:
            samples: `Sample`s with an `image_path`.
            class_names: label k means `class_names[k]`.
            **fields: `category_ids`, `name`, `split`, `notes`, `stored_pixels`, as of `Dataset`.

        Raises:
            DataError: a sample has no `image_path`, or a label is out of range.
        """
        samples = list(samples)
        for i, sample in enumerate(samples):
            if not sample.image_path:
                raise DataError(
                    f"`samples[{i}]` must name the file of its image. Received: "
                    "image_path=''. Save the image and give its path: a data set holds no pixels."
                )
        fields.setdefault("stored_pixels", np.array([s.stored_pixels for s in samples], bool))
        return cls(
            image_paths=tuple(os.fspath(s.image_path) for s in samples),
            image_ids=tuple(s.image_id for s in samples),
            image_sizes=np.array([s.original_size for s in samples]),
            boxes=_joined([np.reshape(s.boxes, (-1, 4)) for s in samples]),
            labels=_joined([np.reshape(s.labels, -1) for s in samples]),
            crowd=_joined([np.reshape(s.crowd, -1) for s in samples]),
            area=_joined([np.reshape(s.area, -1) for s in samples]),
            row_splits=np.cumsum([0] + [len(s.labels) for s in samples]),
            class_names=tuple(class_names),
            **fields,
        )

    def __len__(self) -> int:
        return len(self.image_paths)

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> "Dataset": ...

    def __getitem__(self, index: int | slice) -> "Sample | Dataset":
        if isinstance(index, slice):
            return self.select(range(*index.indices(len(self))))
        index = int(_indices([index], len(self))[0])
        height, width = self.image_sizes[index].tolist()
        rows = self.rows(index)
        return Sample(
            image_path=self.image_paths[index],
            boxes=self.boxes[rows],
            labels=self.labels[rows],
            crowd=self.crowd[rows],
            area=self.area[rows],
            original_size=(height, width),
            image_id=self.image_ids[index],
            stored_pixels=bool(np.asarray(self.stored_pixels)[index]),
        )

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))

    def rows(self, index: int) -> slice:
        """The rows of the objects of an image in `boxes`, `labels`, `crowd` and `area`.

        Args:
            index: of the image, from 0.
        """
        return slice(int(self.row_splits[index]), int(self.row_splits[index + 1]))

    def select(self, indices: Sequence[int] | np.ndarray) -> "Dataset":
        """Returns a data set of these images, in this order, with the same classes.

        Args:
            indices: of the images; -1 is the last one.

        Raises:
            IndexError: there is no such image.
            TypeError: `indices` are not whole numbers.
        """
        chosen = _indices(indices, len(self))
        counts = np.diff(self.row_splits)[chosen]
        splits = np.concatenate([[0], np.cumsum(counts)])
        rows = np.arange(splits[-1]) + np.repeat(self.row_splits[chosen] - splits[:-1], counts)
        return dataclasses.replace(
            self,
            image_paths=tuple(self.image_paths[i] for i in chosen),
            image_ids=tuple(self.image_ids[i] for i in chosen),
            image_sizes=self.image_sizes[chosen],
            boxes=self.boxes[rows],
            labels=self.labels[rows],
            crowd=self.crowd[rows],
            area=self.area[rows],
            row_splits=splits,
            stored_pixels=np.asarray(self.stored_pixels)[chosen],
        )

    def ground_truth(self, indices: Iterable[int] | None = None) -> list[dict[str, Any]]:
        """Returns the objects of images as `keras_det.metrics.coco.coco_metrics` takes them.

        Args:
            indices: of the images. Default: all.

        Returns:
            One dict per image: `boxes`, `labels`, `crowd` and `area` as of `Sample`, `image_id`
            (the index of the image) and `size` (height, width).
        """
        rows = []
        for index in range(len(self)) if indices is None else indices:
            sample = self[index]
            rows.append(
                {
                    "image_id": index,
                    "boxes": sample.boxes,
                    "labels": sample.labels,
                    "crowd": sample.crowd,
                    "area": sample.area,
                    "size": tuple(sample.original_size),
                }
            )
        return rows

    @property
    def num_classes(self) -> int:
        """Number of classes, without background."""
        return len(self.class_names)

    @property
    def categories(self) -> list[dict[str, Any]]:
        """COCO's list of categories: `[{"id": …, "name": …}]` in label order."""
        pairs = zip(self.category_ids, self.class_names, strict=True)
        return [{"id": number, "name": name} for number, name in pairs]

    @property
    def class_counts(self) -> dict[str, int]:
        """Number of objects per class name, crowd included."""
        counts = np.bincount(self.labels, minlength=self.num_classes)
        return dict(zip(self.class_names, counts.tolist(), strict=True))

    @property
    def summary(self) -> str:
        """One line: numbers of images, objects and classes, and what the reader left out."""
        empty = int((np.diff(self.row_splits) == 0).sum())
        crowd = int(self.crowd.sum())
        title = f"{self.name} {self.split}" if self.split else self.name
        line = (
            f"{title}: {counted(len(self), 'image')}"
            f"{f' ({empty:,} without objects)' if empty else ''}, "
            f"{counted(len(self.labels), 'object')}{f' ({crowd:,} crowd)' if crowd else ''}, "
            f"{counted(self.num_classes, 'class', 'classes')}."
        )
        return " ".join([line, *self.notes])

    def __repr__(self) -> str:
        return f"<Dataset {self.summary}>"


def image_of_objects(dataset: Dataset) -> np.ndarray:
    """Index of the image of every object, int64 `(objects,)`."""
    return np.repeat(np.arange(len(dataset)), np.diff(dataset.row_splits))


def _indices(indices: Sequence[int] | np.ndarray, length: int) -> np.ndarray:
    """Indices of images, counted from 0; IndexError where there is no such image."""
    array = np.asarray(indices)
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(
            f"Indices of images must be whole numbers. Received: {array.dtype}. Give a list of "
            "numbers; for a mask, np.flatnonzero(mask)."
        )
    array = array.astype(np.int64).reshape(-1)
    wrong = array[(array < -length) | (array >= length)]
    if len(wrong):
        raise IndexError(
            f"`index` must lie in [{-length}, {length - 1}]. Received: {wrong[0]}. Count images "
            "from 0, or from the end with -1, -2 …"
        )
    return array % length if length else array


def _joined(rows: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(rows) if rows else np.zeros(0)


def _check(dataset: Dataset) -> None:
    """Raises DataError where lengths differ or a label is out of range."""
    objects, images = len(dataset.labels), len(dataset.image_paths)
    lengths = {
        "image_ids": (len(dataset.image_ids), images),
        "image_sizes": (len(dataset.image_sizes), images),
        "row_splits": (len(dataset.row_splits), images + 1),
        "stored_pixels": (np.size(dataset.stored_pixels), images),
        "boxes": (len(dataset.boxes), objects),
        "crowd": (len(dataset.crowd), objects),
        "area": (len(dataset.area), objects),
        "row_splits[-1]": (int(dataset.row_splits[-1]), objects),
        "category_ids": (len(dataset.category_ids), len(dataset.class_names)),
    }
    for field, (found, wanted) in lengths.items():
        if found != wanted:
            raise DataError(
                f"`{field}` must have {counted(wanted, 'entry', 'entries')}. Received: {found}. "
                "Give one path, id and size per image, one box, label, crowd flag and area per "
                "object, one id per class."
            )
    bad = np.flatnonzero((dataset.labels < 0) | (dataset.labels >= len(dataset.class_names)))
    if len(bad):
        image = int(np.searchsorted(dataset.row_splits, bad[0], side="right")) - 1
        raise DataError(
            f"Labels must lie in [0, {len(dataset.class_names) - 1}]. Received: "
            f"{dataset.labels[bad[0]]} in {dataset.image_paths[image]}, object "
            f"{int(bad[0] - dataset.row_splits[image])}. Map the source's ids to "
            "0..num_classes-1 and name every class in `class_names`."
        )
