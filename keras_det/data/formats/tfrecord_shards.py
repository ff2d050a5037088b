"""Names and headers of TFRecord files: which files belong together, and to which split."""

import pathlib
import re
import struct
from collections.abc import Iterable
from typing import NamedTuple

from keras_det.data.formats.coco_layout import SPLIT
from keras_det.data.listing import entries, folders_in, is_file
from keras_det.files import open_bytes

# train-00000-of-00010, coco_train.record-00000-of-00100, train-00000-of-00010.tfrecord
SHARD = re.compile(r"(?P<base>.+?)[-_](?P<number>\d+)-of-(?P<count>\d+)(?P<suffix>\.\w+)?", re.I)
SUFFIX = re.compile(r"\.(tfrecords?|tfrec|records?)(\.gz)?(?=$|-)", re.I)
# Numbers at the end of a name that count files, such as "train00-462". A year does not.
COUNTED = re.compile(r"[-_]?(?!(?:19|20)\d\d$)\d+(?:-\d+)?$")
MANY = 40  # more folders than this are not splits
OTHER_SUFFIX = re.compile(r"\.(?!gz$)[A-Za-z]\w*$")  # of another format, such as .parquet


class Group(NamedTuple):
    """TFRecord files that belong together.

    Attributes:
        name: what their names share, such as "coco_train".
        split: the split that the names tell, or None.
        files: sorted.
    """

    name: str
    split: str | None
    files: tuple[pathlib.Path, ...]


def groups_in(root: pathlib.Path) -> list[Group]:
    """The TFRecord files of a folder, or of its subfolders where it has none itself."""
    groups = _groups_of(root)
    if groups:
        return groups
    try:
        inside = [each for each in folders_in(root) if not each.name.startswith(".")]
    except OSError:
        return []
    if len(inside) > MANY:
        return []
    return [group for folder in inside for group in _groups_of(folder)]


def _groups_of(folder: pathlib.Path) -> list[Group]:
    try:
        names = sorted(entry.name for entry in entries(folder) if is_file(entry))
    except OSError:
        return []
    if "features.json" in names and "dataset_info.json" in names:  # made by TFDS
        return []
    files: dict[str, list[pathlib.Path]] = {}
    for name in names:
        base = _base(name)
        if base is not None and not name.startswith("."):
            files.setdefault(base, []).append(folder / name)
    counted: dict[str, list[str]] = {}
    for base, found in files.items():
        alone = len(found) == 1 and SHARD.fullmatch(found[0].name) is None
        counted.setdefault(COUNTED.sub("", base) if alone else base, []).append(base)
    groups = []
    for short, bases in counted.items():
        shards = sorted(file for base in bases for file in files[base])
        if any(SUFFIX.search(file.name) or is_record(file) for file in shards[:3]):
            groups.append(_group(short if len(bases) > 1 else bases[0], shards))
    return groups


def group_of(file: pathlib.Path) -> Group | None:
    """One file as a group, or None where its name and its header are not those of a TFRecord."""
    base = _base(file.name)
    if base is None or not (SUFFIX.search(file.name) or is_record(file)):
        return None
    return _group(base, [file])


def _group(name: str, files: Iterable[pathlib.Path]) -> Group:
    files = tuple(files)
    match = SPLIT.search(name) or SPLIT.fullmatch(files[0].absolute().parent.name)
    return Group(name, match[1] if match else None, files)


def _base(name: str) -> str | None:
    """What the files of one set share; None for names that no TFRecord has."""
    shard = SHARD.fullmatch(name)
    if shard is not None:
        suffix = shard["suffix"] or ""
        if OTHER_SUFFIX.search(suffix) and not SUFFIX.fullmatch(suffix):
            return None
        return SUFFIX.sub("", shard["base"]) or shard["base"]
    match = SUFFIX.search(name)
    return name[: match.start()] if match and match.end() == len(name) else None


def missing_shards(files: Iterable[pathlib.Path]) -> list[str]:
    """The names of shards that the others count, such as 3 of "-of-00010", and are not there."""
    there = {file.name for file in files}
    missing, seen = [], set()
    for name in sorted(there):
        match = SHARD.fullmatch(name)
        if match is None or int(match["count"]) > 100_000:
            continue
        start, end = match.span("number")
        head, tail = name[:start], name[end:]
        if (head, tail) in seen:
            continue
        seen.add((head, tail))
        names = (f"{head}{k:0{end - start}d}{tail}" for k in range(int(match["count"])))
        missing += [each for each in names if each not in there]
    return missing


def compression(file: pathlib.Path) -> str:
    """How a TFRecord file is compressed, as TensorFlow names it: "", "GZIP" or "ZLIB"."""
    head = _head(file)
    if _is_header(head):
        return ""
    if head[:2] == b"\x1f\x8b":
        return "GZIP"
    is_zlib = head[:1] == b"\x78" and int.from_bytes(head[:2], "big") % 31 == 0
    return "ZLIB" if is_zlib else ""


def is_record(file: pathlib.Path) -> bool:
    """Whether a file begins as a TFRecord does: a length and its checksum."""
    head = _head(file)
    return _is_header(head) or head[:2] == b"\x1f\x8b"


def _head(file: pathlib.Path) -> bytes:
    try:
        with open_bytes(file) as opened:
            return opened.read(12)
    except OSError:
        return b""


def _is_header(head: bytes) -> bool:
    if len(head) < 12:
        return False
    crc = _crc32c(head[:8])
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return struct.unpack("<I", head[8:])[0] == masked


def _crc32c(data: bytes) -> int:
    """The Castagnoli checksum, for a few bytes: TFRecord files hold it after each length."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
