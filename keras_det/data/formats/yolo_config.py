"""Reads what names the classes and splits of a YOLO data set: data.yaml, obj.data, classes.txt."""

import os
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import yaml

from keras_det.data.formats.plain_text import read_text, short, start_of
from keras_det.data.listing import names_in
from keras_det.data.notes import Note
from keras_det.errors import DataError
from keras_det.words import counted

# Where names of classes lie, the most telling first.
CLASS_FILES = (
    "obj.names",
    "classes.names",
    "coco.names",
    "voc.names",
    "classes.txt",
    "class_names.txt",
    "labels.txt",
    "names.txt",
    "_darknet.labels",
    "predefined_classes.txt",
)
SPLITS = ("train", "trainval", "val", "valid", "validation", "minival", "test")
# Keys of a data.yaml that name no split.
OTHER_KEYS = {"path", "names", "nc", "download", "kpt_shape", "flip_idx", "backup", "classes"}
NOTHING = {"", "null", "~", "none"}
# A description of a data set is smaller; ImageNet's has 40,000 bytes.
MAX_CONFIG = 1 << 21
SETTING = re.compile(r"^\s*([A-Za-z_]\w*)\s*[:=]", re.MULTILINE)


class Config(NamedTuple):
    """What data.yaml or obj.data says.

    Attributes:
        path: the file.
        names: `{class id: name}`; None where it gives none.
        num_classes: None where not given.
        base: the folder to which its paths are relative, as written; "" where not given.
        splits: `{split: paths as written}`.
        key_points: number of key points and of numbers of each; None without key points.
    """

    path: pathlib.Path
    names: dict[int, str] | None
    num_classes: int | None
    base: str
    splits: dict[str, list[str]]
    key_points: tuple[int, int] | None


def find_config(folder: pathlib.Path) -> Config | None:
    """The data.yaml or obj.data of a folder; None where there is none.

    Raises:
        DataError: it is damaged, or several files could be meant.
    """
    usual = [folder / name for name in ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")]
    for path in usual:
        if path.is_file() and (config := open_config(path)) is not None:
            return config
    names = [name for name in names_in(folder) if not name.startswith(".")]
    for suffixes in ((".yaml", ".yml"), (".data",)):
        files = [folder / name for name in names if name.lower().endswith(suffixes)]
        found = [c for file in files if file.is_file() and (c := open_config(file)) is not None]
        if len(found) > 1:
            raise several_configs(folder, found)
        if found:
            return found[0]
    return None


def several_configs(folder: pathlib.Path, found: list[Config]) -> DataError:
    """The error for a folder with several files that describe a data set."""
    return DataError(
        "One file must describe a YOLO data set. Received: "
        f"{', '.join(config.path.name for config in found[:4])} in {folder}. Give the path of the "
        "right one."
    )


def open_config(path: pathlib.Path) -> Config | None:
    """Reads data.yaml or obj.data; None for files of another kind.

    Raises:
        DataError: it names classes or a split, and is damaged.
    """
    if path.stat().st_size > MAX_CONFIG:
        return None
    keys = set(SETTING.findall(start_of(path, MAX_CONFIG)))
    if "names" not in keys and not ("nc" in keys or "classes" in keys) & ("train" in keys):
        return None
    if path.suffix.lower() == ".data":
        lines = (re.split(r"[:=]", line, maxsplit=1) for line in read_text(path).splitlines())
        content = {pair[0].strip(): pair[1].strip() for pair in lines if len(pair) == 2}
        content = {"nc": content.pop("classes", ""), **content}
    else:
        content = _open_yaml(path)
        if not {"names", "nc"} & set(content):
            return None
    return Config(
        path=path,
        names=_names(content.get("names"), path),
        num_classes=_count(content.get("nc"), path),
        base=_text(content.get("path")) or "",
        splits=_splits(content, path),
        key_points=_key_points(content.get("kpt_shape"), path),
    )


class _Loader(yaml.BaseLoader):
    """All values are text. A key that is written twice is an error."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key.value, str)]
        twice = next((key for i, key in enumerate(keys) if key in keys[:i]), None)
        if twice is not None:
            mark = node.start_mark
            raise yaml.MarkedYAMLError(None, None, f"the key {twice[:40]!r} occurs twice", mark)
        return super().construct_mapping(node, deep)


def _open_yaml(path: pathlib.Path) -> dict[str, Any]:
    """The keys of a YAML file; all values are text, so that a class may be called `no` or `1`."""
    try:
        content = yaml.load(read_text(path), Loader=_Loader)
    except (yaml.YAMLError, RecursionError, ValueError, MemoryError) as error:
        if isinstance(error, DataError):
            raise
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        why = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise DataError(
            f"The file must be valid YAML. Received: {path}{place}: {why}. Correct this place. "
            "Indent with spaces, and put strings with special characters into single quotes."
        ) from None
    return content if isinstance(content, dict) else {}


def _text(value: Any) -> str | None:
    """A text that says something; None for `null`, lists and the like."""
    if not isinstance(value, str) or value.strip().lower() in NOTHING:
        return None
    return value.strip()


def _names(value: Any, path: pathlib.Path) -> dict[int, str] | None:
    """`names` as a list, a dict of ids, or the path of a file of names."""
    if isinstance(value, list | dict) and value:
        _check_not_empty(value, path)
    if isinstance(value, list) and value:
        if all(isinstance(name, str) for name in value):
            return dict(enumerate(value))
        if all(isinstance(each, dict) and len(each) == 1 for each in value):
            return _names({key: name for each in value for key, name in each.items()}, path)
    if isinstance(value, dict) and value:
        try:
            names = {int(key): name for key, name in value.items()}
        except (ValueError, TypeError):
            names = {-1: ""}
        if min(names) >= 0 and all(isinstance(name, str) for name in names.values()):
            return dict(sorted(names.items()))
    if value is None or (isinstance(value, list | dict) and not value):
        return None
    text = _text(value)
    if text is None and isinstance(value, str):
        return None
    if text is not None:
        written = text.replace("\\", "/")
        for place in (written, os.path.basename(written)):
            if (path.parent / place).is_file():
                return _lines(path.parent / place) or None
        if text.lower().endswith((".names", ".txt")):
            beside = _beside(path.parent, CLASS_FILES)
            if beside is None:
                raise DataError(
                    f"`names` of {path} must name a file of class names. Received: {text!r}, which "
                    "does not exist here. Put the file beside it, or correct `names`."
                )
            return beside[1]
    raise DataError(
        f"`names` of {path} must be a list of names or a dict of class id and name. Received: "
        f"{short(value)}. Write them as `names: [cat, dog]`."
    )


def _check_not_empty(value: list[Any] | dict[str, Any], path: pathlib.Path) -> None:
    each = value.items() if isinstance(value, dict) else enumerate(value)
    empty = [key for key, name in each if isinstance(name, str) and not name.strip()]
    if empty:
        raise DataError(
            f"The name of a class must not be empty. Received: {''!r} for the class {empty[0]} in "
            f"`names` of {path}. Write its name there."
        )


def _count(value: Any, path: pathlib.Path) -> int | None:
    text = _text(value)
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 6:
        raise DataError(
            f"`nc` of {path} must be the number of classes. Received: {text[:40]!r}. Correct it or "
            "leave it out."
        )
    return int(text)


def _key_points(value: Any, path: pathlib.Path) -> tuple[int, int] | None:
    if value is None or (isinstance(value, str) and _text(value) is None):
        return None
    numbers = value if isinstance(value, list) else []
    if len(numbers) == 2 and str(numbers[0]).isdecimal() and numbers[1] in ("2", "3"):
        return int(numbers[0][:6]), int(numbers[1])
    raise DataError(
        f"`kpt_shape` of {path} must be [number of keypoints, 2 or 3]. Received: "
        f"{short(value)}. Correct it, or leave it out if there are no keypoints."
    )


def _splits(content: Mapping[Any, Any], path: pathlib.Path) -> dict[str, list[str]]:
    """The paths of each split as written; empty ones are left out."""
    named = [name for name in SPLITS if name in content]
    named += [
        key
        for key, value in content.items()
        if key not in {*SPLITS, *OTHER_KEYS} and _names_images(_text(value))
    ]
    splits = {}
    for name in named:
        value = content[name]
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise DataError(
                f"`{name}` of {path} must be a folder, a list of folders or a .txt file. Received: "
                f"{short(value)}. Write it as `{name}: images/{name}`."
            )
        places = [text for each in value if (text := _text(each)) is not None]
        if places:
            splits[str(name)] = list(dict.fromkeys(places))
    return splits


def _names_images(text: str | None) -> bool:
    """Whether the value of an unknown key looks like a split, such as `./images/fold_1/`."""
    return text is not None and "://" not in text and "images/" in text.replace("\\", "/")


class Classes(NamedTuple):
    """The classes of a data set.

    Attributes:
        names: `{class id: name}`; None where no file names them.
        source: the file that names them, for messages.
        notes: doubts about them.
    """

    names: dict[int, str] | None
    source: str
    notes: list[Note]


def find_classes(
    root: pathlib.Path, config: Config | None, folders: Iterable[pathlib.Path]
) -> Classes:
    """Looks for the names of the classes.

    Args:
        root: folder of the data set.
        config: its data.yaml or obj.data.
        folders: further folders where a file of names may lie, such as those of the labels.

    Raises:
        DataError: several files of names contradict each other.
    """
    if config is not None and config.names is not None:
        notes = []
        if config.num_classes is not None and config.num_classes != len(config.names):
            text = (
                f"nc is {config.num_classes} in {config.path}, which gives "
                f"{counted(len(config.names), 'name')}: the names are used, and nc is ignored."
            )
            notes.append(Note("classes-contradict", text))
        return Classes(config.names, str(config.path), notes)
    found = [each for place in dict.fromkeys([root, *folders]) if (each := _beside(place))]
    if found:
        path, names = found[0]
        for other, others in found[1:]:
            if others != names and root != path.parent:
                raise DataError(
                    "All splits must have the same classes. Received: different names in "
                    f"{path} and {other}. Put one file with the right names into {root}."
                )
        return Classes(names, str(path), [])
    if config is None and (above := _above(root)) is not None:
        names, source = above
        return Classes(names, source, [Note("classes-from", f"Class names are from {source}.")])
    if config is not None and config.num_classes:
        note = (
            f"{config.path} has no `names`: the classes are called 0 to {config.num_classes - 1}."
        )
        return Classes(
            {i: str(i) for i in range(config.num_classes)},
            str(config.path),
            [Note("classes-from", note)],
        )
    return Classes(None, str(root), [])


def _above(root: pathlib.Path) -> tuple[dict[int, str], str] | None:
    """Names of the folder above, where a folder of one split was given; None without them."""
    parent = root.absolute().parent
    try:
        config = find_config(parent)
    except (DataError, OSError):
        config = None
    if config is not None and config.names is not None:
        return config.names, str(config.path)
    beside = _beside(parent)
    return (beside[1], str(beside[0])) if beside else None


def _beside(
    folder: pathlib.Path, files: Iterable[str] = CLASS_FILES
) -> tuple[pathlib.Path, dict[int, str]] | None:
    """The first file of names in a folder, and its names."""
    for name in files:
        path = folder / name
        if path.is_file() and (names := _lines(path)):
            return path, names
    return None


def _lines(path: pathlib.Path) -> dict[int, str]:
    """One name a line; the number of the line from 0 is the class id."""
    if path.stat().st_size > MAX_CONFIG:
        return {}
    lines = [line.strip() for line in read_text(path).splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return dict(enumerate(lines))
