"""Checks of the classes: names, objects of each, balance."""

import re
from collections.abc import Iterator, Sequence

import numpy as np

from keras_det.data.split_choice import role_of_split
from keras_det.doctor.collection import Collection, training_split
from keras_det.doctor.finding import Finding
from keras_det.doctor.thresholds import limit
from keras_det.words import counted

DUMMY_NAMES = {"background", "__background__", "bg", "none", "unlabeled", "unlabelled", "n/a"}
NUMBERED = re.compile(r"(class|label|category|cls|object)?[\s_-]*\d+", re.I)


def check_classes(data: Collection) -> list[Finding]:
    """Checks the classes of all splits."""
    single = ~data.crowd
    table = np.zeros((len(data.names), len(data.class_names)), np.int64)
    np.add.at(table, (data.split_of[data.image_of[single]], data.labels[single]), 1)
    if not table.sum():
        return []  # said by the checks of splits
    return [*_orders(data), *_names(data, table), *_counts(data, table), *_by_split(data, table)]


def _orders(data: Collection) -> Iterator[Finding]:
    """Splits that number their classes differently."""
    lists = {name: each.class_names for name, each in data.splits.items()}
    first = data.names[0]
    other = [name for name in data.names if lists[name] != lists[first]]
    if other:
        yield Finding(
            "classes-differ",
            "error",
            f"The splits {first} and {', '.join(other)} differ in their classes or the order of "
            "their classes.",
            "A label must mean the same class everywhere. Load all splits with the same "
            "class_names.",
            count=len(other),
            total=len(lists),
            examples=tuple(f"{name}: {_listed(lists[name][:6])}" for name in [first, *other][:8]),
        )


def _about(
    data: Collection,
    table: np.ndarray,
    code: str,
    harm: str,
    title: str,
    cure: str,
    labels: Sequence[int],
) -> Iterator[Finding]:
    """A finding on these classes; the title begins after the count, with a form for several."""
    if not len(labels):
        return
    one, _, several = title.partition("|")
    shown = list(labels)[:8]
    examples = [f"{data.class_names[k]}: {_per_split(data, table[:, k])}" for k in shown]
    rows = np.flatnonzero(np.isin(data.labels, shown))
    images = list(dict.fromkeys(data.image_of[rows[:200]].tolist()))[:4]
    yield Finding(
        code,
        harm,  # type: ignore[arg-type]
        f"{len(labels)} of {counted(table.shape[1], 'class', 'classes')} "
        f"{one if len(labels) == 1 else several or one}.",
        cure,
        count=len(labels),
        total=table.shape[1],
        examples=tuple(examples),
        images=tuple(images),
        boxes=tuple(data.boxes[rows[data.image_of[rows] == i]] for i in images),
        facts={"classes": [data.class_names[k] for k in labels]},
    )


def _per_split(data: Collection, counts: np.ndarray) -> str:
    """ "8 objects in train, 0 in val"."""
    if len(counts) == 1:
        return counted(int(counts[0]), "object")
    parts = [f"{count} in {name}" for name, count in zip(data.names, counts, strict=True)]
    return ", ".join(parts)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def _names(data: Collection, table: np.ndarray) -> Iterator[Finding]:
    """Names that stand for no class, or for the same one."""
    names = data.class_names
    dummy = [k for k, name in enumerate(names) if name.strip().lower() in DUMMY_NAMES]
    yield from _about(
        data,
        table,
        "class-dummy",
        "warning",
        "is named like the background|are named like the background",
        "keras_det has no background class. Give class_names= (--classes) without it.",
        dummy,
    )
    numbers = [k for k, name in enumerate(names) if NUMBERED.fullmatch(name.strip())]
    if len(numbers) == len(names):
        yield from _about(
            data,
            table,
            "class-numbers",
            "note",
            "has a number instead of a name|have numbers instead of names",
            "Results show the names. Write real ones into the annotations; for YOLO, into "
            "classes.txt or data.yaml.",
            numbers,
        )
    pairs = _alike(names)
    if pairs:
        yield Finding(
            "class-names-alike",
            "warning",
            f"{counted(len(pairs), 'pair')} of class names {'is' if len(pairs) == 1 else 'are'} "
            "nearly the same.",
            "If they are one class, give it one name in the annotations.",
            count=len(pairs),
            examples=tuple(
                f"{names[a]!r} ({counted(int(table[:, a].sum()), 'object')}) and {names[b]!r} "
                f"({table[:, b].sum()})"
                for a, b in pairs[:8]
            ),
            facts={"pairs": [[names[a], names[b]] for a, b in pairs]},
        )


def _alike(names: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of names that differ in case, separators, a plural, or one letter of a long name."""
    plain = [re.sub(r"[\s_-]+", "", name.casefold()) for name in names]
    pairs = []
    by_key: dict[str, list[int]] = {}
    for k, name in enumerate(plain):
        for key in _keys(name):
            by_key.setdefault(key, []).append(k)
    for group in by_key.values():
        pairs += [(a, b) for i, a in enumerate(group) for b in group[i + 1 :]]
    return [
        (a, b) for a, b in dict.fromkeys(pairs) if plain[a] == plain[b] or _one_edit(plain, a, b)
    ]


def _keys(name: str) -> set[str]:
    """The name and, if it is long, all names with one letter less."""
    if len(name) < limit("alike-letters"):
        return {name} if not name.endswith("s") else {name, name[:-1]}
    return {name} | {name[:i] + name[i + 1 :] for i in range(len(name))}


def _one_edit(plain: Sequence[str], a: int, b: int) -> bool:
    """Whether two names differ in a plural, a missing, an exchanged or a swapped letter."""
    one, two = sorted((plain[a], plain[b]), key=len)
    if len(two) == len(one) + 1 and two in (f"{one}s", f"{one[:-1]}es"):
        return True
    if any(letter.isdigit() for letter in one + two) or len(one) < limit("alike-letters"):
        return False
    if len(two) > len(one):
        return any(two[:i] + two[i + 1 :] == one for i in range(len(two)))
    differ = [i for i in range(len(one)) if one[i] != two[i]]
    swapped = len(differ) == 2 and sorted(one[i] for i in differ) == sorted(two[i] for i in differ)
    return len(differ) == 1 or (swapped and differ[1] == differ[0] + 1)


def _counts(data: Collection, table: np.ndarray) -> Iterator[Finding]:
    """Classes without objects, with few, and far more of one than of another."""
    total = table.sum(axis=0)
    train = table[data.names.index(training_split(data.names))]
    yield from _about(
        data,
        table,
        "class-empty",
        "warning",
        "has no object|have no objects",
        "The model cannot learn such a class. Correct its name if it is misspelt, add images, or "
        "give class_names= (--classes) without it.",
        np.flatnonzero(total == 0).tolist(),
    )
    few, some = limit("few-objects"), limit("some-objects")
    order = np.argsort(train, kind="stable")
    yield from _about(
        data,
        table,
        "class-few-objects",
        "warning",
        f"has fewer than {few:.0f} objects for training|have fewer than {few:.0f} objects for "
        "training",
        "Add images of these classes, or merge them with similar ones.",
        [int(k) for k in order if 0 < train[k] < few],
    )
    yield from _about(
        data,
        table,
        "class-some-objects",
        "note",
        f"has fewer than {some:.0f} objects for training|have fewer than {some:.0f} objects for "
        "training",
        "More images of these classes would raise their AP.",
        [int(k) for k in order if few <= train[k] < some],
    )
    yield from _imbalance(data, train)


def _imbalance(data: Collection, train: np.ndarray) -> Iterator[Finding]:
    """Far more objects of one class than of another; `train` holds the counts."""
    present = np.flatnonzero(train > 0)
    if len(present) > 1:
        most, least = int(np.argmax(train)), int(present[np.argmin(train[present])])
        ratio = train[most] / train[least]
        if ratio > limit("imbalance"):
            names = data.class_names
            yield Finding(
                "class-imbalance",
                "warning" if ratio > limit("strong-imbalance") else "note",
                f"{names[most]} has {ratio:.0f} times as many objects as {names[least]}.",
                "Add images of the rare classes. Look at the AP of each class, not at the mean.",
                total=0,
                examples=tuple(f"{names[k]}: {train[k]}" for k in (most, least)),
                facts={"ratio": float(ratio)},
            )


def _by_split(data: Collection, table: np.ndarray) -> Iterator[Finding]:
    """Classes that are in one split only."""
    roles = [role_of_split(name) for name in data.names]
    if "train" not in roles or "val" not in roles:
        return
    train, val = table[roles.index("train")], table[roles.index("val")]
    yield from _about(
        data,
        table,
        "class-not-in-train",
        "warning",
        "is in the validation split but not in the training split|are in the validation split "
        "but not in the training split",
        "Their AP stays 0. Move images of these classes, or split the data again with --split-by.",
        np.flatnonzero((train == 0) & (val > 0)).tolist(),
    )
    yield from _about(
        data,
        table,
        "class-not-in-val",
        "note" if (val > 0).any() else "warning",
        "is in the training split but not in the validation split|are in the training split but "
        "not in the validation split",
        "Their AP is not measured. Move images of these classes to the validation split.",
        np.flatnonzero((train > 0) & (val == 0)).tolist(),
    )
