"""The formats of boxes: which one a file uses, and the way to xyxy pixels."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from keras_det.data.notes import Note
from keras_det.data.raw import RawAnnotations, ReadOptions
from keras_det.errors import DataError, suggest
from keras_det.names import BOX_FORMATS, BOX_ORDERS
from keras_det.words import counted

# What the four numbers of each order are, for messages.
NUMBERS = {
    "xyxy": "x1, y1, x2, y2",
    "yxyx": "y1, x1, y2, x2",
    "xywh": "x, y, width, height",
    "center_xywh": "centre x, centre y, width, height",
    "center_yxhw": "centre y, centre x, height, width",
}
# A box fits its image if it leaves it by no more than this: pixels, or a share of the side.
MARGIN_PIXELS, MARGIN = 1.0, 0.02
# The format's own reading is taken where this share of the boxes fits.
ENOUGH = 0.9
# Another reading is named where this share of the boxes fits …
NEARLY_ALL = 0.98
# … and the format's own share is below this one, or at least so many boxes do not fit.
TOO_FEW, SOME = 0.7, 5
# A format given by the caller is kept while this share fits and no other reading is better.
LEAST_GIVEN = 0.5
# Boxes are wrong if most of them cover a smaller share of their images.
SMALLEST = 1e-6
# If most boxes have no larger number, they are not in pixels.
LEAST_PIXELS = 2.0
# In smaller images, a box of whole numbers within 0..1 may be one pixel.
SMALL_IMAGE = 32


class BoxFormatError(DataError):
    """Boxes do not fit their images as they are read."""


class Judgement(NamedTuple):
    """How well the readings of boxes fit.

    Attributes:
        fitting: bool `(n,)`, the boxes that fit their images in the format's own reading.
        used: bool `(n,)`, the boxes that were judged: those with a width and a height.
        own: share of the boxes in use that fit; 0 where the reading cannot be right.
        shares: `{box format: share of the boxes that fit}`, of all readings that were compared.
        swapped: share of the boxes that fit with width and height of the images exchanged.
        normalised: whether the boxes are in normalised coordinates, from 0 to 1.
    """

    fitting: np.ndarray
    used: np.ndarray
    own: float
    shares: dict[str, float]
    swapped: float
    normalised: bool


def to_pixels(raw: RawAnnotations, options: ReadOptions) -> None:
    """Turns `raw.boxes` into xyxy pixels, and refuses boxes that do not fit in their format.

    The format's own reading is taken where at least 90% of the boxes fit their images. Else all
    readings are compared. Boxes without width or height count neither way.

    Args:
        raw: `boxes` are in `box_format`; afterwards in "xyxy".
        options: `box_format` overrules the format's. It is taken unless the boxes contradict it
            and fit in another one.

    Raises:
        DataError: the boxes do not fit their images in this format.
    """
    form = check_box_format(options.box_format) or raw.box_format
    sizes = raw.image_sizes[raw.image_index]
    found = judge(raw.boxes, form, sizes)
    if _is_refused(found, given=options.box_format is not None):
        raise BoxFormatError(_complaint(raw, form, found, sizes))
    raw.notes += _doubts(raw, form, found)
    raw.boxes = corners(raw.boxes, form, sizes)
    raw.box_format = "xyxy"


def check_box_format(box_format: str | None) -> str | None:
    """Returns a box format or None; DataError for anything else."""
    if box_format is None or box_format in BOX_FORMATS:
        return box_format
    raise DataError(
        f"`box_format` must be one of {', '.join(BOX_FORMATS)}. Received: {box_format!r}."
        f"{suggest(box_format, BOX_FORMATS)} Leave it out for the format's own."
    )


def corners(boxes: np.ndarray, box_format: str, sizes: np.ndarray) -> np.ndarray:
    """Returns boxes as xyxy pixels.

    Args:
        boxes: `(n, 4)` in `box_format`.
        box_format: one of `BOX_FORMATS`; with "rel_" in front, in normalised coordinates (0 to 1).
        sizes: `(n, 2)`, (height, width) of each box's image in pixels.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    result = np.empty_like(boxes)
    for axis, (low, high, _) in enumerate(edges(boxes, box_format, np.reshape(sizes, (-1, 2)))):
        result[:, axis], result[:, axis + 2] = low, high
    return result


def judge(boxes: np.ndarray, form: str, sizes: np.ndarray) -> Judgement:
    """Judges how well boxes fit their images; other readings only where `form` does not fit.

    Args:
        boxes: `(n, 4)` as written.
        form: the format's own reading.
        sizes: `(n, 2)`, (height, width) of each box's image in pixels.
    """
    fitting, areas, used = _fits(boxes, form, sizes)
    normalised = _is_normalised(boxes[used], sizes[used])
    absolute = not form.startswith("rel_")
    own = float(fitting[used].mean()) if used.any() else 1.0
    if used.any() and (areas < SMALLEST or (absolute and normalised)):
        own = 0.0
    found = Judgement(fitting, used, own, {form: own}, 0.0, normalised)
    if own >= NEARLY_ALL:
        return found
    shares = dict(found.shares)
    # Normalised boxes of which some extend beyond the image are no boxes in pixels.
    shares_only = normalised or (not absolute and _largest(boxes[used]) < LEAST_PIXELS)
    for order in BOX_ORDERS:
        other = f"rel_{order}" if shares_only else order
        if other != form:
            fits, area, _ = _fits(boxes[used], other, sizes[used])
            shares[other] = float(fits.mean()) if area >= SMALLEST else 0.0
    turned, _, _ = _fits(boxes[used], form, sizes[used][:, ::-1])
    swapped = 0.0 if absolute and normalised else float(turned.mean())
    return found._replace(shares=shares, swapped=swapped)


def _largest(boxes: np.ndarray) -> float:
    """The median over the boxes of their largest number."""
    return float(np.median(np.abs(boxes).max(axis=1))) if len(boxes) else 0.0


def _fits(boxes: np.ndarray, form: str, sizes: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """Which boxes fit, the median share of the image that these cover, which boxes have sides."""
    boxes, sizes = np.asarray(boxes, np.float64), np.asarray(sizes)
    used = np.ones(len(boxes), bool)
    fits = used.copy()
    sides = []
    with np.errstate(invalid="ignore", over="ignore"):
        # Column by column: 860,000 boxes then take little time and memory.
        for low, high, side in edges(boxes, form, sizes):
            length = high - low
            margin = np.maximum(MARGIN_PIXELS, MARGIN * side)
            fits &= (length > 0) & (low >= -margin) & (high <= side + margin)
            used &= length != 0
            sides.append(length / np.maximum(side, 1))
        shares = (sides[0] * sides[1])[fits]
    area = float(np.median(shares)) if len(shares) else 0.0
    return fits, area, used


def edges(boxes: Any, form: str, sizes: np.ndarray) -> Iterator[tuple[Any, Any, np.ndarray]]:
    """The first and last edge of boxes and the side of their images, for x and for y.

    Args:
        boxes: `(n, 4)` in `form`, an array or a tensor of float64.
        form: one of `BOX_FORMATS`.
        sizes: `(n, 2)` or `(1, 2)`, (height, width) of each box's image in pixels.
    """
    order = form.removeprefix("rel_")
    first = (1, 0) if order in ("yxyx", "center_yxhw") else (0, 1)
    for axis, column in enumerate(first):
        side = sizes[:, 1 - axis].astype(np.float64)
        low, high = boxes[:, column], boxes[:, column + 2]
        if form.startswith("rel_"):
            low, high = low * side, high * side
        if order.startswith("center_"):
            low = low - high / 2
        yield low, high if order in ("xyxy", "yxyx") else low + high, side


def _is_normalised(boxes: np.ndarray, sizes: np.ndarray) -> bool:
    """Whether boxes are in normalised coordinates: nearly all numbers lie within 0..1."""
    if not len(boxes) or not (np.abs(boxes[:100]) <= 1 + MARGIN).all(axis=1).any():
        return False
    inside = ((boxes >= -MARGIN) & (boxes <= 1 + MARGIN)).all(axis=1)
    if inside.mean() < NEARLY_ALL:
        return False
    return bool((boxes[inside] % 1 != 0).any() or sizes.min() >= SMALL_IMAGE)


def _better(found: Judgement) -> list[str]:
    """Other readings in which nearly all boxes fit, the likeliest first."""
    own = next(iter(found.shares)).removeprefix("rel_")
    names = [name for name in list(found.shares)[1:] if found.shares[name] >= NEARLY_ALL]
    return sorted(names, key=lambda name: (name.removeprefix("rel_") != own, -found.shares[name]))


def _is_refused(found: Judgement, given: bool) -> bool:
    """Whether boxes must not be read like this.

    Where another reading fits, it is told. Where none does, a few bad boxes are left to the
    cleaning, which counts them; and a format given by the caller is kept while half of them fit.
    """
    if found.own >= ENOUGH:
        return False
    bad = int((found.used & ~found.fitting).sum()) if found.own else int(found.used.sum())
    if _better(found) or found.swapped >= NEARLY_ALL:
        return found.own < TOO_FEW or (bad >= SOME and not given)
    return bad >= SOME and (not given or found.own < LEAST_GIVEN)


def _complaint(raw: RawAnnotations, form: str, found: Judgement, sizes: np.ndarray) -> str:
    """The message about boxes that do not fit: an example, the shares, what to do."""
    wrong = found.used & ~found.fitting if found.own else found.used
    row = int(np.flatnonzero(wrong)[0])
    values = ", ".join(f"{value:.6g}" for value in raw.boxes[row])
    height, width = sizes[row].tolist()
    if found.normalised and not form.startswith("rel_"):
        fact = (
            f"{_of(found.used, raw)} boxes lie within 0..1, so they are in normalised coordinates"
        )
    else:
        number, total = int(wrong.sum()), int(found.used.sum())
        unfit = "does not fit its image" if number == 1 else "do not fit their image"
        fact = f"{number} of {counted(total, 'box', 'boxes')} {unfit}"
    own = NUMBERS[form.removeprefix("rel_")]
    return (
        f"Boxes must be [{own}] in {_unit(form)} ({form}) and lie inside their images. Received: "
        f"[{values}] in {raw.where(row)}, an image of width {width} and height {height}; {fact}. "
        f"{_table(found)} {_advice(form, found)}"
    )


def _unit(form: str) -> str:
    return "normalised coordinates" if form.startswith("rel_") else "pixels"


def _of(mask: np.ndarray, raw: RawAnnotations) -> str:
    return "all" if mask.all() else f"{mask.sum()} of {len(raw.boxes)}"


def _table(found: Judgement) -> str:
    """The shares of the readings, the format's own first, then the best."""
    own, *others = found.shares
    best = sorted(others, key=lambda name: -found.shares[name])[:4]
    rows = [f"{name} {_percent(found.shares[name])}" for name in (own, *best)]
    return f"Boxes that fit, by format: {', '.join(rows)}."


def _percent(share: float) -> str:
    """A share that is not 100% is never shown as 100%."""
    return f"{min(share, 0.99) if share < 1 else share:.0%}"


def _advice(form: str, found: Judgement) -> str:
    """What to do next; a reading is advised only if it alone explains the boxes."""
    better = _better(found)
    meanings = ", ".join(f"{name} [{NUMBERS[name.removeprefix('rel_')]}]" for name in better)
    if found.swapped >= NEARLY_ALL:
        other = (
            f" If the boxes are {meanings} instead, give box_format= (--box-format)."
            if better
            else ""
        )
        return (
            f"With width and height swapped, {_percent(found.swapped)} fit as {form}: width and "
            "height may be swapped in the annotations, x and y may be swapped in the boxes, or the "
            "images were rotated after annotation. Compare the annotated width and height, and "
            "one box, with the image. Then correct the sizes or the boxes, or rotate the images "
            f"back.{other}"
        )
    if len(better) == 1:
        name = better[0]
        return (
            f"The boxes seem to be [{NUMBERS[name.removeprefix('rel_')]}] in {_unit(name)}: give "
            f'box_format="{name}" (--box-format {name}).'
        )
    if better:
        return (
            f"Several formats fit: {meanings}. Compare one box with its image, and give the right "
            f'one, such as box_format="{better[0]}" (--box-format {better[0]}).'
        )
    keep = f'box_format="{form}" (--box-format {form})'
    text = (
        "No format fits. Check that the annotations belong to these images, and that the images "
        "were not resized or cropped after annotation."
    )
    if found.own >= LEAST_GIVEN:
        text += (
            f" {keep} keeps this format: boxes that extend beyond their image are clipped or left "
            "out."
        )
    return text


def _doubts(raw: RawAnnotations, form: str, found: Judgement) -> list[Note]:
    """A note where the reading is kept although another one fits better."""
    bad = found.used & ~found.fitting
    better = [name for name in _better(found) if found.shares[name] > 0.995]
    if found.own >= NEARLY_ALL or bad.sum() < 2 * SOME or not better:
        return []
    count, total = int(bad.sum()), int(found.used.sum())
    beyond = "extends beyond its image" if count == 1 else "extend beyond their image"
    text = (
        f"{count} of {counted(total, 'box', 'boxes')} {beyond} if read as {form}, but "
        f"nearly all fit as {better[0]}"
    )
    first = raw.where(int(np.flatnonzero(bad)[0]))
    cure = f'If that is right, give box_format="{better[0]}" (--box-format {better[0]}).'
    return [Note("boxes-format-doubtful", text, count, total, first, cure)]
