"""Finds validation images that are copies of training images, without reading most files."""

import filecmp
import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_det.files import open_bytes

# Of files with equal sizes, this many bytes are compared at the beginning and at the end. Whole
# files are read only if these are equal.
PART = 1 << 13
# Files that are opened: a share of all images, but at least a number. Each takes about 0.1 ms, so
# this stays below 2% of an epoch, even at 1,000 images per second.
MAX_OPENED, LEAST_OPENED = 0.1, 200


class Copies(NamedTuple):
    """The copies that were found.

    Attributes:
        pairs: `(validation image, training image)`, paths of files with the same content.
        all_compared: False if too many files have equal sizes to compare all of them.
    """

    pairs: list[tuple[str, str]]
    all_compared: bool


def find_copies(train: Sequence[str], val: Sequence[str]) -> Copies:
    """Returns validation images with the same bytes as a training image at another path.

    Files are opened only if a training and a validation image have the same size in bytes. Links to
    the same file count as copies. Files that cannot be read do not.

    Args:
        train, val: paths of the images.
    """
    known = set(train)
    others = {path: key for path in dict.fromkeys(val) if path not in known and (key := _key(path))}
    sizes = {size for size, _ in others.values()}
    same_size: dict[int, list[tuple[str, tuple[int, int]]]] = defaultdict(list)
    for path in known:
        key = _key(path)
        if key is not None and key[0] in sizes:
            same_size[key[0]].append((path, key[1]))
    wanted = [path for path, (size, _) in others.items() if size in same_size]
    limit = max(LEAST_OPENED, int(MAX_OPENED * (len(train) + len(val))))
    opened: dict[str, bytes] = {}
    pairs, all_compared = [], True
    for path in _evenly(wanted):
        size, file = others[path]
        near = sorted(same_size[size])
        same = next((each for each, other in near if other == file), None)
        if same is None:
            if len(opened) + len(near) >= limit:
                all_compared = False
                continue
            for each in (path, *(each for each, _ in near)):
                if each not in opened:
                    opened[each] = _digest(each, size)
            mine = opened[path]
            alike = (each for each, _ in near if mine and opened[each] == mine)
            same = next((each for each in alike if _equal(path, each)), None)
        if same is not None:
            pairs.append((path, same))
    return Copies(sorted(pairs), all_compared)


def _key(path: str) -> tuple[int, tuple[int, int]] | None:
    """The size in bytes of a file, and what is the same for all links to it; None without it."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    # Where the system numbers no files, the size and the bytes must tell.
    return found.st_size, (found.st_dev, found.st_ino or -hash(path) - 1)


def _evenly(paths: list[str]) -> list[str]:
    """All paths, in an order whose first part is spread evenly over the list."""
    step = max(1, int(np.sqrt(len(paths))))
    return [path for start in range(step) for path in paths[start::step]]


def _equal(path: str, other: str) -> bool:
    """Whether two files hold the same bytes."""
    try:
        return filecmp.cmp(path, other, shallow=False)
    except OSError:
        return False


def _digest(path: str, size: int) -> bytes:
    """A digest of the first and the last bytes of a file; empty where it cannot be read."""
    try:
        with open_bytes(path) as file:
            part = file.read(PART)
            if size > PART:
                file.seek(max(PART, size - PART))
                part += file.read(PART)
    except OSError:
        return b""
    return hashlib.blake2b(part, digest_size=16).digest() if part else b""
