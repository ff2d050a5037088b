"""Compares the annotated sizes of images with their files."""

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from keras_det.data.box_formats import corners
from keras_det.data.foreign_files import what_is_at
from keras_det.data.image import Header, read_header, read_image
from keras_det.data.notes import Note
from keras_det.data.orientation import TRANSPOSED
from keras_det.data.raw import MAX_BAD, BadRecords, RawAnnotations, ReadOptions
from keras_det.errors import DataError
from keras_det.words import counted

# The headers of up to this many images are read; of larger data sets, those of an evenly spread
# sample. The pipeline compares every image when it decodes it.
ALL_UP_TO = 10_000
SAMPLE = 2_000
THREADS = 16
MAX_PART = 64  # headers that one thread reads in a row
FITS = 1.0  # pixels by which a box may leave its image
DEEP_LOOKED_AT = 3
# This many boxes must leave the upright images before the stored pixels are used instead.
LEAST_OUTSIDE = 2


def check_sizes(raw: RawAnnotations, options: ReadOptions, paths: list[str]) -> None:
    """Compares `raw.image_sizes` with the images, and completes it where it gives none.

    An image has the size that it has upright. If the stored pixels have the annotated size, and the
    upright image has another, the labels were drawn on the stored pixels, and these are used. What
    happens to an image of any other size, `options.sizes` says.

    Args:
        raw: `image_sizes`, `stored_pixels`, boxes and notes are changed; images are left out.
        options: `sizes`, what to do where they differ.
        paths: one image per entry; images that are left out are removed from it.

    Raises:
        DataError: an image whose size is needed cannot be read, or too many sizes differ.
    """
    headers = _headers(raw, paths, len(paths) if options.sizes != "check" else ALL_UP_TO)
    if len(paths) > len(headers) and _differing(raw, headers):
        headers = _headers(raw, paths, len(paths))
    _drop_unread(raw, paths, headers)
    _note_broken(raw, paths, headers)
    raw.image_sizes = np.array(raw.image_sizes).reshape(-1, 2)
    unsure = _complete(raw, options, headers)
    _choose_way_up(raw, paths, headers, unsure)
    _judge(raw, options, paths, headers)
    _note_dark(raw, paths, headers)


def _differing(raw: RawAnnotations, headers: dict[int, Header]) -> dict[int, tuple[int, int]]:
    """The true sizes of images that have another size than annotated."""
    sizes = np.reshape(raw.image_sizes, (-1, 2)).tolist()
    return {
        i: header.upright
        for i, header in headers.items()
        if min(sizes[i]) > 0 and tuple(sizes[i]) not in (header.upright, header.size)
    }


def _headers(raw: RawAnnotations, paths: list[str], all_up_to: int) -> dict[int, Header]:
    """The headers that can be read, by index of the image; in large data sets of a sample."""
    count = len(paths)
    looked_at = np.arange(count)
    if count > all_up_to:
        looked_at = np.linspace(0, count - 1, SAMPLE).astype(int)
    unknown = np.flatnonzero((np.reshape(raw.image_sizes, (-1, 2)) <= 0).any(axis=1))
    indices = np.union1d(looked_at, unknown).tolist()

    def read(i: int) -> Header | None:
        try:
            return read_header(paths[i])
        except DataError:
            return None

    # One task for each image would cost more than reading its header.
    size = min(max(len(indices) // (4 * THREADS), 1), MAX_PART)
    parts = [indices[start : start + size] for start in range(0, len(indices), size)]
    with ThreadPoolExecutor(THREADS) as threads:
        found = [
            header
            for part in threads.map(lambda part: [read(i) for i in part], parts)
            for header in part
        ]
    return {i: header for i, header in zip(indices, found, strict=True) if header is not None}


def _drop_unread(raw: RawAnnotations, paths: list[str], headers: dict[int, Header]) -> None:
    """Leaves out images without an annotated size whose header cannot be read."""
    unknown = np.flatnonzero((np.reshape(raw.image_sizes, (-1, 2)) <= 0).any(axis=1))
    lost = [i for i in unknown.tolist() if i not in headers]
    if not lost:
        return
    total = len(paths)
    unsized = "without an annotated size"
    bad = BadRecords(f"images {unsized}", raw.source, f"image {unsized}")
    for i in lost:
        bad.add(paths[i], f"the image must be readable. Received: {what_is_at(paths[i])}")
    notes = bad.notes(total)
    if len(lost) == total:
        raise DataError(
            f"Images without an annotated size must be readable. Received: {paths[lost[0]]} "
            f"({what_is_at(paths[lost[0]])}) in {raw.source}, which has no image that can be "
            "read. Replace the files."
        )
    raw.notes.extend(notes)
    _leave_out(raw, paths, headers, lost)


def _note_broken(raw: RawAnnotations, paths: list[str], headers: dict[int, Header]) -> None:
    """A note on images that do not open; DataError where none does. Training skips a few."""
    if len(paths) > ALL_UP_TO:  # only a sample was looked at
        return
    broken = [i for i in range(len(paths)) if i not in headers]
    if not broken:
        return
    first = f"{paths[broken[0]]}, {what_is_at(paths[broken[0]])}"
    if len(broken) == len(paths):
        raise DataError(
            f"Images must be readable. Received: {raw.source}, where none of "
            f"{counted(len(paths), 'image')} is readable; first: {first}. Replace or convert the "
            "files."
        )
    text = f"{len(broken)} of {counted(len(paths), 'image')} unreadable"
    more = f"Training skips such images, up to {MAX_BAD:.0%} of the images."
    raw.notes.append(Note("images-unreadable", text, len(broken), len(paths), first, more))


def _leave_out(
    raw: RawAnnotations, paths: list[str], headers: dict[int, Header], lost: Sequence[int]
) -> None:
    """Removes images from the annotations, the paths and the headers."""
    keep = np.ones(len(paths), bool)
    keep[list(lost)] = False
    new_index = np.cumsum(keep) - 1
    raw.keep_images(keep)
    paths[:] = [path for path, kept in zip(paths, keep, strict=True) if kept]
    kept_headers = {int(new_index[i]): header for i, header in headers.items() if keep[i]}
    headers.clear()
    headers.update(kept_headers)


def _complete(raw: RawAnnotations, options: ReadOptions, headers: dict[int, Header]) -> set[int]:
    """Takes sizes that are not annotated from the files: of the stored pixels if the boxes say so.

    Boxes in pixels of images that EXIF turns by a quarter fit only one way up, if they are many.

    Returns:
        The turned images that stay upright although the boxes do not show it.
    """
    unknown = [i for i in headers if (raw.image_sizes[i] <= 0).any()]
    for i in unknown:
        raw.image_sizes[i] = headers[i].upright
    form = options.box_format or raw.box_format
    turned = [i for i in unknown if headers[i].upright != headers[i].size]
    if form.startswith("rel_") or not turned:
        return set(turned)
    rows = np.isin(raw.image_index, turned)
    stored = np.array(raw.image_sizes)
    stored[turned] = stored[turned][:, ::-1]
    upright_fits = _fits(raw, form, rows, raw.image_sizes)
    stored_fits = _fits(raw, form, rows, stored)
    if (~upright_fits).sum() >= LEAST_OUTSIDE and stored_fits.all():
        raw.image_sizes = stored
        return set()
    sure = (~stored_fits).sum() >= LEAST_OUTSIDE and upright_fits.all()
    return set() if sure else set(turned)


def _choose_way_up(
    raw: RawAnnotations, paths: list[str], headers: dict[int, Header], unsure: set[int]
) -> None:
    """Decides whether labels were drawn on stored pixels; images that sizes cannot tell follow."""
    upright: list[int] = []
    stored: list[int] = []
    undecided: list[int] = []
    for i, header in headers.items():
        size = tuple(raw.image_sizes[i].tolist())
        if header.orientation == 1 or i in unsure or size not in (header.upright, header.size):
            continue
        same = header.upright == header.size
        (undecided if same else upright if size == header.upright else stored).append(i)
    raw.stored_pixels = len(stored) > len(upright)
    if stored:
        text = (
            f"{len(stored)} of {counted(len(paths), 'image')} used as stored, without their EXIF "
            "orientation: only the stored pixels have the annotated size or hold all boxes"
        )
        raw.notes.append(Note("orientation", text, len(stored), len(paths), paths[stored[0]]))
    if undecided and (stored or upright):
        way = "as they are stored" if raw.stored_pixels else "upright"
        text = (
            "Images whose size does not show whether their boxes were drawn before or after "
            f"rotation by the EXIF orientation: {len(undecided)}. Like most others, "
            f"they are used {way}"
        )
        raw.notes.append(Note("orientation", text, len(undecided), first=paths[undecided[0]]))
    elif undecided:
        unsure = unsure.union(undecided)
    _note_unsure(raw, paths, unsure)


def _note_unsure(raw: RawAnnotations, paths: list[str], unsure: set[int]) -> None:
    """A note on turned images with objects, where neither size nor boxes show the way up."""
    images = sorted(unsure.intersection(raw.image_index.tolist()))
    if images:
        text = (
            f"{len(images)} of {counted(len(paths), 'image')} rotated upright by their EXIF "
            "orientation: neither size nor boxes show whether they were annotated before or after "
            "rotation"
        )
        more = "Look at some with `keras-det data preview`: the boxes must lie on the objects."
        first = paths[images[0]]
        raw.notes.append(Note("orientation", text, len(images), len(paths), first, more))


def _judge(
    raw: RawAnnotations, options: ReadOptions, paths: list[str], headers: dict[int, Header]
) -> None:
    """Treats the images of another size than annotated as `options.sizes` says."""
    form = options.box_format or raw.box_format
    wrong = _differing(raw, headers)
    if not wrong:
        return
    first = next(iter(wrong))
    example = f"{paths[first]}, {_text(wrong[first])}, annotated as " + _text(
        raw.image_sizes[first]
    )

    def note(what: str) -> Note:
        text = f"{len(wrong)} of {counted(len(headers), 'image')} {what}"
        return Note("sizes-differ", text, len(wrong), len(headers), example)

    if form.startswith("rel_"):
        raw.notes.append(
            note(
                "with another size than annotated: the boxes are in normalised coordinates, "
                "so the size of the image file is used"
            )
        )
        _take_true(raw, wrong)
    elif options.sizes == "file":
        raw.notes.append(
            note(
                "with another size than annotated: the size of the image file is used, and the "
                "boxes are kept"
            )
        )
        _take_true(raw, wrong)
    elif options.sizes == "scale":
        raw.notes.append(note("with another size than annotated: the boxes are scaled"))
        _scale(raw, form, wrong)
        _take_true(raw, wrong)
    else:
        _check(raw, form, paths, headers, wrong, example)


def _check(
    raw: RawAnnotations,
    form: str,
    paths: list[str],
    headers: dict[int, Header],
    wrong: dict[int, tuple[int, int]],
    example: str,
) -> None:
    """Mends swapped width and height, leaves out a few images, refuses many."""
    swapped = _swapped(raw, form, headers, wrong)
    if swapped:
        text = (
            f"Width and height are swapped in the annotation of {len(swapped)} of "
            f"{counted(len(paths), 'image')}. The boxes fit the size of the image file, so that "
            "size is used"
        )
        first = f"{paths[swapped[0]]}, {_text(wrong[swapped[0]])}"
        raw.notes.append(Note("sizes-swapped", text, len(swapped), len(paths), first))
        _take_true(raw, {i: wrong.pop(i) for i in swapped})
    if not wrong:
        return
    if len(wrong) > max(1, MAX_BAD * len(headers)) or len(wrong) == len(paths):
        cures = " or ".join(_cures(raw, form, wrong))
        raise DataError(
            "Images must have the size that their annotation gives, upright or as stored. "
            f"Received: {len(wrong)} of {counted(len(headers), 'image')} of {raw.source} with "
            f"another size; first: {example}. Restore the images that were "
            f"annotated{', or give ' if cures else ''}{cures}."
        )
    text = f"{len(wrong)} of {counted(len(headers), 'image')} left out: another size than annotated"
    raw.notes.append(Note("sizes-differ", text, len(wrong), len(headers), example))
    _leave_out(raw, paths, headers, list(wrong))


def _swapped(
    raw: RawAnnotations,
    form: str,
    headers: dict[int, Header],
    wrong: dict[int, tuple[int, int]],
) -> list[int]:
    """Images whose annotated width and height are exchanged: so the boxes of all of them say."""
    images = [
        i
        for i, (height, width) in wrong.items()
        if (width, height) == tuple(raw.image_sizes[i].tolist())
        and headers[i].orientation not in TRANSPOSED
    ]
    rows = np.isin(raw.image_index, images)
    true = np.array(raw.image_sizes)
    for i in images:
        true[i] = wrong[i]
    fits_true = _fits(raw, form, rows, true)
    fits_annotated = _fits(raw, form, rows, raw.image_sizes)
    return images if fits_true.all() and not fits_annotated.all() else []


def _fits(raw: RawAnnotations, form: str, rows: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Which boxes of these rows lie in their images, if these had the given sizes."""
    own = sizes[raw.image_index[rows]]
    boxes = corners(raw.boxes[rows], form, own)
    limit = own[:, [1, 0, 1, 0]]
    return ((boxes >= -FITS) & (boxes <= limit + FITS)).all(axis=1)


def _cures(raw: RawAnnotations, form: str, wrong: dict[int, tuple[int, int]]) -> list[str]:
    """The values of `sizes` that are right for all of these images."""
    annotated = raw.image_sizes[list(wrong)].astype(float)
    true = np.array(list(wrong.values()), float)
    cures = []
    # Resizing rounds each side to a whole pixel.
    scale = true / annotated
    if (np.abs(true[:, 0] - annotated[:, 0] * scale[:, 1]) <= 1).all() or (
        np.abs(true[:, 1] - annotated[:, 1] * scale[:, 0]) <= 1
    ).all():
        cures.append(
            'sizes="scale" (--sizes scale) if the images were only resized, to scale the boxes too'
        )
    rows = np.isin(raw.image_index, list(wrong))
    sizes = np.array(raw.image_sizes)
    sizes[list(wrong)] = true
    if _fits(raw, form, rows, sizes).all():
        cures.append(
            'sizes="file" (--sizes file) if the boxes are right for the images as they are'
        )
    return cures


def _take_true(raw: RawAnnotations, sizes: dict[int, tuple[int, int]]) -> None:
    for i, size in sizes.items():
        raw.image_sizes[i] = size


def _scale(raw: RawAnnotations, form: str, wrong: dict[int, tuple[int, int]]) -> None:
    """Scales boxes and areas from the annotated to the true size."""
    factors = np.ones((len(raw.image_sizes), 2))  # of y and x
    for i, size in wrong.items():
        factors[i] = np.array(size) / raw.image_sizes[i]
    own = factors[raw.image_index]
    columns = [0, 1, 0, 1] if form == "yxyx" else [1, 0, 1, 0]
    raw.boxes = np.asarray(raw.boxes, np.float64).reshape(-1, 4) * own[:, columns]
    raw.area = np.asarray(raw.area, np.float64) * own.prod(axis=1)


def _note_dark(raw: RawAnnotations, paths: list[str], headers: dict[int, Header]) -> None:
    """Notes 16-bit images that look as if they had 12 bits: `read_image` warns of each."""
    deep = [i for i, header in headers.items() if header.deep][:DEEP_LOOKED_AT]
    for i in deep:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                read_image(paths[i])
            except DataError:
                continue
        if caught:
            raw.notes.append(Note("pixels-of-12-bits", str(caught[0].message)))
            return


def _text(size: Any) -> str:
    """A size as messages name it."""
    return f"{int(size[1])}x{int(size[0])} (width x height)"
