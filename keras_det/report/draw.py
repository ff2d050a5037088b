"""Draws boxes with class names and scores on an image, readable at any image size."""

import colorsys
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from keras_det.words import counted

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from PIL import ImageFont

# Successive classes are a golden section of the colour circle apart, so their hues differ clearly.
GOLDEN_SECTION = 0.618034
# Saturation and brightness of the first, second and third eight classes, then again from the start.
SHADES = ((0.95, 1.0), (0.6, 1.0), (1.0, 0.7))
FAINT = 0.5  # opacity of a box below the threshold
# In pixels: the smallest default size, and the smallest size of a label that does not fit else.
MIN_FONT_SIZE, SMALLEST_FONT_SIZE = 11, 7
LONGEST_LABEL = 200  # characters: a label is measured once for each that is taken off

# (left, top, right, bottom) in whole pixels.
Corners = tuple[int, int, int, int]
Colour = tuple[int, int, int]


def draw_detections(
    image: np.ndarray,
    detections: Mapping[str, Any],
    class_names: Sequence[str],
    score_threshold: float | Sequence[float] = 0.3,
    *,
    line_width: int | None = None,
    font_size: int | None = None,
    show_best: bool = False,
) -> np.ndarray:
    """Draws detected boxes with their names and scores on a copy of the image.

    Args:
        image: uint8 `(h, w, 3)` RGB.
        detections: dict of `boxes` `(n, 4)` xyxy pixels of this image, `scores` and `labels`
            `(n,)`, as `detect` returns for one image. Slots labelled -1 are left out. If it has
            `track_ids` `(n,)`, they are drawn too.
        class_names: label k means `class_names[k]`.
        score_threshold: float in 0..1, or one per class; boxes with a lower score are left out.
        line_width: int, pixels. Default: grows with the image.
        font_size: int, pixels. Default: grows with the image.
        show_best: bool. True draws, where all boxes are left out, the one with the highest score
            faintly, with its score.

    Returns:
        uint8 `(h, w, 3)`. A label is left out where it would cover that of a higher score.

    Raises:
        TypeError: `image` is not a uint8 array.
        ValueError: `image` is not RGB, or boxes, labels and class names do not fit together.
    """
    boxes, labels = _boxes_and_labels(detections["boxes"], detections["labels"], class_names)
    scores = np.asarray(detections["scores"], "float64").reshape(-1)
    lowest = np.asarray(score_threshold, "float64")
    if lowest.ndim:
        lowest = lowest[labels]
    shown = (labels >= 0) & (scores >= lowest)
    faint = show_best and not shown.any() and (labels >= 0).any()
    if faint:
        shown = np.arange(len(scores)) == np.where(labels >= 0, scores, -1.0).argmax()
    order = np.argsort(-scores[shown], kind="stable")
    rows = zip(labels[shown][order], scores[shown][order], strict=True)
    texts = [f"{class_names[label]} {score:.2f}" for label, score in rows]
    if detections.get("track_ids") is not None:
        tracks = np.asarray(detections["track_ids"])[shown][order].tolist()
        texts = [f"#{k} {text}" if k >= 0 else text for k, text in zip(tracks, texts, strict=True)]
    boxes, labels = boxes[shown][order], labels[shown][order]
    drawn = draw_boxes(image, boxes, texts, _colours(labels), line_width, font_size)
    return _blended(image, drawn) if faint else drawn


def _blended(image: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """The picture with what was drawn on it half transparent."""
    mixed = image.astype("float32") + FAINT * (drawn.astype("float32") - image)
    return np.rint(mixed).astype("uint8")


def draw_ground_truth(
    image: np.ndarray,
    boxes: "ArrayLike",
    labels: "ArrayLike",
    class_names: Sequence[str],
    *,
    line_width: int | None = None,
    font_size: int | None = None,
) -> np.ndarray:
    """Draws annotated boxes with their names on a copy of the image.

    Args:
        image: uint8 `(h, w, 3)` RGB.
        boxes: `(n, 4)` xyxy pixels of this image.
        labels: `(n,)`; slots labelled -1 are left out.
        class_names: label k means `class_names[k]`.
        line_width, font_size: as in `draw_detections`.

    Returns:
        uint8 `(h, w, 3)`.

    Raises:
        TypeError, ValueError: as of `draw_detections`.
    """
    all_boxes, all_labels = _boxes_and_labels(boxes, labels, class_names)
    shown = all_labels >= 0
    texts = [str(class_names[label]) for label in all_labels[shown]]
    colours = _colours(all_labels[shown])
    return draw_boxes(image, all_boxes[shown], texts, colours, line_width, font_size)


def draw_boxes(
    image: np.ndarray,
    boxes: "ArrayLike",
    texts: Sequence[str],
    colours: Sequence[Colour],
    line_width: int | None = None,
    font_size: int | None = None,
) -> np.ndarray:
    """Draws boxes with any text and in any colour on a copy of the image.

    Args:
        image: uint8 `(h, w, 3)` RGB.
        boxes: `(n, 4)` xyxy pixels of this image, the most important first: it is drawn on top,
            and its text is placed first.
        texts: of the boxes; "" for none. A text that would cover an earlier one is left out.
        colours: of the boxes, RGB in 0..255.
        line_width, font_size: as in `draw_detections`.

    Returns:
        uint8 `(h, w, 3)`.

    Raises:
        TypeError, ValueError: as of `draw_detections`.
    """
    from PIL import Image, ImageDraw

    _check_image(image)
    height, width = image.shape[:2]
    picture = Image.fromarray(image.copy())
    pen = ImageDraw.Draw(picture)
    line_width = line_width or max(1, round(max(height, width) / 320))
    font_size = font_size or _default_font_size(max(height, width))
    corners_of = np.asarray(boxes, "float64").reshape(-1, 4)
    pixels = [_covered_pixels(box, height, width) for box in corners_of]
    # The first box is the most important: it is drawn last, and its label is placed first.
    for corners, colour in reversed(list(zip(pixels, colours, strict=True))):
        inner = max(1, min(corners[2] - corners[0], corners[3] - corners[1]) // 4)
        pen.rectangle(corners, outline=colour, width=min(line_width, inner))
    taken: list[Corners] = []
    for corners, colour, text in zip(pixels, colours, texts, strict=True):
        if not text:
            continue
        text, font, size = _fitting(text, font_size, width, height)
        place = _free_place(corners, size, width, height, taken)
        if place is None:  # two labels on top of each other would both be unreadable
            continue
        taken.append(place)
        pen.rectangle((place[0], place[1], place[2] - 1, place[3] - 1), fill=colour)
        middle = (place[1] + place[3]) / 2
        pen.text((place[0] + 2, middle), text, text_colour(colour), font, anchor="lm")
    return np.array(picture)


def side_by_side(*pictures: np.ndarray, gap: int = 8) -> np.ndarray:
    """Joins pictures from left to right on a white background, aligned at the top.

    Args:
        *pictures: uint8 `(h, w, 3)`; heights may differ.
        gap: int >= 0, pixels between them.

    Returns:
        uint8 `(greatest height, sum of widths and gaps, 3)`.

    Raises:
        TypeError, ValueError: a picture is not a uint8 RGB array, or there is no picture.
    """
    if not pictures:
        raise ValueError(
            "side_by_side needs at least one picture. Received: none. Pass uint8 arrays "
            "(height, width, 3)."
        )
    for picture in pictures:
        _check_image(picture)
    width = sum(picture.shape[1] for picture in pictures) + gap * (len(pictures) - 1)
    joined = np.full((max(picture.shape[0] for picture in pictures), width, 3), 255, "uint8")
    left = 0
    for picture in pictures:
        joined[: picture.shape[0], left : left + picture.shape[1]] = picture
        left += picture.shape[1] + gap
    return joined


def class_colour(label: int) -> Colour:
    """Returns the colour of a class, RGB in 0..255. It is the same in every picture."""
    hue = (0.02 + label * GOLDEN_SECTION) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, *SHADES[(label // 8) % len(SHADES)])
    return round(red * 255), round(green * 255), round(blue * 255)


def text_colour(background: Sequence[int]) -> Colour:
    """Returns black or white, whichever has more contrast to an RGB colour (WCAG 2)."""
    linear = [(c / 255 + 0.055) ** 2.4 / 1.055**2.4 for c in background]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    # Equal contrasts: 1.05 / (x + 0.05) = (x + 0.05) / 0.05.
    return (0, 0, 0) if luminance > 0.179 else (255, 255, 255)


def _check_image(image: np.ndarray) -> None:
    kind, shape = getattr(image, "dtype", type(image).__name__), getattr(image, "shape", None)
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        raise TypeError(
            f"`image` must be a uint8 NumPy array. Received: dtype={kind}, shape={shape}. Convert "
            'values in 0..255 with np.rint(image).astype("uint8").'
        )
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f"`image` must have shape (height, width, 3), RGB. Received: shape={shape}. Pass one "
            "image of a batch; repeat a grey image (height, width) three times with "
            "np.repeat(image[..., None], 3, axis=-1)."
        )


def _boxes_and_labels(
    boxes: "ArrayLike", labels: "ArrayLike", class_names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    boxes = np.asarray(boxes, "float64").reshape(-1, 4)
    labels = np.asarray(labels, "int64").reshape(-1)
    if len(boxes) != len(labels):
        raise ValueError(
            f"`boxes` must have one label each. Received: {counted(len(boxes), 'box', 'boxes')}, "
            f"{counted(len(labels), 'label')}. Give the labels in the order of the boxes."
        )
    if len(labels) and labels.max() >= len(class_names):
        raise ValueError(
            f"`labels` must lie in 0..{len(class_names) - 1}. Received: {labels.max()}. Pass the "
            "class_names of the model or data set that the labels come from."
        )
    return boxes, labels


def _colours(labels: np.ndarray) -> list[Colour]:
    return [class_colour(label) for label in labels.tolist()]


def _default_font_size(side: int) -> int:
    """1 / 48 of the longer side, at least `MIN_FONT_SIZE`; on tiny images 1 / 12 of it at most."""
    return min(max(MIN_FONT_SIZE, round(side / 48)), max(SMALLEST_FONT_SIZE, side // 12))


def _covered_pixels(box: np.ndarray, height: int, width: int) -> Corners:
    """First and last column and row of the pixels that a box covers, at least one of each."""
    x1, y1, x2, y2 = np.nan_to_num(box)
    left, top = np.clip([round(x1), round(y1)], 0, [width - 1, height - 1]).tolist()
    right = int(np.clip(round(x2) - 1, left, width - 1))
    bottom = int(np.clip(round(y2) - 1, top, height - 1))
    return left, top, right, bottom


@functools.lru_cache(maxsize=256)
def _font(size: int) -> "ImageFont.FreeTypeFont":
    """Pillow's font; loading it takes longer than measuring a label."""
    from PIL import ImageFont

    return cast(ImageFont.FreeTypeFont, ImageFont.load_default(size))


def _fitting(
    text: str, font_size: int, width: int, height: int
) -> tuple[str, "ImageFont.FreeTypeFont", tuple[int, int]]:
    """Text, font and (width, height) of a label that fits the image.

    A label that does not fit is drawn smaller first, then shortened.
    """
    if len(text) > LONGEST_LABEL:
        text = f"{text[: LONGEST_LABEL - 1]}…"
    while True:
        font = _font(font_size)
        ascent, descent = font.getmetrics()
        size = (int(np.ceil(font.getlength(text))) + 4, ascent + descent)
        if size[0] <= width and size[1] <= height / 3:
            return text, font, size
        if font_size > SMALLEST_FONT_SIZE:
            font_size -= 1
        elif size[0] > width and len(text) > 1:
            text = text[:-2] + "…" if len(text) > 2 else text[0]
        else:
            return text, font, (min(size[0], width), min(size[1], height))


def _free_place(
    corners: Corners,
    size: tuple[int, int],
    width: int,
    height: int,
    taken: Sequence[Corners],
) -> Corners | None:
    """Finds the place of a label inside the image.

    The order is: above its box, inside at the top, below the box, inside at the bottom; each at the
    left, then at the right edge.

    Returns:
        (left, top, right, bottom), the last two exclusive; None where no place is free.
    """
    left, top, right, bottom = corners
    tops = (top - size[1], top, bottom + 1, bottom + 1 - size[1])
    spots = [(x, y) for y in tops for x in (left, right + 1 - size[0])]
    for x, y in spots:
        inside = min(max(x, 0), width - size[0]), min(max(y, 0), height - size[1])
        place = (*inside, inside[0] + size[0], inside[1] + size[1])
        if not any(_overlap(place, other) for other in taken):
            return place
    return None


def _overlap(a: Corners, b: Corners) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
