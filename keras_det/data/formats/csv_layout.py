"""Finds the CSV files of boxes of a data set, their splits and their names of classes."""

import pathlib

from keras_det.data.formats.csv_columns import NEEDED, NUMBER, missing
from keras_det.data.formats.csv_rows import DELIMITERS, Source, Table, first_rows, open_table, parts
from keras_det.data.formats.split_names import ROLES, role_of
from keras_det.data.listing import folders_in, names_in
from keras_det.data.raw import BadRecords, Layout
from keras_det.errors import DataError

SUFFIXES = (".csv", ".tsv")
# Folders in the root, or in the folder of a split, that may hold the CSV files.
INNER = ("", "annotations", "Annotations", "labels", "csv", "data", "metadata")
# A list of classes has fewer rows.
MAX_CLASSES = 30_000
LOOKED_AT = 40
UNASSIGNED = {"", "unassigned"}


def find(path: pathlib.Path) -> Layout | None:
    """The splits of a folder or of one CSV file; None where it holds no boxes.

    Raises:
        DataError: the columns of a single file are not known, or several files could be meant.
    """
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            return None
        table = open_table(path)
        if table is None:
            raise _unknown(path)
        return _of_one(path.parent, table)
    if not path.is_dir():
        return None
    found = [table for file in csv_files(path) if (table := open_table(file)) is not None]
    return _of_several(path, found) if found else None


def csv_files(root: pathlib.Path) -> list[pathlib.Path]:
    """CSV files in a folder, in the folders of its splits and in their usual folders."""
    tops = [root]
    inside = [folder for folder in folders_in(root) if not folder.name.startswith(".")]
    tops += [folder for folder in inside if role_of(folder.name)]
    found = []
    for top in tops:
        for name in INNER:
            folder = top / name
            names = names_in(folder) if folder.is_dir() else []
            found += [folder / each for each in names if each.lower().endswith(SUFFIXES)]
    return [file for file in found if file.is_file() and not file.name.startswith(".")][:LOOKED_AT]


def _of_one(root: pathlib.Path, table: Table) -> Layout:
    """The splits of one file: those of its split column."""
    split_of = _values(table)
    splits = {
        name: Source(root, name, (table,), (table,), split_of, name)
        for name in dict.fromkeys(split_of.values())
    }
    own = None if splits else role_of(table.path.stem)
    return Layout(root, splits, Source(root, own, (table,), (table,), split_of))


def _values(table: Table) -> dict[str, str]:
    """`{value of the split column: name of the split}`."""
    place = table.columns.split
    if place is None:
        return {}
    values: dict[str, None] = {}
    for part in parts(table, BadRecords("rows", "")):
        values.update(dict.fromkeys(row[place].strip() for row in part.rows))
    if len(values) > LOOKED_AT:  # no split, but something else
        return {}
    order = list(ROLES)
    names = {v: role_of(v) or v for v in values if v.lower() not in UNASSIGNED}
    known = sorted(names, key=lambda v: order.index(names[v]) if names[v] in order else 9)
    return {value: names[value] for value in known}


def _of_several(root: pathlib.Path, tables: list[Table]) -> Layout:
    """The splits of a folder: one file for each, or one file for all."""
    files: dict[str, Table] = {}
    others = []
    for table in tables:
        inside = table.path.relative_to(root).parts
        roles = [role for part in inside[:-1] if (role := role_of(part))]
        name = roles[0] if roles else role_of(table.path.stem)
        if name is None:
            others.append(table)
        elif name in files:
            raise _several(root, [files[name], table], f"the split {name}")
        else:
            files[name] = table
    if not files:
        if len(others) > 1:
            raise _several(root, others, "the data set")
        return _of_one(root, others[0])
    ordered = {name: files[name] for name in ROLES if name in files}
    whole = tuple(ordered.values())
    splits = {name: Source(root, name, (table,), whole, {}) for name, table in ordered.items()}
    return Layout(root, splits, Source(root, None, whole, whole, {}))


def _several(root: pathlib.Path, tables: list[Table], what: str) -> DataError:
    names = ", ".join(str(table.path.relative_to(root)) for table in tables[:4])
    return DataError(
        f"One CSV file must hold the boxes of {what}. Received: {names} in {root}. Give the path "
        "of the right one, or move the others away."
    )


def _unknown(path: pathlib.Path) -> DataError:
    """The error for a CSV file whose columns are not known."""
    names = _header(path)
    if not names:
        return DataError(
            f"The columns of a CSV file must name {NEEDED}. Received: {path}, which has no row "
            "that can be read. Export the annotations again."
        )
    lacks = missing(names)
    what = f"without {' and '.join(lacks)}" if lacks else "which do not go together"
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return DataError(
        f"The columns of a CSV file must name {NEEDED}. Received: the columns {shown} in {path}, "
        f"{what}. Rename the columns, or add a first line with their names."
    )


def _header(path: pathlib.Path) -> list[str]:
    """The first row, split at the sign that makes the most columns."""
    rows = [first_rows(path, delimiter, 1) for delimiter in DELIMITERS]
    return max((row[0] for row in rows if row), key=len, default=[])


def resembles(path: pathlib.Path) -> str | None:
    """What the CSV files of a folder lack."""
    if not path.is_dir():
        return None
    for file in csv_files(path):
        names = _header(file)
        if not names:
            return f"{file.name} has no row that can be read"
        if any(NUMBER.fullmatch(name.strip()) for name in names) and len(names) > 4:
            row = ",".join(names)[:60]
            return (
                f"{file.name} begins with {row!r}: add a first line with the names of the columns"
            )
        lacks = missing(names)
        if 0 < len(lacks) < 3 and len(names) > 2:
            shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
            return f"{file.name} has the columns {shown}, but none for {' and '.join(lacks)}"
    return None


def class_ids(source: Source) -> tuple[dict[str, int], dict[str, str], pathlib.Path] | None:
    """Reads a list of classes: two columns of names and ids.

    Returns:
        `({name: id}, {key: name}, its path)`, where a key is an id as text, or the code of a class
        such as OpenImages' /m/01g317; None where there is no list.
    """
    folders = [source.root, *(table.path.parent for table in source.all_tables)]
    taken = {table.path for table in source.all_tables}
    folders += [folder.parent / "metadata" for folder in folders[1:]]
    for folder in dict.fromkeys([*folders, source.root / "metadata", source.root / "annotations"]):
        names = names_in(folder) if folder.is_dir() else []
        for name in names:
            file = folder / name
            is_list = "class" in name.lower() or "label" in name.lower()
            if not is_list or not name.lower().endswith(SUFFIXES) or file in taken:
                continue
            if file.is_file() and (found := _class_list(file)) is not None:
                return (*found, file)
    return None


def _class_list(path: pathlib.Path) -> tuple[dict[str, int], dict[str, str]] | None:
    for delimiter in DELIMITERS:
        rows = first_rows(path, delimiter, MAX_CLASSES)
        rows = [[cell.strip() for cell in row] for row in rows]
        if not rows or any(len(row) != 2 or not all(row) for row in rows):
            continue
        if rows[0][0].startswith(("/m/", "/g/")) or rows[-1][0].startswith(("/m/", "/g/")):
            codes = [row for row in rows if row[0].startswith("/")]
            return {name: i for i, (_, name) in enumerate(codes)}, dict(codes)
        for place in (1, 0):
            body = rows if rows[0][place].isdecimal() else rows[1:]
            if body and all(row[place].isdecimal() and len(row[place]) < 9 for row in body):
                ids = {row[1 - place]: int(row[place]) for row in body}
                if len(set(ids.values())) == len(ids) == len(body):
                    ids = dict(sorted(ids.items(), key=lambda pair: pair[1]))
                    return ids, {str(number): name for name, number in ids.items()}
    return None
