"""Finds repeated keys in COCO's JSON: decoders keep only the last of their values."""

import os
from collections.abc import Iterable

import msgspec

from keras_det.errors import DataError

LISTS = ("images", "annotations", "categories")
# Each record has these keys, so their number in the file must be the number of records. To count
# one takes a tenth of the time of decoding the file. In large files these counts replace those of
# `images` and `annotations`, so opening takes as long as without them.
IMAGE_KEY, BOX_KEY = "file_name", "bbox"
# Other keys that are read. Only in files up to this size are they counted too.
IMAGE_KEYS = ("file_name", "height", "width")
OBJECT_KEYS = ("bbox", "image_id", "category_id", "iscrowd", "area")
SMALL = 2 << 20


def repeated_keys(data: bytes | bytearray, keys: Iterable[str]) -> list[str]:
    """Returns keys that occur twice in a JSON object itself, not only inside its values.

    A key inside a value that is lost is returned too.

    Args:
        data: a JSON object; anything else repeats no key.
        keys: to look for.
    """
    counts = {key: _count(data, key) for key in keys}
    several = [key for key, count in counts.items() if count > 1]
    if not several:
        return []
    try:
        values = msgspec.json.decode(data, type=dict[str, msgspec.Raw]).values()
    except (msgspec.DecodeError, UnicodeDecodeError):  # said where it is decoded
        return []
    inside = {key: sum(_count(bytes(value), key) for value in values) for key in several}
    return [key for key in several if counts[key] - inside[key] > 1]


def _count(data: bytes | bytearray, key: str) -> int:
    """How often a key's text occurs, also inside values."""
    return data.count(b'"%s"' % key.encode())


def refuse_repeated_lists(data: bytes | bytearray, path: str | os.PathLike) -> None:
    """DataError if a list occurs twice in the file: only the last one would be read."""
    again = repeated_keys(data, LISTS)
    if again:
        raise DataError(
            "Each list of a COCO annotation file (`images`, `annotations`, `categories`) may occur "
            f"only once. Received: {path}, where {' or '.join(again)} occurs more than once. Join "
            "the lists into one, or export the file again."
        )


def may_repeat_a_list(data: bytes | bytearray) -> bool:
    """Whether the name of a list occurs twice, perhaps in a text; in large files, of `categories`.

    The records of other lists have keys that `doubtful_keys` counts.
    """
    lists = LISTS if len(data) <= SMALL else LISTS[-1:]
    return any(_count(data, key) > 1 for key in lists)


def doubtful_keys(
    data: bytes | bytearray, num_images: int, num_objects: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which keys may occur twice in a record, by their number in the whole file.

    Texts inside values count too, so `repeated_keys` must look again.

    Args:
        data: of the file.
        num_images, num_objects: number of its records.

    Returns:
        `(keys of images, keys of annotations)`.
    """
    small = len(data) <= SMALL

    def too_often(keys: tuple[str, ...], always: str, count: int) -> tuple[str, ...]:
        counted = keys if small else (always,)
        return tuple(key for key in counted if _count(data, key) > count)

    images = too_often(IMAGE_KEYS, IMAGE_KEY, num_images)
    return images, too_often(OBJECT_KEYS, BOX_KEY, num_objects)


def keys_to_check(
    data: bytes | bytearray, num_images: int, num_objects: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Keys to look for in each record of images and of annotations: all of them in small files.

    If some records lack a key, its number does not show repeats.
    """
    if len(data) <= SMALL:
        return IMAGE_KEYS, OBJECT_KEYS
    return doubtful_keys(data, num_images, num_objects)
