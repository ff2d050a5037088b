"""Makes a data set of dictionaries as keras_cv, KerasHub and torchvision have them."""

import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_det.data.assemble import assemble
from keras_det.data.dataset import Dataset
from keras_det.data.notes import Note
from keras_det.data.raw import RawAnnotations, options_of
from keras_det.data.unpacking import png_of
from keras_det.errors import DataError, suggest
from keras_det.files import write_whole
from keras_det.names import BOX_FORMATS, PADDING_LABEL
from keras_det.words import counted

FORM = (
    'Each item must be a dict of "images" and "bounding_boxes" with "boxes" and "classes", or of '
    '"images", "boxes" and "labels"'
)
IMAGES, LABELS = ("images", "image"), ("classes", "labels")


def from_arrays(
    items: Mapping[str, Any] | Iterable[Mapping[str, Any]],
    *,
    bounding_box_format: str,
    class_names: Sequence[str] | None = None,
    image_dir: str | os.PathLike | None = None,
    name: str = "arrays",
    split: str | None = None,
) -> Dataset:
    """Makes a data set from dictionaries of images and boxes.

    They have the form of keras_cv and KerasHub, `{"images": …, "bounding_boxes": {"boxes": …,
    "classes": …}}`, or the flat form `{"images": …, "boxes": …, "labels": …}`. A data set holds
    image paths, not pixels. Images that are arrays are therefore written to `image_dir`.

        items = [{"images": "a.jpg", "boxes": [[4, 2, 30, 40]], "labels": [0]}]
        dataset = from_arrays(items, bounding_box_format="xywh", class_names=["cat"])

    Args:
        items: one dict per image; or one dict of columns, with all images; or batches of them, such
            as a `tf.data.Dataset`. Images are paths, or arrays `(height, width, 3)`, RGB in 0..255.
            Boxes are `(n, 4)`, classes `(n,)` from 0; boxes of class -1 are empty slots.
        bounding_box_format: how boxes are written, as Keras names it, such as "xyxy" or
            "rel_center_xywh". They are checked against the images.
        class_names: class k is called `class_names[k]`. None gives the names class_0, class_1, …
        image_dir: a new or empty folder, to which arrays are written as PNG files.
        name: name of the data set in messages.
        split: stored in `Dataset.split`.

    Returns:
        A `Dataset`. One warning lists what was left out or decided.

    Raises:
        DataError: an item has another form, a class has no name, or the boxes do not fit.
        ValueError: `bounding_box_format` is not a box format.
    """
    form = box_format_of(bounding_box_format)
    store = _Store(None if image_dir is None else pathlib.Path(image_dir))
    rows = [_row(item, i, store) for i, item in enumerate(_items(items))]
    if not rows:
        raise DataError(f"{FORM}. Received: no item. Give at least one.")
    names = _class_names(rows, class_names)
    raw = _raw(rows, names, name, split)
    raw.box_format = form
    raw.notes += store.notes()
    return assemble(raw, options_of(names))


def box_format_of(bounding_box_format: str) -> str:
    """The name of a box format as `BOX_FORMATS` has it; ValueError if there is none."""
    form = str(bounding_box_format).lower()
    if form not in BOX_FORMATS:
        raise ValueError(
            f"`bounding_box_format` must be one of {', '.join(BOX_FORMATS)}. Received: "
            f"{bounding_box_format!r}.{suggest(form, BOX_FORMATS)} Name the format of the boxes."
        )
    return form


class _Row(NamedTuple):
    """One image: its path, its (height, width), 0 where not known, boxes and labels."""

    path: str
    size: tuple[int, int]
    boxes: np.ndarray
    labels: np.ndarray


def _items(items: Any) -> Iterator[tuple[Any, Any, Any]]:
    """The image, boxes and labels of each item; columns and batches are taken apart."""
    if isinstance(items, Mapping):
        items = [items]
    elif isinstance(items, str | bytes) or not isinstance(items, Iterable):
        raise TypeError(f"{FORM}. Received: {type(items).__name__}. Give a list of such dicts.")
    for i, item in enumerate(items):
        image, boxes, labels = fields_of(item, f"items[{i}]")
        if not _is_many(image):
            yield image, boxes, labels
            continue
        lengths = [len(image), _length(boxes), _length(labels)]
        if len(set(lengths)) > 1:
            raise DataError(
                "Columns must have one entry for each image. Received: "
                f"{counted(lengths[0], 'image')}, boxes of {lengths[1]}, classes of {lengths[2]}. "
                "Give as many rows of boxes and classes as images."
            )
        yield from zip(image, boxes, labels, strict=True)


def fields_of(item: Any, where: str) -> tuple[Any, Any, Any]:
    """The images, boxes and labels in one dict; DataError, which names `where`, if it has none."""
    found = []
    if isinstance(item, Mapping):
        inside = item.get("bounding_boxes", item)
        inside = inside if isinstance(inside, Mapping) else {}
        for place, keys in ((item, IMAGES), (inside, ("boxes",)), (inside, LABELS)):
            found += [place[key] for key in keys if key in place][:1]
    if len(found) != 3:
        what = f"a dict of {sorted(item)}" if isinstance(item, Mapping) else type(item).__name__
        raise DataError(f"{FORM}. Received: {what} as {where}. Rename its entries.")
    return found[0], found[1], found[2]


def _is_many(image: Any) -> bool:
    """Whether these are several images: a list, texts, or an array of four dimensions."""
    if isinstance(image, list | tuple):
        return not image or not isinstance(image[0], int | float | list | tuple)
    if isinstance(image, str | bytes | os.PathLike):
        return False
    return np.ndim(image) in (1, 4)


def _length(value: Any) -> int:
    """The number of rows; of ragged tensors, too, which have no `len`."""
    shape = getattr(value, "shape", None)
    if shape is not None and len(shape):
        return int(shape[0])
    return len(value) if isinstance(value, Sequence) else -1


def _row(item: tuple[Any, Any, Any], i: int, store: "_Store") -> _Row:
    """One image with its boxes, checked."""
    image, boxes, labels = item
    boxes = _numbers(boxes, f"items[{i}], boxes", 4)
    labels = _numbers(labels, f"items[{i}], classes", 1)[:, 0]
    if len(boxes) != len(labels):
        raise DataError(
            f"Every box must have one class. Received: {counted(len(boxes), 'box', 'boxes')} and "
            f"{counted(len(labels), 'class', 'classes')} in items[{i}]. Boxes are (n, 4), classes "
            "(n,); empty slots have class -1."
        )
    wrong = (labels != np.round(labels)) | (labels < PADDING_LABEL) | ~np.isfinite(labels)
    if wrong.any():
        raise DataError(
            "A class must be a whole number from 0, or -1 in an empty slot. Received: "
            f"{labels[wrong][0]:g} in items[{i}]. Number the classes in the order of "
            "`class_names`."
        )
    used = labels != PADDING_LABEL
    path, size = store.place(image, i)
    return _Row(path, size, boxes[used], labels[used].astype(np.int64))


def _numbers(value: Any, what: str, width: int) -> np.ndarray:
    """The rows of boxes (width 4) or classes (width 1)."""
    try:
        array = np.asarray(value, np.float64)
        if width == 4 and array.size and (array.ndim != 2 or array.shape[1] != 4):
            raise ValueError(f"shape {array.shape}")
    except (TypeError, ValueError, OverflowError) as error:
        shape = "(n, 4)" if width == 4 else "(n,)"
        raise DataError(
            f"Boxes and classes must be arrays of numbers. Received: {what} ({error}). Give an "
            f"array of shape {shape}; replace class names with their indices in `class_names`."
        ) from None
    return array.reshape(-1, width)


class _Store:
    """Where images lie: their own files, or a folder to which arrays are written."""

    def __init__(self, folder: pathlib.Path | None) -> None:
        self.folder = folder
        self.written = 0
        self.rounded: list[str] = []

    def place(self, image: Any, i: int) -> tuple[str, tuple[int, int]]:
        """The path of an image and its size, (0, 0) where it is in the file."""
        if not isinstance(image, str | bytes | os.PathLike):
            image = np.asarray(image)
            image = image.item() if image.ndim == 0 else image
        if isinstance(image, str | bytes | os.PathLike):
            return os.path.abspath(os.fsdecode(image)), (0, 0)
        pixels = self._pixels(image, i)
        if self.folder is None:
            raise DataError(
                "A data set holds image paths, not pixels. Received: an array as the image of "
                f"items[{i}], and no image_dir. Give image_dir=, a new folder to which the images "
                "are written as PNG; or train on batches of arrays with `model.fit`."
            )
        if not self.written:
            _make_empty(self.folder)
        path = self.folder / f"{i:06d}.png"
        write_whole(path, png_of(pixels))
        self.written += 1
        return os.path.abspath(path), (pixels.shape[0], pixels.shape[1])

    def _pixels(self, image: Any, i: int) -> np.ndarray:
        """An image as uint8."""
        good = getattr(image, "ndim", 0) == 3 and image.shape[-1] == 3 and image.size
        kind = image.dtype.kind if good else ""
        rule = "An image must be a path, or an array (height, width, 3), RGB in 0..255"
        if kind not in ("u", "i", "f"):
            what = f"shape {np.shape(image)} of {getattr(image, 'dtype', type(image).__name__)}"
            raise DataError(f"{rule}. Received: {what} as the image of items[{i}]. Convert it.")
        low, high = float(image.min()), float(image.max())
        if not (low >= 0 and high <= 255) or (kind == "f" and 0 < high <= 1):
            raise DataError(
                f"{rule}. Received: values from {low:g} to {high:g} in items[{i}]. Scale the "
                "pixels to 0..255, and do not normalise them: the model does."
            )
        pixels = np.round(image).astype(np.uint8)
        if kind == "f" and (pixels != image).any():
            self.rounded.append(f"items[{i}]")
        return pixels

    def notes(self) -> list[Note]:
        if not self.rounded:
            return []
        text = f"Pixels of {counted(len(self.rounded), 'image')} were rounded"
        return [Note("pixels-changed", text, len(self.rounded), first=self.rounded[0])]


def _make_empty(folder: pathlib.Path) -> None:
    """Makes the folder for images; DataError where there is something in it."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "which is not empty" if folder.is_dir() else "which is a file"
        raise DataError(
            "`image_dir` must be a new or empty folder, into which images are written. Received: "
            f"{folder}, {what}. Give another one, or give paths of images instead of arrays."
        )
    folder.mkdir(parents=True, exist_ok=True)


def _class_names(rows: list[_Row], class_names: Sequence[str] | None) -> list[str]:
    """The names of the classes; DataError where a label has none."""
    highest = max((int(row.labels.max()) for row in rows if len(row.labels)), default=-1)
    if class_names is None:
        return [f"class_{k}" for k in range(max(highest + 1, 1))]
    if isinstance(class_names, str):
        raise TypeError(
            f"`class_names` must be a list of names. Received: the string {class_names!r}. Give "
            f"[{class_names!r}]."
        )
    if highest >= len(class_names):
        i = next(i for i, row in enumerate(rows) if highest in row.labels)
        raise DataError(
            f"Classes must lie in 0..{len(class_names) - 1}, one for each of `class_names`. "
            f"Received: {highest} in items[{i}]. The first class is 0: if your classes count from "
            "1, subtract 1; else name every class."
        )
    return [str(each) for each in class_names]


def _raw(rows: list[_Row], names: list[str], name: str, split: str | None) -> RawAnnotations:
    counts = [len(row.labels) for row in rows]
    starts = np.concatenate([[0], np.cumsum(counts)])
    image_index = np.repeat(np.arange(len(rows)), counts)
    return RawAnnotations(
        source=name,
        name=name,
        split=split,
        class_names=names,
        category_ids=list(range(len(names))),
        image_names=[row.path for row in rows],
        image_ids=list(range(len(rows))),
        image_sizes=np.array([row.size for row in rows], np.int64),
        image_index=image_index,
        boxes=np.concatenate([row.boxes for row in rows]),
        labels=np.concatenate([row.labels for row in rows]),
        crowd=np.zeros(len(image_index), bool),
        area=np.full(len(image_index), np.nan),
        where=lambda k: f"items[{image_index[k]}], box {k - starts[image_index[k]]}",
        folders=[pathlib.Path(".")],
    )
