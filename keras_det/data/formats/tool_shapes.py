"""Collects the shapes that annotation tools draw: boxes, polygons, circles, masks."""

import math
import os
import pathlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from keras_det.data.notes import Note
from keras_det.data.raw import BadRecords, RawAnnotations
from keras_det.errors import DataError

Box = tuple[float, float, float, float]
Points = Sequence[tuple[float, float]]
# No image has more pixels on a side; no shape lies further out.
MAX_SIDE = 10**6
BOX, POLYGON, MASK = "box", "polygon", "mask"
# Parts of one object, drawn one by one, that a group joins.
JOINED = (POLYGON, MASK)
PLURALS = {
    "box": "boxes",
    "rotated box": "rotated boxes",
    "region without class": "regions without class",
}


class ShapeError(ValueError):
    """A shape cannot be read; the text says what must hold and what was received."""


def around(points: Points) -> Box:
    """The box around points, x1, y1, x2, y2."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def around_rotated(box: Box, degrees: float, centre: tuple[float, float]) -> Box:
    """The box around a box that is turned clockwise about a point.

    Args:
        box: x1, y1, x2, y2 before it is turned.
        degrees: the angle.
        centre: the point that stays in its place.
    """
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = centre
    corners = [(a - x, b - y) for a in box[::2] for b in box[1::2]]
    return around([(x + a * cos - b * sin, y + a * sin + b * cos) for a, b in corners])


def around_ellipse(centre: tuple[float, float], radii: tuple[float, float], degrees: float) -> Box:
    """The box around an ellipse that is turned by an angle about its centre."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    half_width = math.hypot(radii[0] * cos, radii[1] * sin)
    half_height = math.hypot(radii[0] * sin, radii[1] * cos)
    x, y = centre
    return x - half_width, y - half_height, x + half_width, y + half_height


def side(value: Any) -> int:
    """A side of an image in pixels as a tool writes it; 0, not known, for anything else."""
    if isinstance(value, bool):
        return 0
    try:
        return int(value) if 0 < value <= MAX_SIDE else 0
    except TypeError:
        try:
            return side(float(value))
        except (TypeError, ValueError):
            return 0


class Shapes:
    """The images and objects of one split, and counts of what is left out or changed.

    Args:
        source: what is read, for messages.
        name: of the data set.

    Attributes:
        bad_files, bad: unreadable files and shapes.
        notes: those of the reader.
        twins: (file and list, index) of boxes that share class and group with another one.
        names, other_names, ids, sizes: of the images, see `add_image`.
    """

    def __init__(self, source: str | os.PathLike, name: str) -> None:
        self.source, self.name = str(source), name
        self.bad_files = BadRecords("files", self.source)
        self.bad = BadRecords("shapes", self.source)
        self.notes: list[Note] = []
        self.twins: list[tuple[str, int]] = []
        self.names: list[str] = []
        self.other_names: list[str] = []
        self.ids: list[int | str] = []
        self.sizes: list[tuple[int, int]] = []
        self._objects: list[tuple[int, str, Box, bool]] = []
        self._places: list[tuple[str, int]] = []
        self._groups: dict[tuple[int, str, Any], int] = {}
        self._count: dict[str, Counter[str]] = {"drawn": Counter(), "without": Counter()}
        self._first: dict[str, str] = {}
        self._joined = 0

    @property
    def labels(self) -> set[str]:
        """The names of the classes of all objects."""
        return {label for _, label, _, _ in self._objects}

    def add_image(self, name: str, other: str, number: int | str, size: tuple[int, int]) -> int:
        """Adds an image and returns its index.

        Args:
            name: its file name as written.
            other: a second name, tried where the first is not found, or "".
            number: its id.
            size: (height, width), 0 where not given.
        """
        self.names.append(name)
        self.other_names.append(other)
        self.ids.append(number)
        self.sizes.append(size)
        return len(self.names) - 1

    def add(
        self,
        image: int,
        label: str,
        box: Box,
        place: tuple[str, int],
        *,
        kind: str = BOX,
        group: Any = None,
        crowd: bool = False,
    ) -> None:
        """Adds an object, or joins a part to its object.

        Args:
            image: index of the image.
            label: name of the class.
            box: x1, y1, x2, y2.
            place: (file and list, index in it), for messages.
            kind: what was drawn; of all but boxes the box around it is read, with a note.
            group: parts of one class with the same group are one object; None: no group.
            crowd: whether training leaves it out.

        Raises:
            ShapeError: a coordinate is not finite, or far outside any image.
        """
        x1, y1, x2, y2 = box
        if not abs(x1) + abs(y1) + abs(x2) + abs(y2) <= 4 * MAX_SIDE:
            shown = ", ".join(f"{value:g}" for value in box)
            raise ShapeError(f"coordinates must lie in an image. Received: a box [{shown}]")
        if kind != BOX:
            self._tell("drawn", kind, place)
        key = (image, label, group)
        if group is not None and kind in JOINED:
            if key in self._groups:
                self._join(self._groups[key], box, place)
                return
            self._groups[key] = len(self._objects)
        self._objects.append((image, label, box, crowd))
        self._places.append(place)

    def leave_out(self, kind: str, place: tuple[str, int]) -> None:
        """Counts a shape that has no box, or that is no object."""
        self._tell("without", kind, place)

    def _tell(self, what: str, kind: str, place: tuple[str, int]) -> None:
        self._count[what][kind] += 1
        self._first.setdefault(what, _shown(place))

    def _join(self, row: int, box: Box, place: tuple[str, int]) -> None:
        image, label, old, crowd = self._objects[row]
        self._objects[row] = (image, label, around([old[:2], old[2:], box[:2], box[2:]]), crowd)
        self._joined += 1
        self._first.setdefault("joined", _shown(place))

    def raw(
        self, class_names: Iterable[str], split: str | None, folders: list[pathlib.Path]
    ) -> RawAnnotations:
        """Returns the annotations; DataError where there is no image, or too much is unreadable.

        Args:
            class_names: of the whole data set; names that only occur here are added, sorted.
            split: name of the split.
            folders: where the images may lie.
        """
        names = list(class_names)
        names += sorted(self.labels - set(names))
        label_of = {name: label for label, name in enumerate(names)}
        objects, places = self._objects, self._places
        return RawAnnotations(
            source=self.source,
            name=self.name,
            split=split,
            class_names=names,
            category_ids=list(range(len(names))),
            image_names=self.names,
            image_ids=self.ids,
            image_sizes=np.array(self.sizes, np.int64).reshape(-1, 2),
            image_index=np.array([image for image, _, _, _ in objects], np.int64),
            boxes=np.array([box for _, _, box, _ in objects], np.float64).reshape(-1, 4),
            labels=np.array([label_of[label] for _, label, _, _ in objects], np.int64),
            crowd=np.array([crowd for _, _, _, crowd in objects], bool),
            area=np.full(len(objects), np.nan),
            where=lambda row: _shown(places[row]),
            folders=folders,
            other_names=self.other_names,
            notes=self._all_notes(),
        )

    def _all_notes(self) -> list[Note]:
        if not self.names:
            first = f" The first unreadable one is {_first(self)}." if _first(self) else ""
            raise DataError(
                f"Annotations must name at least one image. Received: none in {self.source}."
                f"{first} Correct the files, or export the annotations again."
            )
        total = len(self._objects) + self._joined + self._count["without"].total()
        notes = self.bad_files.notes(len(self.names) + self.bad_files.count)
        notes += self.bad.notes(total + self.bad.count)
        if drawn := self._count["drawn"]:
            count, first = drawn.total(), self._first["drawn"]
            text = f"Objects read as the box around their shape: {count}, drawn as {_listed(drawn)}"
            notes.append(Note("boxes-of-shapes", text, count, first=first))
        if self._joined:
            text = (
                "Parts merged into one object, because they have the same class and group: "
                f"{self._joined}"
            )
            notes.append(Note("boxes-of-parts", text, self._joined, first=self._first["joined"]))
        if self.twins:
            count, first = len(self.twins), _shown(self.twins[0])
            text = (
                "Boxes with the same class and group as another box of their image: "
                f"{count}. Each stays an object"
            )
            notes.append(Note("boxes-of-parts", text, count, first=first))
        if without := self._count["without"]:
            count, first = without.total(), self._first["without"]
            text = (
                f"Shapes left out, because they have no box or no class: {count}, "
                f"{_listed(without)}"
            )
            notes.append(Note("annotations-without-box", text, count, first=first))
        return [*self.notes, *notes]


def _first(shapes: Shapes) -> str:
    return next(iter([*shapes.bad_files.reasons, *shapes.bad.reasons]), "")


def _shown(place: tuple[str, int]) -> str:
    return f"{place[0]}[{place[1]}]"


def _listed(counts: Counter[str]) -> str:
    """Counts of kinds: "2 polygons, 1 mask"."""
    return ", ".join(
        f"{count} {kind if count == 1 else PLURALS.get(kind, kind + 's')}"
        for kind, count in counts.most_common()
    )
