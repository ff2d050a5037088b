"""The classes of a data set: their names, order and ids."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from keras_det.data.image_names import shown
from keras_det.data.notes import Note
from keras_det.data.raw import RawAnnotations, ReadOptions
from keras_det.errors import DataError, suggest
from keras_det.words import counted

# Letters without width, such as the mark of the byte order.
INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060"
# Notes name no more than this number of cases.
SHOWN = 3
# Far more than any public data set has; V3Det has 13,204. A larger number is the number of objects.
MAX_CLASSES = 100_000
SEPARATORS = re.compile(r"[\s_-]+")


def map_classes(
    raw: RawAnnotations, options: ReadOptions
) -> tuple[tuple[str, ...], tuple[int | str, ...]]:
    """Chooses the class order and rewrites `raw.labels` in it.

    Spaces around names do not count, nor how accents are encoded. Names that are equal then become
    one class, with a note.

    Args:
        raw: its labels are indices into its class names. Objects of other classes are removed
            where the caller wants it.
        options: `class_names` wanted by the caller, and `drop_other_classes`.

    Returns:
        `(class_names, category_ids)`. A class that the source does not have gets the id -1.

    Raises:
        DataError: a name is empty, holds a line break or occurs twice, there are more than
            `MAX_CLASSES`, or an object has a class that is not wanted.
    """
    _check_number(raw.class_names, raw.source)
    counts = np.bincount(raw.labels, minlength=len(raw.class_names))
    wanted = options.class_names
    names = _own(raw, counts) if wanted is None else _wanted(raw, wanted)
    label_of = {clean_name(name): label for label, name in enumerate(names)}
    label_of |= {name: label for label, name in enumerate(names)}
    new = [label_of.get(name, label_of.get(clean_name(name), -1)) for name in raw.class_names]
    _check_others(raw, options, np.array(new, np.int64), names)
    if new:
        raw.labels = np.array(new, np.int64)[raw.labels]
    ids: dict[int, int | str] = {}
    for label, number in zip(new, raw.category_ids, strict=True):
        ids.setdefault(label, number)
    return tuple(names), tuple(ids.get(label, -1) for label in range(len(names)))


def _check_number(class_names: Sequence[str], source: str) -> None:
    """DataError for more classes than a data set has."""
    if len(class_names) > MAX_CLASSES:
        some = ", ".join(map(shown, class_names[:SHOWN]))
        raise DataError(
            f"A data set must have at most {MAX_CLASSES:,} classes. Received: "
            f"{len(class_names):,} ({some}, …) in {source}. If every object has a name of its own, "
            "use the name of its kind instead."
        )


def clean_name(name: str) -> str:
    """The name without spaces around it, and with accents encoded in one way."""
    text = without_blanks(name)
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def without_blanks(name: str) -> str:
    """The name without spaces and zero-width characters around it."""
    text = name.strip()
    return text if text.isascii() else text.strip(INVISIBLE).strip()


def unknown_class(name: str, where: str, class_names: Sequence[str]) -> DataError:
    """Makes the error for an annotated class that is not in `class_names`."""
    some = ", ".join(class_names[:8]) + (", …" if len(class_names) > 8 else "")
    return DataError(
        f"Every annotated class must be one of `class_names` ({some}). Received: {name!r} in "
        f"{where}.{suggest(name, class_names)} Correct the annotation, or add the class to "
        "class_names= (--classes). A trained model knows only the classes of its training."
    )


def _wanted(raw: RawAnnotations, class_names: Sequence[str]) -> Sequence[str]:
    """The class names of the caller, checked, without spaces around them."""
    for name in class_names:
        if problem := _problem(name):
            raise DataError(
                f"Each of `class_names` {problem}. Received: {name!r} for {raw.source}. Correct "
                "the name."
            )
    class_names = [without_blanks(name) for name in class_names]
    repeated = [name for name, count in Counter(class_names).items() if count > 1]
    if repeated:
        raise DataError(
            f"`class_names` must differ from each other. Received: {repeated[0]!r} more than once "
            f"for {raw.source}. Name each class once."
        )
    return class_names


def _own(raw: RawAnnotations, counts: np.ndarray) -> list[str]:
    """The data set's classes; notes on what is left out, joined or nearly equal."""
    indices_of: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(raw.class_names):
        if name in raw.dummy_classes and not counts[index]:
            text = f"Class {name!r} left out: it groups other classes and has no object."
            raw.notes.append(Note("class-grouping", text))
            continue
        if problem := _problem(name):
            raise _bad_name(raw, index, problem)
        indices_of[clean_name(name)].append(index)
    for name, indices in indices_of.items():
        spelled = [raw.class_names[index] for index in indices]
        if len(set(spelled)) < len(spelled):
            raise DataError(
                f"Every class must be listed once. Received: {name!r} more than once in "
                f"{raw.source}. If it is one class, list it once and correct the ids of its "
                "objects. If not, rename one."
            )
        if len(spelled) > 1:
            both = _counted({name: counts[i] for name, i in zip(spelled, indices, strict=True)})
            text = (
                f"{both} are read as one class: they differ only in spaces around the name or in "
                "the encoding of accents."
            )
            raw.notes.append(Note("classes-joined", text))
    numbers = counts.tolist()
    _note_near({name: sum(numbers[i] for i in those) for name, those in indices_of.items()}, raw)
    return list(indices_of)


def _problem(name: str) -> str | None:
    """Why this cannot be the name of a class; None if it can."""
    if not clean_name(name):
        return "must not be empty"
    if name.isprintable():
        return None
    if any(unicodedata.category(letter) in ("Cc", "Zl", "Zp") for letter in name.strip()):
        return "must be one line without control characters"
    return None


def _bad_name(raw: RawAnnotations, index: int, problem: str) -> DataError:
    rows = np.flatnonzero(raw.labels == index)
    where = raw.where(int(rows[0])) if len(rows) else f"{raw.source}, class {index}"
    more = f" (the first of {len(rows)} objects)" if len(rows) > 1 else ""
    return DataError(
        f"The name of a class {problem}. Received: {raw.class_names[index]!r} in {where}{more}. "
        "Correct the name there."
    )


def _check_others(
    raw: RawAnnotations, options: ReadOptions, new: np.ndarray, names: Sequence[str]
) -> None:
    """Leaves out objects of unwanted classes where the caller wants it; else DataError."""
    rows = np.flatnonzero(new[raw.labels] < 0) if len(new) else np.zeros(0, np.int64)
    if not len(rows):
        return
    if options.drop_other_classes:
        counts = Counter(raw.class_names[label] for label in raw.labels[rows].tolist())
        some = ", ".join(f"{name!r}: {count}" for name, count in counts.most_common(SHOWN))
        text = (
            f"{len(rows)} of {counted(len(raw.labels), 'object')} left out: their classes are not "
            f"selected ({some}{', …' if len(counts) > SHOWN else ''})."
        )
        raw.notes.append(Note("classes-not-selected", text, len(rows), len(raw.labels)))
        raw.keep_rows(new[raw.labels] >= 0)
        return
    row = int(rows[0])
    name = raw.class_names[raw.labels[row]]
    if problem := _problem(name):
        raise _bad_name(raw, int(raw.labels[row]), problem)
    more = f" (the first of {len(rows)} such objects)" if len(rows) > 1 else ""
    raise unknown_class(name, raw.where(row) + more, names)


def _note_near(counts: Mapping[str, int], raw: RawAnnotations) -> None:
    """Notes names that differ so little that they may be one class.

    Args:
        counts: `{name: number of objects}`.
        raw: its notes are extended.
    """
    groups = defaultdict(list)
    for name in counts:
        groups[_letters(name)].append(name)
    near = [names for names in groups.values() if len(names) > 1]
    for names in near[:SHOWN]:
        number = {2: "two"}.get(len(names), str(len(names)))
        text = (
            f"{_counted({name: counts[name] for name in names})} differ only in "
            f"{_difference(names)}. They stay {number} classes. If they are one class, correct "
            "the annotations."
        )
        raw.notes.append(Note("classes-alike", text))
    if len(near) > SHOWN:
        text = f"Other groups of class names that are as similar: {len(near) - SHOWN}."
        raw.notes.append(Note("classes-alike", text, len(near) - SHOWN))


def _letters(name: str) -> str:
    """The name without case, spaces, hyphens and underscores; "1-1" does not become "11"."""
    if name.isalpha() and name.isascii():
        return name.lower()
    text = unicodedata.normalize("NFKC", name).casefold()
    text = text.translate({ord(letter): None for letter in INVISIBLE})
    return SEPARATORS.sub(" " if any(map(str.isdigit, text)) else "", text) or text


def _difference(names: Sequence[str]) -> str:
    if len({name.casefold() for name in names}) == 1:
        return "case"
    if len({SEPARATORS.sub("", name) for name in names}) == 1:
        return "spaces, hyphens or underscores"
    return "case, spaces, hyphens, underscores or the Unicode form of their letters"


def _counted(counts: Mapping[str, int]) -> str:
    """Names with their numbers of objects: "'Red' (3 objects) and 'red' (40)"."""
    texts = [f"{shown(name)} ({count})" for name, count in counts.items()]
    name, count = next(iter(counts.items()))
    texts[0] = f"{shown(name)} ({counted(count, 'object')})"
    return ", ".join(texts[:-1]) + f" and {texts[-1]}"
