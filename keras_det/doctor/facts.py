"""The numbers of a data set that a report shows first."""

from typing import Any

import numpy as np

from keras_det.doctor.collection import Collection


def data_facts(data: Collection) -> dict[str, Any]:
    """Numbers of the data set: splits, classes with their ids, sizes."""
    splits = {
        name: {
            "images": len(each),
            "objects": len(each.labels),
            "images without objects": int((np.diff(each.row_splits) == 0).sum()),
            "crowd": int(each.crowd.sum()),
        }
        for name, each in data.splits.items()
    }
    return {"splits": splits, "classes": _classes(data), **_sizes(data)}


def _classes(data: Collection) -> list[dict[str, Any]]:
    """The map of labels, names and the source's ids, with the objects of each split."""
    ids: dict[str, int | str] = {}
    for each in data.splits.values():
        for name, number in zip(each.class_names, each.category_ids, strict=True):
            ids.setdefault(name, number)
    n = len(data.class_names)
    counts = {
        name: np.bincount(data.labels[data.rows_in(name)], minlength=n) for name in data.names
    }
    return [
        {
            "label": label,
            "name": name,
            "source id": ids[name],
            "objects": {split: int(each[label]) for split, each in counts.items()},
        }
        for label, name in enumerate(data.class_names)
    ]


def _sizes(data: Collection) -> dict[str, Any]:
    """Sizes of images and boxes."""
    sizes, many = np.unique(data.sizes, axis=0, return_counts=True)
    order = np.argsort(-many, kind="stable")[:3]
    facts: dict[str, Any] = {
        "image sizes": {
            "smallest side": int(sizes.min(initial=2**31 - 1)),
            "largest side": int(sizes.max(initial=0)),
            "different": len(sizes),
            "most frequent": [
                {"height": int(sizes[k, 0]), "width": int(sizes[k, 1]), "images": int(many[k])}
                for k in order
            ],
        },
    }
    if len(data.boxes):
        side = np.sqrt(np.maximum(data.sides[:, 0] * data.sides[:, 1], 0))
        facts["box sides in pixels"] = _quartiles(side)
        facts["box sides in shares of the image"] = _quartiles(data.box_sides)
    return facts


def _quartiles(values: np.ndarray) -> dict[str, float]:
    names = ("smallest", "first quarter", "median", "third quarter", "largest")
    numbers = np.percentile(values, [0, 25, 50, 75, 100])
    return {name: round(float(v), 4) for name, v in zip(names, numbers, strict=True)}
