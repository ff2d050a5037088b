"""Options of the decoder: which detections are kept. Shared by `evaluate` and `predict`."""

from collections.abc import Callable
from typing import Any

import click

from keras_det.cli.numbers import Real, Whole
from keras_det.errors import DataError
from keras_det.names import NMS_METHODS, NMS_METHODS_WITH

OPTIONS = (
    click.option(
        "--method",
        type=click.Choice(NMS_METHODS),
        show_default="gaussian",
        help="Non-maximum suppression: soft (gaussian, linear) or hard.",
    ),
    click.option(
        "--iou-threshold",
        type=Real(0, 1),
        show_default="linear 0.3, hard 0.5",
        help="Boxes with a higher overlap suppress each other; for linear and hard.",
    ),
    click.option(
        "--sigma",
        type=Real(0, 1_000, open="least"),
        show_default="0.5",
        help="Width of the Gaussian; for gaussian.",
    ),
    click.option(
        "--pre-nms-top-k",
        type=Whole(0),
        show_default="1000",
        help="Candidates before suppression; 0: all.",
    ),
    click.option(
        "--max-detections",
        type=Whole(1),
        show_default="100",
        help="Largest number of detections in an image.",
    ),
    click.option(
        "--class-agnostic",
        is_flag=True,
        default=None,
        help="Boxes of different classes suppress each other too.",
    ),
)


def decoder_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of the decoder to a command, which gets them as `**decoder`."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def decoder_settings(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, as arguments of `Detector.detect`.

    Raises:
        DataError: an option that the method does not use.
    """
    given = {name: value for name, value in options.items() if value is not None}
    method = given.get("method", "gaussian")
    for name, methods in NMS_METHODS_WITH.items():
        if name in given and method not in methods:
            raise DataError(
                f"--{name.replace('_', '-')} is for --method {' or '.join(methods)}. Received: "
                f"{given[name]:g} with {method}. Leave it out, or choose another method."
            )
    return given
