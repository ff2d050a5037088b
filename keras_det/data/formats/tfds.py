"""Reads detection sets of TensorFlow Datasets."""

import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from keras_det.data.assemble import assemble
from keras_det.data.dataset import Dataset
from keras_det.data.formats.object_rows import LABELS, Columns, index_of, raw_of, read_rows
from keras_det.data.listing import folders_in
from keras_det.data.notes import Note
from keras_det.data.raw import Format, Layout, RawAnnotations, ReadOptions, options_of
from keras_det.data.unpacking import FOLDER, UnpackedImages
from keras_det.errors import DataError, install_hint, suggest
from keras_det.files import read_bytes

FILES = ("features.json", "dataset_info.json")  # TFDS writes both beside the records


def from_tfds(
    name_or_builder: Any,
    split: str,
    *,
    data_dir: str | os.PathLike | None = None,
    class_names: Sequence[str] | None = None,
    image_dir: str | os.PathLike | None = None,
) -> Dataset:
    """Reads a detection set of TensorFlow Datasets: a sequence of objects with boxes and labels.

    The encoded images are written once, unchanged, into a folder: a `Dataset` names files. Classes
    are those of the label's feature. `is_crowd` and `is_difficult` become `crowd`.

    Args:
        name_or_builder: a name such as "voc/2007" (the data set is downloaded if necessary), a
            builder, or the folder of a prepared data set (with features.json).
        split: as TFDS names it, such as "train" or "train[:10%]".
        data_dir: where TFDS keeps its data; only with a name. None takes TFDS' default.
        class_names: the classes in the order of their labels. None takes the feature's.
        image_dir: folder into which the images are written. None takes `unpacked_images` next to
            the records.

    Returns:
        A `Dataset`. One warning lists what was left out or changed.

    Raises:
        DataError: TensorFlow Datasets is not installed, the data set is unknown, or has no boxes.
    """
    tfds = _tfds()
    builder = name_or_builder
    if data_dir is not None and not isinstance(builder, str):
        raise ValueError(
            "`data_dir` is for data sets that are given by name. Received: "
            f"data_dir={os.fspath(data_dir)!r} and {type(builder).__name__}. Leave it out."
        )
    if isinstance(builder, (str, os.PathLike)):
        if (pathlib.Path(builder) / FILES[0]).is_file():
            builder = _open_folder(tfds, pathlib.Path(builder))
        else:
            builder = _by_name(tfds, os.fspath(builder), data_dir)
            builder.download_and_prepare()
    options = options_of(class_names, image_dir)
    return assemble(_read(tfds, builder, split, options), options)


def _tfds() -> Any:
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise DataError(
            "Data sets of TensorFlow Datasets need the package tensorflow-datasets. Received: "
            f"{error}. Install it with {install_hint('tfds')}."
        ) from error
    return tensorflow_datasets


def _by_name(tfds: Any, name: str, data_dir: str | os.PathLike | None) -> Any:
    try:
        return tfds.builder(name, data_dir=data_dir)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else "not found"
        raise DataError(
            "A data set must have a name that TensorFlow Datasets knows, or be its folder. "
            f"Received: {name!r} ({reason}). tensorflow_datasets.list_builders() lists the names."
        ) from error


def _open_folder(tfds: Any, folder: pathlib.Path) -> Any:
    try:
        return tfds.builder_from_directory(os.fspath(folder))
    except Exception as error:  # TFDS raises errors of many kinds for damaged files
        raise DataError(
            f"{' and '.join(FILES)} must be as TensorFlow Datasets writes them. Received: {folder} "
            f"({type(error).__name__}: {str(error)[:200]}). Prepare the data set again."
        ) from error


class Features(NamedTuple):
    """Where a data set keeps its images and objects.

    Attributes:
        columns: the features of the images and of the objects.
        classes: the names of the classes; empty where the labels have none.
        has_labels: whether the objects have labels.
        box_format: how the boxes are written.
    """

    columns: Columns
    classes: list[str]
    has_labels: bool
    box_format: str


def _features_of(builder: Any) -> Features:
    features = builder.info.features
    images = [key for key, each in features.items() if type(each).__name__ == "Image"]
    found = {}
    for key, each in features.items():
        inner: Any = getattr(each, "feature", None)
        if hasattr(inner, "items"):
            boxes = [name for name, f in inner.items() if type(f).__name__ == "BBoxFeature"]
            if boxes:
                found[key] = (inner, inner[boxes[0]])
    if not images or not found:
        raise DataError(
            "A data set for detection must have an image and a sequence of objects with a "
            f"BBoxFeature. Received: {builder.name} with the features {', '.join(features)}. "
            "Choose a data set for object detection."
        )
    key = "objects" if "objects" in found else next(iter(found))
    inner, box = found[key]
    label = next((name for name in LABELS if name in inner), None)
    classes = list(getattr(inner[label], "names", None) or ()) if label else [key]
    box_format = getattr(getattr(box, "bbox_format", None), "value", "REL_YXYX").lower()
    image = "image" if "image" in images else images[0]
    return Features(Columns(image, key), classes, label is not None, box_format)


def _read(tfds: Any, builder: Any, split: str, options: ReadOptions) -> RawAnnotations:
    features = _features_of(builder)
    folder = pathlib.Path(builder.data_path)
    images = UnpackedImages(options.image_dir or folder / FOLDER)

    def place(row: int) -> str:
        return f"{builder.name} {split}, example {row}"

    rows = _rows(tfds, builder, split, features)
    found = read_rows(rows, features.columns, images, place, f"{builder.name} {split}")
    names = features.classes
    if not features.has_labels:
        text = f"The objects have no labels: all are of one class, {names[0]!r}."
        found.notes.append(Note("classes-from", text))
    if not names:
        count = max((label for label in found.labels if isinstance(label, int)), default=-1) + 1
        given = options.class_names
        if given is None:
            raise DataError(
                "The labels of a data set must have names. Received: "
                f"{builder.name}, whose labels are numbers up to {count - 1}. Give class_names=, "
                "in the order of these numbers from 0."
            )
        names = list(given)
    labels = index_of(found, names, place, "Prepare the data set again.")
    found.notes[:0] = images.notes()
    return raw_of(
        found,
        names,
        labels,
        place,
        source=f"{builder.name} {split}",
        name=builder.name,
        split=split,
        folders=[images.folder],
        box_format=features.box_format,
    )


def _rows(tfds: Any, builder: Any, split: str, features: Features) -> Iterator[dict[str, Any]]:
    """The examples of a split, with encoded images."""
    decoders = {features.columns.image: tfds.decode.SkipDecoding()}
    known = list(builder.info.splits)
    if not known:
        raise DataError(
            "The data set must be prepared. Received: "
            f"{builder.name} without splits in {builder.data_path}. Call the builder's "
            "download_and_prepare() first."
        )
    try:
        examples = builder.as_dataset(split=split, decoders=decoders, shuffle_files=False)
    except (AssertionError, ValueError, KeyError) as error:
        raise DataError(
            f"`split` must be one of {', '.join(known)} or a part of it such as "
            f"{known[0]}[:10%]. Received: {split!r}.{suggest(split, known)} Give one of them."
        ) from error
    return _checked(tfds.as_numpy(examples), features, builder, split)


def _checked(
    examples: Any, features: Features, builder: Any, split: str
) -> Iterator[dict[str, Any]]:
    import tensorflow as tf

    count, rows = 0, iter(examples)
    while True:
        try:
            row = next(rows, None)
        # TensorFlow's words about a damaged record may hold bytes of it, which are not text.
        except (tf.errors.OpError, ValueError) as error:
            raise DataError(
                f"The records of a data set must be complete. Received: {builder.name} {split} in "
                f"{builder.data_path}, damaged after example {count} "
                f"({' '.join(str(getattr(error, 'message', error)).split())[:120]}). Prepare the "
                "data set again."
            ) from error
        if row is None:
            return
        if not features.has_labels:
            objects = row[features.columns.objects]
            first = next(iter(objects.values()))
            row = {**row, features.columns.objects: {**objects, "label": [0] * len(first)}}
        yield row
        count += 1


class Source(NamedTuple):
    """A folder that TFDS has prepared, and the name of a split."""

    root: pathlib.Path
    split: str


def read(source: Source, options: ReadOptions) -> RawAnnotations:
    """Reads one split of a prepared folder; see `from_tfds`."""
    tfds = _tfds()
    return _read(tfds, _open_folder(tfds, source.root), source.split, options)


def find(path: pathlib.Path) -> Layout | None:
    """The splits of a folder that TFDS has prepared, which may lie two folders below."""
    root = path
    for _ in range(3):
        if all((root / name).is_file() for name in FILES):
            names = _split_names(root / "dataset_info.json")
            return Layout(path, {name: Source(root, name) for name in names}) if names else None
        try:
            inside = [each for each in folders_in(root) if each.name != FOLDER]
        except OSError:
            return None
        if len(inside) != 1:
            return None
        root = inside[0]
    return None


def _split_names(file: pathlib.Path) -> list[str]:
    try:
        content = json.loads(read_bytes(file))
        return [str(each["name"]) for each in content["splits"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def resembles(path: pathlib.Path) -> str | None:
    """What a folder lacks to be one that TFDS has prepared."""
    there = [name for name in FILES if (path / name).is_file()]
    if len(there) == 1:
        missing = FILES[1 - FILES.index(there[0])]
        return f"has {there[0]}, but no {missing}"
    return None


FORMAT = Format(
    name="tfds",
    title="TensorFlow Datasets",
    tree="features.json and dataset_info.json beside the records",
    find=find,
    read=read,
    resembles=resembles,
)
