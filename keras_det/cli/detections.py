"""What a model or an exported file finds in a data set, and how good it is, with a progress bar."""

from typing import TYPE_CHECKING, Any

import click

from keras_det.cli.command import echo
from keras_det.cli.start import start_keras

if TYPE_CHECKING:
    from keras_det.data import Dataset
    from keras_det.training.evaluate import Measured

Detections = tuple[list[int], list[dict[str, Any]]]


def measure(
    detector: Any,
    dataset: "Dataset",
    batch_size: int,
    settings: dict[str, Any],
    name: str,
    views: dict[str, Any],
) -> tuple[dict[str, Any], "Measured"]:
    """Evaluates with a progress bar and prints the numbers.

    Returns the numbers, with a note of what was measured, and the whole measurement.

    Args:
        detector: a model or an exported file, in tiles or views or not.
        dataset: to measure on.
        batch_size: images, tiles or views per step of a model.
        settings: of the decoder; for an exported file `score_threshold`, if it was given.
        name: of the model's file.
        views: the tiles and views of the detector, to be noted; {} for none.
    """
    start_keras()
    from keras_det.training.detecting import check_classes
    from keras_det.training.evaluate import measured_from, provenance

    check_classes(detector, dataset)
    indices, found = detections_of(detector, dataset, batch_size, settings, "Evaluating")
    measured = measured_from(dataset, indices, found, detector.class_names)
    echo(measured.text("these images"))
    about = provenance(name, dataset, len(indices), **settings, **views)
    return {**measured.as_metrics(), "measured": about}, measured


def is_file(detector: Any) -> bool:
    """Whether a detector is an exported file, not a Keras model."""
    return hasattr(detector, "engine")


def detections_of(
    detector: Any, dataset: "Dataset", batch_size: int, settings: dict[str, Any], label: str
) -> Detections:
    """The images that could be read, and what was found in each.

    Args:
        detector: a model or an exported file, in tiles or views or not.
        dataset: to detect in.
        batch_size: images, tiles or views per step of a model.
        settings: of the decoder.
        label: what the progress bar says.

    Returns:
        `(indices, detections)`: the indices of the images, and for each of them a dict of `boxes`
        xyxy in pixels of the original image, `scores` and `labels`.
    """
    from keras_det.training.evaluate import detect_dataset

    with click.progressbar(length=len(dataset), label=label) as bar:
        return detect_dataset(
            detector,
            dataset,
            batch_size,
            on_batch=lambda done, _: bar.update(done - bar.pos),
            **settings,
        )
