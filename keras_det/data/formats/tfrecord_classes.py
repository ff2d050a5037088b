"""The classes of TFRecord files: label maps, texts of the objects, and what if they differ."""

import pathlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from keras_det.data.formats.label_map import LabelMap
from keras_det.data.formats.tfrecord_examples import LABEL, TEXT
from keras_det.data.notes import Note
from keras_det.errors import DataError
from keras_det.words import counted

Where = Callable[[int], str]
Classes = tuple[list[str], list[int | str], np.ndarray]


def by_label_map(
    labels: np.ndarray,
    texts: Sequence[str],
    label_map: LabelMap,
    where: Where,
    notes: list[Note],
) -> Classes:
    """Returns the names of the classes, their ids, and the index of each object's class.

    A text that the map knows decides: a number is easily off by one. Else the number decides.

    Raises:
        DataError: an object has neither a known number nor a known text.
    """
    ids = list(label_map)
    index = {number: i for i, number in enumerate(ids)}
    by_text: dict[str, int] = {}
    for i, entry in enumerate(label_map.values()):
        by_text.setdefault(entry.other, i)
    by_text.update({entry.name: i for i, entry in reversed(list(enumerate(label_map.values())))})
    by_text.pop("", None)
    own = np.array([index.get(int(label), -1) for label in labels], np.int64)
    told = np.array([by_text.get(text, -1) for text in texts], np.int64)
    same = np.array(
        [i >= 0 and text in label_map[ids[i]] for i, text in zip(own, texts, strict=True)], bool
    )
    unknown = np.flatnonzero((own < 0) & (told < 0))
    if len(unknown):
        raise _unknown(labels, texts, label_map, where(int(unknown[0])), int(unknown[0]))
    differ = np.flatnonzero((told >= 0) & ~same & (labels >= 0))
    if len(differ):
        notes.append(_contradiction(labels, texts, ids, told, differ, where))
    strange = np.flatnonzero((told < 0) & (np.array(texts, object) != ""))
    if len(strange):
        first = int(strange[0])
        text = f"Objects whose text is not in the label map: {len(strange)}. Their numbers are used"
        name = label_map[int(labels[first])].name
        place = f"{texts[first]!r} is {name!r} by its number {labels[first]}, {where(first)}"
        notes.append(Note("classes-contradict", text, len(strange), first=place))
    names = [entry.name for entry in label_map.values()]
    return names, list(ids), np.where((told >= 0) & ~same, told, own)


def _contradiction(
    labels: np.ndarray,
    texts: Sequence[str],
    ids: list[int],
    told: np.ndarray,
    differ: np.ndarray,
    where: Where,
) -> Note:
    first = int(differ[0])
    right = np.array(ids)[told[differ]]
    why = ""
    if (right == labels[differ] + 1).all():
        why = ": the labels count from 0, those of the label map from 1"
    differing = "differs from its text" if len(differ) == 1 else "differ from their text"
    text = f"{len(differ)} of {counted(len(labels), 'label')} {differing}{why}. The text is used"
    place = f"label {labels[first]}, text {texts[first]!r}, which has id {right[0]}, {where(first)}"
    return Note("classes-contradict", text, len(differ), len(labels), place)


def _unknown(
    labels: np.ndarray, texts: Sequence[str], label_map: LabelMap, where: str, row: int
) -> DataError:
    ids = sorted(label_map)
    label = "none" if labels[row] < 0 else str(labels[row])
    text = f" with the text {texts[row]!r}" if texts[row] else ""
    advice = "Add the class to the label map, or correct the label."
    if labels.min() == 0 and 0 not in label_map:
        advice = (
            "If the labels count from 0, lower every id of the label map by one. If 0 is the "
            "background, remove these objects."
        )
    return DataError(
        f"`{LABEL}` must be an id of the label map. Received: {label}{text} in {where}; the label "
        f"map has {counted(len(ids), 'id')} from {ids[0]} to {ids[-1]}. {advice}"
    )


def by_text(
    labels: np.ndarray,
    texts: Sequence[str],
    others: Callable[[], Iterable[tuple[int, str]]],
    where: Where,
    notes: list[Note],
    folder: pathlib.Path,
) -> Classes:
    """The same without a label map: the texts of all splits are the classes.

    Args:
        labels: of the objects, -1 where there is none.
        texts: of the objects.
        others: `others()` returns the pairs (label, text) of the other splits.
        where: names an object.
        notes: one is added.
        folder: where a label map may be written, for messages.

    Raises:
        DataError: an object has no text.
    """
    without = [i for i, text in enumerate(texts) if not text]
    if without:
        label = int(labels[without[0]])
        raise DataError(
            f"TFRecord files must come with a label map, or hold a text (`{TEXT}`) for each "
            f"object. Received: label {label} without text in {where(without[0])}, and no *.pbtxt. "
            f"Write {folder / 'label_map.pbtxt'} with an item for each class, such as: "
            f'item {{ id: {max(label, 1)} name: "cat" }}.'
        )
    pairs = set(zip(labels.tolist(), texts, strict=True))
    pairs |= {pair for pair in others() if pair[1]}
    names = sorted({text for _, text in pairs})
    numbers = [label for label, _ in pairs]
    paired = len(pairs) == len(names) and len(set(numbers)) == len(names) and -1 not in numbers
    ids: list[int | str] = list(names)
    how = "in the order of their names"
    if paired:  # each text has one number of its own
        ordered = sorted(pairs)
        names, ids = [text for _, text in ordered], [label for label, _ in ordered]
        how = "in the order of their labels"
    if names:
        text = f"No label map found: the class names are the objects' texts, {how}."
        notes.append(Note("classes-from", text))
    index = {name: i for i, name in enumerate(names)}
    return names, ids, np.array([index[text] for text in texts], np.int64)
