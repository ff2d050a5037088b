"""Images to look at, as tasks of labelling programs: COCO, Label Studio, CVAT."""

import dataclasses
import itertools
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_det.data.convert.coco import category_ids, coco_content
from keras_det.data.dataset import Dataset
from keras_det.data.splitting import names_in_folder
from keras_det.errors import suggest
from keras_det.files import write_whole
from keras_det.metrics.score_facts import above_threshold
from keras_det.names import TASK_FORMATS
from keras_det.review.cvat import cvat_xml
from keras_det.review.finding import LabelFinding, area_of, corrected
from keras_det.review.label_studio import label_config, label_studio_tasks
from keras_det.review.next_images import Uncertain
from keras_det.words import counted


@dataclasses.dataclass(frozen=True)
class Tasks:
    """Images to look at, the most urgent first.

    Attributes:
        proposed: what the images should be labelled with.
        scores: float64 `(objects,)`, of the objects of `proposed`; NaN for one that is in the data
            already.
        present: how the same images are labelled; None if they are not.
        urgency: of each image: the highest has to be looked at first.
        reasons: why, in words, of each image.
    """

    proposed: Dataset
    scores: np.ndarray
    present: Dataset | None
    urgency: Sequence[float]
    reasons: Sequence[str]

    @property
    def names(self) -> list[str]:
        """The images below `home`, with "/"."""
        return names_in_folder(self.proposed.image_paths)

    @property
    def home(self) -> str:
        """The folder that holds all images."""
        folders = [os.path.dirname(os.path.abspath(p)) for p in self.proposed.image_paths]
        return os.path.commonpath(folders or [os.sep])


def tasks_of(dataset: Dataset, findings: Sequence[LabelFinding], all_images: bool = False) -> Tasks:
    """The images with findings as tasks, those with the highest sum of scores first.

    Args:
        dataset: what the findings are about.
        findings: those to propose, the highest score first.
        all_images: True: the images without findings follow.
    """
    changed, scores = corrected(dataset, findings)
    by_image: dict[int, list[LabelFinding]] = {}
    for finding in findings:
        by_image.setdefault(finding.image, []).append(finding)
    sums = {image: sum(each.score for each in rows) for image, rows in by_image.items()}
    order = sorted(sums, key=lambda image: -sums[image])
    if all_images:
        order += [image for image in range(len(dataset)) if image not in sums]
    reasons = [
        "; ".join(
            f"{each.text(dataset.class_names)} ({each.score:.2f})"
            for each in by_image.get(image, [])
        )
        for image in order
    ]
    rows = [np.arange(*changed.row_splits[image : image + 2]) for image in order]
    kept = np.concatenate([np.zeros(0, np.int64), *rows])
    urgency = [sums.get(image, 0.0) for image in order]
    return Tasks(changed.select(order), scores[kept], dataset.select(order), urgency, reasons)


def predicted_tasks(
    dataset: Dataset,
    ranked: Sequence[Uncertain],
    detections: Sequence[Mapping[str, Any]],
    thresholds: Sequence[float],
) -> Tasks:
    """Unlabelled images as tasks, in the order of the ranking, with what was detected in them.

    Args:
        dataset: the images; their objects do not count.
        ranked: as `rank_images` returns it.
        detections: of each image of `dataset`: `boxes`, `scores`, `labels`.
        thresholds: score threshold of each class; what scores lower is left out.
    """
    samples, scores = [], [np.zeros(0)]
    for each in ranked:
        found = detections[each.image]
        kept = above_threshold(found, thresholds)
        boxes = np.reshape(found["boxes"], (-1, 4))[kept]
        area = np.array([area_of(box) for box in boxes.tolist()])
        labels, crowd = np.asarray(found["labels"])[kept], np.zeros(len(area), bool)
        own = dataclasses.replace(
            dataset[each.image], boxes=boxes, labels=labels, crowd=crowd, area=area
        )
        samples.append(own)
        scores.append(np.asarray(found["scores"], np.float64)[kept])
    proposed = Dataset.from_samples(samples, dataset.class_names, name=dataset.name)
    urgency = [each.uncertainty for each in ranked]
    reasons = [f"uncertainty {each.uncertainty:.2f}" for each in ranked]
    return Tasks(proposed, np.concatenate(scores), None, urgency, reasons)


def write_tasks(folder: str | os.PathLike, tasks: Tasks, to: str) -> list[pathlib.Path]:
    """Writes tasks for a labelling program.

    "coco": `coco.json`, the proposed annotations. An annotation that was changed or added has
    `score`.
    "label-studio": `label_studio.json`, tasks with the present labels as annotation and the
    proposal as prediction, and `label_studio.xml`, the labelling setup.
    "cvat": `cvat.xml`, CVAT for images 1.1, the proposed annotations. A box that was changed or
    added has source="auto".

    Args:
        folder: an existing folder.
        tasks: what to write.
        to: "coco", "label-studio" or "cvat".

    Returns:
        The paths of the files, the tasks first.

    Raises:
        ValueError: the format is none of the three.
    """
    if to not in TASK_FORMATS:
        raise ValueError(
            f"`to` must be one of {', '.join(TASK_FORMATS)}. Received: {to!r}."
            f"{suggest(to, TASK_FORMATS)} Convert other formats from coco (keras-det data convert)."
        )
    writers: dict[str, Callable[[Tasks], dict[str, str]]] = {
        "coco": _coco,
        "label-studio": _label_studio,
        "cvat": lambda each: {"cvat.xml": cvat_xml(each.proposed, each.names, each.scores)},
    }
    paths = []
    for name, text in writers[to](tasks).items():
        path = pathlib.Path(folder) / name
        write_whole(path, text.encode("utf-8", "backslashreplace"))
        paths.append(path)
    return paths


def where_from(tasks: Tasks, to: str) -> str:
    """How to open the tasks, in one or two sentences.

    Args:
        tasks, to: as for `write_tasks`.
    """
    images = counted(len(tasks.proposed), "image")
    if to == "coco":
        return f"{images}; read it with --image-dir {tasks.home}"
    if to == "label-studio":
        return (
            f"{images}; start Label Studio with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and "
            f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={tasks.home}, and add a local storage to the "
            "project"
        )
    return f"{images}; make a task of the images in {tasks.home}, then upload the annotations"


def _coco(tasks: Tasks) -> dict[str, str]:
    ids, _ = category_ids(tasks.proposed)
    numbers = tasks.proposed.image_ids
    if not all(isinstance(each, int) for each in numbers) or len(set(numbers)) < len(numbers):
        numbers = tuple(range(1, len(numbers) + 1))
    counter = itertools.count(1)
    whole = [int(number) for number in numbers]
    content = coco_content(tasks.proposed, tasks.names, whole, ids, counter)
    for image, urgency, reason in zip(content["images"], tasks.urgency, tasks.reasons, strict=True):
        image.update(urgency=round(float(urgency), 4), reason=reason)
    for row, score in zip(content["annotations"], tasks.scores.tolist(), strict=True):
        if np.isfinite(score):
            row["score"] = round(score, 4)
    return {"coco.json": json.dumps(content, ensure_ascii=False)}


def _label_studio(tasks: Tasks) -> dict[str, str]:
    content = label_studio_tasks(
        tasks.proposed, tasks.names, tasks.scores, tasks.present, tasks.urgency, tasks.reasons
    )
    return {
        "label_studio.json": json.dumps(content, ensure_ascii=False, indent=1),
        "label_studio.xml": label_config(tasks.proposed.class_names),
    }
