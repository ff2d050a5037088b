"""What a model or an exported file finds in a data set, and how good it is, with a progress bar."""

from typing import TYPE_CHECKING, Any

import click

from keras_det.cli.command import echo
from keras_det.cli.start import start_keras
from keras_det.cli.tiling import in_tiles
from keras_det.errors import DataError

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
    tiles: dict[str, Any],
) -> tuple[dict[str, Any], "Measured"]:
    """Evaluates with a progress bar and prints the numbers.

    Returns the numbers, with a note of what was measured, and the whole measurement.

    Args:
        detector: a model, or an exported file.
        dataset: to measure on.
        batch_size: images or tiles per step of a model.
        settings: of the decoder; for an exported file `score_threshold`, if it was given.
        name: of the model's file.
        tiles: {} for no tiles, else the arguments of `TiledDetector`.
    """
    start_keras()
    from keras_det.training.evaluate import measured_from, provenance

    if not is_file(detector):
        detector.check_dataset(dataset)
    indices, found = detections_of(detector, dataset, batch_size, settings, "Evaluating", tiles)
    measured = measured_from(dataset, indices, found, detector.class_names)
    echo(measured.text("these images"))
    about = provenance(name, dataset, len(indices), **settings, **tiles)
    return {**measured.as_metrics(), "measured": about}, measured


def is_file(detector: Any) -> bool:
    """Whether a detector is an exported file, not a Keras model."""
    return hasattr(detector, "engine")


def detections_of(
    detector: Any,
    dataset: "Dataset",
    batch_size: int,
    settings: dict[str, Any],
    label: str,
    tiles: dict[str, Any],
) -> Detections:
    """The images that could be read, and what was found in each.

    Args:
        detector: a model, or an exported file.
        dataset: to detect in.
        batch_size: images per step of a model.
        settings: of the decoder.
        label: what the progress bar says.
        tiles: {} for no tiles, else the arguments of `TiledDetector`.

    Returns:
        `(indices, detections)`: the indices of the images, and for each of them a dict of `boxes`
        xyxy in pixels of the original image, `scores` and `labels`.
    """
    if is_file(detector):
        return one_by_one(in_tiles(detector, tiles), dataset, settings, label)
    if tiles:
        own = {"batch_size": batch_size, **settings}
        return one_by_one(in_tiles(detector, tiles), dataset, own, label)
    from keras_det.training.evaluate import detect_dataset

    with click.progressbar(length=len(dataset), label=label) as bar:
        return detect_dataset(
            detector,
            dataset,
            batch_size,
            on_batch=lambda done, _: bar.update(done - bar.pos),
            **settings,
        )


def one_by_one(
    detector: Any, dataset: "Dataset", settings: dict[str, Any], label: str
) -> Detections:
    """`detections_of` an exported file or a detector in tiles, image by image.

    Images that cannot be read are left out, with a note; too many of them are an error, as for a
    model.
    """
    from keras_det.data.failures import Failures

    reasons: dict[int, str] = {}
    failures = Failures(dataset.image_paths, lambda index: reasons[index])
    indices, detections = list[int](), list[dict[str, Any]]()
    with click.progressbar(range(len(dataset)), label=label) as bar:
        for index in bar:
            try:
                image = dataset[index].read()
            except DataError as error:
                reasons[index] = str(error)
                failures.add(0, [index])
                continue
            found = detector.detect(image, **settings)
            indices.append(index)
            detections.append({key: found[key] for key in ("boxes", "scores", "labels")})
    return indices, detections
