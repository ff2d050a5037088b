"""Out-of-fold detections: every image is judged by a model that was not trained on it."""

import hashlib
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_det.data.dataset import Dataset
from keras_det.data.splitting import validation_mask
from keras_det.errors import DataError
from keras_det.files import holds_something, plain, read_object, write_json
from keras_det.models import Detector, load_model
from keras_det.names import RUN_LOCK
from keras_det.run_folder import RECIPE
from keras_det.training.evaluate import detect_dataset
from keras_det.training.run import train
from keras_det.words import counted

SETTINGS = "review.json"  # what the folds in a folder are of
FOUND = "detections.json"  # of a fold: what its model has found in its images
LAST = "last.keras"
DIGITS = 2  # of a corner, in pixels
# A resumed training may take another one, so that it can go on where it has diverged.
MAY_CHANGE = ("learning_rate",)

Say = Callable[[str], object]


def folds_of(dataset: Dataset, folds: int, seed: int = 0) -> list[np.ndarray]:
    """Splits the images into parts of about the same size, balanced by class.

    Copies of an image and frames of a video stay together, as in `keras_det.data.split`.

    Args:
        dataset: to split.
        folds: number of parts, at least 2.
        seed: another one gives other parts.

    Returns:
        The indices of the images of each part, sorted.

    Raises:
        DataError: there are too few images that are not copies of each other.
    """
    check_folds(folds, len(dataset))
    left, parts = np.arange(len(dataset)), []
    for more in range(folds, 1, -1):
        mask = validation_mask(dataset.select(left), 1 - 1 / more, seed)
        parts.append(left[mask])
        left = left[~mask]
    return [*parts, left]


def check_folds(folds: int, images: int) -> None:
    """DataError unless the images can be split into so many parts."""
    if not 2 <= folds <= images:
        raise DataError(
            "The number of folds must be at least 2 and at most the number of images. Received: "
            f"{folds} for {counted(images, 'image')}. Choose 2 to 5: more folds take longer and "
            "give each model more images."
        )


def data_digest(dataset: Dataset) -> str:
    """SHA-256 over the names of the images, their objects and the classes."""
    digest = hashlib.sha256()
    names = [os.path.basename(path) for path in dataset.image_paths]
    for words in (dataset.class_names, names):
        digest.update("\0".join(words).encode(errors="backslashreplace") + b"\1")
    for array in (dataset.boxes, dataset.labels, dataset.crowd, dataset.row_splits):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def out_of_fold_detections(
    model: str,
    dataset: Dataset,
    folder: str | os.PathLike,
    folds: int = 3,
    *,
    batch_size: int = 8,
    on_batch: Callable[[int, int], None] | None = None,
    say: Say = print,
    how_to_resume: str | None = None,
    **settings: Any,
) -> list[dict[str, Any]]:
    """Trains a model for each fold on the other folds, and detects in its images.

    The folder gets `review.json` (what was trained on what) and for each fold a run folder
    `fold_1`, … and in it `detections.json`. Call the function again after an interruption: a fold
    with detections is not trained again, and an interrupted training goes on.

    Args:
        model: a name from `keras_det.models.MODEL_NAMES`.
        dataset: the images and their labels.
        folder: new, empty, or of an earlier call with the same arguments.
        folds: number of trainings, at least 2.
        batch_size: images per step, also of the training.
        on_batch: function called with the number of images done and the total number, while a
            trained model detects.
        say: function that gets lines of text to show.
        how_to_resume: a shell command that calls this function again.
        **settings: further arguments of `keras_det.training.train`, such as `epochs`.

    Returns:
        Of each image a dict of `boxes` xyxy in pixels of the original image, `scores`, `labels`.
        An image that cannot be read has none.

    Raises:
        DataError: the folder is of other data or settings, or as of `keras_det.training.train`.
    """
    folder = pathlib.Path(folder)
    parts = folds_of(dataset, folds, settings.get("seed", 0))
    kept = {key: value for key, value in settings.items() if key not in MAY_CHANGE}
    given = {"model": model, "folds": folds, "batch_size": batch_size, "settings": kept}
    claim(folder, {**given, "data": data_digest(dataset)})
    found: list[dict[str, Any]] = [nothing() for _ in range(len(dataset))]
    settings.update(batch_size=batch_size, how_to_resume=how_to_resume, say=say)
    for number, part in enumerate(parts, 1):
        run = folder / f"fold_{number}"
        if not os.path.lexists(run / FOUND):
            say(f"\nFold {number} of {folds}: judges {counted(len(part), 'image')}.")
            trained = _trained(model, dataset, part, run, settings)
            say(f"Detecting in the {counted(len(part), 'image')} of fold {number}.")
            indices, rows = detect_dataset(trained, dataset.select(part), batch_size, on_batch)
            images = dict(zip(part[indices].tolist(), rows, strict=True))
            write_json(run / FOUND, {str(key): _rounded(row) for key, row in images.items()})
        for index, row in read_object(run / FOUND, f"Remove {run}, and start again.").items():
            found[int(index)] = {key: np.array(value) for key, value in row.items()}
            found[int(index)]["boxes"] = found[int(index)]["boxes"].reshape(-1, 4)
    return found


def _trained(
    model: str, dataset: Dataset, part: np.ndarray, run: pathlib.Path, settings: dict[str, Any]
) -> Detector:
    """The model of one fold, which has not seen `part`; a training that was begun goes on."""
    rest = dataset.select(np.setdiff1d(np.arange(len(dataset)), part))
    train(model, rest, None, run, resume=os.path.lexists(run / RECIPE), **settings)
    return load_model(run / LAST)


def nothing() -> dict[str, Any]:
    """The detections of an image in which nothing was found."""
    return {"boxes": np.zeros((0, 4)), "scores": np.zeros(0), "labels": np.zeros(0, np.int64)}


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    boxes, scores = np.asarray(row["boxes"], np.float64), np.asarray(row["scores"], np.float64)
    return {"boxes": boxes.round(DIGITS), "scores": scores.round(5), "labels": row["labels"]}


def claim(folder: pathlib.Path, settings: dict[str, Any]) -> None:
    """Notes in a folder what is reviewed there; DataError if it holds something else."""
    settings = plain(settings)
    path = folder / SETTINGS
    if os.path.lexists(path):
        before = read_object(path, "Remove the folder, or choose another.")
        for key, value in settings.items():
            if before.get(key) != value:
                what = "labels or images" if key == "data" else f"{key}={before.get(key)}"
                raise DataError(
                    "A review that goes on must keep its data and its settings. Received: "
                    f"{folder}, the folder of a review with other {what}. Choose another folder "
                    "(--out), or give the same data and settings."
                )
        return
    if holds_something(folder, but=RUN_LOCK):
        raise DataError(
            f"--out must be a new or empty folder, or that of the same review. Received: {folder}. "
            "Choose another folder, or move the existing one away."
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, settings)
