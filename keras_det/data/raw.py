"""What readers of annotation files hand on: raw annotations, and how formats describe themselves.

Every format has one module in `formats/`. It finds its splits in a folder and reads one of them
into `RawAnnotations`. `assemble` does the rest, the same for all formats: classes, images, sizes,
box formats, cleaning.
"""

import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from keras_det.data.notes import Note
from keras_det.errors import DataError
from keras_det.words import counted

# A larger share of bad records is an error. One bad record never is.
MAX_BAD = 0.05


class ReadOptions(NamedTuple):
    """What the caller of `load` decides, for every format alike.

    Attributes:
        class_names: the classes in the order of their labels; None takes the data set's.
        drop_other_classes: leave out objects of classes that are not in `class_names`, with a note.
            False: such an object is an error.
        image_dir: the folder of the images; None searches the format's places.
        box_format: overrules the format of the boxes, as Keras names it; None takes the format's.
        sizes: what to do where an image has another size than annotated: "check" refuses, "file"
            takes the image's own size and keeps the boxes, "scale" scales the boxes to the image.
        voc_first_pixel: 0 or 1, how Pascal VOC files count pixels; None decides by their boxes.
    """

    class_names: tuple[str, ...] | None = None
    drop_other_classes: bool = False
    image_dir: pathlib.Path | None = None
    box_format: str | None = None
    sizes: str = "check"
    voc_first_pixel: int | None = None


@dataclass
class RawAnnotations:
    """What the files of one split say, before images are looked for and boxes are checked.

    Attributes:
        source: what was read, for messages: the path of the file or folder.
        name: name of the data set, for messages.
        split: name of the split, or None.
        class_names: the classes of the whole data set, in the format's order.
        category_ids: the source's id of each class, a number or text.
        image_names: one file name per image, as the annotation writes it: a base name, a relative
            or absolute path, with or without suffix.
        image_ids: the source's id of each image.
        image_sizes: int `(num_images, 2)`, annotated (height, width) in pixels; 0 where not given.
        image_index: int `(num_objects,)`, the image of each object, -1 where it is not listed.
        boxes: float `(num_objects, 4)` in `box_format`.
        labels: int `(num_objects,)`, indices into `class_names`.
        crowd: bool `(num_objects,)`.
        area: float `(num_objects,)`, square pixels; NaN where the file gives none.
        where: `where(row) -> str` names the file and the record of an object.
        folders: where the images may lie, the most likely first.
        box_format: how `boxes` are written, as Keras names it: "xyxy", "xywh", "center_xywh",
            "yxyx", or with "rel_" in front, then in normalised coordinates.
        other_names: a second file name per image, tried where the first is not found; or None.
        notes: what the reader has left out so far.
        dummy_classes: classes that only group others and have no object in any split, such as the
            first category that Roboflow writes into COCO files. They are left out.
        all_names: `all_names()` gives the image names of every split, where a note should say which
            images in the same folders have none; else None.
        stored_pixels: whether labels were drawn on the stored pixels of images whose size does not
            tell; `check_sizes` decides.
    """

    source: str
    name: str
    split: str | None
    class_names: list[str]
    category_ids: Sequence[int | str]
    image_names: list[str]
    image_ids: list[int | str]
    image_sizes: np.ndarray
    image_index: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    area: np.ndarray
    where: Callable[[int], str]
    folders: list[pathlib.Path]
    box_format: str = "xyxy"
    other_names: list[str] | None = None
    notes: list[Note] = field(default_factory=list)
    dummy_classes: list[str] = field(default_factory=list)
    all_names: Callable[[], Iterable[str]] | None = None
    stored_pixels: bool = False

    def keep_rows(self, keep: np.ndarray) -> None:
        """Keeps the objects where the mask is True; `where` still names records of the file."""
        rows, where = np.flatnonzero(keep), self.where
        for name in ("image_index", "boxes", "labels", "crowd", "area"):
            setattr(self, name, getattr(self, name)[rows])
        self.where = lambda row: where(int(rows[row]))

    def keep_images(self, keep: np.ndarray) -> None:
        """Keeps the images where the mask is True, and their objects."""
        new_index = np.cumsum(keep) - 1
        listed = self.image_index >= 0
        self.keep_rows(listed & keep[self.image_index])
        self.image_index = new_index[self.image_index]
        self.image_sizes = self.image_sizes[keep]
        kept = np.flatnonzero(keep)
        self.image_names = [self.image_names[i] for i in kept]
        self.image_ids = [self.image_ids[i] for i in kept]
        if self.other_names is not None:
            self.other_names = [self.other_names[i] for i in kept]


class BadRecords:
    """Counts records that cannot be read: a few are left out with a note, many are an error.

    Args:
        what: the records in plural, such as "annotations" or "lines".
        source: what is read, for messages.
        one: one record, if it is not `what` without its s.
    """

    def __init__(self, what: str, source: str, one: str | None = None) -> None:
        self.what, self.source = what, source
        self.one = one or what.removesuffix("s")
        self.reasons: list[str] = []
        self.count = 0

    def add(self, where: str, reason: str) -> None:
        """Notes one bad record.

        Args:
            where: its file and place, such as "a.json, annotations[3]".
            reason: what must hold and what was received, such as "`bbox` must be four numbers.
                Received: [1, 2]".
        """
        self.count += 1
        if len(self.reasons) < 3:
            self.reasons.append(f"{where}: {reason}")

    def notes(self, total: int) -> list[Note]:
        """Returns one note about the bad records, or none; DataError where they are too many.

        Args:
            total: number of all records, bad ones included.
        """
        if not self.count:
            return []
        if self.count > max(1, MAX_BAD * total):
            raise DataError(
                f"At most {MAX_BAD:.0%} of the {self.what} may be unreadable. Received: "
                f"{self.count} of {total} in {self.source}; first: {'; '.join(self.reasons)}. "
                "Correct or remove them, or export the annotations again."
            )
        few = f"{self.count} of {counted(total, self.one, self.what)} left out: unreadable"
        return [Note("records-unreadable", few, self.count, total, self.reasons[0])]


class Layout(NamedTuple):
    """What a folder or file in one format holds.

    Attributes:
        root: the folder or file itself; its name is the data set's.
        splits: `{name of the split: what `Format.read` takes}`, in a fixed order. Empty where the
            format has no splits or the folder has none.
        everything: what `Format.read` takes for every annotated image; None where there are only
            splits.
    """

    root: pathlib.Path
    splits: Mapping[str, Any]
    everything: Any = None


class Format(NamedTuple):
    """One annotation format.

    Attributes:
        name: as `--format` takes it, such as "yolo".
        title: as messages name it, such as "YOLO".
        tree: the layout in one line, such as "data.yaml beside images/ and labels/".
        find: `find(path) -> Layout`, or None where the path is not in this format. It must be quick
            and must not raise for files of other formats.
        read: `read(source, options) -> RawAnnotations`, with a source that `find` has put into the
            layout.
        resembles: `resembles(path) -> str` says what is missing where a folder is nearly in this
            format, such as "has labels/*.txt but no data.yaml or classes.txt"; None where it is not
            like this format at all.
    """

    name: str
    title: str
    tree: str
    find: Callable[[pathlib.Path], Layout | None]
    read: Callable[[Any, ReadOptions], RawAnnotations]
    resembles: Callable[[pathlib.Path], str | None]


class Opened(NamedTuple):
    """A data set that was recognised: what lies there is listed once, and read several times.

    Attributes:
        format: its format.
        layout: what it holds.
    """

    format: Format
    layout: Layout


DataPath: TypeAlias = str | os.PathLike | Opened


def options_of(
    class_names: Sequence[str] | None = None,
    image_dir: str | os.PathLike | None = None,
    **others: Any,
) -> ReadOptions:
    """Makes `ReadOptions` from arguments as users give them."""
    names = None if class_names is None else tuple(str(name) for name in class_names)
    folder = None if image_dir is None else pathlib.Path(image_dir)
    return ReadOptions(class_names=names, image_dir=folder, **others)
