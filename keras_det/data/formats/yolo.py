"""Reads YOLO: one .txt file per image, with data.yaml, obj.data, classes.txt or folders only."""

import os
import pathlib
from collections.abc import Sequence

import numpy as np

from keras_det.data.dataset import Dataset
from keras_det.data.formats.split_names import read_path
from keras_det.data.formats.yolo_config import Classes, find_classes
from keras_det.data.formats.yolo_labels import Labels, read_labels
from keras_det.data.formats.yolo_layout import Source, find, resembles
from keras_det.data.formats.yolo_pairs import Pairs, pair_images
from keras_det.data.notes import Note
from keras_det.data.raw import BadRecords, Format, RawAnnotations, ReadOptions, options_of
from keras_det.errors import DataError
from keras_det.words import counted

# Numbers outside 0..1 by no more than this are rounding, and are cut without a note.
ROUNDING = 1e-3
# Where more than this share of the lines leaves 0..1, the file is in pixels.
PIXELS_SHARE = 0.5
# Without names of classes, a larger class id is an error.
MAX_ID = 9999
BOX_FORMAT = "rel_center_xywh"
# So many outlines, all with the same number of corners, may be key points.
ENOUGH = 10


def read_yolo(
    path: str | os.PathLike,
    *,
    split: str | None = None,
    class_names: Sequence[str] | None = None,
    image_dir: str | os.PathLike | None = None,
) -> Dataset:
    """Reads YOLO's labels: `class cx cy w h` in normalised coordinates, one .txt file per image.

    The splits are those of data.yaml (Ultralytics, Roboflow, FiftyOne), of obj.data (Darknet, CVAT,
    Datumaro), of train.txt and val.txt, or folders of these names. The labels of
    `images/train/a.jpg` are in `labels/train/a.txt`, or next to the image. An image without labels
    has no objects. Of a polygon, the bounding box is read; of a pose, only the box.

    Args:
        path: folder of the data set, its data.yaml or its obj.data.
        split: name of the split. None reads every image.
        class_names: the classes in the order of their labels. None takes the names of data.yaml,
            obj.names or classes.txt; without them, the class ids.
        image_dir: folder of the images, if they are not in the usual places. Only images with a
            .txt file or in a list are then read.

    Returns:
        A `Dataset`. One warning lists what was left out or decided.

    Raises:
        DataError: data.yaml, the labels, the split or the images are missing or wrong.
    """
    rule = "A YOLO data set must hold data.yaml, or .txt files of labels with their images"
    return read_path(FORMAT, path, rule, split, options_of(class_names, image_dir))


def read(source: Source, options: ReadOptions) -> RawAnnotations:
    """Reads one split; see `read_yolo`."""
    pairs = pair_images(source, source.entries, options.image_dir is not None)
    _check_pairs(source, pairs)
    bad = BadRecords("lines", _title(source))
    paths = [path for path in pairs.labels if path is not None]
    key_points = source.config.key_points if source.config else None
    labels = read_labels(paths, bad, key_points)
    classes = _classes(source, pairs, labels)
    labels, index = _known_classes(labels, classes, paths, bad)
    if (options.box_format or BOX_FORMAT).startswith("rel_"):
        labels, inside = _within_image(labels, paths, bad, _title(source))
        index = index[inside]
    image_of = np.flatnonzero([path is not None for path in pairs.labels])
    names = classes.names or {}
    return RawAnnotations(
        source=_title(source),
        name=source.root.absolute().name,
        split=source.split,
        class_names=list(names.values()),
        category_ids=list(names),
        image_names=pairs.names,
        image_ids=list(pairs.names),
        image_sizes=np.zeros((len(pairs.names), 2), np.int64),
        image_index=image_of[labels.file],
        boxes=_in_format(labels, options.box_format or BOX_FORMAT),
        labels=index,
        crowd=np.zeros(len(index), bool),
        area=np.full(len(index), np.nan),
        where=lambda row: f"{paths[labels.file[row]]}, line {labels.line[row]}",
        folders=[source.root],
        box_format=BOX_FORMAT,
        other_names=pairs.other_names if any(pairs.other_names) else None,
        notes=[
            *source.notes,
            *classes.notes,
            *pairs.notes,
            *labels.notes,
            *_note_outlines(labels, paths),
            *bad.notes(labels.total),
        ],
    )


def _title(source: Source) -> str:
    return str(source.config.path if source.config else source.root)


def _check_pairs(source: Source, pairs: Pairs) -> None:
    """DataError where there are no images, or no image has labels."""
    places = ", ".join(entry.path for entry in source.entries[:4])
    if not pairs.names:
        raise DataError(
            f"A split must hold images. Received: none in {places}. Correct the paths in "
            "data.yaml, or copy the images there."
            if source.config
            else f"A split must hold images. Received: none in {places}. Copy the images there."
        )
    if not any(label is not None for label in pairs.labels):
        looked = [place for place in pairs.looked_in if os.path.isdir(place)] or pairs.looked_in
        raise DataError(
            "An image must have its labels in a .txt file of its name. Received: no .txt file for "
            f"{counted(len(pairs.names), 'image')} in {places}; looked in {', '.join(looked[:4])}. "
            "Put the files into a folder labels/ beside images/, or beside the images."
        )


def _classes(source: Source, pairs: Pairs, labels: Labels) -> Classes:
    """The classes of the whole data set; without names, the class ids of all splits."""
    whole = pairs
    if set(source.all_entries) != set(source.entries):
        whole = pair_images(source, source.all_entries)
    places = dict.fromkeys(pathlib.Path(place) for place in [*pairs.found_in, *whole.found_in])
    near = dict.fromkeys(each for place in places for each in (place, place.parent))
    classes = find_classes(source.root, source.config, near)
    if classes.names is not None:
        return classes
    found = labels.classes
    if whole is not pairs:
        paths = [path for path in whole.labels if path is not None]
        key_points = source.config.key_points if source.config else None
        found = read_labels(paths, BadRecords("lines", ""), key_points).classes
    found = found[found <= MAX_ID]
    if not len(found):
        raise DataError(
            "The classes must be named, or occur in labels. Received: neither in "
            f"{source.root}. Add classes.txt with one name a line."
        )
    last = int(found.max())
    called = f"they are called 0 to {last}" if last else "the only one is called 0"
    note = f"No names of classes (data.yaml, classes.txt, obj.names) in {source.root}: {called}."
    return Classes(
        {i: str(i) for i in range(last + 1)}, str(source.root), [Note("classes-from", note)]
    )


def _known_classes(
    labels: Labels, classes: Classes, paths: Sequence[str], bad: BadRecords
) -> tuple[Labels, np.ndarray]:
    """Leaves out lines whose class does not exist, and returns the place of each class."""
    ids = np.array(list(classes.names or {}), np.int64)
    index = np.clip(np.searchsorted(ids, labels.classes), 0, len(ids) - 1)
    known = ids[index] == labels.classes
    _refuse_shifted(labels, ids, known, paths, classes.source)
    for row in np.flatnonzero(~known):
        bad.add(
            f"{paths[labels.file[row]]}, line {labels.line[row]}",
            f"the class must be one of the {len(ids)} in {classes.source}, {_span(ids)}. Received: "
            f"{labels.classes[row]}",
        )
    return labels.select(known), index[known]


def _refuse_shifted(
    labels: Labels, ids: np.ndarray, known: np.ndarray, paths: Sequence[str], source: str
) -> None:
    """DataError where each id is one off: leaving out the unknown ones would shift the others."""
    used = np.unique(labels.classes)
    shift = next((k for k in (1, -1) if np.isin(used - k, ids).all()), 0)
    if known.all() or not shift:
        return
    row = int(np.flatnonzero(~known)[0])
    unused = ids[0] if shift > 0 else ids[-1]
    raise DataError(
        f"Class ids must be those of {source}, {_span(ids)}. Received: {labels.classes[row]} in "
        f"{paths[labels.file[row]]}, line {labels.line[row]}; no object has the id {unused}, so "
        f"all ids seem to be one too {'large' if shift > 0 else 'small'}. Compare an object with "
        f"its image. Then correct the ids in the .txt files, or the names in {source}."
    )


def _span(ids: np.ndarray) -> str:
    if len(ids) == ids[-1] - ids[0] + 1:
        return f"{ids[0]} to {ids[-1]}" if len(ids) > 1 else str(ids[0])
    return ", ".join(map(str, ids[:8])) + (", …" if len(ids) > 8 else "")


def _note_outlines(labels: Labels, paths: Sequence[str]) -> list[Note]:
    """A note on boxes around polygons; four corners each are how rotated boxes are written."""
    rows = np.flatnonzero(labels.outlines)
    if not len(rows):
        return []
    corners = np.unique(labels.corners[rows])
    rotated = corners.tolist() == [4]
    what = "rotated boxes (OBB: a class and four corners)" if rotated else "polygons"
    count, total = len(rows), len(labels.file)
    text = (
        f"{count} of {counted(total, 'object')} read as the upright box around their shape: {what}"
    )
    doubtful = len(corners) == 1 and corners[0] > 4 and count >= ENOUGH
    more = (
        f"If these lines, with {2 * corners[0] + 1} numbers each, are a box and keypoints, write "
    )
    more = f"{more}kpt_shape into data.yaml." if doubtful else ""
    first = f"{paths[labels.file[rows[0]]]}, line {labels.line[rows[0]]}"
    return [Note("boxes-of-shapes", text, count, total, first, more)]


def _within_image(
    labels: Labels, paths: Sequence[str], bad: BadRecords, source: str
) -> tuple[Labels, np.ndarray]:
    """Leaves out lines with numbers outside 0..1; DataError where most of them are in pixels."""
    outside = (labels.boxes < -ROUNDING) | (labels.boxes > 1 + ROUNDING)
    half = labels.boxes[:, 2:] / 2
    corners = np.concatenate([labels.boxes[:, :2] - half, labels.boxes[:, :2] + half], axis=1)
    beyond = (corners < -ROUNDING) | (corners > 1 + ROUNDING)
    outside = np.asarray(np.where(labels.outlines[:, None], beyond, outside).any(axis=1))
    rows = np.flatnonzero(outside)
    if len(rows) > PIXELS_SHARE * len(outside):
        row = rows[0]
        values = ", ".join(f"{value:g}" for value in labels.boxes[row])
        advice = "Divide x and width by the width of the image, y and height by its height."
        if _are_corners(labels.classes[rows], labels.boxes[rows]):
            advice = (
                "The lines look like `xmin ymin xmax ymax class` in pixels, which is not YOLO's "
                "order. Write one CSV row for each box: filename,class,xmin,ymin,xmax,ymax."
            )
        elif (labels.boxes[rows] >= 0).all():
            advice = (
                "If they are pixels, give "
                f'box_format="center_xywh" (--box-format center_xywh). Else: {advice}'
            )
        raise DataError(
            "The boxes of YOLO must be in normalised coordinates, from 0 to 1. Received: "
            f"[{values}] in {paths[labels.file[row]]}, line {labels.line[row]}; {len(rows)} of "
            f"{counted(len(outside), 'line')} of {source} {'is' if len(rows) == 1 else 'are'} "
            f"outside. {advice}"
        )
    for row in rows:
        values = ", ".join(f"{value:g}" for value in labels.boxes[row])
        bad.add(
            f"{paths[labels.file[row]]}, line {labels.line[row]}",
            f"cx, cy, w, h must lie within 0..1. Received: [{values}]",
        )
    plain = ~labels.outlines[~outside]
    labels = labels.select(~outside)
    labels.boxes[plain] = np.clip(labels.boxes[plain], 0.0, 1.0)
    return labels, ~outside


def _are_corners(classes: np.ndarray, boxes: np.ndarray) -> bool:
    """Whether lines hold xmin, ymin, xmax and ymax in pixels, and then the class."""
    last = boxes[:, 3]
    fits = (boxes[:, 1] > classes) & (boxes[:, 2] > boxes[:, 0]) & (last % 1 == 0)
    return bool(fits.mean() > PIXELS_SHARE and last.max() < np.median(boxes[:, 1]) / 2)


def _in_format(labels: Labels, box_format: str) -> np.ndarray:
    """The boxes; those made from polygons are written in the format of the others."""
    rows = np.flatnonzero(labels.outlines)
    order = box_format.removeprefix("rel_")
    center, size = labels.boxes[rows, :2], labels.boxes[rows, 2:]
    first, last = center - size / 2, center + size / 2
    x_first = {
        "xyxy": (first, last),
        "yxyx": (first, last),
        "xywh": (first, size),
        "center_xywh": (center, size),
        "center_yxhw": (center, size),
    }
    parts = [part[:, ::-1] if order in ("yxyx", "center_yxhw") else part for part in x_first[order]]
    labels.boxes[rows] = np.concatenate(parts, axis=1)
    return labels.boxes


FORMAT = Format(
    name="yolo",
    title="YOLO",
    tree="data.yaml, images/train/*.jpg, labels/train/*.txt",
    find=find,
    read=read,
    resembles=resembles,
)
