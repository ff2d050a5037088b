"""Reads one XML file of Pascal VOC: the image's name, its size and its objects."""

import math
import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from typing import NamedTuple

from keras_det.data.formats.xml_text import XmlTextError, xml_text
from keras_det.data.truth import truth
from keras_det.files import open_handle

CORNERS = ("xmin", "ymin", "xmax", "ymax")
# An annotation has a few kilobytes. Nothing larger is taken into memory.
MAX_BYTES = 8 * 2**20
CHUNK = 2**16
# No image has more pixels on a side; no box lies further out.
MAX_SIDE = 10**6
# How the box of an object was written.
BNDBOX, POLYGON, ROTATED, NO_BOX, ONE_OF_SEVERAL = range(5)


class UnreadableError(ValueError):
    """The file is no annotation that can be read; the text says what must hold."""


class VocObject(NamedTuple):
    """One box of an `<object>`, in pixels as the file counts them.

    Attributes:
        name: text of `<name>` as written; "" where it has none.
        xmin, ymin, xmax, ymax: the corners as written; 0 where there is no box.
        difficult: whether training leaves it out.
        number: index of the object in its file.
        form: how the box was written, such as `BNDBOX`.
    """

    name: str
    xmin: float
    ymin: float
    xmax: float
    ymax: float
    difficult: bool
    number: int
    form: int


class VocFile(NamedTuple):
    """One annotation.

    Attributes:
        image_name: text of `<filename>`.
        height, width: of the image as annotated; 0 where not given.
        objects: its objects.
        bad: (index of the object, what must hold and what was received) of unreadable objects.
        unclear: (index of the object, text) of each `<difficult>` that is neither 0 nor 1.
    """

    image_name: str
    height: int
    width: int
    objects: list[VocObject]
    bad: list[tuple[int, str]]
    unclear: list[tuple[int, str]]


def read_file(path: str) -> VocFile:
    """Reads one annotation; UnreadableError where the file as a whole cannot be read."""
    try:
        tree = _parse(_read(path))
    except OSError as error:
        raise UnreadableError(
            f"The file must be readable. Received: {error.strerror or error}"
        ) from None
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError, MemoryError) as error:
        if isinstance(error, UnreadableError):
            raise
        if isinstance(error, XmlTextError):
            raise UnreadableError(f"The file {error}") from None
        raise UnreadableError(f"The file must be valid XML. Received: {error}") from None
    if tree.tag != "annotation":
        _drop_namespaces(tree)
    if tree.tag != "annotation":
        raise UnreadableError(f"The file must start with <annotation>. Received: <{tree.tag[:40]}>")
    return _annotation(tree)


def _read(path: str) -> bytes:
    """The bytes of a file, a little more than `MAX_BYTES` at most; twice as fast as `open`."""
    file = open_handle(path)
    try:
        data = chunk = os.read(file, CHUNK)
        while chunk and len(data) >= CHUNK and len(data) <= MAX_BYTES:
            chunk = os.read(file, CHUNK << 4)
            data += chunk
    finally:
        os.close(file)
    return data


def _parse(data: bytes) -> ElementTree.Element:
    """The root element, whatever the encoding of the file."""
    if len(data) > MAX_BYTES:
        raise UnreadableError(f"The file must have at most {MAX_BYTES >> 20} MiB. Received: more")
    return ElementTree.fromstring(xml_text(data))


def _drop_namespaces(tree: ElementTree.Element) -> None:
    for element in tree.iter():
        if isinstance(element.tag, str):
            element.tag = element.tag.rpartition("}")[2]


def _annotation(tree: ElementTree.Element) -> VocFile:
    image_name, height, width = "", 0, 0
    objects: list[VocObject] = []
    bad: list[tuple[int, str]] = []
    unclear: list[tuple[int, str]] = []
    number = 0
    for child in tree:
        tag = child.tag
        if tag == "object":
            try:
                _object(child, number, objects, unclear)
            except UnreadableError as error:
                bad.append((number, str(error)))
            number += 1
        elif tag == "filename":
            image_name = (child.text or "").strip()
        elif tag == "size":
            height, width = _size(child, "height", "width")
        elif tag == "imagesize" and not height:
            height, width = _size(child, "nrows", "ncols")
    return VocFile(image_name, height, width, objects, bad, unclear)


def _size(element: ElementTree.Element, *keys: str) -> list[int]:
    """The sides in pixels; 0 where the file gives none."""
    sides = []
    for key in keys:
        text = (element.findtext(key) or "").strip()
        try:
            side = 0.0 if text.lower() in ("", "none", "null") else float(text)
            if not 0 <= side <= MAX_SIDE or side != int(side) or "_" in text:
                raise ValueError
        except ValueError:
            raise UnreadableError(
                f"<{element.tag}> must hold <{keys[0]}> and <{keys[1]}> in whole pixels. Received: "
                f"{key}={short(text)}"
            ) from None
        sides.append(int(side))
    return sides


def _object(
    item: ElementTree.Element,
    number: int,
    objects: list[VocObject],
    unclear: list[tuple[int, str]],
) -> None:
    """Appends the object, or one for each of its boxes."""
    name, difficult, deleted = "", False, False
    boxes: list[ElementTree.Element] = []
    others: list[ElementTree.Element] = []
    for child in item:
        tag = child.tag
        if tag == "bndbox":
            boxes.append(child)
        elif tag == "name":
            if name:
                raise UnreadableError("An object must have one <name>. Received: several")
            name = child.text or ""
        elif tag == "difficult":
            difficult = _flag(child.text or "", number, unclear)
        elif tag in ("polygon", "robndbox"):
            others.append(child)
        elif tag == "deleted":
            deleted = (child.text or "").strip() == "1"
    if deleted:
        return
    form = BNDBOX if len(boxes) == 1 else ONE_OF_SEVERAL
    found = [corners for corners in map(_corners, boxes) if corners is not None]
    if not found:
        form, found = _other_box(others)
    for corners in found:
        objects.append(VocObject(name, *corners, difficult, number, form))


def _flag(text: str, number: int, unclear: list[tuple[int, str]]) -> bool:
    text = text.strip()
    known = text == "1" if text in ("0", "1") else truth(text)
    if known is None:
        known = False
        unclear.append((number, text))
    return known


def _corners(box: ElementTree.Element) -> tuple[float, float, float, float] | None:
    """The four numbers of `<bndbox>`; None where it holds none at all."""
    texts = {corner.tag: corner.text for corner in box}
    try:
        written = xmin, ymin, xmax, ymax = [texts[key] or "" for key in CORNERS]
        values = float(xmin), float(ymin), float(xmax), float(ymax)
        if "_" not in xmin + ymin + xmax + ymax and len(texts) == len(box):
            if -MAX_SIDE < min(values) and max(values) < MAX_SIDE and sum(values) < math.inf:
                return values
    except (ValueError, KeyError):
        written = [texts.get(key) or "" for key in CORNERS]
    if not any(text.strip() for text in written):
        return None
    shown = ", ".join(f"{k}={short(v.strip())}" for k, v in zip(CORNERS, written, strict=True))
    raise UnreadableError(
        f"<bndbox> must hold xmin, ymin, xmax and ymax once each, as numbers. Received: {shown}"
    )


def _other_box(
    elements: list[ElementTree.Element],
) -> tuple[int, list[tuple[float, float, float, float]]]:
    """The box around a polygon or a rotated box, where an object has no `<bndbox>`."""
    for element in elements:
        if element.tag == "robndbox":
            cx, cy, w, h, angle = _numbers(
                [element.findtext(key) for key in ("cx", "cy", "w", "h", "angle")], element.tag
            )
            cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
            dx, dy = (w * cos + h * sin) / 2, (w * sin + h * cos) / 2
            return ROTATED, [(cx - dx, cy - dy, cx + dx, cy + dy)]
        leaves = [(leaf.tag, leaf.text) for leaf in element.iter() if not len(leaf)]
        xs = _numbers([text for tag, text in leaves if re.fullmatch(r"x\d*", tag)], element.tag)
        ys = _numbers([text for tag, text in leaves if re.fullmatch(r"y\d*", tag)], element.tag)
        if xs and len(xs) == len(ys):
            return POLYGON, [(min(xs), min(ys), max(xs), max(ys))]
    return NO_BOX, [(0.0, 0.0, 0.0, 0.0)]


def _numbers(texts: Iterable[str | None], tag: str) -> list[float]:
    values = []
    for text in texts:
        try:
            values.append(float(text or ""))
            if not -MAX_SIDE < values[-1] < MAX_SIDE:
                raise ValueError
        except ValueError:
            raise UnreadableError(f"<{tag}> must hold numbers. Received: {short(text)}") from None
    return values


def short(value: object) -> str:
    """A value as a message shows it, cut to 40 characters."""
    shown = repr(value) if value is None else repr(str(value)[:41])
    return shown if len(str(value)) <= 40 else shown[:40] + "…'"
