"""`keras-det review RUN DATA`: labels that are likely wrong, and images to label next."""

import os
import pathlib
import shlex
import sys
from typing import TYPE_CHECKING, Any

import click

from keras_det.cli.command import (
    IMAGE_SIZE,
    PATH,
    Command,
    echo,
    given_options,
    max_pixels_option,
    refuse_useless,
    say,
)
from keras_det.cli.data_options import READING, reading_options
from keras_det.cli.detections import detections_of, is_file
from keras_det.cli.files import find_model, load_any_model, new_folder, run_of, say_where
from keras_det.cli.model_names import PARAMETERS, ModelName, check_model_name
from keras_det.cli.numbers import MAX_BATCH, Real, Whole
from keras_det.cli.resuming import settings_of_run
from keras_det.cli.review_next import rank_unlabelled
from keras_det.cli.run_data import ALL, data_to_measure, note_of_run
from keras_det.cli.start import start_keras
from keras_det.errors import DataError
from keras_det.names import LIKELY_WRONG, TASK_FORMATS
from keras_det.run_folder import RECIPE, read_recipe
from keras_det.words import counted

if TYPE_CHECKING:
    import numpy as np

    from keras_det.data import Dataset
    from keras_det.review import LabelFinding

EXAMPLES = (
    "keras-det review run/ my_images/",
    "keras-det review run/ my_images/ --folds 4 --to label-studio",
    "keras-det review efficientdet_lite0 my_images/ --folds 2 --epochs 20",
    "keras-det review run/ --unlabelled photos/ --to cvat --out next/",
)
OF_FOLDS = ("epochs", "image_size", "learning_rate")
OF_LABELS = ("folds", "split", "min_score", *READING)
WEIGHTS = "auto"  # of a model that is given by name, as in `keras-det train`


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("run", type=ModelName(or_file=True))
@click.argument("data", type=PATH, required=False)
@click.option("--folds", type=Whole(2, 100), help="Number of trainings, one for each fold.")
@click.option("--epochs", type=Whole(1), show_default="as RUN", help="Epochs of each training.")
@click.option("--image-size", type=IMAGE_SIZE, show_default="as RUN", help="Input of the models.")
@click.option(
    "--learning-rate",
    type=Real(0, 100, open="least"),
    show_default="as RUN",
    help="Peak learning rate of each training.",
)
@click.option("--unlabelled", type=PATH, help="Folder of images without labels, to be ranked.")
@click.option("--split", show_default="all", help="Split of DATA to review; all: every image.")
@reading_options
@max_pixels_option()
@click.option("--batch-size", type=Whole(1, MAX_BATCH), default=8, help="Images per step.")
@click.option("--to", type=click.Choice(TASK_FORMATS), help="Also write tasks in this format.")
@click.option(
    "--min-score",
    type=Real(0, 1),
    default=LIKELY_WRONG,
    help="Lowest score of a finding in the tasks.",
)
@click.option("--pictures", type=Whole(0), default=100, help="Number of pictures to draw.")
@click.option("--out", type=PATH, default="review", help="Folder for the results.")
@click.pass_context
def review(
    ctx: click.Context,
    run: str,
    data: str | None,
    unlabelled: str | None,
    batch_size: int,
    out: str,
    to: str | None,
    pictures: int,
    **options: Any,
) -> None:
    """Finds labels that are likely wrong, or images to label next.

    RUN is a run folder, a .keras file or an exported file. DATA is the folder of a data set or an
    annotation file. Four kinds of errors are found: missing objects, labels without an object,
    wrong classes and badly placed boxes. The score, 0 to 1, says how likely the label is wrong.

    A model agrees with labels that it was trained on, even with wrong ones. With --folds K, K
    models are trained as RUN was, or with the default recipe if RUN is the name of a model. Each
    judges images that it was not trained on. After an interruption, the same command goes on.

    With --unlabelled FOLDER, the images of FOLDER are ranked: the model is least sure about the
    first ones.

    The folder --out then holds findings.csv, findings.json, and index.html with pictures. With
    --to, it also holds tasks for a labelling program, with the proposed corrections. With
    --unlabelled, it holds next.csv.
    """
    check_what(ctx, data, unlabelled)
    if data is None or unlabelled is not None:
        return rank_unlabelled(run, str(unlabelled), out, to, pictures, batch_size)
    reading = {name: options.pop(name) for name in READING}
    folder = pathlib.Path(out)
    if options["folds"] is None:
        found = with_model(ctx, run, data, folder, reading, batch_size)
    else:
        found = with_folds(ctx, run, data, folder, reading, batch_size)
    dataset, findings = found
    show(dataset, findings, options["min_score"])
    write(folder, dataset, findings, pictures)
    if to is not None:
        likely = [each for each in findings if each.score >= options["min_score"]]
        write_to(folder, dataset, likely, to)
    say_where("Results", folder)


def check_what(ctx: click.Context, data: str | None, unlabelled: str | None) -> None:
    """DataError unless there is either DATA or --unlabelled, with options that fit."""
    if (data is None) == (unlabelled is None):
        given = "neither" if data is None else f"{data} and --unlabelled {unlabelled}"
        raise DataError(
            "review needs either DATA, whose labels are reviewed, or --unlabelled with a folder of "
            f"images to rank. Received: {given}. Give one of them."
        )
    if unlabelled is not None:
        refuse_useless(ctx, (*OF_LABELS, *OF_FOLDS), "with --unlabelled", "give DATA instead")
    if ctx.params["folds"] is None:
        if ctx.params["run"] in PARAMETERS and data is not None:
            raise DataError(
                "RUN must be a trained model unless --folds is given. Received: "
                f"{ctx.params['run']}, the name of an untrained model. Give --folds 4 to train it."
            )
        refuse_useless(ctx, OF_FOLDS, "without --folds", "give --folds")
    if ctx.params["to"] is None:
        refuse_useless(ctx, ("min_score",), "without --to", "give --to")


def with_model(
    ctx: click.Context,
    model: str,
    data: str,
    folder: pathlib.Path,
    reading: dict[str, Any],
    batch_size: int,
) -> "tuple[Dataset, list[LabelFinding]]":
    """Reviews the labels with one model."""
    new_folder(folder)
    detector = load_any_model(model)
    if is_file(detector):
        refuse_useless(ctx, ("batch_size",), "for an exported file", "give a Keras model")
    names = list(detector.class_names)
    split = ctx.params["split"] or ALL
    wanted = {**reading, "split_by": None}
    dataset, _ = data_to_measure(ctx, model, data, split, names, dict(wanted))
    echo(f"Model: {find_model(model)}\n{dataset.summary}")
    trained_on = trained_images(ctx, model, data, dataset, names, wanted)
    indices, rows = detections_of(detector, dataset, batch_size, {}, "Detecting")
    from keras_det.review import find_label_errors

    truth = dataset.ground_truth(indices)
    return dataset, find_label_errors(truth, rows, names, trained_on=trained_on[indices])


def trained_images(
    ctx: click.Context,
    model: str,
    data: str,
    dataset: "Dataset",
    names: list[str],
    reading: dict[str, Any],
) -> "np.ndarray":
    """Which images the model was trained on, bool `(images,)`; says what that means."""
    import numpy as np

    own = note_of_run(run_of(model)).get("path") == str(pathlib.Path(data).absolute())
    if not own:
        note = "It is not known whether the model was trained on these images. If it was, it"
        echo(f"Note: {note} agrees with most of their labels, even with wrong ones.", err=True)
        return np.zeros(len(dataset), bool)
    train, _ = data_to_measure(ctx, model, data, "train", names, dict(reading))
    known = set(map(os.path.realpath, train.image_paths))
    seen = np.array([os.path.realpath(path) in known for path in dataset.image_paths], bool)
    if seen.any():
        echo(
            f"Note: the model was trained on {seen.sum():,} of {counted(len(seen), 'image')}. It "
            "agrees with most of their labels, even with wrong ones: few errors are found there. "
            "--folds finds them.",
            err=True,
        )
    return seen


def with_folds(
    ctx: click.Context,
    model: str,
    data: str,
    folder: pathlib.Path,
    reading: dict[str, Any],
    batch_size: int,
) -> "tuple[Dataset, list[LabelFinding]]":
    """Reviews the labels with models that were not trained on them."""
    settings, names = settings_of_folds(ctx, model)
    if "batch_size" not in given_options(ctx):
        batch_size = settings.get("batch_size") or batch_size
    settings.pop("batch_size", None)
    split = ctx.params["split"] or ALL
    wanted = {**reading, "split_by": None}
    dataset, _ = data_to_measure(ctx, model, data, split, names, wanted)
    echo(dataset.summary)
    start_keras()
    from keras_det.review import find_label_errors, out_of_fold_detections

    found = out_of_fold_detections(
        settings.pop("model"),
        dataset,
        folder,
        ctx.params["folds"],
        batch_size=batch_size,
        on_batch=None,
        say=say,
        how_to_resume=shlex.join(["keras-det", *sys.argv[1:]]),
        **settings,
    )
    return dataset, find_label_errors(dataset.ground_truth(), found, dataset.class_names)


def settings_of_folds(ctx: click.Context, model: str) -> "tuple[dict[str, Any], list[str] | None]":
    """The arguments of the trainings, and the classes; None for those of the data."""
    given = {name: ctx.params[name] for name in OF_FOLDS if ctx.params[name] is not None}
    if not pathlib.Path(model).exists():
        check_model_name(model)
        return {"model": model, "weights": WEIGHTS, **given}, None
    home = run_of(model)
    if not (home / RECIPE).exists():
        raise DataError(
            f"--folds trains models as RUN was trained, which its {RECIPE} says. Received: "
            f"{model}, without one. Give a run folder, or the name of a model (`keras-det info`)."
        )
    settings = settings_of_run(home, ctx, {})
    return {**settings, **given}, read_recipe(home).get("class_names")


def show(dataset: "Dataset", findings: "list[LabelFinding]", least: float) -> None:
    """Prints the number of findings of each kind, and the first ones."""
    from keras_det.review.finding import WORDS
    from keras_det.review.results import counts_of

    likely = f"score {least:g} or more"
    echo(f"\n{'kind':<20} {'findings':>9}  {likely:>18}")
    for kind, (count, above) in counts_of(findings, least).items():
        echo(f"{WORDS[kind]:<20} {count:>9,}  {above:>18,}")
    if findings:
        echo("\nThe most likely errors:")
    for rank, each in enumerate(findings[:5], 1):
        name = os.path.basename(dataset.image_paths[each.image])
        echo(f"{rank}. {each.score:.2f}  {each.text(dataset.class_names)}  {name}")


def write(
    folder: pathlib.Path, dataset: "Dataset", findings: "list[LabelFinding]", pictures: int
) -> None:
    """Writes tables, pictures and the page, with a progress bar."""
    from keras_det.review import write_findings

    folder.mkdir(parents=True, exist_ok=True)
    length = min(pictures, len(findings))
    with click.progressbar(length=length, label="Drawing") as bar:
        write_findings(
            folder, dataset, findings, pictures, lambda done, _: bar.update(done - bar.pos)
        )


def write_to(
    folder: pathlib.Path, dataset: "Dataset", findings: "list[LabelFinding]", to: str
) -> None:
    """Writes the proposals of the findings as tasks, and says how to open them."""
    from keras_det.review import tasks_of, write_tasks
    from keras_det.review.tasks import where_from

    # A COCO file can take the place of that of the data set.
    tasks = tasks_of(dataset, findings, all_images=to == "coco")
    path = write_tasks(folder, tasks, to)[0]
    say(f"Tasks: {path}, {where_from(tasks, to)}")
