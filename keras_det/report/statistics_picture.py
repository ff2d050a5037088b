"""Draws the statistics of a data set as bars."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_det.report.draw import class_colour
from keras_det.report.grid import grid, stacked
from keras_det.words import counted

if TYPE_CHECKING:
    from PIL import ImageDraw

PANEL_WIDTH, LABEL_WIDTH, BAR_HEIGHT, FONT = 520, 150, 18, 13
GREY, BLUE, BLACK = (238, 238, 238), (66, 118, 190), (20, 20, 20)
MAX_CLASSES = 30


def draw_statistics(splits: Mapping[str, Mapping[str, Any]]) -> np.ndarray:
    """Draws bars of classes, sizes and shapes of boxes, and objects per image, for each split.

    Args:
        splits: `{name of the split: what keras_det.data.statistics returns}`.

    Returns:
        uint8 `(height, width, 3)`.
    """
    return stacked([_of_split(name, found) for name, found in splits.items()], gap=24)


def _of_split(name: str, found: Mapping[str, Any]) -> np.ndarray:
    title = f"{found['name']} {name}".strip()
    classes = sorted(found["classes"].items(), key=lambda pair: -pair[1]["objects"])
    rest = len(classes) - MAX_CLASSES
    names = list(found["classes"])
    rows = [(each, numbers["objects"]) for each, numbers in classes[:MAX_CLASSES]]
    colours = [class_colour(names.index(each)) for each, _ in rows]
    sizes = found["sizes"]
    limits = {"small": "small, < 32 x 32", "medium": "medium, < 96 x 96", "large": "large"}
    panels = [
        _panel("Side of the boxes, pixels", ranges(found["sides"])),
        _panel("Width / height of the boxes", ranges(found["aspect_ratios"])),
        _panel("Objects per image", ranges(found["objects_per_image"], whole=True)),
        _panel("COCO's size classes", [(text, sizes[key]) for key, text in limits.items()]),
    ]
    more = f", the {MAX_CLASSES} largest of {len(classes)}" if rest > 0 else ""
    head = _panel(
        f"{title}: {counted(found['images'], 'image')}, {counted(found['objects'], 'object')}",
        [],
        2 * PANEL_WIDTH,
    )
    left = _panel(f"Objects of each class{more}", rows, colours=colours)
    right = stacked(panels, gap=0)
    return stacked([head, grid([left, right], 2, gap=0)], gap=0)


def ranges(histogram: Mapping[str, Sequence[Any]], whole: bool = False) -> list[tuple[str, int]]:
    """Bins as texts, and their counts.

    Args:
        histogram: "from" and "counts", as `keras_det.data.statistics` returns them.
        whole: whether values are whole numbers: "2-3" instead of "2 to 4".
    """
    starts, counts = histogram["from"], histogram["counts"]
    texts = []
    for i, start in enumerate(starts):
        if i + 1 == len(starts):
            texts.append(f"{start:g} or more")
        elif whole:
            last = starts[i + 1] - 1
            texts.append(f"{start:g}" if last == start else f"{start:g}-{last:g}")
        else:
            texts.append(f"{start:g} to {starts[i + 1]:g}")
    return list(zip(texts, counts, strict=True))


def _panel(
    title: str,
    rows: Sequence[tuple[str, int]],
    width: int = PANEL_WIDTH,
    colours: Sequence[tuple[int, int, int]] = (),
) -> np.ndarray:
    """A title and one bar for each row."""
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("RGB", (width, 34 + len(rows) * (BAR_HEIGHT + 4)), (255, 255, 255))
    pen = ImageDraw.Draw(picture)
    pen.text((12, 14), title, BLACK, ImageFont.load_default(FONT + 2), anchor="lm")
    most = max([count for _, count in rows], default=0) or 1
    room = width - LABEL_WIDTH - 90
    font = ImageFont.load_default(FONT)
    for i, (text, count) in enumerate(rows):
        top = 32 + i * (BAR_HEIGHT + 4)
        middle = top + BAR_HEIGHT / 2
        pen.text((12, middle), _cut(pen, text, font), BLACK, font, anchor="lm")
        pen.rectangle((LABEL_WIDTH, top, LABEL_WIDTH + room, top + BAR_HEIGHT - 1), fill=GREY)
        length = round(room * count / most)
        if count:
            colour = colours[i] if colours else BLUE
            end = LABEL_WIDTH + max(1, length)
            pen.rectangle((LABEL_WIDTH, top, end, top + BAR_HEIGHT - 1), fill=colour)
        pen.text((LABEL_WIDTH + room + 8, middle), f"{count:,}", BLACK, font, anchor="lm")
    return np.array(picture)


def _cut(pen: "ImageDraw.ImageDraw", text: str, font: Any) -> str:
    """The text, shortened where it does not fit before the bars."""
    if pen.textlength(text, font) <= LABEL_WIDTH - 20:
        return text
    while text and pen.textlength(text + "…", font) > LABEL_WIDTH - 20:
        text = text[:-1]
    return text + "…"
