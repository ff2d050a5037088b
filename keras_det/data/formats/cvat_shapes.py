"""The shapes in CVAT's XML: boxes, polygons, ellipses, masks, cuboids."""

import xml.etree.ElementTree as ElementTree
from typing import Any

from keras_det.data.formats.tool_shapes import (
    BOX,
    MASK,
    POLYGON,
    Box,
    ShapeError,
    Shapes,
    around,
    around_ellipse,
    around_rotated,
)

CORNERS = ("xtl", "ytl", "xbr", "ybr")
CUBOID = tuple(f"{{}}{corner}{face}" for face in "12" for corner in ("tl", "bl", "tr", "br"))
NO_BOX = {"polyline": "line", "points": "point", "skeleton": "skeleton", "tag": "tag"}
# What else may stand in an image or a track.
NO_SHAPES = ("attribute",)


def add_shapes(element: ElementTree.Element, image: int, place: str, shapes: Shapes) -> None:
    """Adds the shapes of one image."""
    for k, shape in enumerate(element):
        if shape.tag not in NO_SHAPES:
            add_shape(shape, shape.get("label"), image, (f"{place}, shapes", k), shapes)


def add_shape(
    shape: ElementTree.Element,
    label: str | None,
    image: int,
    place: tuple[str, int],
    shapes: Shapes,
    group: str | None = None,
) -> None:
    """Adds one shape; an unreadable one is counted."""
    if shape.tag in NO_BOX:
        shapes.leave_out(NO_BOX[shape.tag], place)
        return
    try:
        box, kind = box_of(shape)
        if label is None:
            raise ShapeError("a shape must have a `label`. Received: none")
        group = group or shape.get("group_id")
        group = None if group in ("", "0") else group
        shapes.add(image, label, box, place, kind=kind, group=group)
    except ShapeError as error:
        shapes.bad.add(f"{place[0]}[{place[1]}]", str(error))


def box_of(shape: ElementTree.Element) -> tuple[Box, str]:
    """The box of a shape, and how it was drawn."""
    tag, given = shape.tag, shape.attrib
    if tag == "box":
        x1, y1, x2, y2 = (_number(given, key) for key in CORNERS)
        degrees = _number(given, "rotation", "0")
        if not degrees:
            return (x1, y1, x2, y2), BOX
        middle = (x1 + x2) / 2, (y1 + y2) / 2
        return around_rotated((x1, y1, x2, y2), degrees, middle), "rotated box"
    if tag == "polygon":
        return around(_points(given.get("points", ""))), POLYGON
    if tag == "ellipse":
        centre = _number(given, "cx"), _number(given, "cy")
        radii = _number(given, "rx"), _number(given, "ry")
        return around_ellipse(centre, radii, _number(given, "rotation", "0")), "ellipse"
    if tag == "mask":
        x, y = _number(given, "left"), _number(given, "top")
        return (x, y, x + _number(given, "width"), y + _number(given, "height")), MASK
    if tag == "cuboid":
        points = [(_number(given, k.format("x")), _number(given, k.format("y"))) for k in CUBOID]
        return around(points), "cuboid"
    raise ShapeError(f"a shape must be one of CVAT's. Received: <{tag:.40}>")


def _number(given: Any, key: str, default: str | None = None) -> float:
    text = given.get(key, default)
    try:
        number = float(text)
    except (TypeError, ValueError):
        raise ShapeError(f"`{key}` must be a number. Received: {text!r:.40}") from None
    if not -1e9 < number < 1e9:
        raise ShapeError(f"`{key}` must be a finite number. Received: {text!r:.40}")
    return number


def _points(text: str) -> list[tuple[float, float]]:
    points = []
    for pair in text.split(";"):
        x, _, y = pair.partition(",")
        points.append((_number({"points": x}, "points"), _number({"points": y}, "points")))
    if len(points) < 3:
        raise ShapeError(f"a polygon must have 3 points. Received: {len(points)}")
    return points
