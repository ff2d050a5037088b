"""`keras-det data convert | split | merge`: commands that write a data set into a new folder."""

import contextlib
import dataclasses
import importlib
import pathlib
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from keras_det.cli.command import (
    PATH,
    Command,
    echo,
    given_options,
    user_input,
)
from keras_det.cli.data_options import (
    READING,
    SPLIT_BY,
    class_list,
    classes_option,
    reading_options,
)
from keras_det.cli.files import say_where
from keras_det.cli.numbers import Real, Whole
from keras_det.cli.start import start_keras
from keras_det.errors import DataError
from keras_det.names import MAX_SEED
from keras_det.words import counted

if TYPE_CHECKING:
    from keras_det.data import Dataset
    from keras_det.data.raw import Opened

# The writer of each format: its module and its name.
WRITERS = {
    "coco": ("coco", "write_coco"),
    "voc": ("voc", "write_voc"),
    "yolo": ("yolo", "write_yolo"),
    "csv": ("csv_table", "write_csv"),
    "tfrecord": ("tfrecord", "write_tfrecord"),
}
# Formats that are read with TensorFlow.
NEED_TENSORFLOW = ("tfrecord", "tfds")
TO = click.option(
    "--to",
    type=click.Choice(tuple(WRITERS)),
    default="coco",
    help="Format to write.",
)
IMAGES = click.option(
    "--images",
    type=click.Choice(("link", "copy", "none")),
    default="link",
    help="How image files are written: as hard links, which take no disk space (copies where links "
    "are impossible), as copies, or not at all.",
)


def reading_and_classes(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options on how DATA is read, and --classes."""
    return reading_options(classes_option("keep")(command))


@click.command(
    cls=Command,
    examples=(
        "keras-det data convert voc/ coco/",
        "keras-det data convert coco/ yolo/ --to yolo --split train",
        "keras-det data convert labels.csv voc/ --to voc --image-dir photos/",
        "keras-det data convert coco/ pets/ --classes cat,dog --images copy",
    ),
)
@click.argument("data", type=PATH)
@click.argument("out", type=PATH)
@TO
@click.option("--split", show_default="every split", help="Split to convert; all: every image.")
@SPLIT_BY
@IMAGES
@reading_and_classes
@click.pass_context
def convert(
    ctx: click.Context,
    data: str,
    out: str,
    to: str,
    split: str | None,
    images: str,
    **options: Any,
) -> None:
    """Writes DATA into a new folder, in another format.

    Classes, boxes, splits and images are kept; class ids and areas only if the format has them.
    What it cannot store is counted in a note. OUT is written completely or not at all.
    """
    refuse_inside(out, data)
    with user_input():
        splits, notes = read_splits(data, split, options)
    for note in notes:
        warnings.warn(note, stacklevel=1)
    write_splits(ctx, splits, out, to, images)


@click.command(
    cls=Command,
    examples=(
        "keras-det data split photos/ parts/ --by 0.8",
        "keras-det data split voc/ voc-parts/ --to voc --seed 1",
    ),
)
@click.argument("data", type=PATH)
@click.argument("out", type=PATH)
@click.option(
    "--by",
    "fraction",
    type=Real(0, 1, open="both"),
    default=0.8,
    help="Fraction of the images for training.",
)
@click.option(
    "--seed",
    type=Whole(0, MAX_SEED),
    default=0,
    help="Random seed: another seed makes another split.",
)
@click.option(
    "--to",
    type=click.Choice(tuple(WRITERS)),
    show_default="the format of DATA, else coco",
    help="Format to write.",
)
@IMAGES
@reading_and_classes
@click.pass_context
def split(
    ctx: click.Context,
    data: str,
    out: str,
    fraction: float,
    seed: int,
    to: str | None,
    images: str,
    **options: Any,
) -> None:
    """Splits DATA for training and validation.

    Writes both parts into the new folder OUT. Each class is divided in the same proportion. Copies
    of one image and frames of one video stay in one part. A test split is not changed. `keras-det
    train` with --split-by makes the same split. Images are linked, so OUT takes hardly any disk
    space.
    """
    from keras_det.data.load import has_val, open_data

    refuse_inside(out, data)
    with user_input():
        opened = open_data(data, options["format"])
        form, layout = opened
        if has_val(opened):
            raise DataError(
                f"DATA to split must not have a validation split yet. Received: {data} with the "
                f"splits {', '.join(layout.splits)}. Use it as it is. To split all images again, "
                "first write them without splits: keras-det data convert --split all."
            )
        splits = parted(opened, fraction, seed, arguments_of(options))
    write_splits(ctx, splits, out, to or (form.name if form.name in WRITERS else "coco"), images)


@click.command(
    cls=Command,
    examples=(
        "keras-det data merge first/ second/ both/",
        "keras-det data merge coco/ voc/ labels.csv all/ --to yolo",
    ),
)
@click.argument("data", type=PATH, nargs=-1, required=True)
@click.argument("out", type=PATH)
@TO
@IMAGES
@click.pass_context
def merge(ctx: click.Context, data: tuple[str, ...], out: str, to: str, images: str) -> None:
    """Merges data sets of any format into a new folder.

    Classes are matched by their names. Splits of the same purpose are merged, such as train2017
    with train. Images without a split go into train if another data set has splits. An image in
    several data sets becomes one image with the objects of all.
    """
    for each in data:
        refuse_inside(out, each)
    with user_input():
        found = [read_splits(each, None, {"classes": None}) for each in data]
        for note in (note for _, notes in found for note in notes):
            warnings.warn(note, stacklevel=1)
        write_splits(ctx, merged([splits for splits, _ in found]), out, to, images)


def refuse_inside(out: str, data: str) -> None:
    """DataError where OUT lies in DATA: it would be read as a part of DATA afterwards."""
    folder = pathlib.Path(data).resolve()
    if folder.is_dir() and folder in pathlib.Path(out).resolve().parents:
        raise DataError(
            "OUT must lie outside of DATA, which would be read differently afterwards. Received: "
            f"{out} in {data}. Choose a folder beside DATA, such as "
            f"{folder.with_name(folder.name + '-' + pathlib.Path(out).name)}."
        )


def merged(found: "list[dict[str, Dataset]]") -> "dict[str, Dataset]":
    """Joins the splits of several data sets; all get the classes of all."""
    from keras_det.data import merge as merge_datasets
    from keras_det.data.formats.split_names import role_of
    from keras_det.data.merging import with_same_classes

    every, notes = with_same_classes([each for splits in found for each in splits.values()])
    for note in notes:
        warnings.warn(note, stacklevel=1)
    with_splits, same = any(any(splits) for splits in found), iter(every)
    parts: dict[str, list[Dataset]] = {}
    for splits in found:
        roles = [role_of(name) for name in splits]
        for name in splits:
            role, dataset = role_of(name), next(same)
            target = role if role and roles.count(role) == 1 else name
            if not name and with_splits:
                target = "train"
                warnings.warn(
                    f"{dataset.name} has no splits: all of it ({counted(len(dataset), 'image')}) "
                    "becomes train.",
                    stacklevel=1,
                )
            parts.setdefault(target, []).append(dataset)
    joined = {}
    for name, datasets in parts.items():
        whole = merge_datasets(datasets, f"merged {name}".strip())
        joined[name] = dataclasses.replace(whole, split=name or None, name="merged")
    return joined


def arguments_of(options: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `load` that the options on reading mean."""
    names = class_list(options["classes"])
    chosen = {name: options[name] for name in READING if name in options}
    return {**chosen, "class_names": names, "drop_other_classes": names is not None}


def parted(
    opened: "Opened", fraction: float, seed: int, reading: dict[str, Any]
) -> "dict[str, Dataset]":
    """The parts for training and validation that `keras-det train` makes, and splits for tests."""
    from keras_det.data.load import load, load_train_and_val

    found = load_train_and_val(opened, split_by=fraction, seed=seed, **reading)
    splits = {"train": found.train}
    if found.val is not None:
        splits["val"] = found.val
    reading = {**reading, "class_names": found.train.class_names}
    tests = [name for name in opened.layout.splits if name.lower().startswith("test")]
    return splits | {name: load(opened, name, **reading) for name in tests}


def read_splits(
    data: str, split: str | None, options: dict[str, Any]
) -> "tuple[dict[str, Dataset], list[str]]":
    """Reads every split, or one; DataError where --classes names one that is not there.

    With --split-by, the splits are those that are made.
    """
    from keras_det.data.load import load, open_data
    from keras_det.data.reading import load_splits

    arguments, fraction = arguments_of(options), options.get("split_by")
    opened = open_data(data, arguments.get("format"))
    if opened.format.name in NEED_TENSORFLOW:
        start_keras()  # without TensorFlow's page of messages
    notes: list[str] = []
    if fraction is None:
        splits, notes = load_splits(opened, split, **arguments)
    elif split is None:
        splits = parted(opened, fraction, 0, arguments)
    else:
        dataset = load(opened, split, split_by=fraction, **arguments)
        splits = {dataset.split or "": dataset}
    dataset = next(iter(splits.values()))
    missing = [
        name
        for name, number in zip(dataset.class_names, dataset.category_ids, strict=True)
        if number == -1
    ]
    if arguments["class_names"] is not None and missing:
        raise DataError(
            f"--classes must name classes of DATA. Received: {missing[0]!r}. `keras-det data stats "
            f"{data}` lists the classes."
        )
    return splits, notes


def write_splits(
    ctx: click.Context, splits: "dict[str, Dataset]", out: str, to: str, images: str
) -> None:
    """Writes data sets in a format, and says what was written."""
    module, name = WRITERS[to]
    writer = getattr(importlib.import_module(f"keras_det.data.convert.{module}"), name)
    if to == "tfrecord":
        if "images" in given_options(ctx):
            raise DataError(
                "--images has no effect with --to tfrecord, whose files contain the images. "
                f"Received: --images {images}. Leave it out, or choose another format."
            )
        write_records(writer, splits, out)
    else:
        paths = {path for each in splits.values() for path in each.image_paths}
        with progress_bar(len(paths) if images != "none" else 0) as step:
            writer(splits, out, images=images, progress=step)
    for split_name, dataset in splits.items():
        echo(
            f"{split_name or 'all'}: {counted(len(dataset), 'image')}, "
            f"{counted(len(dataset.labels), 'object')}, "
            f"{counted(dataset.num_classes, 'class', 'classes')}"
        )
    say_where("Data set", out)


def write_records(writer: Callable[..., Any], splits: "dict[str, Dataset]", out: str) -> None:
    """Writes TFRecord files of all splits, completely or not at all."""
    from keras_det.files import staging
    from keras_det.interrupts import stoppable

    start_keras()
    with stoppable(), staging(out, "OUT must not exist yet") as (final, unfinished):
        unfinished.mkdir()
        for name, dataset in splits.items():
            writer(dataclasses.replace(dataset, split=name or None), unfinished)
        if final.is_dir():
            final.rmdir()
        pathlib.Path(unfinished).rename(final)


@contextlib.contextmanager
def progress_bar(total: int) -> Iterator[Callable[[int], object] | None]:
    """A bar of images on a terminal; None elsewhere."""
    if not total or not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=total, label="Images", file=sys.stderr) as bar:
        yield bar.update
