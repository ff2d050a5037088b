"""What a review reports: labels that are likely wrong, and what they should be."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from keras_det.data.dataset import Dataset, image_of_objects

LabelError: TypeAlias = Literal["missing", "spurious", "swapped", "misplaced"]
KINDS: tuple[LabelError, ...] = get_args(LabelError)
# The kinds in words, for tables and captions.
WORDS: dict[str, str] = {
    "missing": "missing object",
    "spurious": "no object there",
    "swapped": "wrong class",
    "misplaced": "badly placed box",
}

Box: TypeAlias = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class LabelFinding:
    """One label that is likely wrong.

    Attributes:
        kind: "missing": an object without a label. "spurious": a label without an object.
            "swapped": a label of the wrong class. "misplaced": a badly placed box.
        score: 0..1, how likely the label is wrong; see `find_label_errors`.
        image: index of the image in the data set.
        object: index of the object in its image; None if the label is missing.
        label, box: class and box (xyxy, pixels of the original image) in the data; None if the
            label is missing.
        proposed_label, proposed_box: what they should be; None if there is no object.
        detected: score of the detection that the finding rests on; 0 where nothing was detected.
        trained_on: bool. True: the model was trained with this label, so it mostly agrees with it.
    """

    kind: LabelError
    score: float
    image: int
    object: int | None = None
    label: int | None = None
    box: Box | None = None
    proposed_label: int | None = None
    proposed_box: Box | None = None
    detected: float = 0.0
    trained_on: bool = False

    def text(self, class_names: Sequence[str]) -> str:
        """The finding in a few words, such as "wrong class: cat, should be dog"."""
        words = WORDS[self.kind]
        if self.kind == "swapped" and self.label is not None and self.proposed_label is not None:
            names = class_names[self.label], class_names[self.proposed_label]
            return f"{words}: {names[0]}, should be {names[1]}"
        label = self.proposed_label if self.label is None else self.label
        return words if label is None else f"{words}: {class_names[label]}"

    def as_dict(self, dataset: Dataset) -> dict[str, Any]:
        """Plain values for JSON and CSV, with the path of the image and names of classes."""
        names = dataset.class_names
        row = dataclasses.asdict(self)
        row["image"] = dataset.image_paths[self.image]
        row["image_id"] = dataset.image_ids[self.image]
        for key in ("label", "proposed_label"):
            row[key] = None if row[key] is None else names[row[key]]
        for key in ("box", "proposed_box"):
            row[key] = None if row[key] is None else [round(float(x), 1) for x in row[key]]
        return {**row, "score": round(self.score, 4), "detected": round(self.detected, 4)}


def corrected(dataset: Dataset, findings: Sequence[LabelFinding]) -> tuple[Dataset, np.ndarray]:
    """Changes a data set as findings propose; of two about one object, the first counts.

    Added objects come last in their image. A new box gets its own area.

    Args:
        dataset: what the findings are about.
        findings: those with the highest score first.

    Returns:
        `(dataset, scores)`: float64 `(objects,)`, the score of the finding that changed or added
        an object, NaN for one that stays as it was.
    """
    boxes, labels = dataset.boxes.copy(), dataset.labels.copy()
    area, kept = dataset.area.copy(), np.ones(len(dataset.labels), bool)
    scores = np.full(len(labels), np.nan)
    for finding in findings:
        if finding.object is None:
            continue
        row = int(dataset.row_splits[finding.image]) + finding.object
        if not kept[row] or np.isfinite(scores[row]):
            continue
        kept[row] = finding.proposed_label is not None
        scores[row] = finding.score
        if finding.kind == "swapped" and finding.proposed_label is not None:
            labels[row] = finding.proposed_label
        elif finding.kind == "misplaced" and finding.proposed_box is not None:
            boxes[row], area[row] = finding.proposed_box, area_of(finding.proposed_box)
    new = [each for each in findings if each.object is None]
    image = np.concatenate([image_of_objects(dataset)[kept], [each.image for each in new]])
    order = np.argsort(image, kind="stable")
    new_boxes = np.array([each.proposed_box for each in new], np.float32).reshape(-1, 4)
    columns = {
        "boxes": (boxes, new_boxes),
        "labels": (labels, [each.proposed_label for each in new]),
        "crowd": (dataset.crowd, np.zeros(len(new), bool)),
        "area": (area, [area_of(box) for box in new_boxes.tolist()]),
    }
    fields: dict[str, Any] = {
        name: np.concatenate([before[kept], more])[order]
        for name, (before, more) in columns.items()
    }
    counts = np.bincount(image.astype(np.int64), minlength=len(dataset))
    splits = np.concatenate([[0], np.cumsum(counts)])
    changed = dataclasses.replace(dataset, row_splits=splits, **fields)
    return changed, np.concatenate([scores[kept], [each.score for each in new]])[order]


def area_of(box: Sequence[float]) -> float:
    """Area of a box xyxy, in square pixels."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])
