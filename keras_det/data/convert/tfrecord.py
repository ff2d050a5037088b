"""Writes TFRecord files with the keys of the TensorFlow Object Detection API."""

import hashlib
import math
import os
import pathlib
import shutil
import tempfile
import warnings
from typing import Any

import numpy as np

from keras_det.data.dataset import Dataset
from keras_det.data.formats.label_map import label_map_text, read_label_map
from keras_det.data.formats.tfrecord_examples import BOX, CORNERS, LABEL, TEXT
from keras_det.data.formats.tfrecord_shards import groups_in
from keras_det.data.unpacking import suffixes_of
from keras_det.errors import DataError
from keras_det.files import open_bytes, read_bytes, write_whole

LABEL_MAP = "label_map.pbtxt"
SHARD_BYTES = 200e6  # the size of a shard, where the caller gives no number
# `image/format` as TensorFlow's programs name it.
FORMATS = {".jpg": "jpeg", ".png": "png", ".gif": "gif", ".bmp": "bmp"}


def write_tfrecord(
    dataset: Dataset, folder: str | os.PathLike, shards: int | None = None
) -> list[pathlib.Path]:
    """Writes a data set as shards `{split}-00000-of-00004.tfrecord`, and `label_map.pbtxt`.

    Images are copied byte by byte. Boxes are written in normalised coordinates as float32, the only
    floating-point type of these records: in an image of 10,000 pixels, the error is below 0.001
    pixels. Labels are the category ids of the data set where these are whole numbers from
    1, else they count from 1. Several splits of one data set may be written into one folder.

    Args:
        dataset: the data set. Its `split`, else its `name`, is the name of the shards.
        folder: the folder to write into; it is created if necessary.
        shards: number of files. None makes files of about 200 MB.

    Returns:
        The paths of the shards.

    Raises:
        DataError: the split exists in the folder, or its label map has other classes; an image
            cannot be read.
        ValueError: `shards` is below 1.
    """
    import tensorflow as tf

    folder = pathlib.Path(folder)
    if shards is None:
        total = sum(_file_size(path) for path in dataset.image_paths)
        shards = max(1, math.ceil(total / SHARD_BYTES))
    if shards < 1:
        raise ValueError(
            f"`shards` must be 1 or more. Received: {shards}. Leave it out for files of 200 MB."
        )
    name = _shard_name(dataset)
    _check_folder(folder, name)
    ids = _ids(dataset)
    folder.mkdir(parents=True, exist_ok=True)
    _write_label_map(folder / LABEL_MAP, dict(zip(ids, dataset.class_names, strict=True)))
    files = [f"{name}-{i:05d}-of-{shards:05d}.tfrecord" for i in range(shards)]
    unfinished = pathlib.Path(tempfile.mkdtemp(prefix=f".{name}.", dir=folder))
    turned = 0
    try:
        for number, part in enumerate(np.array_split(np.arange(len(dataset)), shards)):
            with tf.io.TFRecordWriter(os.fspath(unfinished / files[number])) as writer:
                for i in part.tolist():
                    record, is_turned = _example(dataset, i, ids, tf)
                    writer.write(record)
                    turned += is_turned
        for file in files:
            os.replace(unfinished / file, folder / file)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    if turned:
        warnings.warn(
            f"Images with an EXIF orientation: {turned}. Their boxes fit the images as keras_det "
            "reads them. Programs that treat the orientation differently misplace them.",
            stacklevel=2,
        )
    return [folder / file for file in files]


def _shard_name(dataset: Dataset) -> str:
    name = dataset.split or dataset.name
    safe = "".join(c if c.isalnum() or c in "._" else "_" for c in name).strip(".")
    return safe or "dataset"


def _check_folder(folder: pathlib.Path, name: str) -> None:
    """Refuses to mix new shards with those of an earlier call."""
    for group in groups_in(folder) if folder.is_dir() else ():
        if group.name == name and group.files[0].parent == folder:
            raise DataError(
                "The shards to write must not exist yet. Received: "
                f"{group.files[0]}. Choose another folder, or move the existing files away."
            )


def _ids(dataset: Dataset) -> list[int]:
    """The label of each class: the category ids where the format can hold them."""
    ids = [each for each in dataset.category_ids if isinstance(each, int) and 0 < each < 1 << 30]
    if len(set(ids)) == len(dataset.class_names):
        return ids
    return list(range(1, len(dataset.class_names) + 1))


def _write_label_map(path: pathlib.Path, names: dict[int, str]) -> None:
    if path.exists():
        there = {number: entry.name for number, entry in read_label_map(path).items()}
        if there != names:
            raise DataError(
                "All splits in a folder must have the same classes. Received: "
                f"{path} with {list(there.values())[:5]}, and a data set with "
                f"{list(names.values())[:5]}. Choose another folder, or read both splits with the "
                "same class_names= (--classes)."
            )
        return
    write_whole(path, label_map_text(names).encode())


def _example(dataset: Dataset, index: int, ids: list[int], tf: Any) -> tuple[bytes, bool]:
    """The record of one image, and whether the image holds an orientation."""
    path = dataset.image_paths[index]
    encoded = _read(path)
    suffix = (suffixes_of(encoded) or ("",))[0]
    height, width = dataset.image_sizes[index].tolist()
    rows = dataset.rows(index)
    boxes = dataset.boxes[rows].astype(np.float64) / [width, height, width, height]
    labels = dataset.labels[rows].tolist()
    names = [dataset.class_names[label].encode() for label in labels]
    floats = {BOX + key: boxes[:, k].tolist() for k, key in enumerate(CORNERS)}
    floats["image/object/area"] = dataset.area[rows].tolist()
    integers = {
        "image/height": [height],
        "image/width": [width],
        LABEL: [ids[label] for label in labels],
        "image/object/is_crowd": dataset.crowd[rows].astype(int).tolist(),
    }
    texts = {
        "image/encoded": [encoded],
        "image/format": [FORMATS.get(suffix, suffix[1:]).encode()],
        "image/filename": [os.path.basename(path).encode()],
        "image/source_id": [str(dataset.image_ids[index]).encode()],
        "image/key/sha256": [hashlib.sha256(encoded).hexdigest().encode()],
        TEXT: names,
    }
    feature = {
        k: tf.train.Feature(float_list=tf.train.FloatList(value=v)) for k, v in floats.items()
    }
    for key, numbers in integers.items():
        feature[key] = tf.train.Feature(int64_list=tf.train.Int64List(value=numbers))
    for key, values in texts.items():
        feature[key] = tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    return example.SerializeToString(deterministic=True), _is_turned(path, suffix)


def _is_turned(path: str, suffix: str) -> bool:
    import PIL.Image

    if suffix != ".jpg":
        return False
    try:
        with open_bytes(path) as file, PIL.Image.open(file, formats=["JPEG"]) as image:
            return image.getexif().get(0x0112, 1) not in (0, 1)
    except (OSError, SyntaxError, ValueError):  # the reader of the records will name it
        return False


def _read(path: str) -> bytes:
    try:
        return read_bytes(path)
    except OSError as error:
        raise DataError(
            "Every image of the data set must be readable. Received: "
            f"{path} ({error.strerror}). Restore it, or read the data set again."
        ) from error


def _file_size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:  # named when it is read
        return 0
