"""The classes of COCO files: one file's categories, and one list for all splits."""

import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from keras_det.data.formats.coco_file import MARK, Columns, Key, read_categories
from keras_det.data.formats.coco_records import key_of, shown
from keras_det.data.notes import Note
from keras_det.errors import DataError


def check_categories(columns: Columns, path: pathlib.Path) -> dict[Key, str]:
    """Returns `{id: name}`, sorted by id; `columns.notes` gets what is odd about them.

    Raises:
        DataError: an entry cannot be read, or two contradict each other.
    """
    categories = columns.categories
    if not categories and columns.category_of:
        raise _no_categories(columns, path)
    if categories is not None and not isinstance(categories, list):
        raise DataError(
            "`categories` of a COCO annotation file must be a list. Received: "
            f"{shown(categories)} in {path}. Export the annotations as COCO JSON."
        )
    found: dict[Key, str] = {}
    ids: dict[str, Any] = {}
    for i, category in enumerate(categories or []):
        key, name = _entry(category, i, path)
        if found.get(key) == name:
            text = f"Class {name!r} (id {key!r}) is listed more than once in {path}."
            columns.notes.append(Note("classes-listed-twice", text))
            continue
        if key in found:
            raise DataError(
                "Categories must differ in id and name (1 and '1' are the same id). Received: id "
                f"{key!r} for {found[key]!r} and for {name!r}, categories[{i}] of {path}. Give "
                "one of them another id, in its annotations too."
            )
        if name in ids:
            raise DataError(
                f"Categories must differ in id and name. Received: {name!r} with the ids "
                f"{ids[name]!r} and {key!r}, categories[{i}] of {path}. Rename one of them, or "
                "give both one id, in the annotations too."
            )
        found[key], ids[name] = name, key
    return dict(sorted(found.items(), key=lambda item: _order(item[0])))


def _order(key: Key) -> tuple[bool, Key]:
    return isinstance(key, str), key


def _entry(category: Any, i: int, path: pathlib.Path) -> tuple[Key, str]:
    """Id and name of one category."""
    given = category if isinstance(category, dict) else {}
    key, name = key_of(given.get("id")), given.get("name")
    if isinstance(name, (int, float)) and not isinstance(name, bool):
        name = str(name)
    if key is None or not isinstance(name, str) or not name or MARK in name:
        raise DataError(
            f"`categories[{i}]` must have an `id`, a whole number or a string, and a `name`. "
            f"Received: {shown(category)} in {path}. Add or correct them."
        )
    return key, name


def _no_categories(columns: Columns, path: pathlib.Path) -> DataError:
    ids = sorted(set(columns.category_of), key=_order)
    shown_ids = ", ".join(repr(key) for key in ids[:8]) + (", …" if len(ids) > 8 else "")
    entry = '{"id": %s, "name": "…"}' % (f'"{ids[0]}"' if isinstance(ids[0], str) else ids[0])
    return DataError(
        "`categories` must name the class of each `category_id`. Received: none in "
        f'{path}, whose annotations have the ids {shown_ids}. Add `"categories": [{entry}, …]`, '
        "one entry for each id, to the file."
    )


def dummy_classes(columns: Columns) -> list[str]:
    """The first class if it has no object and only groups all others, as Roboflow writes it."""
    categories = columns.categories or []
    if len(categories) < 2:
        return []
    first, *others = categories
    key, name = key_of(first["id"]), first["name"]
    if any(other.get("supercategory") != name for other in others) or key in columns.category_of:
        return []
    return [name]


def all_categories(
    own: dict[Key, str], path: pathlib.Path, splits: Iterable[pathlib.Path]
) -> tuple[list[str], list[Any], np.ndarray]:
    """The classes of all splits, the same whichever of them is read.

    They are sorted by id. Where the files contradict each other, so that an id or a name occurs in
    two meanings, the classes of the first file come first, then the new ones of the next.

    Args:
        own: `{id: name}` of the file that is read.
        path: that file.
        splits: the files of all splits, in a fixed order.

    Returns:
        `(names, ids, labels)`; ids are the own file's, and -1 is the id of a class that it lacks
        and whose id it uses otherwise; `labels[i]` is the label of the own file's class i.
    """
    pairs: dict[tuple[Key, str], None] = {}
    for file in splits:
        each = own if file == path else _quietly(file)
        pairs |= dict.fromkeys(each.items())
    ids, names = {key for key, _ in pairs}, list(dict.fromkeys(name for _, name in pairs))
    if len(pairs) == len(ids) == len(names):
        names = [name for _, name in sorted(pairs, key=lambda pair: _order(pair[0]))]
    own_ids = {name: key for key, name in own.items()}
    other_ids = {name: key for key, name in pairs if key not in own}
    label = {name: i for i, name in enumerate(names)}
    labels = np.array([label[name] for name in own.values()], np.int64)
    return names, [own_ids.get(name, other_ids.get(name, -1)) for name in names], labels


def _quietly(file: pathlib.Path) -> dict[Key, str]:
    """The categories of another split; what is wrong with it is said when it is read."""
    columns = Columns(categories=read_categories(file))
    try:
        return check_categories(columns, file)
    except DataError:
        return {}
