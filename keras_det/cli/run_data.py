"""The data of a run: what to train and measure on, and what recipe.json notes about it."""

import os
import pathlib
from typing import TYPE_CHECKING, Any

import click

from keras_det.cli.command import given_options, user_input
from keras_det.cli.data_options import READING, check_classes, class_list
from keras_det.cli.files import run_of
from keras_det.errors import DataError
from keras_det.run_folder import RECIPE, read_recipe
from keras_det.words import counted

if TYPE_CHECKING:
    from keras_det.data import Dataset
    from keras_det.data.load import TrainAndVal
    from keras_det.data.raw import Opened

# What recipe.json notes of the options; not the folder of the images, which may move.
NOTED = ("format", "box_format", "sizes", "voc_first_pixel", "classes")
NOTED_SPLITS = ("train_split", "val_split", "split_by")
# What --split calls every image of DATA.
ALL = "all"


def training_data(
    ctx: click.Context, data: str, options: dict[str, Any], note: dict[str, Any]
) -> "tuple[TrainAndVal, dict[str, Any]]":
    """Reads what to train on and what to measure on.

    Args:
        ctx: of the command.
        data: the argument DATA.
        options: what the command line says about data; those that are data options are taken out.
        note: what recipe.json notes about the data of a run that is resumed; else empty.

    Returns:
        `(the data, what recipe.json is to note)`.
    """
    from keras_det.data.load import has_val, open_data

    val_data, no_val = options.pop("val_data"), options.pop("no_val")
    chosen = {name: options.pop(name) for name in (*READING, "classes", *NOTED_SPLITS)}
    _check_kept(ctx, note)
    given = given_options(ctx)
    chosen |= {name: note[name] for name in chosen if name in note and name not in given}
    names = chosen["classes"]
    chosen["classes"] = class_list(names) if isinstance(names, str) else names
    with user_input():
        opened = open_data(data, chosen["format"])
        if note and "held_out" not in note:  # no images were held out: none are from now on
            val_data = val_data or note.get("val_data")
            no_val = no_val or not (val_data or has_val(opened, name=chosen["val_split"] or "val"))
        found = _train_and_val(opened, None if no_val else val_data, no_val, chosen)
    if "held_out" in note and not is_held_out(found, note):
        raise _changed(data, note, found)
    noted = {name: chosen[name] for name in (*NOTED, "train_split", "val_split")}
    noted["val_data"] = str(pathlib.Path(val_data).absolute()) if val_data else None
    return found, _note_of(found, data, noted)


def _train_and_val(
    opened: "Opened", val_data: str | None, no_val: bool, chosen: dict[str, Any]
) -> "TrainAndVal":
    """Reads DATA and --val-data with the chosen options."""
    from keras_det.data.load import load_to_measure, load_train_and_val
    from keras_det.data.splitting import warn_of_common

    names = chosen["classes"]
    kept = {"class_names": names, "drop_other_classes": names is not None}
    reading = {name: chosen[name] for name in READING}
    splits = {name: chosen[name] for name in NOTED_SPLITS}
    if no_val or val_data:
        splits = {"train_split": chosen["train_split"], "with_val": False}
    found = load_train_and_val(opened, **splits, **kept, **reading)
    check_classes(found.train, opened, names, train_split=chosen["train_split"], **reading)
    if val_data:
        kept["class_names"] = found.train.class_names
        val, sentence = load_to_measure(val_data, chosen["val_split"], **kept, **reading)
        warn_of_common(found.train, val)
        found = found._replace(val=val, sentence=sentence)
    return found


def _check_kept(ctx: click.Context, note: dict[str, Any]) -> None:
    """DataError where a resumed run is given other data options than before."""
    if not note:
        return
    given = given_options(ctx)
    defaults = {"train_split": "train", "val_split": "val", "format": ctx.params["format"]}
    for name in (*NOTED, *NOTED_SPLITS):
        value, before = ctx.params[name], note.get(name, defaults.get(name))
        if name in given and (class_list(value) if name == "classes" else value) != before:
            raise DataError(
                f"A resumed run must keep its data. Received: --{name.replace('_', '-')} {value}, "
                f"but the run has {before if before is not None else 'none'}. Leave it out, or "
                "start a new run in another folder."
            )
    for name in ("no_val", "val_data"):
        if "held_out" in note and name in given:
            raise DataError(
                f"A resumed run must keep its data. Received: --{name.replace('_', '-')}, but the "
                "run evaluates on images of DATA that it has held out. Leave it out, or start a "
                "new run in another folder."
            )


def _note_of(found: "TrainAndVal", data: str, noted: dict[str, Any]) -> dict[str, Any]:
    """What recipe.json notes about the data of a run: how it was read and what was held out."""
    from keras_det.data.splitting import names_digest

    noted["path"] = str(pathlib.Path(data).absolute())
    if found.split_by is not None and found.val is not None:
        noted["split_by"] = found.split_by
        noted["held_out"] = names_digest(found.val)
        noted["images"] = {"training": len(found.train), "held out": len(found.val)}
    return {name: value for name, value in noted.items() if value is not None}


def note_of_run(folder: pathlib.Path) -> dict[str, Any]:
    """What recipe.json of a run notes about its data; empty where there is none.

    Raises:
        DataError: the file is damaged. Without it, other images could be measured.
    """
    if not os.path.lexists(folder / RECIPE):
        return {}
    return read_recipe(folder, "Restore it, or move it away to go on without it.").get("data") or {}


def data_to_measure(
    ctx: click.Context,
    model: str,
    data: str,
    split: str | None,
    class_names: "list[str] | None",
    options: dict[str, Any],
    default: str = "val",
) -> "tuple[Dataset, str]":
    """Reads a split, or the images that the run of MODEL has held out.

    Args:
        ctx: of the command.
        model: the argument MODEL; its run folder tells what was held out.
        data: the argument DATA.
        split: name of the split; "all": every image; None: `default`.
        class_names: of the model; None reads the data's.
        options: `READING` and "split_by", as given. Where DATA is the data of the run, what the run
            was given counts for those that are not given.
        default: "val", or "train" for images that the model was trained on.

    Returns:
        `(dataset, sentence)`; the sentence is to be shown, or empty.
    """
    from keras_det.data.load import has_val, load, load_to_measure, open_data
    from keras_det.data.reading import load_splits

    note, split_by = note_of_run(run_of(model)), options["split_by"]
    is_own = note.get("path") == str(pathlib.Path(data).absolute())
    reading = {name: options[name] for name in READING}
    if is_own:
        given = given_options(ctx)
        reading |= {n: note[n] for n in READING if n in note and n not in given}
    reading["class_names"] = class_names
    # A run that has learnt some of the classes is measured on these.
    reading["drop_other_classes"] = class_names is not None and "classes" in note
    with user_input():
        opened = open_data(data, reading["format"])
        if split_by is not None:
            return load(opened, split or default, split_by=split_by, **reading), ""
        if split == ALL:
            return next(iter(load_splits(opened, ALL, **reading)[0].values())), ""
        if "held_out" in note and split in (None, "val", "train"):
            if not has_val(opened):
                return _held_out(opened, data if is_own else None, split or default, note, reading)
        return load_to_measure(opened, split, default=default, **reading)


def _held_out(
    opened: "Opened", own: str | None, split: str, note: dict[str, Any], reading: dict[str, Any]
) -> "tuple[Dataset, str]":
    """The images that a run has held out, or all where DATA is other data than the run's.

    `own` is DATA where it is the data of the run, else None.
    """
    from keras_det.data.load import load_to_measure, load_train_and_val

    as_before = dict(reading)
    if "classes" in note:  # they take part in the making of the split
        as_before |= {"class_names": note["classes"], "drop_other_classes": True}
    try:
        found = load_train_and_val(
            opened, note.get("train_split"), split_by=note["split_by"], **as_before
        )
    except DataError:
        if own is not None:
            raise
        return load_to_measure(opened, None, default=split, **reading)  # other data, other splits
    if found.val is not None and is_held_out(found, note):
        if split == "train":
            return found.train, ""
        return found.val, f"Images held out by the run: {len(found.val)}."
    if own is not None:
        raise _changed(own, note, found)
    return load_to_measure(opened, None, default=split, **reading)


def is_held_out(found: "TrainAndVal", note: dict[str, Any]) -> bool:
    """Whether a split is that of the run."""
    from keras_det.data.splitting import names_digest

    return found.val is not None and names_digest(found.val) == note.get("held_out")


def _changed(data: str, note: dict[str, Any], found: "TrainAndVal") -> DataError:
    """The error for data that has changed since the run: other images would be held out."""
    before = note.get("images", {})
    now = len(found.train) + (0 if found.val is None else len(found.val))
    return DataError(
        "The images held out for validation must be those of the run. Received: "
        f"{data} with {counted(now, 'image')}; the run had {sum(before.values())}, of which it "
        f"held out {before.get('held out')}. The data has changed since, and other images would be "
        "held out. Restore the data of the run, or start a new run."
    )
