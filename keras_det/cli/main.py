"""The group of commands. Imports click only: `keras-det --help` loads no TensorFlow."""

import click

from keras_det import __version__
from keras_det.cli.command import Command
from keras_det.cli.completion import completion
from keras_det.cli.demo import demo
from keras_det.cli.doctor import doctor
from keras_det.cli.evaluate import evaluate
from keras_det.cli.export import export
from keras_det.cli.info import info
from keras_det.cli.predict import predict
from keras_det.cli.train import train
from keras_det.errors import suggest


class Commands(click.Group):
    """A group that lists its commands in the order of use and suggests the nearest name."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            raise click.UsageError(
                f"There is no command {args[0]!r}.{suggest(args[0], self.commands)} The commands "
                f"are {', '.join(self.commands)}."
            )
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="keras-det")
def main() -> None:
    """Object detection for Keras 3: from your own images to a phone or a server.

    Try `keras-det demo` first. Every command has --help.
    """


for command in (demo, doctor, train, evaluate, predict, export, info, completion):
    main.add_command(command)
