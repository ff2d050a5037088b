"""Finds images that are there twice, in one split or in two."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from keras_det.doctor.collection import Collection, about_images, share_of
from keras_det.doctor.finding import Finding
from keras_det.doctor.scan import Look
from keras_det.doctor.thresholds import limit


def check_copies(data: Collection, looks: list[Look], good: np.ndarray) -> list[Finding]:
    """Looks for equal and nearly equal images.

    Args:
        data: all splits.
        looks: at `data.paths`.
        good: bool, the images whose pixels were read.
    """
    return [*_copies(data, looks, good), *_near_copies(data, looks, good)]


def _copies(data: Collection, looks: list[Look], good: np.ndarray) -> Iterator[Finding]:
    """Files of the same bytes, in one split and across splits."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for i in np.flatnonzero(good).tolist():
        groups[looks[i].digest].append(i)
    within, across = {}, {}
    for group in groups.values():
        paths = {data.places[i]: i for i in reversed(group)}
        firsts: dict[int, int] = {}
        for i in sorted(paths.values()):
            split = int(data.split_of[i])
            if split in firsts:
                within[i] = firsts[split]
            elif firsts:
                across[i] = min(firsts.values())
            firsts.setdefault(split, i)
    yield from about_images(
        data,
        "images-repeated",
        "warning",
        "is a copy of another one in its split|are copies of others in their split",
        "Leave out the copies. If their boxes differ, keep the right ones.",
        np.array(sorted(within), np.int64),
        lambda i: f"same as {data.image_name(within[i])}{_difference(data, i, within[i])}",
        pictures=_in_pairs(within),
    )
    yield from leak(data, "images-in-two-splits", "is also in another split", across)


def _difference(data: Collection, a: int, b: int) -> str:
    """What to add where two copies of an image are annotated differently."""
    rows = [slice(data.starts[i], data.starts[i + 1]) for i in (a, b)]
    marks = [
        sorted(map(tuple, np.column_stack([data.labels[r], np.rint(data.boxes[r])]).tolist()))
        for r in rows
    ]
    return "" if marks[0] == marks[1] else ", with other boxes"


def leak(data: Collection, code: str, title: str, copy_of: dict[int, int]) -> Iterator[Finding]:
    """Findings on images that are in two splits: an error where they move the measured AP.

    Args:
        data: all splits.
        code: of the finding.
        title: for one image, such as "is also in another split".
        copy_of: `{image: the equal image of another split}`.
    """
    rows = np.array(sorted(copy_of), np.int64)
    splits = np.unique(data.split_of[rows]).tolist()
    worst = max(
        (share_of(int((data.split_of[rows] == k).sum()), int((data.split_of == k).sum()))
         for k in splits),
        default=0.0,
    )  # fmt: skip
    yield from about_images(
        data,
        code,
        "error" if worst > limit("leak-share") else "warning",
        f"{title}|{title.replace('is ', 'are ', 1)}",
        "Keep each image in one split only. AP is too high if it is measured on training images.",
        rows,
        lambda i: f"same as {data.image_name(copy_of[i])} in {_split(data, copy_of[i])}",
        pictures=_in_pairs(copy_of),
    )


def _in_pairs(copy_of: dict[int, int]) -> list[int]:
    """Each image, followed by the one it is a copy of."""
    return [image for pair in sorted(copy_of.items()) for image in pair]


def _split(data: Collection, image: int) -> str:
    return data.names[int(data.split_of[image])]


def _near_copies(data: Collection, looks: list[Look], good: np.ndarray) -> Iterator[Finding]:
    """Images that look nearly the same as one of another split."""
    packed = np.array([look.bits for look in looks], ">u8").view(np.uint8).reshape(-1, 8)
    signs = np.unpackbits(packed, axis=1).astype(np.float32) * 2 - 1
    found: dict[int, int] = {}
    for split in range(1, len(data.names)):
        mine = np.flatnonzero(good & (data.split_of == split))
        others = np.flatnonzero(good & (data.split_of < split))
        for a, b in _near_pairs(signs, mine, others):
            if looks[a].digest != looks[b].digest and _alike(looks[a], looks[b]):
                found.setdefault(a, b)
    rows = np.array(sorted(found), np.int64)
    yield from about_images(
        data,
        "images-alike-across-splits",
        "warning",
        "looks nearly the same as one in another split|look nearly the same as one in another "
        "split",
        "Look at the pairs. Keep frames of one video and copies of one photo in one split, or "
        "else the measured AP is too high.",
        rows,
        lambda i: f"like {data.image_name(found[i])} in {_split(data, found[i])}",
        pictures=_in_pairs(found),
    )


def _near_pairs(signs: np.ndarray, mine: np.ndarray, others: np.ndarray) -> Iterator[list[int]]:
    """Pairs whose hashes differ in few bits."""
    if not len(mine) or not len(others):
        return
    step = max(1, 4_000_000 // len(others))  # pairs at a time, for the memory
    for start in range(0, len(mine), step):
        part = mine[start : start + step]
        # The product of the signs of equal bits is 1, of others -1.
        near = signs[part] @ signs[others].T >= 64 - 2 * limit("near-bits")
        for row, column in np.argwhere(near).tolist():
            yield [int(part[row]), int(others[column])]


def _alike(a: Look, b: Look) -> bool:
    if a.thumbnail is None or b.thumbnail is None or min(a.deviation, b.deviation) < 2:
        return False
    difference = a.thumbnail.astype(np.int16) - b.thumbnail
    return bool(np.abs(difference).mean() < limit("near-pixels"))
