"""Which class outputs of a public file are the classes of a model."""

from collections.abc import Sequence

from keras_det.errors import DataError
from keras_det.weights.coco_classes import COCO_CLASSES

# Class outputs of a network trained on COCO's category ids: 0 is background, 11 ids are not used.
COCO_OUTPUTS = 91


def classes_of(num_outputs: int) -> dict[int, str]:
    """Maps the class outputs that mean something to their names; output 0 is background."""
    if num_outputs == COCO_OUTPUTS:
        return dict(COCO_CLASSES)
    return {i: f"class_{i - 1}" for i in range(1, num_outputs)}


def class_outputs(
    class_names: Sequence[str], num_outputs: int, classes: Sequence[int] | None = None
) -> list[int] | None:
    """The file's class output for each class of a model, None where their names do not tell.

    By name where the file's classes have names; in order where the model's have none (`class_0` …)
    or the file's have none, and there are as many.

    Args:
        class_names: the model's classes.
        num_outputs: class outputs of the file, with background.
        classes: the answer, where it is known; it is only checked then.

    Raises:
        DataError: `classes` does not hold one output of the file for each class.
    """
    known = classes_of(num_outputs)
    if classes is not None:
        rows = [int(index) for index in classes]
        if len(rows) != len(class_names) or not all(0 <= row < num_outputs for row in rows):
            raise DataError(
                f"`classes` must hold one output of the file, 0 to {num_outputs - 1}, for each of "
                f"the {len(class_names)} classes of the model. Received: {rows}. Leave it out to "
                "go by the names."
            )
        return rows
    if num_outputs == COCO_OUTPUTS:
        by_name = {name: index for index, name in known.items()}
        if all(name in by_name for name in class_names):
            return [by_name[name] for name in class_names]
        if list(class_names) != [f"class_{i}" for i in range(len(known))]:
            return None
    return list(known) if len(class_names) == len(known) else None
