"""The pictures of a page: small copies as JPEG within a budget of bytes, with their boxes."""

import base64
import dataclasses
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

# Bytes of all pictures together, before base64 adds a third. A page of 5,000 images is then under
# 40 MB.
BUDGET = 24_000_000
SIDES = (640, 480, 400, 320, 256, 224, 192, 160)  # longer side of a picture, in pixels
QUALITIES = {640: 82, 480: 80, 400: 78, 320: 75, 256: 70, 224: 66, 192: 62, 160: 58}
TYPICAL = 0.16  # bytes per pixel of such a JPEG, to choose the first size


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image of the page with its boxes, all in pixels of the original image.

    Attributes:
        name: of the file, as a person finds it.
        size: `(height, width)` of the original image.
        jpeg: the small copy.
        truth: rows of xyxy, label, the score of the detection that found the object or -1, and
            whether it is a crowd region.
        found: rows of xyxy, label, score, and the kind as an index into the kinds of the page.
    """

    name: str
    size: tuple[int, int]
    jpeg: bytes
    truth: Sequence[Sequence[float]]
    found: Sequence[Sequence[float]]

    def entry(self) -> dict[str, Any]:
        """The picture in the page's data."""
        return {
            "name": self.name,
            "h": int(self.size[0]),
            "w": int(self.size[1]),
            "jpeg": base64.b64encode(self.jpeg).decode(),
            "truth": [_rounded(row) for row in self.truth],
            "found": [_rounded(row) for row in self.found],
        }


def _rounded(row: Sequence[float]) -> list[float]:
    """Corners with one decimal, the score with three; whole numbers stay whole."""
    corners = [round(float(value), 1) for value in row[:4]]
    rest = [int(row[4]), round(float(row[5]), 4), int(row[6])]
    return [int(c) if c == int(c) else c for c in corners] + rest


def side_for(images: int, budget: int = BUDGET) -> int:
    """The largest side in `SIDES` at which this many pictures probably fit the budget.

    Args:
        images: number of pictures.
        budget: bytes of all of them.
    """
    for side in SIDES:
        # Photos are mostly 3:4.
        if images * TYPICAL * QUALITIES[side] / 75 * side * side * 0.75 <= budget:
            return side
    return SIDES[-1]


def small_copy(pixels: np.ndarray, side: int) -> bytes:
    """A copy whose longer side is at most `side` pixels, as JPEG.

    Args:
        pixels: uint8 `(h, w, 3)`.
        side: one of `SIDES`.
    """
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITIES[side], optimize=False)
    return file.getvalue()


class Budget:
    """Gives each picture its size, so that all together stay within a number of bytes.

    Pictures that come later are smaller where the first ones took more than expected.

    Args:
        images: number of pictures that will come.
        budget: bytes of all of them.
    """

    def __init__(self, images: int, budget: int = BUDGET) -> None:
        self.left, self.images = budget, images
        self.side = side_for(images, budget)

    def copy(self, pixels: np.ndarray) -> bytes:
        """The small copy of the next image, `pixels` uint8 `(h, w, 3)`."""
        share = self.left / max(1, self.images)
        data = small_copy(pixels, self.side)
        while len(data) > 1.5 * share and self.side > SIDES[-1]:
            self.side = SIDES[SIDES.index(self.side) + 1]
            data = small_copy(pixels, self.side)
        self.left, self.images = self.left - len(data), self.images - 1
        return data


def page_data(
    pictures: Iterable[Picture],
    class_names: Sequence[str],
    colours: Sequence[str],
    thresholds: Sequence[float],
    kinds: Sequence[tuple[str, str]],
) -> Iterator[str]:
    """The data of the gallery as pieces of JSON that may stand in a `<script>` element.

    Args:
        pictures: taken one by one, so that memory holds one at a time.
        class_names, colours, thresholds: by label; colours in CSS.
        kinds: name of each kind of detection, and the words for it; the first is "right".
    """
    head = {
        "classes": list(class_names),
        "colours": list(colours),
        "thresholds": [round(float(each), 4) for each in thresholds],
        "kinds": [name for name, _ in kinds],
        "words": {**dict(kinds), "missed": "missed"},
    }
    yield f'{_safe(head)[:-1]},"images":['
    for number, picture in enumerate(pictures):
        yield ("," if number else "") + _safe(picture.entry())
    yield "]}"


def _safe(value: Any) -> str:
    """JSON in which nothing can end the element that it stands in."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
