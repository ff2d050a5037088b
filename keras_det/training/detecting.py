"""Detection in a data set, image by image: with exported files, in tiles, in several views."""

from collections.abc import Callable, Mapping
from typing import Any

from keras_det.data.dataset import Dataset
from keras_det.data.failures import Failures
from keras_det.errors import DataError
from keras_det.video.seen import unremembered


def has_network(detector: Any) -> bool:
    """Whether batches of resized images can go through a network, as those of a Keras detector.

    The others have `detect` only. The class is asked, because a `TiledDetector` passes on the
    attributes of its model.
    """
    return hasattr(type(detector), "detect_function")


def check_classes(detector: Any, dataset: Dataset) -> None:
    """Raises a ValueError unless a data set has the detector's classes, in the same order."""
    if hasattr(detector, "check_dataset"):
        detector.check_dataset(dataset)
    elif list(dataset.class_names) != list(detector.class_names):
        raise ValueError(
            "The data set must have the detector's classes in its order. Received: data set "
            f"{list(dataset.class_names)}, detector {list(detector.class_names)}. Load the data "
            "with class_names=detector.class_names."
        )


def detect_each(
    detector: Any,
    dataset: Dataset,
    batch_size: int,
    on_batch: Callable[[int, int], None] | None,
    settings: Mapping[str, Any],
) -> tuple[list[int], list[dict]]:
    """What `detect_dataset` returns, of a detector that only has `detect`.

    Images that cannot be read are left out, with a warning; too many of them are an error, as in a
    pipeline.

    Args:
        detector: has `detect`.
        dataset: to detect in.
        batch_size: tiles or views that go through the network of a Keras model together.
        on_batch, settings: as of `detect_dataset`.
    """
    reasons: dict[int, str] = {}
    failures = Failures(dataset.image_paths, lambda index: reasons[index])
    own = {} if hasattr(detector, "engine") else {"batch_size": batch_size}
    indices: list[int] = []
    detections: list[dict] = []
    for index in range(len(dataset)):
        try:
            image = dataset[index].read()
        except DataError as error:
            reasons[index] = str(error)
            failures.add(0, [index])
        else:
            with unremembered():
                found = detector.detect(image, **own, **settings)
            indices.append(index)
            detections.append({key: found[key] for key in ("boxes", "scores", "labels")})
        if on_batch is not None:
            on_batch(index + 1, len(dataset))
    return indices, detections
