"""The end of a run: calibrates and measures the models, prints the results, draws pictures."""

import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_det.data.dataset import Dataset
from keras_det.files import room_for, write_json
from keras_det.models import Detector, load_model
from keras_det.run_folder import HISTORY, RECIPE, REPORT, read_history, read_recipe
from keras_det.training.calibration import calibrate
from keras_det.training.evaluate import Measured, measure, provenance
from keras_det.training.pictures import truth_and_found
from keras_det.training.report import write_report
from keras_det.training.states import save_averaged, save_whole

MAX_PICTURES = 8


def finish(
    model: Detector,
    validation_set: Dataset | None,
    out: pathlib.Path,
    batch_size: int,
    say: Callable[[str], object],
    calibrated: bool = False,
) -> dict[str, Any]:
    """Saves `last.keras` with averaged weights, measures it and draws pictures.

    Both `last.keras` and `best.keras` get the best threshold of each class.

    Args:
        model: the trained detector.
        validation_set: the data to measure and draw, or None.
        out: the run folder.
        batch_size: images per call.
        say: function that gets the lines of text to show.
        calibrated: whether the class biases are shifted first; see `calibrate`.

    Returns:
        COCO's metrics, what `Measured.as_metrics` adds, and `measured`; `{}` without a validation
        set.
    """
    save_averaged(model, out / "last.keras")
    model = load_model(out / "last.keras")
    if validation_set is None:
        write_json(out / "metrics.json", {})
        return {}
    say("Measuring on the validation set.")
    best = _other_best(model, out / "best.keras")
    found = _measured(model, validation_set, batch_size, calibrated)
    save_whole(model, out / "last.keras")
    other = None if best is None else _measured(best, validation_set, batch_size, calibrated)
    if (out / "best.keras").exists():
        save_whole(model if best is None else best, out / "best.keras")
    about = provenance("last.keras", validation_set, found.facts.images)
    metrics = {**found.as_metrics(), "measured": about}
    write_json(out / "metrics.json", metrics)
    say(found.text("validation set"))
    if other is not None:
        say(
            "These figures are of last.keras. best.keras, which evaluate, predict and export take, "
            f"has AP {other.metrics['AP']:.3f} on the same images."
        )
    _draw(model, validation_set, out / "pictures")
    name = "last.keras" if other is None else "best.keras"
    page = write_report(
        out / REPORT,
        found if other is None else other,
        validation_set,
        model.class_names,
        name,
        (model if best is None else best).score_thresholds,
        read_history(out / HISTORY) if (out / HISTORY).exists() else [],
        read_recipe(out) if (out / RECIPE).exists() else None,
    )
    say(f"Report with all images and errors (open it in a browser): {page}")
    return metrics


def _measured(model: Detector, dataset: Dataset, batch_size: int, calibrated: bool) -> Measured:
    """Measures a model and sets its thresholds; shifts its class biases first if asked to."""
    if calibrated:
        return calibrate(model, dataset, batch_size)
    found = measure(model, dataset, batch_size)
    model.score_thresholds = found.score_thresholds()
    return found


def _other_best(model: Detector, path: pathlib.Path) -> Detector | None:
    """The model of `best.keras` if it has other weights than `model`."""
    if not path.exists():
        return None
    best = load_model(path)
    pairs = zip(model.get_weights(), best.get_weights(), strict=True)
    return None if all(np.array_equal(a, b) for a, b in pairs) else best


def _draw(model: Detector, dataset: Dataset, folder: str | os.PathLike) -> None:
    """Draws the first images: the ground truth on the left, the detections on the right."""
    from PIL import Image

    folder = pathlib.Path(folder)
    folder.mkdir(exist_ok=True)
    for index in range(min(MAX_PICTURES, len(dataset))):
        sample = dataset[index]
        picture = truth_and_found(model, sample)
        if picture is None:
            continue
        name = f"{pathlib.Path(sample.image_path).stem}.jpg"
        with room_for(folder / name, picture.nbytes // 10):
            Image.fromarray(picture).save(folder / name, quality=92)
