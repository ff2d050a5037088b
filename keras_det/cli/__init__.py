"""The command line, `keras-det …`: each command parses its arguments and makes one call each."""

from keras_det.cli.main import main

__all__ = ["main"]
