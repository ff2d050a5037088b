"""Options of the decoder: which detections are kept. Shared by `evaluate` and `predict`."""

from collections.abc import Callable
from typing import Any

import click

from keras_det.cli.numbers import Odd, Real, Whole
from keras_det.errors import DataError
from keras_det.names import CANDIDATES, NMS_METHODS, NMS_METHODS_WITH

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
        help="Boxes with a higher IoU suppress each other; for linear and hard.",
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
        help="Number of candidates before suppression; 0: all.",
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
    click.option(
        "--candidates",
        type=click.Choice(CANDIDATES),
        show_default="best_class",
        help="best_class: one class for each anchor; pairs: an anchor can give several.",
    ),
    click.option(
        "--corner-top-k",
        type=Whole(1),
        show_default="100",
        help="CornerNet: number of corners to keep, of each kind.",
    ),
    click.option(
        "--embedding-threshold",
        type=Real(0, 1_000),
        show_default="0.5",
        help="CornerNet: largest distance between the embeddings of two corners.",
    ),
    click.option(
        "--peak-window",
        type=Odd(1, 99),
        show_default="3",
        help="CornerNet: side, in cells, of the window in which a peak is the maximum; odd.",
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


def check_for_model(detector: Any, path: str, settings: dict[str, Any]) -> None:
    """Checks that a detector has the settings.

    Args:
        detector: a model, or an exported file.
        path: of the detector, for the message.
        settings: as `decoder_settings` returns them.

    Raises:
        DataError: the detector is an exported file, or another kind of detector has this setting.
    """
    for name in settings:
        option = f"--{name.replace('_', '-')}"
        if hasattr(detector, "engine"):
            raise DataError(
                f"{option} needs a .keras model: an exported file has its own decoder. Received: "
                f"{option} with {path}. Leave it out, or give the .keras file."
            )
        if name not in detector.detect_settings:
            from keras_det.decode.settings import OWNERS

            raise DataError(
                f"{option} must be a setting of the model. Received: {option} with {path} "
                f"({type(detector).__name__}). {OWNERS[name]} it. Leave it out."
            )
