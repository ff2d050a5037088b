"""Which class outputs of a public file are the classes of a model.

Files of two kinds know COCO's classes: those with 91 outputs (background, then the ids 1 to 90) and
those with 90 (the ids alone). `class_outputs` serves files with background and takes all classes or
none; `class_rows` serves files without and goes class by class.
"""

from collections.abc import Sequence

import numpy as np

from keras_det.errors import DataError
from keras_det.names import NUM_COCO_IDS
from keras_det.weights.common.coco_classes import COCO_CLASSES
from keras_det.words import counted

# Outputs of a network trained on COCO's ids: output 0 is background.
NUM_COCO_OUTPUTS_WITH_BACKGROUND = NUM_COCO_IDS + 1


def classes_of(num_outputs: int) -> dict[int, str]:
    """Maps the class outputs that stand for a class to its name; output 0 is background."""
    if num_outputs == NUM_COCO_OUTPUTS_WITH_BACKGROUND:
        return dict(COCO_CLASSES)
    return {i: f"class_{i - 1}" for i in range(1, num_outputs)}


def class_outputs(
    class_names: Sequence[str], num_outputs: int, classes: Sequence[int] | None = None
) -> list[int] | None:
    """The file's class output for each class of a model, None where it cannot be known.

    Classes are matched by name if the file's classes have names. They are matched in order if the
    model's classes have none (`class_0` …), or the file's have none, and the numbers are equal.

    Args:
        class_names: the model's classes.
        num_outputs: class outputs of the file, with background.
        classes: the answer, if you know it. It is then only checked.

    Raises:
        DataError: `classes` does not hold one output of the file for each class.
    """
    known = classes_of(num_outputs)
    if classes is not None:
        rows = [int(index) for index in classes]
        if len(rows) != len(class_names) or not all(0 <= row < num_outputs for row in rows):
            raise DataError(
                f"`classes` must hold one output of the file, 0 to {num_outputs - 1}, for each "
                f"class of the model ({len(class_names)} in all). Received: {rows}. Leave it out "
                "to match classes by name."
            )
        return rows
    if num_outputs == NUM_COCO_OUTPUTS_WITH_BACKGROUND:
        by_name = {name: index for index, name in known.items()}
        if all(name in by_name for name in class_names):
            return [by_name[name] for name in class_names]
        if list(class_names) != [f"class_{i}" for i in range(len(known))]:
            return None
    return list(known) if len(class_names) == len(known) else None


def names_of_outputs(
    num_outputs: int, source_class_names: Sequence[str | None] | None = None
) -> list[str | None] | None:
    """The name of each class output of a file without background, None where none is known.

    Args:
        num_outputs: class outputs of the file.
        source_class_names: the answer, if you know it. It is then only checked. Default: COCO's
            names for 90 outputs, None for the ids that are not used.

    Raises:
        DataError: `source_class_names` does not hold one name for each output, all different.
    """
    if source_class_names is None:
        coco = [COCO_CLASSES.get(k + 1) for k in range(NUM_COCO_IDS)]
        return coco if num_outputs == NUM_COCO_IDS else None
    names = list(source_class_names)
    given = [name for name in names if name is not None]
    if len(names) != num_outputs or len(set(given)) != len(given):
        raise DataError(
            "`source_class_names` must hold one name, or None, for each class "
            f"output of the file ({num_outputs} in all), and no name twice. Received: "
            f"{counted(len(names), 'name')}, {len(set(given))} of them different. Leave it out if "
            "you do not know the names."
        )
    return names


def class_rows(
    class_names: Sequence[str], num_outputs: int, names: Sequence[str | None] | None
) -> list[int | None]:
    """The file's class output for each class of a model, class by class.

    Classes are matched in order if the numbers are equal and one side has no names (the model's are
    `class_0` …). Otherwise they are matched by name.

    Args:
        class_names: the model's classes.
        num_outputs: class outputs of the file, without background.
        names: their names, from `names_of_outputs`.

    Returns:
        list with one output for each class, None where the file has none for it.
    """
    unnamed = list(class_names) == [f"class_{i}" for i in range(num_outputs)]
    if unnamed or (names is None and len(class_names) == num_outputs):
        return list(range(num_outputs))
    known = {name: k for k, name in enumerate(names or ()) if name is not None}
    return [known.get(name) for name in class_names]


def class_sources(
    class_names: Sequence[str],
    rows: Sequence[int | None],
    names: Sequence[str | None] | None,
) -> dict[str, str | None]:
    """Where each class of a model comes from, for `LoadReport.classes`.

    Args:
        class_names: the model's classes.
        rows: output of the file for each class, from `class_rows`.
        names: the names of the file's outputs, where they are known.
    """
    return {
        name: None if row is None else (names[row] if names else None) or f"output {row}"
        for name, row in zip(class_names, rows, strict=True)
    }


def picked_outputs(
    ours: np.ndarray,
    theirs: np.ndarray,
    rows: Sequence[int | None],
    num_outputs: int,
    order: Sequence[int] | slice = slice(None),
) -> np.ndarray:
    """A class prediction with the file's outputs for the classes that the file has.

    Args:
        ours: the model's array `(…, anchors * classes)`, kept for classes without an output.
        theirs: the file's array `(…, anchors * num_outputs)`.
        rows: output of the file for each class, from `class_rows`.
        num_outputs: class outputs of the file.
        order: for each anchor of a cell of the model the file's.

    Returns:
        Array of the shape of `ours`, float32.
    """
    mine = np.array(ours, "float32").reshape(*ours.shape[:-1], -1, len(rows))
    theirs = theirs.reshape(*theirs.shape[:-1], -1, num_outputs)[..., order, :]
    matched = [i for i, row in enumerate(rows) if row is not None]
    mine[..., matched] = theirs[..., [row for row in rows if row is not None]]
    return mine.reshape(ours.shape)
