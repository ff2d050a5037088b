"""Reads and writes label maps (`label_map.pbtxt`) of the TensorFlow Object Detection API."""

import pathlib
import re
from collections.abc import Iterable
from typing import NamedTuple

from keras_det.errors import DataError
from keras_det.files import read_bytes

TOKEN = re.compile(
    r"""(?P<blank>[\s,;]+|\#[^\n]*)|(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')"""
    r"""|(?P<word>[\w.+-]+)|(?P<sign>[{}<>:\[\]])"""
)
ESCAPE = re.compile(rb"\\([0-7]{1,3}|[xX][0-9a-fA-F]{1,2}|.)", re.DOTALL)
LETTERS = {b"n": b"\n", b"t": b"\t", b"r": b"\r"}
ITEM = re.compile(rb"(?m)^\s*item\s*[{:<]")
MAX_BYTES = 1 << 24  # longer files are no label maps


class Entry(NamedTuple):
    """One class: the name to show, and the other name that the file gives it."""

    name: str
    other: str


LabelMap = dict[int, Entry]


def find_label_map(folders: Iterable[pathlib.Path]) -> tuple[LabelMap, list[pathlib.Path]]:
    """Reads the label maps of some folders; splits may have one each.

    Returns:
        `({id: Entry}, files)`, with the ids sorted; empty where there is no label map.

    Raises:
        DataError: a file is damaged, or two give one id different names.
    """
    found: dict[pathlib.Path, LabelMap] = {}
    for folder in dict.fromkeys(folders):
        files = sorted(folder.glob("*.pbtxt"))
        named = [file for file in files if "label" in file.name.lower()]
        for file in named or files:
            if file.is_file() and (file in named or _may_be(file)):
                found[file] = read_label_map(file)
    joined: LabelMap = {}
    origin: dict[int, pathlib.Path] = {}
    for file, entries in found.items():
        for number, entry in entries.items():
            if joined.setdefault(number, entry) != entry:
                raise DataError(
                    "The label maps of a data set must give one id one name. Received: id "
                    f"{number} is {joined[number].name!r} in {origin[number]} and {entry.name!r} "
                    f"in {file}. Keep the right file only."
                )
            origin.setdefault(number, file)
    return dict(sorted(joined.items())), list(found)


def _may_be(file: pathlib.Path) -> bool:
    """Whether a file that is not named as a label map holds items; graphs are .pbtxt, too."""
    try:
        return file.stat().st_size <= MAX_BYTES and ITEM.search(read_bytes(file)) is not None
    except OSError:
        return False


def read_label_map(path: pathlib.Path) -> LabelMap:
    """Reads one file: `{id: Entry}`; empty where it has no `item`.

    The name is `display_name` where every item has one, else `name`.

    Raises:
        DataError: it is no text, an item has no id or name, or two items have one id.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"A label map must be UTF-8 text. Received: {path} ({error}). Save it as UTF-8."
        ) from error
    items = _items(text, path)
    shown = all("display_name" in item for _, item in items)
    found: LabelMap = {}
    for line, item in items:
        name, display = item.get("name", ""), item.get("display_name", "")
        number = item.get("id", "")
        if not re.fullmatch(r"\d{1,9}", number) or not (name or display):
            raise DataError(
                "Every item of a label map must have `id`, a whole number, and `name`. Received: "
                f"id {number or 'missing'}, name {name or display or 'missing'} in {path}, line "
                f"{line}. Correct this item."
            )
        entry = Entry(display, name) if shown or not name else Entry(name, display)
        if found.setdefault(int(number), entry) != entry:
            raise DataError(
                "Every item of a label map must have an id of its own. Received: id "
                f"{number} for {found[int(number)].name!r} and {entry.name!r} in {path}, line "
                f"{line}. Correct the ids."
            )
    return found


def label_map_text(names: dict[int, str]) -> str:
    """The content of a label map: `{id: name}` as text."""
    rows = []
    for number, name in names.items():
        quoted = name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        rows.append(f'item {{\n  id: {number}\n  name: "{quoted}"\n  display_name: "{quoted}"\n}}')
    return "\n".join(rows) + "\n"


def _items(text: str, path: pathlib.Path) -> list[tuple[int, dict[str, str]]]:
    """`(line, fields)` of every `item`. Messages inside an item, such as key points, are passed."""
    items: list[tuple[int, dict[str, str]]] = []
    depth, key, position, outer = 0, "", 0, ""
    while position < len(text):
        token = TOKEN.match(text, position)
        if token is None:
            line = text.count("\n", 0, position) + 1
            raise DataError(
                'A label map must hold items such as: item { id: 1 name: "cat" }. Received: '
                f"{text[position : position + 20]!r} in {path}, line {line}. Correct this line."
            )
        position, kind, value = token.end(), token.lastgroup, token[0]
        if value in ("{", "<"):
            outer = key if depth == 0 else outer
            if depth == 0 and key == "item":
                items.append((text.count("\n", 0, token.start()) + 1, {}))
            depth, key = depth + 1, ""
        elif value in ("}", ">"):
            depth, key = max(0, depth - 1), ""
        elif kind == "text" or (kind == "word" and key and depth):
            if depth == 1 and outer == "item" and key:
                items[-1][1][key] = _plain(value) if kind == "text" else value
            key = ""
        elif kind == "word":
            key = value
    if depth:
        raise DataError(
            "Every item of a label map must end with a brace. Received: "
            f"{path}, which ends inside an item. Download or export the file again."
        )
    return items


def _plain(quoted: str) -> str:
    """The text of a string in quotes, without escapes."""

    def byte(match: re.Match[bytes]) -> bytes:
        code = match[1]
        if code[:1].isdigit() and code[:1] < b"8":
            return bytes([int(code, 8) & 255])
        if code[:1] in b"xX" and len(code) > 1:
            return bytes([int(code[1:], 16)])
        return LETTERS.get(code, code)

    return ESCAPE.sub(byte, quoted[1:-1].encode()).decode(errors="replace").strip()
