"""Finds keys that stand twice in COCO's JSON: of their values, decoders keep only the last."""

import os
from collections.abc import Iterable

import msgspec

from keras_det.errors import DataError

LISTS = ("images", "annotations", "categories")
# Each record has these keys, so their number in the file must be the number of records. Counting
# reads the whole file once for each key, a fiftieth of the time of opening it.
IMAGE_KEY, BOX_KEY = "file_name", "bbox"
# Other keys that are read. Only in files up to this size are they counted too.
IMAGE_KEYS = ("file_name", "height", "width")
OBJECT_KEYS = ("bbox", "image_id", "category_id", "iscrowd", "area")
SMALL = 2 << 20


def repeated_keys(data: bytes | bytearray, keys: Iterable[str]) -> list[str]:
    """Returns keys that stand twice in an object of JSON, not only inside of its values.

    A key inside of a value that is lost is returned too.

    Args:
        data: an object of JSON; anything else repeats no key.
        keys: to look for.
    """
    texts = {key: b'"%s"' % key.encode() for key in keys}
    several = [key for key, text in texts.items() if data.count(text) > 1]
    if not several:
        return []
    try:
        values = msgspec.json.decode(data, type=dict[str, msgspec.Raw]).values()
    except (msgspec.DecodeError, UnicodeDecodeError):  # said where it is decoded
        return []
    inside = {key: sum(bytes(v).count(texts[key]) for v in values) for key in several}
    return [key for key in several if data.count(texts[key]) - inside[key] > 1]


def refuse_repeated_lists(data: bytes | bytearray, path: str | os.PathLike) -> None:
    """DataError where a list of the file stands twice: only the last one would be read."""
    again = repeated_keys(data, LISTS)
    if again:
        raise DataError(
            "Each list of a COCO annotation file (`images`, `annotations`, `categories`) may stand "
            f"only once. Received: {path}, where {' or '.join(again)} stands more than once. Join "
            "the lists into one, or export the file again."
        )


def doubtful_keys(
    data: bytes | bytearray, num_images: int, num_objects: int
) -> tuple[list[str], list[str], bool]:
    """Which keys may stand twice in a record, by their number in the whole file.

    Args:
        data: of a file whose records have all keys of COCO.
        num_images, num_objects: number of records that were decoded.

    Returns:
        `(keys of images, keys of annotations, whether a whole list may stand twice)`. Texts inside
        of values count too, so `repeated_keys` must look again.
    """
    small = len(data) <= SMALL
    images = [key for key in IMAGE_KEYS if small or key == IMAGE_KEY]
    objects = [key for key in OBJECT_KEYS if small or key == BOX_KEY]
    counts = {key: data.count(b'"%s"' % key.encode()) for key in (*images, *objects)}
    lists = LISTS if small else ("categories",)
    images = [key for key in images if counts[key] > num_images]
    objects = [key for key in objects if counts[key] > num_objects]
    # The records of a lost list have keys, too.
    several = any(data.count(b'"%s"' % key.encode()) > 1 for key in lists)
    return images, objects, bool(several or images or objects)
