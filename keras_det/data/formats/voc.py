"""Reads Pascal VOC: one XML file per image, and lists of file names as splits."""

import copy
import functools
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from keras_det.data.assemble import assemble
from keras_det.data.box_formats import corners
from keras_det.data.dataset import Dataset
from keras_det.data.formats.voc_boxes import first_pixel, sort_corners
from keras_det.data.formats.voc_layout import (
    Part,
    content,
    find_parts,
    image_home,
    images_in,
    what_is_missing,
)
from keras_det.data.formats.voc_lists import fold, read_class_names, read_list, without_suffix
from keras_det.data.formats.voc_table import Entry, Table, read_table
from keras_det.data.listing import listed_once
from keras_det.data.notes import Note
from keras_det.data.raw import Format, Layout, RawAnnotations, ReadOptions, options_of
from keras_det.errors import DataError, suggest

# Formats of boxes whose corners can be counted from 1.
PIXELS = ("xyxy", "yxyx", "xywh")


class Source(NamedTuple):
    """One split of a folder.

    Attributes:
        root: the folder.
        split: name of the split; None: every annotated image.
        parts: of the folder.
        table: gives all its annotations, of every split. They are read once for all splits that
            one call of `find` has found, and must not be changed.
    """

    root: pathlib.Path
    split: str | None
    parts: tuple[Part, ...]
    table: Callable[[], Table]


def read_voc(
    path: str | os.PathLike,
    *,
    split: str | None = None,
    class_names: Sequence[str] | None = None,
    image_dir: str | os.PathLike | None = None,
    voc_first_pixel: int | None = None,
) -> Dataset:
    """Reads a Pascal VOC folder: `Annotations/`, `JPEGImages/`, `ImageSets/Main/{split}.txt`.

    Other places of the XML files are found too: next to their images (labelImg), in `labels/` next
    to `data/` (FiftyOne), in `train/` and `valid/` (Roboflow), in subfolders of `Annotations/`
    (CVAT).

    VOC counts pixels from 1 and includes the last one: a box over a whole image of width W has
    xmin=1, xmax=W. As in detectron2, xmin and ymin are lowered by 1; xmax and ymax are kept. Tools
    that count from 0 are recognised by the boxes of all files, see `voc_boxes.first_pixel`; these
    boxes are read unchanged. (BCCD counts from 1: its smallest xmin is 1, its largest xmax 640 of
    640.) A box with xmin = xmax in the file is an accidental click, not one pixel: it is left out
    with a note. `difficult` objects become crowd: training leaves them out and evaluation ignores
    them, which is how VOC scores them. `part` objects are not read. If an object has no `<bndbox>`,
    the bounding box of its `<polygon>` or `<robndbox>` is taken.

    Args:
        path: the folder that holds `Annotations/`.
        split: name of a list in `ImageSets/Main`, or of a folder such as `train/`. None reads every
            annotated image.
        class_names: the classes in the order of their labels. None takes `class_names.txt`,
            `labels.txt` or CVAT's `labelmap.txt` in the folder, else the names found in all
            annotations, sorted. Both are the same for every split.
        image_dir: folder of the images. None searches `JPEGImages`, `images` and the like, and
            the folder of the XML files.
        voc_first_pixel: 0 or 1, how the files count pixels; None decides by their boxes.

    Returns:
        A `Dataset`. One warning lists what was left out or clipped.

    Raises:
        DataError: the folder, an annotation, the split or the images are missing or wrong.
    """
    root = pathlib.Path(path)
    options = options_of(class_names, image_dir, voc_first_pixel=voc_first_pixel)
    layout = find(root)
    if layout is None:
        lacks = what_is_missing(str(root))
        raise DataError(
            "A Pascal VOC folder must hold Annotations/*.xml. Received: "
            f"{root} without XML files{f'; it {lacks}' if lacks else ''}. Give the folder that "
            "holds Annotations/."
        )
    if split is not None and split not in layout.splits:
        known = list(layout.splits)
        there = f"there are the splits {', '.join(known)}" if known else "there are no splits"
        raise DataError(
            "`split` must name a list in ImageSets/Main, or a folder such as train/, of "
            f"{root}. Received: {split!r}; {there}.{suggest(split, known)} Give one of them, or "
            "split=None for every annotated image."
        )
    source = layout.everything if split is None else layout.splits[split]
    return assemble(read(source, options), options)


@listed_once()
def read(source: Source, options: ReadOptions) -> RawAnnotations:
    """Reads one split of a folder; see `read_voc`."""
    root = str(source.root)
    table = copy.copy(source.table())
    notes = list(table.notes)
    names = sorted(table.annotated)
    if options.class_names is None:
        names, more = _class_names(root, source.parts, table.annotated)
        notes += more
    more = _to_pixels(table, options)
    entries, listed = _choose(source, table)
    raw = _gather(entries, table, names, several=_is_several(entries))
    raw.source, raw.name, raw.split = root, source.root.name, source.split
    raw.box_format = "xyxy"
    chosen = list(dict.fromkeys(entry.part for entry in entries))
    parts = [source.parts[i] for i in chosen] or list(source.parts)
    _place(raw, root, parts, entries)
    raw.notes = [*notes, *more, *listed]
    if options.image_dir is None:
        raw.notes += _without_annotation(source, table)
    return raw


def _class_names(
    root: str, parts: Sequence[Part], annotated: dict[str, str]
) -> tuple[list[str], list[Note]]:
    """The classes of the first folder that lists them, else the annotated ones."""
    for folder in dict.fromkeys([root, *(part.home for part in parts)]):
        names, notes = read_class_names(folder, content(folder).files, annotated)
        if notes or names != sorted(annotated):
            return names, notes
    return sorted(annotated), []


def _to_pixels(table: Table, options: ReadOptions) -> list[Note]:
    """Gives the table boxes whose corners count from 0; returns notes."""
    form = options.box_format or "xyxy"
    if form not in PIXELS:
        return []
    boxes, sizes = table.boxes, table.sizes[table.image_index]
    notes: list[Note] = []
    if form == "xyxy":
        boxes, notes = sort_corners(boxes, sizes, table.where)
    empty = (boxes[:, :2] >= boxes[:, 2:]).any(axis=1) & (form != "xywh")
    pixel: float | None = options.voc_first_pixel
    if pixel is None:
        rows = np.flatnonzero(~empty)
        shown = corners(boxes[rows], form, sizes[rows])
        pixel, more = first_pixel(shown, sizes[rows], lambda row: table.where(int(rows[row])))
        notes = [*notes, *more]
    boxes = boxes.copy()
    boxes[:, :2] -= pixel
    boxes[empty] = 0.0  # no area: they are dropped with a note
    table.boxes = boxes
    return notes


def _choose(source: Source, table: Table) -> tuple[list[Entry], list[Note]]:
    """The annotations of the split, in the order of its lists, and notes."""
    if source.split is None:
        return table.entries, []
    chosen: list[Entry] = []
    notes: list[Note] = []
    for number, part in enumerate(source.parts):
        mine = {entry.key: entry for entry in table.entries if entry.part == number}
        if part.split == source.split:
            chosen += mine.values()
        elif source.split in part.lists:
            path = part.lists[source.split]
            listed = read_list(path, mine, table.broken[number])
            chosen += [mine[key] for key in listed.keys]
            notes += listed.notes
            if listed.missing:
                lost = os.path.join(part.folder, listed.missing[0])
                count = len(listed.missing)
                text = f"Images of the split left out, because they have no annotation: {count}"
                notes.append(Note("images-without-annotation", text, count, first=f"{lost}.xml"))
    return chosen, notes


def _is_several(entries: Sequence[Entry]) -> bool:
    return len({entry.part for entry in entries}) > 1


def _gather(
    entries: Sequence[Entry], table: Table, names: Sequence[str], several: bool
) -> RawAnnotations:
    """The objects of the chosen annotations as columns."""
    chosen = np.array([entry.row for entry in entries], np.int64)
    place = np.full(len(table.entries), -1, np.int64)
    place[chosen] = np.arange(len(chosen))
    rows = np.flatnonzero(place[table.image_index] >= 0)
    rows = rows[np.argsort(place[table.image_index[rows]], kind="stable")]
    label_of = {name: label for label, name in enumerate(names)}
    labels = np.array([label_of[name] for name in table.annotated], np.int64)
    keys = [entry.prefix + entry.key if several else entry.key for entry in entries]
    return RawAnnotations(
        source="",
        name="",
        split=None,
        class_names=list(names),
        category_ids=list(range(len(names))),
        folders=[],
        image_names=keys,
        other_names=[entry.image_name for entry in entries],
        image_ids=list(keys),
        image_sizes=table.sizes[chosen],
        image_index=place[table.image_index[rows]],
        boxes=table.boxes[rows],
        labels=labels[table.labels[rows]],
        crowd=table.difficult[rows],
        area=np.full(len(rows), np.nan),
        where=lambda row: table.where(int(rows[row])),
    )


def _place(raw: RawAnnotations, root: str, parts: Sequence[Part], entries: Sequence[Entry]) -> None:
    """Says where the images may lie. Those of several parts are named from the root on."""
    if not _is_several(entries):
        raw.folders = [pathlib.Path(folder) for folder in parts[0].images]
        return
    homes = {}
    for part in parts:
        homes[part.prefix] = os.path.relpath(image_home(part), root)
    raw.folders = [pathlib.Path(root)]
    raw.image_names = [os.path.join(homes[entry.prefix], entry.key) for entry in entries]
    raw.other_names = [
        os.path.join(homes[entry.prefix], entry.image_name) if entry.image_name else ""
        for entry in entries
    ]


def _without_annotation(source: Source, table: Table) -> list[Note]:
    """A note on images that lie beside the annotated ones, where no list chooses them."""
    lost: list[str] = []
    for number, part in enumerate(source.parts):
        if source.split not in (None, part.split):
            continue
        mine = [entry for entry in table.entries if entry.part == number]
        names = [entry.key for entry in mine] + list(table.broken[number])
        names += [without_suffix(entry.image_name.replace("\\", "/")) for entry in mine]
        known = {fold(name.rpartition("/")[2]) for name in names}
        known |= {without_suffix(name) for name in known}
        home = image_home(part)
        images = [name for name in images_in(home) if fold(without_suffix(name)) not in known]
        lost += [os.path.join(home, name) for name in images]
    if not lost:
        return []
    text = f"Images that are not read, because they have no XML file: {len(lost)}"
    return [Note("images-without-file", text, len(lost), first=lost[0])]


def find(path: pathlib.Path) -> Layout | None:
    """The splits of a folder in a layout of Pascal VOC."""
    if not path.is_dir() or is_part(path):
        return None
    parts = tuple(find_parts(str(path)))
    if not parts:
        return None
    names = [name for part in parts for name in ([part.split] if part.split else part.lists)]

    @functools.cache
    def table() -> Table:
        return read_table(str(path), [(part.folder, part.prefix) for part in parts])

    splits = {name: Source(path, name, parts, table) for name in dict.fromkeys(names)}
    return Layout(path, splits, Source(path, None, parts, table))


def is_part(path: pathlib.Path) -> bool:
    """Whether a folder is the Annotations/ of a data set, whose lists of images lie beside it."""
    return path.name == "Annotations" and (path.parent / "ImageSets" / "Main").is_dir()


def resembles(path: pathlib.Path) -> str | None:
    """What a folder lacks to be Pascal VOC's."""
    if is_part(path):
        return "is its Annotations/; give the folder above, with ImageSets/"
    return what_is_missing(str(path))


FORMAT = Format(
    name="voc",
    title="Pascal VOC",
    tree="Annotations/*.xml beside JPEGImages/ and ImageSets/Main/train.txt, or *.xml beside the "
    "images, in one folder or in train/ and valid/",
    find=find,
    read=read,
    resembles=resembles,
)
