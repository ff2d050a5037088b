"""Reads an annotated data set: chooses the format and the split, or makes a split."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from keras_det.data.assemble import assemble
from keras_det.data.box_formats import BoxFormatError, check_box_format
from keras_det.data.dataset import Dataset
from keras_det.data.raw import DataPath, Format, Layout, Opened, ReadOptions, options_of
from keras_det.data.recognise import recognise, unreadable
from keras_det.data.split_choice import (
    choose_source,
    find_split,
    is_whole,
    no_split,
    part_of,
    source_to_part,
)
from keras_det.data.splitting import FRACTION, check_fraction, validation_mask, warn_of_common
from keras_det.errors import DataError, suggest
from keras_det.files import other_kind
from keras_det.names import SIZE_CHOICES
from keras_det.words import counted


def load(
    path: DataPath,
    split: str | None = None,
    class_names: Sequence[str] | None = None,
    image_dir: str | os.PathLike | None = None,
    *,
    format: str | None = None,
    box_format: str | None = None,
    sizes: str = "check",
    drop_other_classes: bool = False,
    voc_first_pixel: int | None = None,
    split_by: float | None = None,
    seed: int = 0,
) -> Dataset:
    """Reads an annotated data set: COCO, Pascal VOC and the other formats of docs/data.md.

    Args:
        path: the folder of a data set or an annotation file. A folder that contains only one other
            folder stands for that folder. Also what `open_data` has returned: nothing is listed
            again.
        split: name of the split. "train" also finds `instances_train2017.json` and
            `ImageSets/Main/train.txt`; "val" also finds "valid". None takes the only split, or
            every annotated image where the format can tell.
        class_names: the classes in the order of their labels, e.g. `model.class_names`. None takes
            the data set's, which are the same for every split.
        image_dir: folder of the images. None searches the usual places.
        format: name of the format, such as "coco" or "voc". None recognises it.
        box_format: how the boxes are written, such as "xywh" or "rel_center_xywh". None takes the
            format's own. Either is checked against the images.
        sizes: what to do where an image has another size than annotated: "check" leaves out a few
            such images and refuses more, "file" takes the image's own size and keeps the boxes,
            "scale" scales the boxes to the image.
        drop_other_classes: True leaves out objects of classes that are not in `class_names`, with
            a note. False refuses them.
        voc_first_pixel: 0 or 1, how Pascal VOC files count pixels. None decides by their boxes.
        split_by: fraction of the images for training, such as 0.8, for data without a validation
            split. `split` is then "train" or "val"; both calls make the same split. See
            `keras_det.data.split`.
        seed: random seed of the split that `split_by` makes.

    Returns:
        A `Dataset`. One warning and `.notes` list what was left out, clipped or decided.

    Raises:
        DataError: there is no readable data set at `path`, or an annotation is wrong.
        ValueError: an argument is wrong.
    """
    options = _options(
        class_names, image_dir, box_format, sizes, drop_other_classes, voc_first_pixel
    )
    found, layout = open_data(path, format)
    if split_by is None:
        return _read(found, choose_source(layout, split), options)
    check_fraction(split_by)
    part = part_of(split)
    if part is None:
        raise DataError(
            "With `split_by`, `split` must be one of the two parts, train and val. Received: "
            f"split={split!r}, split_by={split_by}. Give split='train' or split='val', or leave "
            "out `split_by`."
        )
    _refuse_split_by(layout, split_by)
    train, val = _parted(found, layout, None, options, split_by, seed)
    return train if part == "train" else val


def open_data(path: DataPath, format: str | None = None) -> Opened:
    """Returns the format of a path and what it holds; DataError where it does not exist.

    What it has returned before, it returns unchanged: its format was chosen then.
    """
    if isinstance(path, Opened):
        return path
    path = pathlib.Path(path)
    try:
        exists = path.exists()
        kind = other_kind(path.stat().st_mode) if exists else ""
    except OSError as error:
        raise unreadable(path, error) from None
    if kind:
        raise DataError(
            f"A data set must be a folder or a regular file. Received: {path}, which is {kind}. "
            "Give the folder of a data set or a file of annotations."
        )
    if not exists:
        near = os.listdir(path.parent) if path.parent.is_dir() else []
        raise DataError(
            f"The data set must exist. Received: {path}.{suggest(path.name, near)} Give the folder "
            "of a data set or an annotation file."
        )
    try:
        return Opened(*recognise(path, format))
    except OSError as error:
        raise unreadable(path, error) from None


class TrainAndVal(NamedTuple):
    """Data for training and validation.

    Attributes:
        train: `Dataset` to train on.
        val: `Dataset` to measure on; None without one.
        split_by: fraction of the images for training if the split was made, else None.
        sentence: says how the split was made, or that there are no splits; else empty.
    """

    train: Dataset
    val: Dataset | None
    split_by: float | None = None
    sentence: str = ""


def load_train_and_val(
    path: DataPath,
    train_split: str | None = None,
    val_split: str | None = None,
    *,
    split_by: float | None = None,
    with_val: bool = True,
    seed: int = 0,
    **data: Any,
) -> TrainAndVal:
    """Reads what to train on and what to measure on, and makes the split where there is none.

    With splits for training and validation, these. With one for training only, images of it are
    held out; a split for tests stays untouched. Without splits, images of all are held out. See
    `keras_det.data.split`.

    Args:
        path: as of `load`.
        train_split, val_split: names of the splits; None takes train and val.
        split_by: fraction of the images for training where the split is made; None takes 0.8.
        with_val: False reads only what to train on, and holds nothing out.
        seed: of a split that is made.
        **data: `class_names`, `image_dir`, `format`, `box_format`, `sizes`, `drop_other_classes`,
            `voc_first_pixel`, as of `load`.

    Raises:
        DataError: as of `load`, or there is no split of that name, or none to train on.
    """
    found, layout = open_data(path, data.pop("format", None))
    options = _options(**data)
    if split_by is not None:
        check_fraction(split_by)
        _refuse_split_by(layout, split_by)
    val_name = find_split(layout, val_split or "val")
    if val_split is not None and val_name is None:
        raise no_split(layout, val_split, "val_split")
    if not with_val or val_name is None:
        source = source_to_part(layout, train_split)
        if not with_val:
            train = _read(found, source, options)
            what = (
                f"{_lack(layout)}: the whole data set ({counted(len(train), 'image')}) is used for "
                "training."
            )
            return TrainAndVal(train, None, None, what if is_whole(layout) else "")
        fraction = FRACTION if split_by is None else split_by
        train, val = _parted(found, layout, train_split, options, fraction, seed)
        return TrainAndVal(train, val, fraction, _sentence(layout, train, val, fraction))
    train_name = find_split(layout, train_split or "train")
    if train_name is None:
        raise no_split(layout, train_split or "train", "train_split")
    train = _read(found, layout.splits[train_name], options)
    options = options._replace(class_names=train.class_names)
    try:
        val = _read(found, layout.splits[val_name], options)
    except BoxFormatError as error:
        raise BoxFormatError(
            f"{error} But {train_name} fits in the format in which it was read. If the splits have "
            "different formats, write each alone with `keras-det data convert DATA NEW --split "
            "NAME --box-format …`, then train on one with --val-data the other."
        ) from None
    warn_of_common(train, val)
    return TrainAndVal(train, val)


def load_to_measure(
    path: DataPath, split: str | None, *, default: str = "val", **data: Any
) -> tuple[Dataset, str]:
    """Reads a split; where none is named and the data has no splits, all images.

    Args:
        path: as of `load`.
        split: name of the split; None takes `default` where there is one.
        default: name of a split.
        **data: as of `load_train_and_val`.

    Returns:
        `(dataset, sentence)`; the sentence says that all images were taken, or is empty.
    """
    found, layout = open_data(path, data.pop("format", None))
    options = _options(**data)
    name = find_split(layout, split or default)
    if name is None and split is None and is_whole(layout):
        dataset = _read(found, source_to_part(layout, None), options)
        return (
            dataset,
            f"{layout.root} has no split {default}: the whole data set "
            f"({counted(len(dataset), 'image')}) is used.",
        )
    return _read(found, choose_source(layout, split or default), options), ""


def has_val(path: DataPath, format: str | None = None, name: str = "val") -> bool:
    """Whether a data set has a validation split, or another one of this name."""
    return find_split(open_data(path, format)[1], name) is not None


def _sentence(layout: Layout, train: Dataset, val: Dataset, fraction: float) -> str:
    """What is said about a split that was made: why, counts, classes that one part lacks."""
    text = (
        f"{_lack(layout)}: {counted(len(train), 'image')} for training, {len(val)} held out for "
        f"validation (--split-by {fraction:g})."
    )
    lost = [name for name, count in val.class_counts.items() if not count]
    if lost and len(lost) < val.num_classes:
        shown = ", ".join(lost[:5]) + (", …" if len(lost) > 5 else "")
        text += f" Classes without a held-out image: {shown}."
    return text


def _lack(layout: Layout) -> str:
    """Why there is nothing to measure on: the beginning of a sentence."""
    if all(source is layout.everything for source in layout.splits.values()):  # one COCO file
        return f"{layout.root} has no splits"
    if is_whole(layout):
        return f"{layout.root} has only the split {next(iter(layout.splits))}"
    return f"{layout.root} has no validation split"


def _options(
    class_names: Sequence[str] | None = None,
    image_dir: str | os.PathLike | None = None,
    box_format: str | None = None,
    sizes: str = "check",
    drop_other_classes: bool = False,
    voc_first_pixel: int | None = None,
) -> ReadOptions:
    """Checks the arguments of `load` and makes `ReadOptions`."""
    check_box_format(box_format)
    if sizes not in SIZE_CHOICES:
        raise ValueError(
            f"`sizes` must be one of {', '.join(SIZE_CHOICES)}. Received: {sizes!r}."
            f"{suggest(sizes, SIZE_CHOICES)} Leave it out to have sizes checked."
        )
    if voc_first_pixel not in (None, 0, 1):
        raise ValueError(
            f"`voc_first_pixel` must be 0 or 1. Received: {voc_first_pixel!r}. Leave it out to "
            "have it decided by the boxes."
        )
    if drop_other_classes and class_names is None:
        raise ValueError(
            "`drop_other_classes` needs `class_names`, the classes to keep. Received: "
            "class_names=None. Give them, or leave out `drop_other_classes`."
        )
    if isinstance(class_names, str):
        raise TypeError(
            f"`class_names` must be a list of names. Received: the string {class_names!r}. Give "
            f"[{class_names!r}]."
        )
    return options_of(
        class_names,
        image_dir,
        box_format=box_format,
        sizes=sizes,
        drop_other_classes=drop_other_classes,
        voc_first_pixel=voc_first_pixel,
    )


def _read(found: Format, source: Any, options: ReadOptions) -> Dataset:
    return assemble(found.read(source, options), options)


def _parted(
    found: Format,
    layout: Layout,
    train_split: str | None,
    options: ReadOptions,
    fraction: float,
    seed: int,
) -> tuple[Dataset, Dataset]:
    """Reads the images to split, and splits them."""
    whole = _read(found, source_to_part(layout, train_split), options)
    mask = validation_mask(whole, fraction, seed)
    train, val = (whole.select([i for i, v in enumerate(mask) if v == part]) for part in (0, 1))
    return dataclasses.replace(train, split="train"), dataclasses.replace(val, split="val")


def _refuse_split_by(layout: Layout, split_by: float) -> None:
    """DataError where the data has a validation split."""
    name = find_split(layout, "val")
    if name is not None:
        raise DataError(
            "`split_by` (--split-by) is for data without a validation split. Received: "
            f"{split_by} for {layout.root}, which has the split {name}. Leave it out."
        )
