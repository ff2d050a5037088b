"""Reads the text files of a run folder. The error for a damaged file says what is wrong."""

import csv
import dataclasses
import hashlib
import json
import math
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from keras_det.errors import DataError
from keras_det.files import open_bytes, opening, plain, read_object, write_json
from keras_det.names import (
    ANCHOR_CHOICES,
    AUGMENT_NAMES,
    FREEZE_CHOICES,
    MAX_COUNT,
    MAX_SEED,
    RECIPE_NAMES,
    RESIZE_MODES,
)

RECIPE, HISTORY, REPORT = "recipe.json", "history.csv", "report"
CHECKSUM = "checksum"  # key in recipe.json: SHA-256 of its other values
CURE = "Restore it from a copy of the run, or start a new run without --resume."
LARGEST = 2**53  # whole numbers beyond it are not exact in JSON


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return _is_whole(value) and 1 <= value <= MAX_COUNT


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST


def _is_seed(value: Any) -> bool:
    return _is_whole(value) and value <= MAX_SEED


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value < math.inf


def _is_rate(value: Any) -> bool:
    return _is_number(value) and value <= 100


def _is_positive_rate(value: Any) -> bool:
    return _is_rate(value) and value > 0


def _is_share(value: Any) -> bool:
    return _is_number(value) and value < 1


def _is_size(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_count, value))


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_counts(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_number, value.values()))


def _is_changes(value: Any) -> bool:
    listed = isinstance(value, list) and all(map(_is_object, value))
    return listed and all(_is_whole(each.get("after_epoch")) for each in value)


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a value must be, in words, and the function that tells."""

    words: str
    holds: Callable[[Any], bool]


def _one_of(choices: tuple[str, ...]) -> Kind:
    return Kind(f"one of {', '.join(choices)}", lambda value: value in choices)


TEXT, COUNT = Kind("text", _is_text), Kind(f"a whole number from 1 to {MAX_COUNT:,}", _is_count)
RATE = Kind("a number from 0 to 100", _is_rate)
POSITIVE_RATE = Kind("a number above 0 and at most 100", _is_positive_rate)
STEPS = Kind("a whole number of at least 1", lambda value: _is_whole(value) and value >= 1)
SHARE = Kind("a number of at least 0 and below 1", _is_share)
WHOLE, NUMBER = Kind("a whole number", _is_whole), Kind("a number of at least 0", _is_number)
SIZE, OBJECT = Kind("[height, width] in pixels", _is_size), Kind("a JSON object", _is_object)
NAMES, COUNTS = Kind("a list of names", _is_names), Kind("a JSON object of numbers", _is_counts)
# What the values of recipe.json must be where they are there and not null.
KINDS = {
    **dict.fromkeys(("model", "weights", "augment"), TEXT),
    **{"resize_mode": _one_of(RESIZE_MODES), "recipe": _one_of(RECIPE_NAMES)},
    **dict.fromkeys(("epochs", "batch_size", "max_boxes", "evaluate_every", "patience"), COUNT),
    **dict.fromkeys(("training_images", "training_objects"), WHOLE),
    "seed": Kind(f"a whole number from 0 to {MAX_SEED}", _is_seed),
    **dict.fromkeys(("learning_rate", "backbone_rate"), RATE),
    **dict.fromkeys(("model_arguments", "data", "chosen", "weights_taken"), OBJECT),
    **{"image_size": SIZE, "class_names": NAMES, "objects_per_class": COUNTS},
    "changes": Kind("a list of JSON objects with `after_epoch`", _is_changes),
}
KINDS_OF_DATA = {
    **dict.fromkeys(("path", "format", "box_format", "sizes", "train_split", "val_split"), TEXT),
    **dict.fromkeys(("val_data", "held_out"), TEXT),
    **{"split_by": SHARE, "voc_first_pixel": WHOLE, "classes": NAMES, "images": COUNTS},
}
KINDS_OF_CHOSEN = {
    **{"name": _one_of(RECIPE_NAMES), "freeze": _one_of(FREEZE_CHOICES)},
    **{"anchors": _one_of(ANCHOR_CHOICES), "augment": _one_of(AUGMENT_NAMES)},
    **dict.fromkeys(("matcher", "class_loss", "box_loss"), TEXT),
    **dict.fromkeys(("batch_size", "epochs", "passes", "evaluate_every", "patience"), COUNT),
    "accumulate": COUNT,
    **dict.fromkeys(("warmup_steps", "heads_first", "plain_epochs"), WHOLE),
    **{"steps": STEPS, "learning_rate": POSITIVE_RATE, "backbone_rate": RATE},
    "average": SHARE,
    **{"calibrate": Kind("true or false", lambda value: isinstance(value, bool))},
    **{"image_size": SIZE},
}
# Values of `chosen` that must not be null.
NEVER_NULL = {
    *("name", "freeze", "anchors", "batch_size", "epochs", "passes", "evaluate_every", "calibrate"),
    *("accumulate", "steps", "heads_first", "plain_epochs", "backbone_rate"),
}
PARTS = (("", KINDS), ("data", KINDS_OF_DATA), ("chosen", KINDS_OF_CHOSEN))


def read_recipe(folder: str | os.PathLike, cure: str = CURE) -> dict[str, Any]:
    """Reads the recipe.json of a run folder.

    Args:
        folder: the run folder.
        cure: what to do where the file is damaged, a sentence.

    Raises:
        DataError: it is missing, damaged, or a value is of another kind than training writes.
    """
    path = pathlib.Path(folder) / RECIPE
    recipe = read_object(path, cure)
    for part, kinds in PARTS:
        content = recipe.get(part) or {} if part else recipe
        for name, kind in kinds.items():
            value = content.get(name)
            null = value is None and not (part == "chosen" and name in NEVER_NULL & content.keys())
            if not null and not kind.holds(value):
                where = f"`{name}` in `{part}`" if part else f"`{name}`"
                raise DataError(
                    f"{where} of {RECIPE} must be {kind.words}. Received: {value!r:.60} in {path}. "
                    f"{cure}"
                )
    return recipe


def write_recipe(folder: str | os.PathLike, recipe: dict[str, Any]) -> None:
    """Writes the recipe.json of a run folder, with a checksum of its values."""
    content = plain(recipe)
    content[CHECKSUM] = _checksum(content)
    write_json(pathlib.Path(folder) / RECIPE, content, durable=True)


def was_edited(recipe: Mapping[str, Any]) -> bool:
    """Whether the values of a recipe.json were changed after training wrote them.

    False for a file of an earlier version, which has no checksum.
    """
    return CHECKSUM in recipe and recipe[CHECKSUM] != _checksum(recipe)


def _checksum(recipe: Mapping[str, Any]) -> str:
    content = {name: value for name, value in recipe.items() if name != CHECKSUM}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_history(path: str | os.PathLike) -> list[dict[str, str]]:
    """Returns the rows of a `history.csv` as dicts of text; an empty list without a file.

    Raises:
        DataError: the file cannot be read, or is not a table that training wrote.
    """
    path = pathlib.Path(path)
    if not os.path.lexists(path):
        return []
    rule = f"{HISTORY} must be the table that training wrote"
    cure = "Restore it from a copy of the run, or start a new run in another folder."
    with opening(path, rule, cure), open_bytes(path) as file:
        lines = file.read().decode("utf-8-sig").splitlines()
        rows = list(csv.DictReader(lines, strict=True))
        if rows and "epoch" not in rows[0]:
            raise ValueError("it has no column `epoch`")
        for number, row in enumerate(rows):
            _check_row(row, number)
        epochs = [int(row["epoch"]) for row in rows]
        if epochs != sorted(set(epochs)):
            raise ValueError("its epochs do not rise from row to row")
    return rows


def _check_row(row: dict[str, Any], number: int) -> None:
    """ValueError for a row that training cannot have written."""
    if None in row or None in row.values():
        raise ValueError(f"row {number + 1} has more or fewer cells than the first line")
    for name, text in row.items():
        try:
            value = float(text or "nan")
        except ValueError:
            what = f"{name!r:.40} of row {number + 1} is {text!r:.40}, not a number"
            raise ValueError(what) from None
        if name.startswith("val_AP") and not -1 <= value <= 1 and not math.isnan(value):
            raise ValueError(f"{name!r:.40} of row {number + 1} is {text}, outside 0 to 1")
        if name == "epoch" and not (text.isascii() and text.isdigit() and 1 <= value < LARGEST):
            raise ValueError(f"the epoch of row {number + 1} is {text!r:.40}, not a whole number")
