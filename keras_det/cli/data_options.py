"""Options on how data is read, and the classes of --classes."""

import os
import pathlib
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from keras_det.cli.command import PATH
from keras_det.cli.numbers import Real, Whole
from keras_det.errors import DataError, suggest
from keras_det.files import opening, read_bytes
from keras_det.names import BOX_FORMATS, SIZE_CHOICES

if TYPE_CHECKING:
    from keras_det.data import Dataset
    from keras_det.data.raw import DataPath

# How data is read; as `keras_det.data.load` calls its arguments.
READING = ("format", "image_dir", "box_format", "sizes", "voc_first_pixel")


class FormatName(click.ParamType):
    """A name of a format; the formats are loaded only where one is given."""

    name = "format"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        names = self.names()
        if value not in names:
            self.fail(f"must be one of {', '.join(names)}. Received: {value}.", param, ctx)
        return str(value)

    def names(self) -> list[str]:
        from keras_det.data.formats import FORMATS

        return [each.name for each in FORMATS]

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        found = [name for name in self.names() if name.startswith(incomplete)]
        return [CompletionItem(name) for name in found]


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options on how DATA is read to a command's function."""
    options = (
        click.option(
            "--format",
            type=FormatName(),
            metavar="NAME",
            show_default="recognised",
            help="Format of DATA, such as coco, voc or yolo.",
        ),
        click.option(
            "--image-dir",
            type=PATH,
            show_default="the usual places",
            help="Folder of the images.",
        ),
        click.option(
            "--box-format",
            type=click.Choice(BOX_FORMATS),
            metavar="NAME",
            show_default="the format's",
            help=f"Format of the boxes: {', '.join(BOX_FORMATS[:5])}, or rel_ before it for "
            "normalised coordinates (0 to 1).",
        ),
        click.option(
            "--sizes",
            type=click.Choice(SIZE_CHOICES),
            default="check",
            help=(
                "If image sizes differ from their annotations: check leaves out a few such images "
                "and refuses more, file keeps the boxes, scale scales them."
            ),
        ),
        click.option(
            "--voc-first-pixel",
            type=Whole(0, 1),
            show_default="decided by the boxes",
            help="Whether Pascal VOC files count pixels from 0 or 1.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


SPLIT_BY = click.option(
    "--split-by",
    type=Real(0, 1, open="both"),
    metavar="X",
    help="Fraction of the images for training, if DATA has no validation split.",
)


def classes_option(verb: str) -> Callable[..., Any]:
    """The option --classes.

    Args:
        verb: what the command does with the classes, such as "learn".
    """
    return click.option(
        "--classes",
        type=PATH,  # completes files
        metavar="A,B,C",
        show_default="all",
        help=f"Classes to {verb}, in the order of their labels; or a file with one name per line.",
    )


def class_list(given: str | None) -> list[str] | None:
    """The classes of --classes: names separated by commas, or a file with one name per line."""
    if given is None:
        return None
    path = pathlib.Path(given)
    # `os.path`: a long list of names is no path, and `pathlib` raises for it. A class may have the
    # name of a folder.
    if os.path.exists(path) and (os.sep in given or not os.path.isdir(path)):
        cure = "Save it as UTF-8, one name per line, or give names separated by commas."
        with opening(path, "The file of --classes must be UTF-8 text", cure):
            lines = read_bytes(path).decode("utf-8-sig").splitlines()
    else:
        lines = given.split(",")
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise DataError(
            f"--classes must name at least one class. Received: {given!r}. Give names separated by "
            "commas, such as cat,dog, or a file with one name per line."
        )
    return names


def check_classes(
    dataset: "Dataset", data: "DataPath", names: list[str] | None, **reading: Any
) -> None:
    """DataError where --classes names one that the data does not have."""
    missing = [n for n, i in zip(dataset.class_names, dataset.category_ids, strict=True) if i == -1]
    if names is None or not missing:
        return
    from keras_det.data.load import load_train_and_val

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        known = load_train_and_val(data, with_val=False, **reading).train.class_names
    shown = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
    near = suggest(missing[0], known)
    raise DataError(
        f"--classes must name classes of DATA. Received: {missing[0]!r}.{near} The classes are "
        f"{shown}."
    )
