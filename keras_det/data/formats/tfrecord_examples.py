"""Reads the `tf.train.Example` records of TFRecord files, with the keys of the TensorFlow Object
Detection API."""

import math
import os
import pathlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_det.data.formats.tfrecord_shards import compression
from keras_det.data.notes import Note
from keras_det.data.raw import BadRecords
from keras_det.data.unpacking import UnpackedImages, suffixes_of
from keras_det.errors import DataError
from keras_det.words import counted

BOX = "image/object/bbox/"
CORNERS = ("xmin", "ymin", "xmax", "ymax")
LABEL, TEXT = "image/object/class/label", "image/object/class/text"
# The keys of objects that training leaves out and evaluation ignores.
CROWDS = ("image/object/is_crowd", "image/object/difficult", "image/object/group_of")
AREA = "image/object/area"
MAX_SIDE = 1 << 24  # pixels
Features = Mapping[str, Any]


class BadExample(Exception):
    """One record cannot be read; the text says what must hold and what was received."""


@dataclass
class Examples:
    """The columns of all records: one entry per image, or per object.

    Attributes:
        names: the file name of each image.
        ids: `image/source_id`, "" where there is none.
        sizes: (height, width) of each image, 0 where not given.
        places: (number of the shard, number of the record) of each image.
        image_of: the image of each object.
        numbers: the number of each object in its record.
        boxes: xmin, ymin, xmax, ymax of each object, one after the other.
        labels: the label of each object, -1 where there is none.
        texts: its class as text, "" where there is none.
        crowd: whether a key of `CROWDS` is set, bit k for the k-th.
        area: square pixels, NaN where not given.
        records: number of records, unreadable ones included.
        notes: what was left out.
    """

    names: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)
    image_of: "array[int]" = field(default_factory=lambda: array("q"))
    numbers: "array[int]" = field(default_factory=lambda: array("q"))
    boxes: "array[float]" = field(default_factory=lambda: array("d"))
    labels: "array[int]" = field(default_factory=lambda: array("q"))
    texts: list[str] = field(default_factory=list)
    crowd: "array[int]" = field(default_factory=lambda: array("b"))
    area: "array[float]" = field(default_factory=lambda: array("d"))
    records: int = 0
    notes: list[Note] = field(default_factory=list)


def records_of(shard: pathlib.Path) -> Iterator[bytes]:
    """Yields the records of one file, each checked against its checksum.

    Raises:
        DataError: the file is damaged or cut off.
    """
    import tensorflow as tf

    records = iter(tf.data.TFRecordDataset(os.fspath(shard), compression(shard)))
    number = 0
    while True:
        try:
            record = next(records, None)
        except (tf.errors.OpError, UnicodeDecodeError) as error:
            reason = " ".join(str(getattr(error, "message", error)).split())[:120]
            raise DataError(
                f"A TFRecord file must be complete. Received: {shard}, damaged or cut off at "
                f"record {number} ({reason}). Download or write this file again."
            ) from error
        if record is None:
            return
        yield record.numpy()
        number += 1


def read_examples(shards: Sequence[pathlib.Path], images: UnpackedImages) -> Examples:
    """Reads all records of some files, and unpacks their images.

    Raises:
        DataError: a file is damaged, too many records cannot be read, or they hold other things.
    """
    found = Examples()
    bad = BadRecords("records", os.fspath(shards[0].parent))
    for i, shard in enumerate(shards):
        for k, record in enumerate(records_of(shard)):
            try:
                features = _features(record)
                _check_keys(features, shard, k)
                _add(found, features, shard, (i, k), images)
            except BadExample as error:
                bad.add(f"{shard}, record {k}", str(error))
            found.records += 1
    if not found.records:
        raise DataError(
            f"TFRecord files must hold records. Received: none in {counted(len(shards), 'file')} "
            f"(first: {shards[0]}). Download or write them again."
        )
    found.notes += bad.notes(found.records)
    if bad.count == found.records:
        raise DataError(
            f"At least one of the records must be readable. Received: none; {bad.reasons[0]}. "
            "Correct the program that writes the records."
        )
    return found


def classes_in(shards: Iterable[pathlib.Path]) -> set[tuple[int, str]]:
    """Returns the pairs (label, text) of all objects; -1 and "" where one is missing."""
    pairs: set[tuple[int, str]] = set()
    for shard in shards:
        for record in records_of(shard):
            try:
                features = _features(record)
                count = len(_values(features, BOX + "xmin"))
                pairs.update(zip(*_classes(features, count), strict=True))
            except BadExample:  # counted where its split is read
                continue
    return pairs


def _features(record: bytes) -> Features:
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        features: Features = tf.train.Example.FromString(record).features.feature
    except DecodeError as error:
        raise BadExample(
            f"it must be a tf.train.Example. Received: {counted(len(record), 'byte')}"
        ) from error
    return features


def _check_keys(features: Features, shard: pathlib.Path, number: int) -> None:
    """Refuses records of other data sets: classification, other keys."""
    if any(key.startswith(BOX) or key == LABEL for key in features):
        return
    if "image/encoded" in features or "image/filename" in features:
        return  # an image without objects
    if not features:
        raise BadExample("it must hold features. Received: none")
    keys = ", ".join(sorted(features)[:8])
    raise DataError(
        "The records must have the keys of the TensorFlow Object Detection API: image/encoded, "
        f"{BOX}xmin and so on. Received: {keys} in {shard}, record {number}. Write the records "
        "with these keys; a folder made by TensorFlow Datasets is read with its features.json and "
        "dataset_info.json."
    )


def _add(
    found: Examples,
    features: Features,
    shard: pathlib.Path,
    place: tuple[int, int],
    images: UnpackedImages,
) -> None:
    """Takes one record; raises BadExample, and takes nothing of it, where it cannot be read."""
    size = _side(features, "image/height"), _side(features, "image/width")
    columns = [_numbers(features, BOX + key) for key in CORNERS]
    count = len(columns[0])
    for key, column in zip(CORNERS, columns, strict=True):
        _check_length(BOX + key, column, count)
    labels, texts = _classes(features, count)
    crowd = [0] * count
    for bit, key in enumerate(CROWDS):
        for i, value in enumerate(_numbers(features, key, count)):
            crowd[i] |= (value > 0) << bit
    area = _numbers(features, AREA, count) or [math.nan] * count
    source = _text(features, "image/source_id")
    name = _text(features, "image/filename") or source
    content = _values(features, "image/encoded")
    if content:
        encoded = content[0]
        if not isinstance(encoded, bytes) or not suffixes_of(encoded):
            raise BadExample("`image/encoded` must be a JPEG, PNG, BMP, GIF, WebP or TIFF file")
        name = images.add(name or f"{shard.name}-{place[1]:06d}", encoded)
    elif not name:
        raise BadExample("it must hold `image/encoded` or `image/filename`. Received: neither")
    found.image_of.extend([len(found.names)] * count)
    found.names.append(name)
    found.ids.append(source)
    found.sizes.append(size)
    found.places.append(place)
    found.numbers.extend(range(count))
    found.boxes.extend(number for box in zip(*columns, strict=True) for number in box)
    found.labels.extend(labels)
    found.texts += texts
    found.crowd.extend(crowd)
    found.area.extend(area)


def _values(features: Features, key: str) -> Sequence[Any]:
    """The list under a key, of bytes or numbers; empty where there is none."""
    if key not in features:
        return ()
    feature = features[key]
    kind = feature.WhichOneof("kind")
    return getattr(feature, kind).value if kind else ()


def _numbers(features: Features, key: str, count: int | None = None) -> list[float]:
    """Numbers under a key; with `count`, none or one for each object."""
    values = _values(features, key)
    if values and isinstance(values[0], bytes):
        raise BadExample(f"`{key}` must hold numbers. Received: bytes")
    if count is not None and len(values):
        _check_length(key, values, count)
    return list(values)


def _check_length(key: str, values: Sequence[Any], count: int) -> None:
    if len(values) != count:
        raise BadExample(
            f"`{key}` must hold one value for each object. Received: "
            f"{counted(len(values), 'value')} for {counted(count, 'object')}"
        )


def _classes(features: Features, count: int) -> tuple[list[int], list[str]]:
    labels, texts = _values(features, LABEL), _values(features, TEXT)
    for key, values, kind in ((LABEL, labels, (int, float)), (TEXT, texts, bytes)):
        if len(values):
            _check_length(key, values, count)
            if not isinstance(values[0], kind):
                what = "whole numbers" if key == LABEL else "text"
                raise BadExample(f"`{key}` must hold {what}. Received: {values[0]!r}")
    if any(label != label or label != int(label) or label < 0 for label in labels):
        raise BadExample(f"`{LABEL}` must hold whole numbers. Received: {list(labels)[:6]}")
    return (
        [int(label) for label in labels] or [-1] * count,
        [text.decode(errors="replace").strip() for text in texts] or [""] * count,
    )


def _text(features: Features, key: str) -> str:
    values = _values(features, key)
    if not len(values):
        return ""
    value = values[0]
    text = value.decode(errors="replace") if isinstance(value, bytes) else f"{value:g}"
    return text.replace("\0", "").strip()


def _side(features: Features, key: str) -> int:
    """The height or width in pixels, 0 where not given."""
    values = _numbers(features, key)
    side = values[0] if values else 0
    if not 0 <= side < MAX_SIDE or side != int(side):
        raise BadExample(f"`{key}` must be a whole number of pixels. Received: {side:g}")
    return int(side)


def finite(found: Examples) -> np.ndarray:
    """Which objects have four finite numbers for a box."""
    boxes = np.array(found.boxes, np.float64).reshape(-1, 4)
    return np.asarray(np.isfinite(boxes).all(axis=1) & (np.abs(boxes) < MAX_SIDE).all(axis=1))
