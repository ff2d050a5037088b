"""What `detect` returns in the forms of other tools: COCO rows, pandas, supervision, FiftyOne."""

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_det.errors import DataError, install_hint
from keras_det.types import Detections, Size

COLUMNS = ("x1", "y1", "x2", "y2", "score", "label", "class_name")


def to_coco(
    found: Detections, image_id: int | str, category_ids: Sequence[int] | None = None
) -> list[dict[str, Any]]:
    """Rows of COCO's format for results (https://cocodataset.org/#format-results).

    Args:
        found: the detections of one image.
        image_id: the id of the image in the annotation file.
        category_ids: the category id of each class. Default: the labels, from 0.

    Returns:
        One dict for each detection: `image_id`, `category_id`, `bbox` as x, y, width and height in
        pixels with two decimals, and `score` with five.
    """
    rows = []
    for (x1, y1, x2, y2), score, label in zip(
        *(found[name].tolist() for name in ("boxes", "scores", "labels")), strict=True
    ):
        category = label if category_ids is None else int(category_ids[label])
        bbox = [round(side, 2) for side in (x1, y1, x2 - x1, y2 - y1)]
        row = {"image_id": image_id, "category_id": category, "bbox": bbox}
        rows.append({**row, "score": round(score, 5)})
    return rows


def to_dataframe(found: Detections | Sequence[Detections], images: Sequence[str] = ()) -> Any:
    """A `pandas.DataFrame` with a row for each detection.

    Args:
        found: the detections of one image, or of several.
        images: a name for each image. They become the first column, `image`.

    Returns:
        Columns `x1`, `y1`, `x2`, `y2` in pixels, `score`, `label` and `class_name`.

    Raises:
        DataError: pandas is not installed.
        ValueError: there is not one name for each image.
    """
    pandas = _needed("pandas", "pip install pandas")
    several: Any = [found] if isinstance(found, dict) else list(found)
    if images and len(images) != len(several):
        raise ValueError(
            f"`images` must hold one name for each image. Received: {len(images)} for "
            f"{len(several)}. Leave it out for no names."
        )
    parts = []
    for place, each in enumerate(several):
        columns: dict[str, Any] = {"image": images[place]} if images else {}
        columns |= dict(zip(COLUMNS, np.reshape(each["boxes"], (-1, 4)).T, strict=False))
        columns |= {"score": each["scores"], "label": each["labels"]}
        parts.append(pandas.DataFrame({**columns, "class_name": each["class_names"]}))
    names = (["image"] if images else []) + list(COLUMNS)
    return pandas.concat(parts, ignore_index=True) if parts else pandas.DataFrame(columns=names)


def to_supervision(found: Detections) -> Any:
    """The detections of one image as `supervision.Detections`, for its trackers and annotators.

    Args:
        found: the detections of one image.

    Raises:
        DataError: supervision is not installed (extra `video`).
    """
    supervision = _needed("supervision", install_hint("video"))
    return supervision.Detections(
        xyxy=np.reshape(found["boxes"], (-1, 4)).astype("float32"),
        confidence=found["scores"].astype("float32"),
        class_id=found["labels"].astype(int),
        data={"class_name": np.array(found["class_names"], dtype=str)},
    )


def to_fiftyone(found: Detections, image_size: Size) -> Any:
    """The detections of one image as `fiftyone.Detections`, a field of a sample.

    Args:
        found: the detections of one image.
        image_size: (height, width) of the image in pixels. FiftyOne's boxes are shares of it.

    Raises:
        DataError: FiftyOne is not installed.
    """
    fiftyone = _needed("fiftyone", "pip install fiftyone")
    height, width = image_size
    rows = []
    for (x1, y1, x2, y2), score, name in zip(
        found["boxes"].tolist(), found["scores"].tolist(), found["class_names"], strict=True
    ):
        box = [x1 / width, y1 / height, (x2 - x1) / width, (y2 - y1) / height]
        rows.append(fiftyone.Detection(label=name, bounding_box=box, confidence=score))
    return fiftyone.Detections(detections=rows)


def _needed(package: str, install: str) -> Any:
    """The package; a DataError with the command that installs it, if it is missing."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise DataError(
            f"This form of the detections needs the package {package}. Received: a Python without "
            f"that package. Install it with {install}."
        ) from error
