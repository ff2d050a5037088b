"""`keras-det doctor DATA`: what is wrong with a data set, a model on it, or a run."""

import contextlib
import os
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from keras_det.cli.command import (
    IMAGE_SIZE,
    PATH,
    Command,
    echo,
    echo_json,
    given_options,
    max_pixels_option,
    refuse_max_pixels,
    refuse_useless,
    user_input,
)
from keras_det.cli.data_options import (
    READING,
    SPLIT_BY,
    class_list,
    classes_option,
    reading_options,
)
from keras_det.cli.files import find_model, load_keras_model
from keras_det.cli.model_names import ModelName, check_model_name
from keras_det.cli.start import start_keras
from keras_det.errors import DataError
from keras_det.files import plain

# The name of a file that means the standard output.
STDOUT = "-"

EXAMPLES = (
    "keras-det doctor my_images/",
    "keras-det doctor my_images/ --html report.html",
    "keras-det doctor my_images/ --model efficientdet_lite0 --image-size 512",
    "keras-det doctor my_images/ --model efficientdet_lite0 --overfit",
    "keras-det doctor --run run/",
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("data", type=PATH, required=False)
@click.option(
    "--model",
    type=ModelName(or_file=True),
    help="Model to try on DATA: a name, a .keras file or a run folder.",
)
@click.option("--run", type=PATH, help="Run folder whose history is examined.")
@click.option(
    "--image-size",
    type=IMAGE_SIZE,
    show_default="as keras-det train --recipe auto chooses it",
    help="Input size, if --model is a name: side in pixels, or height x width.",
)
@click.option(
    "--overfit", is_flag=True, help="Train --model on eight images as a test. This takes minutes."
)
@reading_options
@max_pixels_option()
@classes_option("learn")
@SPLIT_BY
@click.option(
    "--json",
    "json_file",
    type=PATH,
    help="Write the report as JSON to a file; - prints it.",
)
@click.option("--html", "html_file", type=PATH, help="Write the report as a web page.")
@click.option("--quick", is_flag=True, help="Read annotations and headers only, no pixels.")
@click.option("--all", "everything", is_flag=True, help="Print every class, finding and example.")
@click.pass_context
def doctor(
    ctx: click.Context,
    data: str | None,
    model: str | None,
    run: str | None,
    image_size: tuple[int, int] | None,
    overfit: bool,
    json_file: str | None,
    html_file: str | None,
    quick: bool,
    everything: bool,
    **reading: Any,
) -> None:
    """Finds what would make training fail, mislead or lose accuracy.

    DATA is the folder of a data set or an annotation file. Findings are errors, warnings and notes,
    the worst first, each with examples and what to do. The exit code is 1 if a finding is an error.
    Ctrl-C stops reading images and shows what was found so far.
    """
    _check_options(ctx)
    _check_file("--json", json_file)
    _check_file("--html", html_file)
    options = _load_options(ctx, reading) if data is not None else {}
    from keras_det.doctor import examine

    if run is not None:
        start_keras()
    detector = _model(model)
    with _progress_bar() as progress, user_input():
        report = examine(
            data,
            model=detector,
            run=run,
            image_size=image_size if isinstance(detector, str) else None,
            overfit=overfit,
            quick=quick,
            progress=progress,
            say=lambda line: echo(line, err=True),
            **options,
        )
    piped = json_file == STDOUT
    echo(report.text(all=everything), err=piped)
    if piped:
        echo_json(plain(report.json()), allow_nan=False)
    elif json_file is not None:
        report.write_json(json_file)
    if html_file is not None:
        report.write_html(html_file)
        echo(f"\nPage with pictures: {html_file}", err=piped)
    ctx.exit(1 if report.worst == "error" else 0)


def _check_file(option: str, file: str | None) -> None:
    """DataError where a report cannot be written there, before the data is read."""
    if file is None or (option == "--json" and file == STDOUT):
        return
    path = pathlib.Path(file).absolute()
    if not path.parent.is_dir():
        raise DataError(
            f"The folder of a report must exist. Received: {file}. Make the folder first."
        )
    if path.is_dir():
        raise DataError(f"{option} must name a file. Received: {file}, a folder. Add a file name.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise DataError(
            f"{option} must name a file that can be written. Received: {file}. Choose another "
            "folder."
        )


def _check_options(ctx: click.Context) -> None:
    """Errors for options without effect."""
    params = ctx.params
    if params["data"] is None and params["run"] is None:
        raise click.UsageError("Give DATA, a data set, or --run, a run folder, or both.")
    if params["data"] is None:
        useless = ("model", "overfit", "classes", "split_by", "quick", *READING)
        refuse_useless(ctx, useless, "without DATA", "give DATA")
        refuse_max_pixels(ctx, "without DATA", "give DATA")
    if params["model"] is None:
        refuse_useless(ctx, ["overfit"], "without a model", "give --model")
    named = params["model"] is not None and not pathlib.Path(params["model"]).exists()
    if not named:
        refuse_useless(ctx, ["image_size"], "without the name of a model", "give --model NAME")


def _load_options(ctx: click.Context, reading: dict[str, Any]) -> dict[str, Any]:
    """The options of `load` that were given."""
    given = given_options(ctx)
    options = {name: reading[name] for name in (*READING, "split_by") if name in given}
    names = class_list(reading["classes"])
    if names is not None:
        options |= {"class_names": names, "drop_other_classes": True}
    return options


def _model(model: str | None) -> Any:
    """A saved detector, or the checked name of one."""
    if model is None:
        return None
    if pathlib.Path(model).exists():
        return load_keras_model(str(find_model(model)))
    check_model_name(model)
    start_keras()
    return model


@contextlib.contextmanager
def _progress_bar() -> Iterator[Callable[[int, int], None] | None]:
    """A bar on a terminal; nothing in files."""
    if not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=1, label="Reading images", file=sys.stderr) as bar:

        def progress(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        yield progress
