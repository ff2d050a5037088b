"""Data sets of records, TFRecord and TensorFlow Datasets: undamaged ones, and ways to damage them.

A record has a checksum: a turned bit is always seen. So most ways change what a record says, and
write it with the right checksum.
"""

import functools
import importlib.util
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from tests.data.every_format import NAMES, PICTURES, Picture, image_bytes
from tests.data.record_builders import example
from tests.fuzz import mutators
from tests.fuzz.harness import Limits

# TensorFlow starts in each process.
LIMITS = Limits(seconds=15.0, wall=120.0)
TFRECORD, TFDS = "tfrecord", "tfds"
POLYNOMIAL, ALL_BITS = 0x82F63B78, 0xFFFFFFFF  # of the CRC-32C, reversed
# What stands in the place of the values of a feature.
NUMBERS = (float("nan"), float("inf"), -1.0, 0.0, 0.5, 2.0, 1e38, -1e38, 1e-40)
WHOLE = (-1, 0, 1, 2, 5, 2**31, 2**62, -(2**63))
BYTES = (b"", b"\xff\xfe", b"abc", b"a\0b", b"../../x", b"/etc/passwd", b"x" * 100_000, b"\x89PNG")


def formats() -> list[str]:
    """Those that can be read here."""
    return [TFRECORD, *([TFDS] if importlib.util.find_spec("tensorflow_datasets") else [])]


@functools.cache
def undamaged(name: str) -> dict[str, bytes]:
    """The files of a small data set."""
    if name == TFRECORD:
        rows = [f'item {{\n  id: {i}\n  name: "{each}"\n}}\n' for i, each in enumerate(NAMES, 1)]
        records = b"".join(map(framed, map(_example, PICTURES)))
        return {"train.tfrecord": records, "label_map.pbtxt": "".join(rows).encode()}
    with tempfile.TemporaryDirectory() as folder:  # a process that has run TensorFlow cannot fork
        subprocess.run([sys.executable, "-m", "tests.fuzz.records", folder], check=True)
        (root,) = {path.parent for path in pathlib.Path(folder).rglob("features.json")}
        return {each.name: each.read_bytes() for each in root.iterdir() if each.is_file()}


def _example(picture: Picture) -> bytes:
    objects = [
        (x1 / picture.width, y1 / picture.height, x2 / picture.width, y2 / picture.height)
        + (label + 1, NAMES[label])
        for label, x1, y1, x2, y2 in picture.objects
    ]
    sides = {"image__height": [picture.height], "image__width": [picture.width]}
    content = image_bytes(picture.width, picture.height)
    return example(picture.name, objects, content, **sides)


def build_tfds(folder: str) -> None:
    """Prepares the pictures as a data set of TensorFlow Datasets."""
    import tensorflow_datasets as tfds

    features = {
        "image": tfds.features.Image(encoding_format="png"),
        "image/filename": tfds.features.Text(),
        "objects": tfds.features.Sequence(
            {
                "bbox": tfds.features.BBoxFeature(),
                "label": tfds.features.ClassLabel(names=list(NAMES)),
            }
        ),
    }

    class Pictures(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            described = tfds.features.FeaturesDict(features)
            return tfds.core.DatasetInfo(builder=self, features=described)

        def _split_generators(self, manager: Any) -> dict[str, Any]:
            return {"train": self._generate_examples()}

        def _generate_examples(self) -> Any:
            for picture in PICTURES:
                path = pathlib.Path(folder, picture.name)
                path.write_bytes(image_bytes(picture.width, picture.height))
                w, h = picture.width, picture.height
                objects = [
                    {"label": label, "bbox": tfds.features.BBox(y1 / h, x1 / w, y2 / h, x2 / w)}
                    for label, x1, y1, x2, y2 in picture.objects
                ]
                row = {"image": str(path), "image/filename": picture.name, "objects": objects}
                yield picture.name, row

    tfds.disable_progress_bar()
    Pictures(data_dir=folder).download_and_prepare()


# ---- the frames of records ----


def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


CRC_TABLE = _crc_table()


def _masked_crc(data: bytes) -> bytes:
    crc = ALL_BITS
    for byte in data:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 255]
    crc ^= ALL_BITS
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & ALL_BITS)


def framed(record: bytes) -> bytes:
    """A record with its length and its two checksums."""
    length = struct.pack("<Q", len(record))
    return length + _masked_crc(length) + record + _masked_crc(record)


def split(data: bytes) -> list[bytes]:
    """The records of a file."""
    records = []
    while data:
        (length,) = struct.unpack_from("<Q", data)
        records.append(data[12 : 12 + length])
        data = data[16 + length :]
    return records


# ---- damage ----


def _other_values(feature: Any, rng: random.Random) -> None:
    """Other values, more or fewer of them, or values of another type."""
    kind = feature.WhichOneof("kind") or "int64_list"
    values = list(getattr(feature, kind).value)
    way = rng.randrange(4)
    if way == 0:
        kind = rng.choice(["float_list", "int64_list", "bytes_list"])
        values = []
    choices: dict[str, tuple[Any, ...]] = {"float_list": NUMBERS, "int64_list": WHOLE}
    others = choices.get(kind, BYTES)
    if way == 1 and values:
        values = values[: rng.randrange(len(values))]
    elif way == 2 or not values:
        values += [rng.choice(others) for _ in range(rng.choice([1, 1, 5, 1000]))]
    else:
        values[rng.randrange(len(values))] = rng.choice(others)
    feature.Clear()
    getattr(feature, kind).value.extend(values)


def changed_example(record: bytes, rng: random.Random) -> bytes:
    """A record in which a feature is removed, renamed or has other values."""
    import tensorflow as tf

    content = tf.train.Example.FromString(record)
    features = content.features.feature
    key, way = rng.choice(sorted(features)), rng.randrange(6)
    if way == 0:
        del features[key]
    elif way == 1:
        features[rng.choice(["x", "image", key + "/x"])].CopyFrom(features.pop(key))
    elif way == 2 and features[key].WhichOneof("kind") == "bytes_list":
        values = features[key].bytes_list.value
        values[0] = mutators.damaged(".png", values[0], rng)
    else:
        _other_values(features[key], rng)
    return content.SerializeToString(deterministic=True)


def changed_records(data: bytes, rng: random.Random) -> bytes:
    """A file of records in which one says something else, is doubled or is missing."""
    records = split(data)
    place, way = rng.randrange(len(records)), rng.randrange(8)
    if way == 0:
        records.insert(place, records[rng.randrange(len(records))])
    elif way == 1:
        del records[place]
    elif way == 2:
        records[place] = mutators.damaged("", records[place], rng)
    else:
        records[place] = changed_example(records[place], rng)
    return b"".join(map(framed, records))


def damaged(name: str, data: bytes, rng: random.Random) -> bytes:
    """As `mutators.damaged`, for the files of a data set of records."""
    ways: tuple[Callable[[bytes, random.Random], bytes], ...] = ()
    if ".tfrecord" in name:
        ways = (changed_records,) * 4
    way = rng.choice([*ways, None])
    try:
        return mutators.damaged(name, data, rng) if way is None else way(data, rng)
    except Exception:  # it was damaged before, and holds no records any more
        return mutators.flipped_bit(data, rng)


def preload() -> None:
    """Loads what the readers need, so that each fork has it; runs nothing of it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow  # noqa: F401

    if TFDS in formats():
        import tensorflow_datasets as tfds

        tfds.disable_progress_bar()


if __name__ == "__main__":
    build_tfds(sys.argv[1])
