"""`keras-det compare A B DATA`: two models on the same images."""

import os
import pathlib
from typing import TYPE_CHECKING, Any

import click

from keras_det.cli.command import PATH, Command, echo, max_pixels_option, refuse_useless
from keras_det.cli.data_options import READING, SPLIT_BY, reading_options
from keras_det.cli.detections import detections_of, is_file
from keras_det.cli.files import find_model, load_any_model, new_folder, run_of, say_where
from keras_det.cli.numbers import MAX_BATCH, Whole
from keras_det.cli.predict import thresholds_of
from keras_det.cli.prediction_files import encoded
from keras_det.cli.run_data import data_to_measure, note_of_run
from keras_det.errors import DataError
from keras_det.files import write_json, write_whole
from keras_det.words import counted

if TYPE_CHECKING:
    import numpy as np

    from keras_det.data import Dataset
    from keras_det.training.comparing import Comparison

EXAMPLES = (
    "keras-det compare run_1/ run_2/ my_images/",
    "keras-det compare run/ run/exports/model_int8.tflite my_images/ --split test",
    "keras-det compare a.keras b.keras my_images/ --out compared/",
)
PICTURES = 12  # images that are drawn: half where A is better, half where B is


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("first", metavar="A", type=PATH)
@click.argument("second", metavar="B", type=PATH)
@click.argument("data", type=PATH)
@click.option("--split", show_default="val", help="Split of DATA to compare on; all: every image.")
@SPLIT_BY
@reading_options
@max_pixels_option()
@click.option("--batch-size", type=Whole(1, MAX_BATCH), default=8, help="Images per step.")
@click.option("--resamples", type=Whole(100, 100_000), default=1000, help="Bootstrap resamples.")
@click.option("--out", type=PATH, help="Folder for the figures as JSON and CSV, and for pictures.")
@click.pass_context
def compare(
    ctx: click.Context,
    first: str,
    second: str,
    data: str,
    split: str | None,
    batch_size: int,
    resamples: int,
    out: str | None,
    **options: Any,
) -> None:
    """Says whether model B is better than model A on DATA.

    A and B are .keras files, run folders, preset folders or exported files with the same classes.
    DATA is the folder of a data set or an annotation file. If a run held out images of DATA, A and
    B are compared on these; if both runs did, on the images that both held out.

    Prints the AP of both for each class, the difference, and its 95% interval (paired bootstrap
    over the images). * marks an interval that does not contain 0. With --out, compare.json
    holds the figures, images.csv the errors in each image, and pictures/ the images in which the
    two differ most: A on the left, B on the right.
    """
    folder = None if out is None else new_folder(out)
    reading = {name: options.pop(name) for name in (*READING, "split_by")}
    detectors = [load_any_model(each) for each in (first, second)]
    if all(map(is_file, detectors)):
        refuse_useless(ctx, ("batch_size",), "for two exported files", "compare a Keras model")
    check_same_classes(detectors, (first, second))
    names = list(detectors[0].class_names)
    dataset, _ = data_to_measure(ctx, first, data, split, names, dict(reading))
    if held_out_by(first) != held_out_by(second):
        other, _ = data_to_measure(ctx, second, data, split, names, dict(reading))
        dataset = common_images(dataset, other, (first, second))
    for letter, path in zip("AB", (first, second), strict=True):
        echo(f"{letter}: {find_model(path)}")
    echo(f"Images: {len(dataset):,}\n")
    found = [
        detections_of(each, dataset, batch_size, {}, f"Detecting with {letter}")
        for letter, each in zip("AB", detectors, strict=True)
    ]
    compared, indices, rows = measured(dataset, found, detectors, resamples)
    echo(f"\n{compared.text()}")
    if folder is not None:
        write_results(folder, compared, dataset, indices, rows, detectors)
        say_where("Results", folder)


def check_same_classes(detectors: list[Any], paths: tuple[str, str]) -> None:
    """Raises a DataError if two models do not have the same classes in the same order."""
    first, second = (list(each.class_names) for each in detectors)
    if first == second:
        return
    if sorted(first) == sorted(second):
        what = "the same names in another order"
    else:
        only = sorted(set(first) ^ set(second))
        what = f"{', '.join(only[:5])}{' …' if len(only) > 5 else ''} in only one of them"
    raise DataError(
        f"A and B must have the same classes in the same order. Received: {paths[0]} with "
        f"{counted(len(first), 'class', 'classes')} and {paths[1]} with {len(second)}, {what}. "
        "Evaluate each by itself (keras-det evaluate)."
    )


def held_out_by(model: str) -> Any:
    """What recipe.json of a model's run says about the held-out images; None if nothing."""
    return note_of_run(run_of(model)).get("held_out")


def common_images(first: "Dataset", second: "Dataset", paths: tuple[str, str]) -> "Dataset":
    """The images that are in both data sets: the runs may have held out different ones.

    Args:
        first, second: what A, and what B, is measured on.
        paths: of A and B.
    """
    known = set(map(os.path.realpath, second.image_paths))
    kept = [i for i, path in enumerate(first.image_paths) if os.path.realpath(path) in known]
    if len(kept) == len(first) == len(second):
        return first
    if not kept:
        raise DataError(
            "Two models are compared on images that neither was trained on. Received: "
            f"{paths[0]} and {paths[1]}, whose runs held out no image of DATA in common. Give "
            "other data, or --split all to compare on every image."
        )
    echo(
        f"The runs held out different images: {len(first):,} and {len(second):,}. A and B are "
        f"compared on the {len(kept):,} that are in both."
    )
    return first.select(kept)


def measured(
    dataset: "Dataset", found: list[Any], detectors: list[Any], resamples: int
) -> "tuple[Comparison, list[int], list[list[dict[str, Any]]]]":
    """Compares what both have found in the images that both could read.

    Returns:
        `(comparison, indices, detections)`: the images, and what A and B have found in each.
    """
    from keras_det.training.comparing import compare as compared

    tables = [dict(zip(indices, rows, strict=True)) for indices, rows in found]
    indices = sorted(tables[0].keys() & tables[1].keys())
    first, second = ([table[index] for index in indices] for table in tables)
    thresholds = [getattr(each, "score_thresholds", None) for each in detectors]
    names = detectors[0].class_names
    truth = dataset.ground_truth(indices)
    comparison = compared(truth, first, second, names, thresholds, resamples)
    return comparison, indices, [first, second]


def write_results(
    folder: pathlib.Path,
    compared: "Comparison",
    dataset: "Dataset",
    indices: list[int],
    rows: list[list[dict[str, Any]]],
    detectors: list[Any],
) -> None:
    """Writes compare.json, images.csv and the pictures."""
    from keras_det.report.tables import csv_bytes

    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    write_json(folder / "compare.json", compared.as_dict())
    lines: list[list[Any]] = [["image", "errors_A", "errors_B"]]
    for place, index in enumerate(indices):
        lines.append([dataset.image_paths[index], *compared.errors[:, place].tolist()])
    write_whole(folder / "images.csv", csv_bytes(lines))
    for rank, place in enumerate(compared.most_different(PICTURES), 1):
        first, second = compared.errors[:, place].tolist()
        winner = "A" if first < second else "B"
        path = dataset.image_paths[indices[place]]
        name = f"{rank:02}_{winner}_better_{pathlib.Path(path).stem[:100]}.jpg"
        pair = [each[place] for each in rows]
        picture = both_drawn(dataset[indices[place]].read(), pair, detectors)
        write_whole(folder / "pictures" / name, encoded(picture, name))


def both_drawn(
    image: "np.ndarray", pair: list[dict[str, Any]], detectors: list[Any]
) -> "np.ndarray":
    """What A has found in an image on the left, and what B has found on the right."""
    from keras_det.report.draw import draw_detections, side_by_side

    drawn = []
    for found, detector in zip(pair, detectors, strict=True):
        own = thresholds_of(detector, None)
        drawn.append(draw_detections(image, found, detector.class_names, own, show_best=True))
    return side_by_side(*drawn)
