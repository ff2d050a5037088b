"""What all commands share: how errors and warnings reach the user, and the arguments' types."""

import contextlib
import errno
import json
import os
import re
import shutil
import sys
import textwrap
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO

import click

from keras_det import names
from keras_det.errors import DataError, Interrupted
from keras_det.files import reason_of
from keras_det.names import MAX_IMAGE_SIZE, MIN_IMAGE_SIZE
from keras_det.words import UNPRINTABLE, printable

# An option as messages name it, in words or in brackets.
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
# Where a command's context keeps the value of --max-pixels.
PIXELS_KEY = "keras_det.max_pixels"
# What to do where the system refuses a file, by the numbers of its errors.
CURES = (
    ((errno.EACCES, errno.EPERM, errno.EROFS), "Change its permissions, or choose another place."),
    ((errno.ENOTDIR,), "A file is in the place of a folder. Move it away, or choose another path."),
    ((errno.EISDIR,), "A folder is in the place of a file. Move it away, or choose another path."),
    ((errno.ENAMETOOLONG,), "Choose a shorter name."),
)
CURE = "Check the path, or choose another."
# Options of `keras-det data convert` on how data is read.
WRITTEN_SO = (
    "--format",
    "--image-dir",
    "--box-format",
    "--sizes",
    "--voc-first-pixel",
    "--classes",
)


def echo(message: object = "", **settings: Any) -> None:
    """As `click.echo`. Escape sequences in names, which change what a terminal shows, are written
    as `printable` does; line breaks and tabs stay.
    """
    click.echo(printable(str(message), keep="\n\t"), **settings)


def echo_json(content: Any, allow_nan: bool = True) -> None:
    """Prints JSON in which no character changes what a terminal shows."""
    text = json.dumps(content, ensure_ascii=False, indent=2, allow_nan=allow_nan)
    click.echo(UNPRINTABLE.sub(_as_json, text))


def _as_json(found: re.Match) -> str:
    return found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}"


# A path as an argument or option. Whether it can be read is said where it is read.
PATH = click.Path(readable=False)
INTERRUPTED = 130  # exit code, as of a shell: 128 + SIGINT


class Command(click.Command):
    """A command whose wrong input ends in one sentence and exit code 2.

    Args:
        examples: lines shown at the end of the help.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        if examples:
            kwargs["epilog"] = "\n".join(["\b", "Examples:", *(f"  {line}" for line in examples)])
        super().__init__(*args, **kwargs)
        self.context_settings.setdefault("show_default", True)
        for param in self.params:  # shorter than click's INTEGER RANGE
            if isinstance(param.type, click.types.IntParamType | click.types.FloatParamType):
                param.metavar = "N" if isinstance(param.type, click.types.IntParamType) else "X"
        self.params.append(
            click.Option(
                ["--debug"],
                is_flag=True,
                expose_value=False,
                callback=lambda ctx, _, value: ctx.meta.update({"debug": value}),
                help="Show the traceback of an error.",
                show_default=False,
            )
        )

    def invoke(self, ctx: click.Context) -> Any:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", log_level())
        try:
            with _plain_warnings():
                self._refuse_empty(ctx)
                return super().invoke(ctx)
        except BrokenPipeError:  # the reader of the output has stopped, as `| head` does
            raise  # click ends quietly
        except KeyboardInterrupt as error:
            if not isinstance(error, Interrupted):  # which has said more
                click.echo("\nInterrupted.", err=True)
            ctx.exit(INTERRUPTED)
        except (DataError, OSError) as error:
            if ctx.meta.get("debug"):
                traceback.print_exc()
            raise WrongInput(_sentence(error) + _other_ways(str(error), ctx)) from error

    def _refuse_empty(self, ctx: click.Context) -> None:
        """Refuses an empty value, which would mean this folder, or count as not given."""
        for param in self.params:
            given = ctx.params.get(param.name or "")
            if given == "" or (isinstance(given, tuple) and "" in given):
                name = (
                    param.opts[-1] if param.opts[-1].startswith("-") else param.human_readable_name
                )
                other = ", or leave it out" * (not param.required)
                raise DataError(
                    f"{name} must not be empty. Received: an empty value. Give a value{other}."
                )


def _other_ways(message: str, ctx: click.Context) -> str:
    """What to do where a message advises options that this command does not have.

    Messages about data come from the readers, which do not know the command.
    """
    own = {name for param in ctx.command.params for name in param.opts}
    missing = [name for name in dict.fromkeys(OPTION.findall(message)) if name not in own]
    ways = ""
    for name in missing:
        if name in WRITTEN_SO:
            ways += (
                f" {ctx.command_path} has no {name}: first write the data set with `keras-det data "
                f"convert DATA NEW {name} …`, then give NEW."
            )
        elif name == "--split-by":
            ways += (
                f" {ctx.command_path} has no {name}: `keras-det data split DATA NEW` makes the "
                "split."
            )
    return ways


def log_level() -> str:
    """How much of TensorFlow's C++ log is shown: errors if a GPU may be the cause, else nothing.

    TensorFlow logs a page of messages at start. In the first training step it also logs "oneDNN
    supports DT_INT32 only …" as an error, although nothing is wrong. Real errors are raised as
    exceptions too.
    """
    return "2" if shutil.which("nvidia-smi") else "3"


class WrongInput(click.ClickException):
    """Shown as `Error: …`, without the usage line, because the usage was correct."""

    exit_code = 2


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, DataError):
        path = "" if error.filename is None else f"{os.fsdecode(error.filename)!s:.300} "
        cure = next((cure for number, cure in CURES if error.errno in number), CURE)
        return printable(
            f"The system must allow reading and writing. Received: {path}({reason_of(error)}). "
            f"{cure}"
        )
    return " ".join(str(error).split())


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Warnings as one line for a user, without file and line of our source."""
    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = _show_warning
        yield


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    echo(wrapped(f"Note: {message}"), err=True)


def say(text: str) -> None:
    """Prints lines of a training; on a terminal, long ones are broken between words."""
    echo(wrapped(text, sys.stdout))


def wrapped(text: str, stream: TextIO | None = None) -> str:
    """Text whose long lines are broken between words on a terminal; in files it stays as it is.

    Args:
        text: lines. Commands to paste, which start with the program's name, are not broken.
        stream: where the text will go. Default: standard error.
    """
    if not (stream or sys.stderr).isatty():
        return text
    width = max(40, min(shutil.get_terminal_size().columns, 100))
    return "\n".join(
        line
        if line.startswith("keras-det ")
        else textwrap.fill(
            line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )
        for line in text.splitlines()
    )


def given_options(ctx: click.Context) -> set[str]:
    """Names of the options that were given on the command line, whatever their value."""
    on_command_line = click.core.ParameterSource.COMMANDLINE
    return {name for name in ctx.params if ctx.get_parameter_source(name) == on_command_line}


def refuse_useless(ctx: click.Context, names: Sequence[str], when: str, advice: str) -> None:
    """DataError if one of these options was given: they have no effect here.

    Args:
        ctx: of the command.
        names: of the options, as the command's function calls them.
        when: why, e.g. "without --calibrate".
        advice: what to do if it should have one, e.g. "give --calibrate".
    """
    for name in names:
        if name in given_options(ctx):
            option = f"--{name.replace('_', '-')}"
            raise DataError(
                f"{option} has no effect {when}. Received: {option} {ctx.params[name]}. Leave it "
                f"out, or {advice}."
            )


def max_pixels_option(more: str = "") -> Callable[..., Any]:
    """The option --max-pixels: the limit for all images that the command reads.

    Args:
        more: added to the default in the help.
    """

    def set_limit(ctx: click.Context, _: click.Parameter, value: int | None) -> None:
        if value is not None:
            from keras_det.data.pixel_limit import default_pixel_limit

            ctx.with_resource(default_pixel_limit(value))
            ctx.meta[PIXELS_KEY] = value

    return click.option(
        "--max-pixels",
        type=click.IntRange(min=1),
        expose_value=False,
        callback=set_limit,
        show_default=f"{names.MOST_PIXELS}{more}",
        help="Largest number of pixels of an image. Larger images are refused before decoding.",
    )


def refuse_max_pixels(ctx: click.Context, when: str, advice: str) -> None:
    """`refuse_useless` for --max-pixels."""
    if PIXELS_KEY in ctx.meta:
        raise DataError(
            f"--max-pixels has no effect {when}. Received: --max-pixels {ctx.meta[PIXELS_KEY]}. "
            f"Leave it out, or {advice}."
        )


@contextlib.contextmanager
def user_input() -> Iterator[None]:
    """Turns a ValueError into a DataError, around calls that check the user's input."""
    try:
        yield
    except DataError:
        raise
    except ValueError as error:
        raise DataError(str(error)) from error


class ImageSize(click.ParamType):
    """`320` or `320x416` (height x width), each side from 32 to 8,192 pixels."""

    name = "size"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        try:
            sides = tuple(int(side) for side in str(value).lower().split("x"))
        except ValueError:
            sides = ()
        if len(sides) not in (1, 2):
            self.fail(f"must be like 320 or 320x416 (height x width). Received: {value}.")
        if min(sides) < MIN_IMAGE_SIZE:
            self.fail(f"must be at least {MIN_IMAGE_SIZE} pixels. Received: {value}.")
        if max(sides) > MAX_IMAGE_SIZE:
            self.fail(
                f"must be {MIN_IMAGE_SIZE} to {MAX_IMAGE_SIZE:,} pixels. Received: {value!s:.40}."
            )
        return (sides[0], sides[-1])


IMAGE_SIZE = ImageSize()
