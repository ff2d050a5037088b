"""The classes of a data set: their names, order and ids."""

from collections.abc import Sequence

import numpy as np

from keras_det.data.raw import RawAnnotations, ReadOptions
from keras_det.errors import DataError, suggest


def map_classes(
    raw: RawAnnotations, options: ReadOptions
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Chooses the class order and rewrites `raw.labels` in it.

    Args:
        raw: its labels are indices into its class names.
        options: `class_names` wanted by the caller, and `drop_other_classes`.

    Returns:
        `(class_names, category_ids)`. A class that the source does not have gets the id -1.

    Raises:
        DataError: a name occurs twice, or an object has a class that is not wanted.
    """
    names = tuple(raw.class_names) if options.class_names is None else options.class_names
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(
            f"`class_names` must differ from each other. Received: {repeated[0]!r} more than once "
            f"for {raw.source}. Rename one of them."
        )
    label_of = {name: label for label, name in enumerate(names)}
    new = np.array([label_of.get(name, -1) for name in raw.class_names], np.int64)
    labels = new[raw.labels] if len(new) else raw.labels
    if (labels < 0).any():
        row = int(np.flatnonzero(labels < 0)[0])
        raise unknown_class(raw.class_names[raw.labels[row]], raw.where(row), names)
    raw.labels = labels
    ids = dict(zip(raw.class_names, raw.category_ids, strict=True))
    return names, tuple(ids.get(name, -1) for name in names)


def unknown_class(name: str, where: str, class_names: Sequence[str]) -> DataError:
    """Makes the error for an annotated class that is not in `class_names`."""
    shown = ", ".join(class_names[:8]) + (", …" if len(class_names) > 8 else "")
    return DataError(
        f"Every annotated class must be one of `class_names` ({shown}). Received: {name!r} in "
        f"{where}.{suggest(name, class_names)} Correct the annotation, or add the name to "
        "`class_names` (Pascal VOC: to class_names.txt)."
    )
