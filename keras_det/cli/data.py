"""`keras-det data …`: convert, split, merge, preview and count data sets."""

import click

from keras_det.cli.data_files import convert, merge, split
from keras_det.cli.data_views import preview, stats
from keras_det.cli.group import Commands


@click.group(cls=Commands)
def data() -> None:
    """Converts, splits, merges, shows and counts data sets.

    Each command reads every format that `keras-det train` reads. None changes DATA.
    """


for command in (convert, split, merge, preview, stats):
    data.add_command(command)
