"""Understands the columns of CSV files of boxes, by their names or by their values."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

IMAGE = (
    "filename", "imagefilename", "imagename", "imagepath", "filepath", "imagefile", "image",
    "imageid", "imgname", "imgpath", "imgfile", "imgid", "img", "file", "path", "frame",
    "imageuri", "uri", "gcsuri", "imageurl", "url",
)  # fmt: skip
LABEL = (
    "class", "classname", "label", "labelname", "category", "categoryname", "objectclass",
    "classlabel", "object", "species", "classid", "categoryid", "labelid", "classes", "labels",
    "name", "annotationtag",
)  # fmt: skip
# LISA writes "Upper left corner X".
LEFT = ("xmin", "x1", "left", "minx", "x0", "xtl", "upperleftcornerx")
TOP = ("ymin", "y1", "top", "miny", "y0", "ytl", "upperleftcornery")
RIGHT = ("xmax", "x2", "right", "maxx", "xbr", "lowerrightcornerx")
BOTTOM = ("ymax", "y2", "bottom", "maxy", "ybr", "lowerrightcornery")
CENTER_X = ("cx", "xcenter", "centerx", "xc", "xcentre", "centrex", "xmid")
CENTER_Y = ("cy", "ycenter", "centery", "yc", "ycentre", "centrey", "ymid")
X, Y = ("x", *LEFT), ("y", *TOP)
WIDE, HIGH = ("w", "boxwidth", "width"), ("h", "boxheight", "height")
IMAGE_WIDTH = ("imagewidth", "imgwidth", "imagew", "imgw", "width")
IMAGE_HEIGHT = ("imageheight", "imgheight", "imageh", "imgh", "height")
WHOLE_BOX = ("bbox", "box", "boundingbox", "bndbox")
CROWD = ("isgroupof", "iscrowd", "crowd", "difficult", "isdifficult")
SPLIT = ("split", "set", "subset", "partition", "mlusage", "usage", "dataset")
# Columns that may be beside the others in a file of one class.
HARMLESS = {"source", "area", "id", "index", "unnamed", "", "annotationid", "confidence", "score"}
PREFIX = re.compile(r"^(bbox|box|bndbox|boundingbox|rect|roi)(?=[a-z])")
NUMBER = re.compile(r"[-+]?(\d+([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?")
NEEDED = (
    "the image (such as filename), the class (such as class) and the box (such as xmin, ymin, "
    "xmax, ymax, or x, y, width, height, or bbox)"
)


class Columns(NamedTuple):
    """What the columns of a file hold: their places, from 0.

    Attributes:
        names: of all columns; empty without a header.
        image: the file name.
        label: the class; None where all objects are of one class.
        box: four columns; one that holds four numbers; or corners x, y, x, y, … of a polygon.
        box_format: of the four numbers; "xyxy" of a polygon.
        width, height: of the image in pixels.
        crowd: whether it is a group.
        split: the name of the split.
        relative: whether this kind of file is written in normalised coordinates.
    """

    names: tuple[str, ...]
    image: int
    label: int | None
    box: tuple[int, ...]
    box_format: str
    width: int | None = None
    height: int | None = None
    crowd: int | None = None
    split: int | None = None
    relative: bool = False

    @property
    def has_header(self) -> bool:
        """Whether the first line names the columns."""
        return bool(self.names)


def understand(rows: Sequence[Sequence[str]]) -> Columns | None:
    """Understands the columns by the first rows; None where image, class or box is missing."""
    if not rows:
        return None
    first = [cell.strip() for cell in rows[0]]
    if any(NUMBER.fullmatch(cell) for cell in first):
        return _without_header([[cell.strip() for cell in row] for row in rows])
    return _by_names(first) or _without_header([[cell.strip() for cell in row] for row in rows])


def missing(names: Iterable[str]) -> list[str]:
    """What a header lacks: "the image", "the class", "the box"."""
    plain = _plain(list(names))
    box, _, used = _box(plain)
    lacks = {
        "the image": _first(plain, IMAGE) is None,
        "the class": _label(plain, used) is None,
        "the box": not box,
    }
    return [what for what, is_missing in lacks.items() if is_missing]


def _plain(names: Sequence[str]) -> list[str]:
    """Names in small letters without signs: "X_Min" -> "xmin"."""
    return [re.sub(r"[^a-z0-9]", "", name.lower()) for name in names]


def _first(plain: Sequence[str], wanted: Iterable[str], but: Iterable[int] = ()) -> int | None:
    """The place of the first wanted name that occurs."""
    for name in wanted:
        for place, each in enumerate(plain):
            if each == name and place not in but:
                return place
    return None


def _by_names(names: Sequence[str]) -> Columns | None:
    plain = _plain(names)
    box, box_format, used = _box(plain)
    image = _first(plain, IMAGE)
    if image is None or not box or "maskpath" in plain:  # OpenImages' masks have boxes, too
        return None
    used = {*used, image}
    label = _label(plain, used)
    columns = Columns(
        names=tuple(names),
        image=image,
        label=label,
        box=box,
        box_format=box_format,
        width=_first(plain, IMAGE_WIDTH, used),
        height=_first(plain, IMAGE_HEIGHT, used),
        crowd=_first(plain, CROWD, used),
        split=_first(plain, SPLIT, used),
        relative={"imageid", "labelname"} <= set(plain),
    )
    if label is None:
        known = {*used, columns.width, columns.height, columns.crowd, columns.split}
        if not {name for i, name in enumerate(plain) if i not in known} <= HARMLESS:
            return None
    return columns


def _label(plain: Sequence[str], used: Iterable[int]) -> int | None:
    image = _first(plain, IMAGE)
    return _first(plain, LABEL, {*used, *(() if image is None else (image,))})


def _box(plain: Sequence[str]) -> tuple[tuple[int, ...], str, set[int]]:
    """The columns of the box, their format, and the columns that are used up."""
    short = [PREFIX.sub("", name) for name in plain]
    # A prefix tells the box's width from the image's: "bbox_width" beside "image_width".
    marked = ["w" if s == "width" != p else "h" if s == "height" != p else s
              for s, p in zip(short, plain, strict=True)]  # fmt: skip
    for names, box_format in (
        ((LEFT, TOP, RIGHT, BOTTOM), "xyxy"),
        ((CENTER_X, CENTER_Y, WIDE, HIGH), "center_xywh"),
        ((X, Y, WIDE, HIGH), "xywh"),
    ):
        places = [_first(marked, wanted) for wanted in names]
        found = tuple(place for place in places if place is not None)
        if len(found) == 4:
            return found, box_format, set(found)
    whole = _first(plain, WHOLE_BOX)
    return ((), "", set()) if whole is None else ((whole,), "xywh", {whole})


def _without_header(rows: Sequence[Sequence[str]]) -> Columns | None:
    """keras-retinanet's `path,x1,y1,x2,y2,class` and Google's `set,path,label,x,y,,,x,y,,`.

    SKU-110K adds the size to keras-retinanet's columns: `path,x1,y1,x2,y2,class,width,height`.
    """
    width = len(rows[0])
    rows = [row for row in rows if len(row) == width]
    sized = width == 8 and all(cell.isdecimal() for row in rows for cell in row[6:])
    if (width == 6 or sized) and all(_is_box(row[1:5]) for row in rows):
        names = any(row[5] for row in rows) or not any(any(row[1:5]) for row in rows)
        if names and not any(NUMBER.fullmatch(row[0]) for row in rows):
            size = (6, 7) if sized else (None, None)
            return Columns((), 0, 5, (1, 2, 3, 4), "xyxy", width=size[0], height=size[1])
    for start in (3, 2):  # the set may be missing
        corners = [row[start : start + 8] for row in rows]
        if width >= start + 6 and all(_is_corners(each) for each in corners):
            box = tuple(range(start, min(width, start + 8)))
            split = 0 if start == 3 else None
            return Columns((), start - 2, start - 1, box, "xyxy", split=split, relative=True)
    return None


def _is_box(cells: Sequence[str]) -> bool:
    """Whether four cells are numbers, or all empty."""
    return not any(cells) or all(NUMBER.fullmatch(cell) for cell in cells)


def _is_corners(cells: Sequence[str]) -> bool:
    """Whether cells are x, y, x, y, … with empty ones between, in normalised coordinates."""
    given = [cell for cell in cells if cell]
    if not all(NUMBER.fullmatch(cell) and float(cell.replace(",", ".")) <= 1 for cell in given):
        return False
    return not given or (bool(cells[0]) and bool(cells[1]) and len(given) >= 4)
