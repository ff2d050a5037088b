"""Loads Keras and TensorFlow without the page of messages that they print at start."""

import contextlib
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator

import click

from keras_det.cli.allocator import keep_freed_memory


def start_keras() -> None:
    """Imports Keras and looks for devices; shows what was logged only where it matters.

    TensorFlow 2.21 logs the instruction set, missing CUDA drivers and more before any setting
    (`TF_CPP_MIN_LOG_LEVEL`) takes effect, so the output of its C++ code is redirected. Where an
    NVIDIA driver is installed, warnings and errors come through: they say why a GPU is not used.
    """
    if "keras" in sys.modules:
        return
    with _standard_error_in_a_file() as log:
        import keras

        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            if all(each.device_type == "CPU" for each in tf.config.list_physical_devices()):
                keep_freed_memory()
    # "triggered tf.function retracing" and the like: nothing a user of commands could change.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    if shutil.which("nvidia-smi"):
        for line in log:
            if line.startswith(("W0", "E0")):
                click.echo(line, err=True)


@contextlib.contextmanager
def _standard_error_in_a_file() -> Iterator[list[str]]:
    """Context that yields a list; on exit, it holds the lines written to file descriptor 2."""
    lines: list[str] = []
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:
        try:
            kept = os.dup(2)
        except OSError:  # started without a standard error: nothing to keep quiet
            yield lines
            return
        try:
            os.dup2(file.fileno(), 2)
            yield lines
        except BaseException:
            file.seek(0)
            os.write(kept, file.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        file.seek(0)
        lines += file.read().decode(errors="replace").splitlines()
