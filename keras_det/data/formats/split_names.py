"""Chooses a split of a layout by its name, for the readers of one format."""

import os
import pathlib
import re
from collections.abc import Callable
from typing import Any

from keras_det.data.assemble import assemble
from keras_det.data.dataset import Dataset
from keras_det.data.raw import Format, Layout, ReadOptions
from keras_det.errors import DataError, suggest

# The three parts, and the words for them in names of files and folders.
ROLES: dict[str, tuple[str, ...]] = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "validate", "dev", "eval"),
    "test": ("test", "testing"),
}
WORDS = {word: role for role, words in ROLES.items() for word in words}


def role_of(name: str) -> str | None:
    """The part that a name tells: "train_labels" -> "train"; None where it tells none or several.

    Args:
        name: of a file without suffix, a folder, or a split.
    """
    words = re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    roles = {WORDS[word] for word in words if word in WORDS}
    return roles.pop() if len(roles) == 1 else None


def read_path(
    found: Format,
    path: str | os.PathLike,
    rule: str,
    split: str | None,
    options: ReadOptions,
) -> Dataset:
    """Reads a path that must be in this format.

    Args:
        found: the format.
        path: what the caller gave.
        rule: as of `layout_of`.
        split: as of `source_of`.
        options: the caller's wishes.
    """
    source = source_of(layout_of(found.find, pathlib.Path(path), rule), split)
    return assemble(found.read(source, options), options)


def layout_of(
    find: Callable[[pathlib.Path], Layout | None], path: pathlib.Path, rule: str
) -> Layout:
    """The layout of a path; DataError where it does not exist or is in another format.

    Args:
        find: of the format.
        path: what the caller gave.
        rule: what the path must hold, as the first sentence of the error without a full stop.
    """
    if not path.exists():
        raise DataError(f"{rule}. Received: {path}, which does not exist. Correct the path.")
    layout = find(path)
    if layout is None:
        raise DataError(f"{rule}. Received: {path} without them. Correct the path or the files.")
    return layout


def source_of(layout: Layout, split: str | None) -> Any:
    """What to read for a split; `split=None` reads everything, or the only split."""
    names = list(layout.splits)
    if split is None and layout.everything is not None:
        return layout.everything
    if split is None and len(names) == 1:
        return layout.splits[names[0]]
    if split is not None and split in layout.splits:
        return layout.splits[split]
    near = [name for name in names if split is not None and role_of(name) == role_of(split)]
    if split is not None and role_of(split) is not None and len(near) == 1:
        return layout.splits[near[0]]
    there = f"The splits are {', '.join(names)}." if names else "It has no splits."
    advice = "Give one of them." if names else "Leave out `split`."
    hint = "" if split is None else suggest(split, names)
    raise DataError(
        f"`split` must name a split of {layout.root}. Received: {split!r}. {there}{hint} {advice}"
    )
