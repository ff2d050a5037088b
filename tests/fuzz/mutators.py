"""Ways to damage files: values of JSON, elements of XML, cells of tables, bytes of anything."""

import copy
import json
import random
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

from tests.data.every_format import places, spoiled_bytes, spoiled_number

# What stands in the place of a value of JSON. Some are other right values of some fields.
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 1.5, 2**31, 2**63, 10**30, 10**400, -(10**400)),
    *(1e308, -1e308, float("nan"), float("inf"), -float("inf"), 5e-324),
    *("", "abc", "5", "inf", "a\nb", "\0", "\ud800", "\x1b[31m", "../../x", "/", "é" * 300),
    *([], [[]], [None], [1, 2, 3], {}, {"a": None}, {"0": {"id": 1}}, "x" * 100_000),
    *([float("nan")] * 4, list(range(50)), [[[[[[[[]]]]]]]], [1, "2", None, []]),
)
# What stands in the place of a number or a word in text: XML, tables, YAML.
WORDS = (
    *("", "nan", "inf", "-inf", "1e400", "-1e308", "9" * 30, "9" * 5000, "-1", "0", "1.5", "0x10"),
    *("abc", "None", "null", "true", "١٢٣", "½", "1,5", "1 2", "1_0", " ", "\t", "é" * 300, "=1+1"),
    *(
        "../../x",
        "\\",
        '"',
        "'",
        "~",
        "-",
        "[]",
        "{}",
        "[1, 2]",
        "&a",
        "*a",
        "!!python/object:x {}",
    ),
)
# Files of another kind.
FOREIGN = (
    b"",
    b"\0",
    b"\n\n\n",
    b"null",
    b"[]",
    b"{}",
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"<a>" * 50_000,
    b"\xff\xfe" + '{"images": []}'.encode("utf-16-le"),
    b"\xef\xbb\xbf{}",
    b"\x89PNG\r\n\x1a\n" + b"\0" * 100,
    b"PK\x03\x04" + b"\0" * 100,
    b"\x1f\x8b\x08" + b"\0" * 100,
    b"\x89HDF\r\n\x1a\n" + b"\0" * 100,
    b"<!DOCTYPE html><html><body>404</body></html>",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n",
    b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]><a>&c;</a>',
    b"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n",
    "\u2028".encode() * 50,
    bytes(range(256)) * 20,
)


def changed_json(data: bytes, rng: random.Random) -> bytes:
    """JSON with one value replaced, doubled, removed or wrapped, or an object made a list."""
    content = json.loads(data)
    paths = [(), *places(content)]
    *path, last = rng.choice(paths) or (None,)
    if last is None:
        return dumped(rng.choice([*VALUES, [content], {"a": content}, [content, content]]))
    inside = content
    for key in path:
        inside = inside[key]
    old, way = inside[last], rng.randrange(10)
    if way < 5:
        inside[last] = rng.choice(VALUES)
    elif way == 5:
        del inside[last]
    elif way == 6:
        inside[last] = rng.choice([[old], {"value": old}, str(old), [old, old]])
    elif way == 7 and isinstance(old, dict):
        inside[last] = list(old.items())
    elif way == 7 and isinstance(old, list):
        inside[last] = {str(number): each for number, each in enumerate(old)}
    elif isinstance(inside, list):
        inside += [copy.deepcopy(old) for _ in range(rng.choice([1, 2, 3000]))]
    else:
        other = rng.choice(list(inside))
        inside[last], inside[other] = inside[other], old
    return repeated_key(dumped(content), rng) if rng.random() < 0.1 else dumped(content)


def dumped(content: Any) -> bytes:
    """JSON with NaN and Infinity, as Python writes them, and numbers of any length."""
    return _with_long_numbers(json.dumps(_short(content))).encode()


LONG = 10**400
_MARK = "<long number>"


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _short(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_short(each) for each in value]
    return _MARK if value == LONG else value


def _with_long_numbers(text: str) -> str:
    return text.replace(f'"{_MARK}"', "9" * 5000)


def repeated_key(data: bytes, rng: random.Random) -> bytes:
    """JSON in which one object has a key twice, with another value."""
    starts = [i for i, byte in enumerate(data) if data[i : i + 2] == b'{"' and byte]
    if not starts:
        return data
    start = rng.choice(starts)
    key = data[start + 1 : data.index(b'"', start + 2) + 1]
    return data[: start + 1] + key + b": 7, " + data[start + 1 :]


def changed_xml(data: bytes, rng: random.Random) -> bytes:
    """XML with one element or attribute replaced, doubled, removed, nested or renamed."""
    root = ElementTree.fromstring(data)
    parents = [(parent, child) for parent in root.iter() for child in parent]
    parent, child = rng.choice(parents)
    way = rng.randrange(9)
    if way < 3 and child.attrib and rng.random() < 0.7:
        child.set(rng.choice(sorted(child.attrib)), _legal(rng.choice(WORDS)))
    elif way < 3:
        child.text = _legal(rng.choice(WORDS))
    elif way == 3:
        parent.remove(child)
    elif way == 4:
        parent.extend([copy.deepcopy(child) for _ in range(rng.choice([1, 2, 2000]))])
    elif way == 5:
        child.append(copy.deepcopy(rng.choice(parents)[1]))
    elif way == 6:
        child.tag = rng.choice(["x", "object", "name", "bndbox", "size", "box", "image", "points"])
    elif way == 7 and child.attrib:
        child.attrib.pop(rng.choice(sorted(child.attrib)))
    else:
        child.attrib.update({rng.choice(["id", "name", "label", "width"]): _legal(WORDS[5])})
    head = rng.choice([b"", b"", b"", *HEADS])
    return head + ElementTree.tostring(root)


HEADS = (
    b'<?xml version="1.0" encoding="klingon"?>',
    b'<?xml version="1.0" encoding="utf-16"?>',
    b'<?xml version="1.0" encoding="gb2312"?>',
    b'<?xml version="9.9"?>',
    b'<!DOCTYPE annotation SYSTEM "file:///etc/hostname">',
    b"\xef\xbb\xbf",
)


def _legal(text: str) -> str:
    return text.replace("\0", "?")


def changed_table(data: bytes, rng: random.Random) -> bytes:
    """A table or a list of lines with one cell or line replaced, doubled or removed."""
    text = data.decode()
    mark = "," if "," in text.split("\n")[0] else " "
    rows = [line.split(mark) for line in text.split("\n")]
    row = rng.choice(rows)
    way = rng.randrange(8)
    if way < 4:
        row[rng.randrange(len(row))] = rng.choice(WORDS)
    elif way == 4:
        del row[rng.randrange(len(row))]
    elif way == 5:
        rows += [list(row) for _ in range(rng.choice([1, 2, 3000]))]
    elif way == 6:
        row += rng.choice([["x"], row * 2, ["1"] * 500])
    else:
        rows.remove(row)
    return "\n".join(mark.join(each) for each in rows).encode(errors="replace")


def foreign(data: bytes, rng: random.Random) -> bytes:
    """Another file."""
    return rng.choice(FOREIGN)


def flipped_bit(data: bytes, rng: random.Random) -> bytes:
    """One bit the other way."""
    if not data:
        return b"\1"
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]


def truncated(data: bytes, rng: random.Random) -> bytes:
    """Without its end."""
    return data[: rng.randrange(len(data))] if data else data


def wrong_encoding(data: bytes, rng: random.Random) -> bytes:
    """The same text in another encoding, or with a byte that is no UTF-8."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return flipped_bit(data, rng)
    codec = rng.choice(["utf-16", "utf-32", "utf-8-sig", "cp037", "utf-7"])
    return rng.choice([text.encode(codec, errors="replace"), data[:9] + b"\xe9" + data[9:]])


ANY: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *(spoiled_bytes, flipped_bit, truncated, foreign),
)
TEXT = (*ANY, wrong_encoding, spoiled_number, spoiled_number)
# The ways to damage a file, by the end of its name.
WAYS = {
    ".json": (*TEXT, *[changed_json] * 12),
    ".xml": (*TEXT, *[changed_xml] * 12),
    ".csv": (*TEXT, *[changed_table] * 8),
    ".txt": (*TEXT, *[changed_table] * 8),
    ".jsonl": (*TEXT, *[changed_table] * 4),
    ".yaml": (*TEXT, *[changed_table] * 4),
}


def damaged(name: str, data: bytes, rng: random.Random) -> bytes:
    """The content of a file, damaged in a way that suits its kind.

    Args:
        name: of the file; its end tells the kind.
        data: its content.
        rng: chooses.
    """
    way = rng.choice(WAYS.get(name[name.rfind(".") :], ANY))
    try:
        return way(data, rng)
    except (
        ArithmeticError,
        LookupError,
        RecursionError,
        SyntaxError,
        TypeError,
        ValueError,
    ):  # no such file
        return flipped_bit(data, rng)
