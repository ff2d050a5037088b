"""The group of commands. Imports click only: `keras-det --help` loads no TensorFlow."""

import click

from keras_det import __version__
from keras_det.cli.bench import bench
from keras_det.cli.compare import compare
from keras_det.cli.completion import completion
from keras_det.cli.data import data
from keras_det.cli.demo import demo
from keras_det.cli.doctor import doctor
from keras_det.cli.evaluate import evaluate
from keras_det.cli.export import export
from keras_det.cli.group import Commands
from keras_det.cli.info import info
from keras_det.cli.predict import predict
from keras_det.cli.review import review
from keras_det.cli.train import train
from keras_det.cli.verify import verify
from keras_det.cli.weights import weights


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="keras-det")
def main() -> None:
    """Object detection for Keras 3: from your own images to a phone or a server.

    Try `keras-det demo` first. Every command has --help.
    """


for command in (
    demo,
    data,
    doctor,
    weights,
    train,
    evaluate,
    compare,
    review,
    predict,
    export,
    verify,
    bench,
    info,
    completion,
):
    main.add_command(command)
