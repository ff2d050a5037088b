"""What a model or an exported file finds in a data set, with a progress bar."""

from typing import TYPE_CHECKING, Any

import click

from keras_det.errors import DataError

if TYPE_CHECKING:
    from keras_det.data import Dataset

Detections = tuple[list[int], list[dict[str, Any]]]


def detections_of(
    detector: Any, dataset: "Dataset", batch_size: int, settings: dict[str, Any], label: str
) -> Detections:
    """The images that could be read, and what was found in each.

    Args:
        detector: a model, or an exported file.
        dataset: to detect in.
        batch_size: images per step of a model.
        settings: of the decoder.
        label: what the progress bar says.

    Returns:
        `(indices, detections)`: the indices of the images, and for each of them a dict of `boxes`
        xyxy in pixels of the original image, `scores` and `labels`.
    """
    if hasattr(detector, "engine"):
        return of_file(detector, dataset, settings, label)
    from keras_det.training.evaluate import detect_dataset

    with click.progressbar(length=len(dataset), label=label) as bar:
        return detect_dataset(
            detector,
            dataset,
            batch_size,
            on_batch=lambda done, _: bar.update(done - bar.pos),
            **settings,
        )


def of_file(
    detector: Any, dataset: "Dataset", settings: dict[str, Any], label: str = "Evaluating"
) -> Detections:
    """`detections_of` an exported file or a detector in tiles, image by image.

    Images that cannot be read are left out, with a note; too many are an error, as for a model.
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
