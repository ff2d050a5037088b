"""`keras-det review RUN --unlabelled FOLDER`: which images to label next."""

import pathlib
from typing import TYPE_CHECKING, Any

import click

from keras_det.cli.command import echo, say
from keras_det.cli.detections import detections_of
from keras_det.cli.files import find_model, load_any_model, new_folder, say_where
from keras_det.cli.predict import thresholds_of
from keras_det.cli.prediction_files import encoded, shortened
from keras_det.errors import DataError
from keras_det.files import write_whole
from keras_det.words import counted

if TYPE_CHECKING:
    from keras_det.data import Dataset
    from keras_det.review.next_images import Uncertain

TABLE, PICTURES = "next.csv", "pictures"
SHOWN = 5  # images that are printed


def rank_unlabelled(
    model: str, unlabelled: str, out: str, to: str | None, pictures: int, batch_size: int
) -> None:
    """Ranks the images of a folder and writes next.csv, pictures and tasks.

    Args:
        model: the argument RUN.
        unlabelled, out, to, pictures, batch_size: the options.
    """
    from keras_det.video.sources import find_images

    folder = new_folder(out)
    paths = [str(path) for path in find_images([unlabelled])]
    detector = load_any_model(model)
    dataset = images_as_dataset(paths, detector.class_names)
    echo(f"Model: {find_model(model)}\nImages: {len(dataset):,}")
    indices, rows = detections_of(detector, dataset, batch_size, {}, "Detecting")
    from keras_det.review import rank_images

    dataset, thresholds = dataset.select(indices), thresholds_of(detector, None)
    ranked = rank_images(rows, thresholds)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / TABLE, table(dataset, ranked))
    echo("\nThe model is least sure about:")
    for rank, each in enumerate(ranked[:SHOWN], 1):
        found = counted(each.detections, "detection")
        echo(f"{rank}. {each.uncertainty:.2f}  {found}  {dataset.image_paths[each.image]}")
    draw(folder / PICTURES, dataset, ranked[:pictures], rows, thresholds)
    if to is not None:
        write_predicted(folder, dataset, ranked, rows, thresholds, to)
    say_where("Results", folder)


def images_as_dataset(paths: list[str], class_names: Any) -> "Dataset":
    """Images without objects. Those whose header cannot be read are left out, with a note."""
    import numpy as np

    from keras_det.data import Dataset, Sample
    from keras_det.data.image import read_size

    samples, problems = [], list[str]()
    none = np.zeros(0)
    for number, path in enumerate(paths):
        try:
            height, width = read_size(path)
        except (DataError, OSError) as error:
            problems.append(str(error))
            continue
        samples.append(Sample(path, none, none, none, none, (height, width), number))
    for problem in problems[:SHOWN]:
        echo(f"Note: left out: {problem}", err=True)
    if not samples:
        raise DataError(f"At least one image must be readable. {problems[0]}")
    if len(problems) > SHOWN:
        echo(f"Note: {len(problems)} images were left out.", err=True)
    return Dataset.from_samples(samples, class_names, name="unlabelled")


def table(dataset: "Dataset", ranked: "list[Uncertain]") -> bytes:
    """The content of next.csv."""
    from keras_det.report.tables import csv_bytes

    lines: list[list[object]] = [["rank", "uncertainty", "detections", "image"]]
    for rank, each in enumerate(ranked, 1):
        path = dataset.image_paths[each.image]
        lines.append([rank, f"{each.uncertainty:.4f}", each.detections, path])
    return csv_bytes(lines)


def draw(
    folder: pathlib.Path,
    dataset: "Dataset",
    ranked: "list[Uncertain]",
    rows: list[dict[str, Any]],
    thresholds: list[float],
) -> None:
    """Draws the first images with their detections, the least sure one too."""
    import numpy as np

    from keras_det.data.image import JPEG_SUFFIXES
    from keras_det.report.draw import draw_detections

    with click.progressbar(ranked, label="Drawing") as bar:
        for rank, each in enumerate(bar, 1):
            found, path = rows[each.image], pathlib.Path(dataset.image_paths[each.image])
            lowest = np.asarray(thresholds)[np.asarray(found["labels"], int)]
            scores = np.asarray(found["scores"])
            shown = scores >= lowest
            if each.most_uncertain is not None:
                shown[each.most_uncertain] = True
            kept = {key: np.asarray(value)[shown] for key, value in found.items()}
            suffix = ".jpg" if path.suffix.lower() in JPEG_SUFFIXES else ".png"
            name = f"{rank:04}_{shortened(path.stem)}{suffix}"
            image = draw_detections(dataset[each.image].read(), kept, dataset.class_names, 0.0)
            folder.mkdir(exist_ok=True)
            write_whole(folder / name, encoded(image, name))


def write_predicted(
    folder: pathlib.Path,
    dataset: "Dataset",
    ranked: "list[Uncertain]",
    rows: list[dict[str, Any]],
    thresholds: list[float],
    to: str,
) -> None:
    """Writes the images as tasks, labelled with what was detected above the thresholds."""
    from keras_det.review import predicted_tasks, write_tasks
    from keras_det.review.tasks import where_from

    tasks = predicted_tasks(dataset, ranked, rows, thresholds)
    path = write_tasks(folder, tasks, to)[0]
    say(f"Tasks: {path}, {where_from(tasks, to)}")
