"""`keras-det train --replay FILE`: shows the last batches before a training diverged."""

import click

from keras_det.cli.command import echo, given_options
from keras_det.cli.start import start_keras
from keras_det.errors import DataError


def show_replay(ctx: click.Context, path: str) -> None:
    """Prints the losses and gradients of kept batches. DataError if other options are given."""
    others = [name for name in given_options(ctx) if name not in ("data", "replay", "debug")]
    if ctx.params["data"] is not None or others:
        given = ctx.params["data"] or f"--{others[0].replace('_', '-')}"
        raise DataError(
            "--replay must be given alone: the file holds the batch, and its folder the model. "
            f"Received: --replay with {given}. Leave that out."
        )
    start_keras()
    from keras_det.training.replay import replay

    for line in replay(path):
        echo(line)
