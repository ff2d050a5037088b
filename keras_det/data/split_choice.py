"""Which split of a data set is meant: by its name, or because there is only one that can be."""

import re
from collections.abc import Mapping
from typing import Any

from keras_det.data.raw import Layout
from keras_det.errors import DataError, suggest

SYNONYMS = {"valid": "val", "validation": "val", "training": "train", "testing": "test"}


def is_whole(layout: Layout) -> bool:
    """Whether the data has no splits, or only one that is not for training, validation or tests."""
    roles = {role_of_split(name) for name in layout.splits}
    return not roles or (len(layout.splits) == 1 and roles.isdisjoint(("train", "val", "test")))


def source_to_part(layout: Layout, train_split: str | None) -> Any:
    """What is split where there is no validation split, never a test split."""
    name = find_split(layout, train_split or "train")
    if name is not None:
        return layout.splits[name]
    if train_split is not None:
        raise no_split(layout, train_split, "train_split")
    if not layout.splits:
        return layout.everything
    others = [name for name in layout.splits if role_of_split(name) != "test"]
    if len(others) == 1 and role_of_split(others[0]) != "val":  # CVAT's "default", VOC's "trainval"
        return layout.splits[others[0]]
    raise DataError(
        f"{layout.root} must have a training split. Received: the splits "
        f"{', '.join(sorted(layout.splits))}. Name the one to train on with train_split= "
        "(--train-split)."
    )


def choose_source(layout: Layout, split: str | None) -> Any:
    """The source of the split with the wanted name, or of the one that clearly is meant."""
    if split is None:
        if layout.everything is not None:
            return layout.everything
        if len(layout.splits) == 1:
            return next(iter(layout.splits.values()))
        raise DataError(
            f"`split` must name the split of {layout.root} to read. Received: None. The splits are "
            f"{', '.join(sorted(layout.splits))}. Give one of them."
        )
    name = find_split(layout, split)
    if name is not None:
        return layout.splits[name]
    own = getattr(layout.everything, "split", None)  # the split that a file's name tells
    if own is not None and _near({own: None}, split):
        return layout.everything
    raise no_split(layout, split)


def no_split(layout: Layout, split: str, argument: str = "split") -> DataError:
    """The error for a split that does not exist.

    Args:
        layout: of the data.
        split: what was asked for.
        argument: "split", or "train_split" or "val_split" of a training.
    """
    names = sorted(layout.splits)
    called = f"`{argument}`"
    if argument != "split":
        called += f" (--{argument.replace('_', '-')})"
    rule = f"{called} must name one of the splits of {layout.root}. Received: {split!r}."
    there = f"The split{'s are' if len(names) > 1 else ' is'} {', '.join(names)}."
    roles = {role_of_split(name) for name in names}
    whole = not names or (len(names) == 1 and roles.isdisjoint(("val", "test")))
    advice = f"{suggest(split, names)} Give one of them." if names else ""
    if argument != "split":
        advice += " Leave it out, which uses all images." if whole else ""
    elif part_of(split) is not None and "val" not in roles and (whole or "train" in roles):
        advice = (
            " Give split_by=0.8 (--split-by 0.8) too: it holds out 20% of the images for "
            "validation."
        )
    if whole and argument == "split":
        start = " Or give" if advice else " Give"
        advice += f"{start} split=None (--split all), which reads all images."
    return DataError(f"{rule} {there if names else 'It has no splits.'}{advice}")


def part_of(split: str | None) -> str | None:
    role = None if split is None else SYNONYMS.get(split, split)
    return role if role in ("train", "val") else None


def find_split(layout: Layout, split: str) -> str | None:
    """The name of the wanted split, or None; DataError where several fit."""
    if split in layout.splits:
        return split
    near = _near(layout.splits, split)
    if len(near) > 1:
        raise DataError(
            f"`split` must name one of the splits of {layout.root}. Received: {split!r}. The "
            f"splits are {', '.join(sorted(layout.splits))}. Several match. Give one of them."
        )
    return near[0] if near else None


def _near(found: Mapping[str, Any], split: str) -> list[str]:
    """Names of the splits that are meant: "train" finds train2017, "valid" finds val."""
    wanted = SYNONYMS.get(split.lower(), split.lower())
    return [name for name in found if role_of_split(name) == wanted]


def role_of_split(name: str) -> str:
    """What a split is for, by its name: "train2017" and "train_zip" -> "train"."""
    bare = re.sub(r"[-_]?\d+$|[-_](zip|set|data)$", "", name, flags=re.IGNORECASE).lower()
    return SYNONYMS.get(bare, bare)
