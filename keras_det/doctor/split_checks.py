"""Checks of the splits: sizes, images in common, different contents."""

import os
from collections.abc import Callable, Iterator

import numpy as np

from keras_det.data.split_choice import role_of_split
from keras_det.data.splitting import groups_of
from keras_det.doctor.collection import Collection, about_images
from keras_det.doctor.copies import leak
from keras_det.doctor.finding import Finding
from keras_det.doctor.thresholds import limit
from keras_det.words import counted

# Random splits that a real one is compared with, and the images that are drawn for them.
TRIALS, DRAWN = 100, 2000


def check_splits(data: Collection) -> list[Finding]:
    """Checks the splits against each other, without their pixels."""
    found = [*_sizes(data), *_nothing_to_learn(data)]
    if len(data.names) > 1:
        found += [*_in_common(data), *_copies(data), *_shifts(data)]
    return found


def _sizes(data: Collection) -> Iterator[Finding]:
    """Splits that are missing or small."""
    roles = [role_of_split(name) for name in data.names]
    if "val" not in roles:
        yield Finding(
            "no-validation",
            "note",
            "There is no validation split.",
            "Training then holds out a fifth of the images (--split-by 0.8). If images belong "
            "together, such as those of one patient, make the split yourself.",
        )
    for name, each in data.splits.items():
        if len(each) < limit("small-split"):
            tiny = len(each) < limit("tiny-split")
            what = f"The split {name}" if each.split else "The data set"
            yield Finding(
                "split-small",
                "warning" if tiny else "note",
                f"{what} has only {counted(len(each), 'image')}.",
                "Add images. AP on so few images varies by chance: do not trust small differences "
                "between runs."
                if role_of_split(name) in ("val", "test")
                else "Add images: every one helps. Start from public weights (--weights coco).",
                count=len(each),
                facts={"split": name},
            )


def _nothing_to_learn(data: Collection) -> Iterator[Finding]:
    """Splits without an object that counts."""
    for name, each in data.splits.items():
        what, kind = "", role_of_split(name)
        if not len(each.labels):
            what = "has no object"
        elif each.crowd.all():
            what = "has only objects marked as crowd or difficult"
        if not what:
            continue
        test = kind == "test"
        yield Finding(
            "split-without-objects" if not len(each.labels) else "split-all-crowd",
            "note" if test else "error",
            f"The split {name} {what}.",
            "It can be used for detection, but not for evaluation."
            if test
            else "Nothing can be learned from it, and AP cannot be measured on it. Check that the "
            "annotations belong to these images"
            + (
                "."
                if not len(each.labels)
                else ", and remove the mark (COCO: iscrowd, Pascal VOC: difficult)."
            ),
            count=len(each),
            total=len(each),
            facts={"split": name},
        )


def _in_common(data: Collection) -> Iterator[Finding]:
    """The same file in two splits, and files of one name."""
    by_path: dict[str, int] = {}
    by_name: dict[str, int] = {}
    same_path, same_name = {}, {}
    for i, path in enumerate(data.places):
        first = by_path.setdefault(path, i)
        if data.split_of[first] != data.split_of[i]:
            same_path[i] = first
            continue
        first = by_name.setdefault(os.path.basename(path), i)
        if data.split_of[first] != data.split_of[i]:
            same_name[i] = first
    yield from leak(data, "images-listed-in-two-splits", "is listed in two splits", same_path)
    yield from about_images(
        data,
        "names-in-two-splits",
        "note",
        "has the same file name as one in another split|have the same file name as one in another "
        "split",
        "Nothing to do if they are different images. Without --quick, the doctor compares their "
        "pixels too.",
        np.array(sorted(same_name), np.int64),
        lambda i: f"and {data.image_name(same_name[i])}",
    )


def _copies(data: Collection) -> Iterator[Finding]:
    """Copies or frames of one original, by their names, in two splits."""
    names = [os.path.basename(path) for path in data.paths]
    roboflow = [".rf." in name for name in names]
    if any(roboflow):
        pairs = np.unique(np.stack([data.image_of, data.labels], axis=1), axis=0)
        groups = groups_of(names, data.sizes, pairs)
        first: dict[int, int] = {}
        found = {}
        for i in np.flatnonzero(roboflow).tolist():
            one = first.setdefault(int(groups[i]), i)
            if data.split_of[one] != data.split_of[i]:
                found[i] = one
        yield from leak(data, "copies-in-two-splits", "is a copy of one in another split", found)


def _shifts(data: Collection) -> Iterator[Finding]:
    """Validation and test splits whose classes or box sizes differ from the training split's."""
    roles = [role_of_split(name) for name in data.names]
    if "train" not in roles:
        return
    train = roles.index("train")
    for other, name in enumerate(data.names):
        if other == train or roles[other] not in ("val", "test"):
            continue
        for code, title, cure, measure, threshold, examples in (
            (
                "classes-shifted",
                f"The class frequencies in {name} differ from those in training",
                "AP then says little about how well the model has learned. Split the data again at "
                "random.",
                _class_distance,
                "class-shift",
                _class_shares,
            ),
            (
                "sizes-shifted",
                f"The box sizes in {name} differ from those in training",
                "Check whether the images come from another camera or were resized. Split the "
                "data again at random.",
                _size_distance,
                "size-shift",
                _usual_sizes,
            ),
        ):
            distance, usual = _compared(data, train, other, measure)
            if distance > max(limit(threshold), limit("shift-by-chance") * usual):
                yield Finding(
                    code,
                    "warning",
                    f"{title} (distance {distance:.2f} of 1; by chance up to {usual:.2f}).",
                    cure,
                    examples=examples(data, train, other),
                    facts={"distance": distance, "by chance": usual, "split": name},
                )


# measure(labels or sizes, mask of the objects of the one side) -> distance
_Measure = Callable[[Collection, np.ndarray, np.ndarray], float]


def _class_distance(data: Collection, one: np.ndarray, two: np.ndarray) -> float:
    """Half the sum of absolute differences between shares of classes, 0..1."""
    n = len(data.class_names)
    a, b = (np.bincount(data.labels[rows], minlength=n) / max(1, len(rows)) for rows in (one, two))
    return float(np.abs(a - b).sum() / 2)


def _size_distance(data: Collection, one: np.ndarray, two: np.ndarray) -> float:
    """Kolmogorov-Smirnov distance between the box sizes, as fractions of the image, 0..1."""
    if not len(one) or not len(two):
        return 0.0
    a, b = np.sort(data.box_sides[one]), np.sort(data.box_sides[two])
    at = np.concatenate([a, b])
    below = [np.searchsorted(each, at, side="right") / len(each) for each in (a, b)]
    return float(np.abs(below[0] - below[1]).max())


def _compared(data: Collection, one: int, two: int, measure: _Measure) -> tuple[float, float]:
    """The distance of two splits, and what 95% of random splits of their images stay below.

    Images are shuffled, not objects: the objects of one image are alike.
    """
    rng = np.random.default_rng(0)
    images = [np.flatnonzero((data.split_of == k) & (data.counts > 0)) for k in (one, two)]
    images = [rng.permutation(each)[:DRAWN] for each in images]
    if not len(images[0]) or not len(images[1]):
        return 0.0, 1.0
    real = measure(data, *(_rows(data, each) for each in images))
    both, split = np.concatenate(images), len(images[0])
    chance = []
    for _ in range(TRIALS):
        both = rng.permutation(both)
        chance.append(measure(data, _rows(data, both[:split]), _rows(data, both[split:])))
    return real, float(np.percentile(chance, 95))


def _rows(data: Collection, images: np.ndarray) -> np.ndarray:
    """The objects of these images."""
    counts = data.counts[images]
    ends = np.cumsum(counts)
    return np.arange(int(ends[-1])) + np.repeat(data.starts[images] - (ends - counts), counts)


def _class_shares(data: Collection, one: int, two: int) -> tuple[str, ...]:
    """The classes that differ most."""
    n = len(data.class_names)
    shares = []
    for k in (one, two):
        counts = np.bincount(data.labels[data.split_of[data.image_of] == k], minlength=n)
        shares.append(counts / max(1, counts.sum()))
    order = np.argsort(-np.abs(shares[0] - shares[1]))[:4]
    return tuple(
        f"{data.class_names[k]}: {shares[0][k]:.0%} in {data.names[one]}, {shares[1][k]:.0%} in "
        f"{data.names[two]}"
        for k in order
    )


def _usual_sizes(data: Collection, one: int, two: int) -> tuple[str, ...]:
    """The usual side of a box in both splits."""
    side = data.box_sides
    return tuple(
        f"{data.names[k]}: half of the boxes have sides below "
        f"{np.median(side[data.split_of[data.image_of] == k]):.1%} of the image size"
        for k in (one, two)
    )
