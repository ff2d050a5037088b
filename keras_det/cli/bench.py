"""`keras-det bench …`: how fast, what limits it, and several model files in one table."""

import pathlib
from typing import Any

import click

from keras_det.cli.bench_files import models, predict
from keras_det.cli.bench_training import data, train
from keras_det.cli.group import Commands

FILES = "models"
SUFFIXES = (".keras", ".tflite", ".onnx")


class BenchCommands(Commands):
    """A group in which a file in the place of a command means the command `models`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {name for param in self.get_params(ctx) for name in param.opts}
        if args and args[0] not in self.commands and args[0] not in own:
            if args[0].startswith("-") or _may_be_model(args[0]):
                args = [FILES, *args]
        return super().parse_args(ctx, args)


def _may_be_model(word: str) -> bool:
    path = pathlib.Path(word)
    return path.exists() or path.suffix in SUFFIXES or len(path.parts) > 1


@click.group(cls=BenchCommands)
def bench() -> None:
    """Measures speed, says what limits it, and compares model files.

    `keras-det bench FILE…` is short for `keras-det bench models FILE…`.
    """


commands: tuple[Any, ...] = (data, train, predict, models)
for command in commands:
    bench.add_command(command)
