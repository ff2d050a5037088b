"""What `keras-det train --resume` takes from a run folder, and the commands that a run prints."""

import os
import pathlib
import shlex
from typing import Any

import click

from keras_det.cli.command import echo, given_options, refuse_useless
from keras_det.cli.files import free_folder, new_folder
from keras_det.errors import DataError
from keras_det.names import AUGMENT_NAMES
from keras_det.run_folder import read_recipe

# Options that --resume takes from recipe.json where the command line does not give them.
RESUMED = (
    "model",
    "weights",
    "epochs",
    "batch_size",
    "image_size",
    "resize_mode",
    "augment",
    "recipe",
    "learning_rate",
    "max_boxes",
    "seed",
)
# Of these, what a resumed run has already used; the training run checks the others.
OF_THE_START = ("weights",)
# Options that recipe.json does not store: they must be given again.
NOT_STORED = (
    "image_dir",
    "no_val",
    "save_every",
    "save_minutes",
    "deterministic",
    "tensorboard",
    "devices",
    "workers",
    "worker",
)


def command_to_resume(data: str, folder: pathlib.Path, options: dict[str, Any]) -> str:
    """The command that continues a run, ready to be pasted into a shell.

    Args:
        data: the argument DATA.
        folder: the run folder.
        options: those of the command that recipe.json does not store; flags are True or False.
    """
    words = ["keras-det", "train", as_argument(data), "--out", as_argument(folder), "--resume"]
    for name, value in options.items():
        if value is not None and value is not False:
            words.append(f"--{name.replace('_', '-')}")
            words += [] if value is True else [str(value)]
    return shlex.join(words)


def as_argument(path: str | os.PathLike) -> str:
    """A path as an argument that is not taken for an option; not yet quoted for a shell."""
    return f"./{path}" if str(path).startswith("-") else str(path)


def say_next(folder: pathlib.Path, data: str, metrics: dict[str, Any]) -> None:
    """Says which command a person would want next; for a useless model, the one that helps."""
    run, data = (shlex.quote(as_argument(path)) for path in (folder, data))
    if metrics.get("learned", True):
        echo(f"Next: keras-det predict {run} PHOTOS, or keras-det export {run} --to tflite")
    else:
        echo(f"Next, as the model has learned too little: keras-det doctor {data} --run {run}")


def run_folder(out: str | None, model_name: str, resume: bool, writes: bool = True) -> pathlib.Path:
    """Returns the folder to fill: a new one, or with `resume` the one that holds the run.

    Args:
        out: the folder that was named, or None.
        model_name: names the folder if `out` is None.
        resume: whether a run is continued.
        writes: False for a worker that writes nothing: the chief may have begun to fill the folder.
    """
    if not resume and out and not writes:
        return pathlib.Path(out)
    if not resume:
        return new_folder(out) if out else free_folder(f"runs/{model_name}")
    if out is None or not (pathlib.Path(out) / "recipe.json").exists():
        raise DataError(
            "--resume needs --out, with the run folder that holds recipe.json. Received: "
            f"{out}. Check the folder, or leave out --resume to start a new run."
        )
    return pathlib.Path(out)


def settings_of_run(
    folder: pathlib.Path, ctx: click.Context, given_arguments: dict[str, Any]
) -> dict[str, Any]:
    """What recipe.json says about the options that the command line left out."""
    recipe = read_recipe(folder)
    known = {name: recipe[name] for name in RESUMED if name in recipe}
    known["model_arguments"] = {**(recipe.get("model_arguments") or {}), **given_arguments}
    if known.get("augment") not in (None, *AUGMENT_NAMES):
        raise DataError(
            "A run that was trained with a list of steps or an Augment can be resumed only in "
            f"Python, with the same `augment`. Received: {folder}, trained with "
            f"{known['augment']}. Call keras_det.training.train with resume=True."
        )
    if known.get("image_size") is not None:
        known["image_size"] = tuple(known["image_size"])
    given = given_options(ctx)
    for name in OF_THE_START:
        if name in given and ctx.params[name] != known.get(name):
            refuse_useless(ctx, [name], "with --resume", "start a new run")
    return {name: value for name, value in known.items() if name not in given}
