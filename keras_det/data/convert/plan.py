"""What every writer does: one name for each image, files placed, everything written or nothing."""

import os
import pathlib
import re
import shutil
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeAlias

import numpy as np

from keras_det.data.assemble import listed
from keras_det.data.cut_off import cut_off
from keras_det.data.dataset import Dataset
from keras_det.data.image_names import stem
from keras_det.data.splitting import names_in_folder
from keras_det.errors import DataError, suggest
from keras_det.files import staging
from keras_det.interrupts import stoppable
from keras_det.words import counted

# What a writer takes: a data set, or one for each split.
Data: TypeAlias = Dataset | Mapping[str, Dataset]
# What is done with the image files.
IMAGE_CHOICES = ("link", "copy", "none")
# Folders that only say that images lie in them, in lower case.
PLAIN_FOLDERS = ("images", "jpegimages", "labels", "annotations")
# Letters that some system does not allow in file names, or that a reader could take for a sign.
FORBIDDEN = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|%]')
# Called with the number of images that are done.
Progress: TypeAlias = Callable[[int], object]


class Plan(NamedTuple):
    """What is to be written.

    Attributes:
        splits: `{name of the split: data set}`; the name is "" for a data set without splits.
        names: `{path of an image: its name below the folder of images}`, with "/".
        home: the folder that holds all images now.
        images: "link", "copy" or "none".
        progress: is called for every image.
        notes: what is changed or lost; writers add to it.
    """

    splits: dict[str, Dataset]
    names: dict[str, str]
    home: str
    images: str
    progress: Progress | None
    notes: list[str]

    @property
    def first(self) -> Dataset:
        """The data set of the first split; all have the same classes."""
        return next(iter(self.splits.values()))


def write(
    data: Data,
    folder: str | os.PathLike,
    images: str,
    progress: Progress | None,
    image_folder: str,
    fill: Callable[[Plan, pathlib.Path], None],
    *,
    one_file_per_image: bool = False,
) -> pathlib.Path:
    """Writes a data set completely or not at all, and warns once about what is changed or lost.

    Args:
        data: a data set, or `{split: data set}`.
        folder: a folder that does not exist or is empty.
        images: "link", "copy" or "none".
        progress: called with the number of images that are done; None without.
        image_folder: name of the folder of the images inside `folder`.
        fill: writes the annotations into the folder.
        one_file_per_image: whether the format has one file of labels for each image, named as it.

    Returns:
        The path of the folder.
    """
    if images not in IMAGE_CHOICES:
        raise ValueError(
            f"`images` must be one of {', '.join(IMAGE_CHOICES)}. Received: {images!r}."
            f"{suggest(images, IMAGE_CHOICES)} Leave it out to link the files."
        )
    splits = _splits(data)
    plan = _plan(splits, images, progress, one_file_per_image)
    if one_file_per_image:
        _check_repeated(plan)
    with (
        stoppable(),
        staging(folder, "The folder to write must not exist yet") as (final, unfinished),
    ):
        unfinished.mkdir()
        fill(plan, unfinished)
        _place_images(plan, unfinished / image_folder)
        if final.is_dir():
            final.rmdir()
        os.replace(unfinished, final)
    if images == "none":
        plan.notes.append(
            f"Images were not copied. To read the data, give image_dir= (--image-dir) the folder "
            f"{plan.home}, or put its content into {final / image_folder}."
        )
    if plan.notes:
        warnings.warn(listed(str(folder), plan.notes), stacklevel=3)
    return final


def _splits(data: Data) -> dict[str, Dataset]:
    """The splits by name; DataError where their classes differ."""
    if isinstance(data, Dataset):
        return {data.split or "": data}
    splits = {str(name): dataset for name, dataset in data.items()}
    if not splits:
        raise DataError(
            "There must be at least one split to write. Received: {}. Give a data set, or "
            "{name: data set}."
        )
    first_name, first = next(iter(splits.items()))
    for name, dataset in splits.items():
        if dataset.class_names != first.class_names:
            raise DataError(
                "All splits must have the same classes in the same order. Received: "
                f"{_few(first.class_names)} in {first_name}, {_few(dataset.class_names)} in "
                f"{name}. Read them with the same class_names= (--classes)."
            )
        if FORBIDDEN.search(name) or "/" in name or name.strip(". ") != name:
            raise DataError(
                f"The name of a split must be a valid file name. Received: {name!r}. Choose "
                "another name."
            )
    return splits


def _few(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def _plan(
    splits: dict[str, Dataset], images: str, progress: Progress | None, by_stem: bool
) -> Plan:
    """Chooses the names of the images."""
    paths = list(dict.fromkeys(path for each in splits.values() for path in each.image_paths))
    home = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths] or ["."])
    written = names_in_folder(paths)
    plain = written if images == "none" else [portable(name) for name in written]
    names, changed = unique_names(plain, by_stem)
    plan = Plan(splits, dict(zip(paths, names, strict=True)), home, images, progress, [])
    if changed and images == "none":
        raise DataError(
            "If images are not copied, their names must differ in more than case and suffix. "
            f"Received: {paths[changed[0]]}, which has the name of another image. Copy or link "
            "the images."
        )
    renamed = [i for i, (a, b) in enumerate(zip(written, names, strict=True)) if _base(a, b)]
    if renamed:
        i = renamed[0]
        plan.notes.append(
            f"{len(renamed)} of {counted(len(paths), 'image')} renamed, because another image has "
            f"the same name or the name contains special characters (first: {written[i]!r} becomes "
            f"{names[i]!r})."
        )
    return plan


def _base(written: str, name: str) -> bool:
    return os.path.basename(written) != os.path.basename(name)


def portable(name: str) -> str:
    """A name with "/" that every system and every reader takes as it is.

    Special characters become "_"; folders that only say "images" are left out.
    """
    *folders, last = name.strip().split("/")
    folders = [part for part in folders if part.lower() not in PLAIN_FOLDERS]
    start = stem(last)
    suffix = last[len(start) :].strip()
    parts = [FORBIDDEN.sub("_", part).strip().strip("'").strip() or "_" for part in folders]
    parts.append((FORBIDDEN.sub("_", start).strip().strip("'").strip() or "_") + suffix)
    return "/".join(f"_{part}" if part.startswith((".", "__")) else part for part in parts)


def unique_names(names: Iterable[str], by_stem: bool) -> tuple[list[str], list[int]]:
    """Names that differ on every system, and which of them are not as given.

    Names that differ only in upper and lower case are one file on some systems.

    Args:
        names: with "/".
        by_stem: whether the names must differ without their suffix, too.
    """
    names = list(names)
    taken: set[str] = set()
    chosen, changed = [], []
    known = {_key(name, by_stem) for name in names}
    for i, name in enumerate(names):
        start = stem(name)
        number, new = 1, name
        while _key(new, by_stem) in taken or (number > 1 and _key(new, by_stem) in known):
            number += 1
            new = f"{start}-{number}{name[len(start) :]}"
        taken.add(_key(new, by_stem))
        chosen.append(new)
        changed += [i] if new != name else []
    return chosen, changed


def _key(name: str, by_stem: bool) -> str:
    return unicodedata.normalize("NFC", stem(name) if by_stem else name).casefold()


def _check_repeated(plan: Plan) -> None:
    """DataError where an image has other objects in another split."""
    seen: dict[str, tuple[str, bytes]] = {}
    for split, dataset, i in images_of(plan):
        rows = dataset.rows(i)
        order = np.lexsort((*dataset.boxes[rows].T, dataset.labels[rows]))
        columns = (dataset.boxes, dataset.labels, dataset.crowd)
        content = b"".join(column[rows][order].tobytes() for column in columns)
        path = dataset.image_paths[i]
        before, known = seen.setdefault(path, (split, content))
        if known != content:
            raise DataError(
                "In this format, an image must have the same objects in every split. Received: "
                f"{path} with other objects in {before or 'one entry'} than in "
                f"{split or 'another'}. Convert one split at a time, with --split."
            )


def images_of(plan: Plan) -> Iterator[tuple[str, Dataset, int]]:
    """Yields the name of the split, its data set and the index of every image."""
    for split, dataset in plan.splits.items():
        for i in range(len(dataset)):
            yield split, dataset, i


def unique_images(plan: Plan) -> Iterator[tuple[str, Dataset, int]]:
    """Yields name, data set and index of every image once."""
    seen = set()
    for _, dataset, i in images_of(plan):
        path = dataset.image_paths[i]
        if path not in seen:
            seen.add(path)
            yield plan.names[path], dataset, i


def _place_images(plan: Plan, folder: pathlib.Path) -> None:
    """Links or copies the image files."""
    if plan.images == "none":
        return
    folder.mkdir(exist_ok=True)
    made = {folder}
    for path, name in plan.names.items():
        target = folder / name
        if target.parent not in made:
            target.parent.mkdir(parents=True, exist_ok=True)
            made.add(target.parent)
        _place(path, target, plan.images == "link")
        if plan.progress is not None:
            plan.progress(1)
    if lost := cut_off(plan.names):
        plan.notes.append(
            f"The end of {counted(len(lost), 'image')} is missing, so that they do not decode "
            f"(first: {lost[0]}). They were written as they are. `keras-det doctor` finds every "
            "damaged image."
        )


def _place(path: str, target: pathlib.Path, link: bool) -> None:
    try:
        if link:
            try:
                os.link(os.path.realpath(path), target)
                return
            except OSError:  # another disk, or a file system without hard links
                pass
        shutil.copyfile(path, target)
    except OSError as error:
        raise DataError(
            "Every image of the data set must be readable. Received: "
            f"{path} ({error.strerror or error}). Restore it, or read the data set again."
        ) from error


def decimal(value: float, digits: int) -> str:
    """A number as text with at most so many decimals: 12, 0.25."""
    text = f"{value:.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:.0f}"
    return "0" if text == "-0" else text


def note_lost_areas(plan: Plan) -> None:
    """Adds a note where the format cannot hold the areas of masks."""
    count = 0
    for dataset in plan.splits.values():
        sides = dataset.boxes[:, 2:].astype(np.float64) - dataset.boxes[:, :2]
        boxes = sides[:, 0] * sides[:, 1]
        count += int((np.abs(dataset.area - boxes) > 0.01 + 0.001 * boxes).sum())
    if count:
        plan.notes.append(
            f"Objects whose area is lost: {count}. This format holds only boxes, so evaluation "
            "will use the area of the box to sort objects into COCO's size classes."
        )
