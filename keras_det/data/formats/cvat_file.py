"""Opens an XML file of CVAT and takes it apart: its labels, images and tracks."""

import html
import io
import pathlib
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from typing import IO

from keras_det.data.formats.plain_text import encoding_of, read_bytes
from keras_det.data.formats.xml_text import XmlTextError, xml_text
from keras_det.errors import DataError
from keras_det.files import open_bytes

START = 1 << 16
ROOT = re.compile(r"<annotations[\s>/]")
SUBSET = re.compile(rb"<(?:image|track)\b[^>]*?\bsubset\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")
TASK_SUBSET = re.compile(rb"<subset>\s*([^<]*?)\s*</subset>")
NO_SUBSET = re.compile(rb"<(?:image|track)\b(?![^>]*\bsubset\s*=)")
DEFAULT = "default"
# Labels of these types are never drawn as a region.
OTHER_TYPES = ("tag", "points", "polyline")


def is_cvat(path: pathlib.Path) -> bool:
    """Whether an XML file starts as those of CVAT."""
    try:
        with open_bytes(path) as file:
            data = file.read(START)
    except OSError:
        return False
    text = data.decode(encoding_of(data), errors="replace")
    root = re.search(r"<[A-Za-z]\S*", text)
    return root is not None and ROOT.match(text, root.start()) is not None


def subsets(path: pathlib.Path) -> list[str]:
    """The names of the subsets of a file, sorted, without parsing it; empty where it has none."""
    data = read_bytes(path)
    found = {_text(one or two) for one, two in SUBSET.findall(data)}
    if found:
        if NO_SUBSET.search(data):
            found.add("")
        return sorted({name or DEFAULT for name in found})
    task = TASK_SUBSET.search(data, 0, START)
    return [_text(task[1])] if task and task[1] else []


def _text(data: bytes) -> str:
    return html.unescape(data.decode(errors="replace"))


def elements(path: pathlib.Path) -> Iterator[ElementTree.Element]:
    """Yields the elements `meta`, `image` and `track` of a file, each complete.

    Raises:
        DataError: the file is not valid XML, or is not CVAT's.
    """
    try:
        depth, root = 0, None
        for event, element in ElementTree.iterparse(_opened(path), events=("start", "end")):
            depth += 1 if event == "start" else -1
            if root is None:
                root = element
                _check_root(element.tag, path)
            elif event == "end" and depth == 1:
                yield element
                root.clear()  # what was read would fill the memory
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError, MemoryError) as error:
        if isinstance(error, DataError):
            raise
        must, received = "must be valid XML", str(error)
        if isinstance(error, XmlTextError):
            must, received = error.must, error.received
        raise DataError(
            f"CVAT's annotations {must}. Received: {path} ({received}). Export them again as CVAT "
            "for images 1.1."
        ) from error


def _check_root(tag: str, path: pathlib.Path) -> None:
    if tag != "annotations":
        raise DataError(
            f"CVAT's annotations must start with <annotations>. Received: <{tag:.40}> in {path}. "
            "Export them as CVAT for images 1.1."
        )


def _opened(path: pathlib.Path) -> IO[bytes] | IO[str]:
    """The content, decoded where the XML parser does not know the encoding."""
    text = xml_text(read_bytes(path))
    return io.BytesIO(text) if isinstance(text, bytes) else io.StringIO(text)


def labels_of(meta: ElementTree.Element) -> tuple[list[str], list[str]]:
    """The labels in their order: (those of regions, those of tags, points and lines)."""
    regions: list[str] = []
    others: list[str] = []
    for label in meta.iterfind(".//labels/label"):
        name = label.findtext("name")
        if name is None or label.find("parent") is not None:  # a part of a skeleton
            continue
        is_other = (label.findtext("type") or "any") in OTHER_TYPES
        (others if is_other else regions).append(name)
    return list(dict.fromkeys(regions)), list(dict.fromkeys(others))
