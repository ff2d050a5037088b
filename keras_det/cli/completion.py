"""`keras-det completion SHELL`: the script that completes commands, options and model names."""

import click
from click.shell_completion import get_completion_class

from keras_det.cli.command import Command

PROGRAM, VARIABLE = "keras-det", "_KERAS_DET_COMPLETE"
EXAMPLES = (
    "keras-det completion bash >> ~/.bashrc",
    "keras-det completion zsh >> ~/.zshrc",
    "keras-det completion fish > ~/.config/fish/completions/keras-det.fish",
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Prints the script that lets a shell complete keras-det.

    The Tab key then completes commands, options, their values, model names and files. Append the
    script to the start file of your shell, as below, and open a new shell.
    """
    script = get_completion_class(shell)
    assert script is not None  # click has all three
    click.echo(script(ctx.find_root().command, {}, PROGRAM, VARIABLE).source())
