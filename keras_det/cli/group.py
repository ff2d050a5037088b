"""Groups of commands: in the order of use, with the nearest name for a wrong one."""

import click

from keras_det.cli.command import Command
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
