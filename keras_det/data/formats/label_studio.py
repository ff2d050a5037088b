"""Reads Label Studio's own JSON: a list of tasks, in full or in short form (JSON-MIN)."""

import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from keras_det.data.dataset import Dataset
from keras_det.data.formats.label_studio_tasks import (
    Region,
    Task,
    base_name,
    box_of,
    image_name,
    regions_of,
    size_of,
    tasks_of,
    without_box,
)
from keras_det.data.formats.plain_text import read_json, start_of
from keras_det.data.formats.split_names import read_path, role_of
from keras_det.data.formats.tool_shapes import ShapeError, Shapes
from keras_det.data.listing import names_in
from keras_det.data.notes import Note, NoteCode
from keras_det.data.raw import Format, Layout, RawAnnotations, ReadOptions, options_of
from keras_det.errors import DataError
from keras_det.words import counted

FOLDERS = ("annotations", "labels", "result", "results")
IMAGE_FOLDERS = ("", "images", "upload", "uploads", "media", "img", "data")
START = 1 << 16
TRIED = 50  # files of a folder, that are looked at
OWN_KEY = re.compile(
    r'"(completed_by|was_cancelled|original_width|annotation_id|completions|to_name|result'
    r'|rectanglelabels|polygonlabels|file_upload|total_annotations)"\s*:'
)
DATA_KEY = re.compile(r'"data"\s*:\s*\{')
TASK_KEY = re.compile(r'"(annotations|completions|predictions)"\s*:')


def read_label_studio(
    path: str | os.PathLike,
    *,
    split: str | None = None,
    class_names: Sequence[str] | None = None,
    image_dir: str | os.PathLike | None = None,
) -> Dataset:
    """Reads what Label Studio exports as JSON or JSON-MIN.

    Rectangles are objects. So are polygons, ellipses and rotated rectangles: the bounding box of
    each is taken, with a note. Brush masks and keypoints have no box and are left out. If several
    people annotated a task, the annotation marked as `ground_truth` is read, else the first.
    Skipped and unlabelled tasks are left out; an annotation without regions is an image without
    objects. Predictions are not read.

    Args:
        path: the file, or its folder.
        split: name of a split, if a folder contains files such as train.json and val.json.
        class_names: the classes in the order of their labels. None takes the labels that were used,
            sorted: the file does not contain the others.
        image_dir: folder of the images. None searches next to the file. Images are also found by
            the name that they had before they were uploaded.

    Returns:
        A `Dataset`. One warning lists what was left out or decided.

    Raises:
        DataError: the file or the images are missing or wrong.
    """
    rule = "Label Studio's JSON must be a list of tasks with `data` and `annotations`"
    return read_path(FORMAT, path, rule, split, options_of(class_names, image_dir))


class Source(NamedTuple):
    """The files of one split, and those of the other splits."""

    root: pathlib.Path
    split: str | None
    files: tuple[pathlib.Path, ...]
    others: tuple[pathlib.Path, ...] = ()


class _Counts:
    """Tasks and annotations that were not read: the number of each reason, and the first."""

    def __init__(self) -> None:
        self.found: dict[tuple[NoteCode, str, str], tuple[int, str]] = {}

    def add(self, code: NoteCode, noun: str, why: str, place: str) -> None:
        number, first = self.found.get((code, noun, why), (0, place))
        self.found[code, noun, why] = (number + 1, first)

    def notes(self) -> list[Note]:
        return [
            Note(code, f"{counted(count, noun)} {what}", count, first=first)
            for (code, noun, what), (count, first) in self.found.items()
        ]


SKIPPED = "left out: skipped"
UNLABELLED = "left out: not labelled"
PREDICTED = "left out: only predictions, which are not ground truth"


def read(source: Source, options: ReadOptions) -> RawAnnotations:
    """Reads the files of one split; see `read_label_studio`."""
    root, split, files, others = source
    name = files[0].parent.name if root.is_file() else root.name
    wanted, unwanted = Shapes(root, name), Shapes(root, name)
    counts = _Counts()
    for file in files:
        _read_file(file, wanted, counts)
    if not wanted.names and counts.found and not wanted.bad_files.count:
        why = (
            "; ".join(counts.notes()).replace(" left out: ", ": ").replace(").;", ");").rstrip(".")
        )
        raise DataError(
            f"At least one task must be labelled. Received: {why}. Label the images in Label "
            "Studio (accept or correct predictions there) and export again."
        )
    for file in others if options.class_names is None else ():
        _read_file(file, unwanted, _Counts())
    wanted.notes += counts.notes()
    parents = [file.parent for file in files]
    parents += [at.parent for at in parents if at.name.lower() in FOLDERS]
    folders = [at / name if name else at for at in parents for name in IMAGE_FOLDERS]
    folders = [at for at in dict.fromkeys(folders) if at.is_dir()]
    raw = wanted.raw(sorted(wanted.labels | unwanted.labels), split, folders)
    raw.box_format = "rel_xyxy"
    return raw


def _read_file(file: pathlib.Path, shapes: Shapes, counts: _Counts) -> None:
    """Adds the tasks of one file."""
    content = read_json(file)
    if isinstance(content, dict):
        content = content["tasks"] if isinstance(content.get("tasks"), list) else [content]
    if not isinstance(content, list):
        raise DataError(
            "Label Studio's JSON must be a list of tasks. Received: "
            f"{type(content).__name__} in {file}. Export the project as JSON."
        )
    for k, task in tasks_of(content):
        place = f"{file}, task {k if task is None else task.number}"
        if task is None:
            shapes.bad_files.add(place, f"a task must be an object. Received: {content[k]!r:.40}")
            continue
        annotation = _annotation(task, place, counts)
        if annotation is None:
            continue
        name = image_name(task)
        results = annotation.get("result")
        if name is None or name.startswith("data:"):
            found = sorted(task.data) if name is None else f"{name[:24]}…"
            shapes.bad_files.add(
                place, f"`data` must name the file or URL of an image. Received: {found}"
            )
        elif not isinstance(results, list):
            shapes.bad_files.add(place, f"`result` must be a list. Received: {results!r:.40}")
        else:
            _read_task(task, name, results, place, shapes, counts)


def _annotation(task: Task, place: str, counts: _Counts) -> dict[str, Any] | None:
    """The annotation to read; None where there is none, which is counted."""
    if not task.annotations:
        why = PREDICTED if task.predictions else UNLABELLED
        counts.add("tasks-left-out", "task", why, place)
        return None
    done = [each for each in task.annotations if not each.get("was_cancelled")]
    done = [each for each in done if not each.get("skipped")]
    if not done:
        counts.add("tasks-left-out", "task", SKIPPED, place)
        return None
    if len(done) > 1:
        counts.add(
            "annotators-chosen",
            "task",
            "annotated by several people: the annotation marked as ground truth is read, else the "
            "first",
            place,
        )
    return next((each for each in done if each.get("ground_truth") is True), done[0])


def _read_task(
    task: Task, name: str, results: list[Any], place: str, shapes: Shapes, counts: _Counts
) -> None:
    """Adds one image and its regions."""
    other = os.path.basename(task.upload) or base_name(name)
    image = shapes.add_image(name, other, task.number, size_of(results))
    for region in regions_of(results):
        at = (f"{place}, result", region.place)
        try:
            _add_region(region, image, at, shapes, counts)
        except ShapeError as error:
            shapes.bad.add(f"{at[0]}[{at[1]}]", str(error))


def _add_region(
    region: Region, image: int, place: tuple[str, int], shapes: Shapes, counts: _Counts
) -> None:
    kind = without_box(region.result)
    if kind is None:
        box, drawn = box_of(region.result)
        if region.labels:
            shapes.add(image, region.labels[0], box, place, kind=drawn)
        else:
            kind = "region without class"
    if kind is not None:
        shapes.leave_out(kind, place)
        return
    shown = f"{place[0]}[{place[1]}]"
    if len(region.labels) > 1:
        text = "with several classes: the first class is used"
        counts.add("classes-chosen", "region", text, shown)
    if region.result.get("image_rotation"):
        counts.add(
            "boxes-of-rotated-images",
            "region",
            "drawn while the image was rotated in Label Studio (`image_rotation`), and placed on "
            "the unrotated image. Compare the boxes with the image",
            shown,
        )


def is_label_studio(path: str | os.PathLike) -> bool:
    """Whether a JSON file starts as Label Studio's tasks do."""
    text = start_of(path, START).lstrip("\ufeff \t\r\n")
    if not text.startswith(("[", "{")) or '"coordinates"' in text or '"categories"' in text:
        return False
    if DATA_KEY.search(text) and TASK_KEY.search(text):
        return True
    own = OWN_KEY.search(text) is not None
    return own and (text.startswith("[") or '"task"' in text)


def find(path: pathlib.Path) -> Layout | None:
    """A file of tasks, or the files of a folder; their names may tell splits."""
    if path.is_file():
        if path.suffix.lower() != ".json" or not is_label_studio(path):
            return None
        return Layout(path, {}, Source(path, None, (path,)))
    files: list[pathlib.Path] = []
    for folder in (path, *(path / name for name in FOLDERS)):
        if not files and folder.is_dir():
            names = names_in(folder)
            files = [folder / name for name in names if name.lower().endswith(".json")]
            known = any(is_label_studio(each) for each in files[:TRIED])
            files = [each for each in files if is_label_studio(each)] if known else []
    if not files:
        return None
    if len(files) == 1 or all(start_of(each, 99).lstrip().startswith("{") for each in files):
        return Layout(path, {}, Source(path, None, tuple(files)))
    roles = [role_of(file.stem) for file in files]
    splits = {}
    for file, role in zip(files, roles, strict=True):
        name = role if role and roles.count(role) == 1 else file.stem
        splits[name] = Source(path, name, (file,), tuple(each for each in files if each != file))
    # Several exports of one project would give its images twice: only splits are read together.
    named = len(set(roles)) == len(roles) and None not in roles
    return Layout(path, splits, Source(path, None, tuple(files)) if named else None)


def resembles(path: pathlib.Path) -> str | None:
    """What a folder has that is nearly Label Studio's."""
    return None


FORMAT = Format(
    name="label_studio",
    title="Label Studio JSON",
    tree="one .json file of tasks with `data` and `annotations`, beside images/",
    find=find,
    read=read,
    resembles=resembles,
)
