"""What a data set holds, in numbers: classes, sizes and shapes of boxes, sizes of images."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_det.data.dataset import Dataset, image_of_objects

# COCO's limits between small, medium and large objects, in square pixels.
SMALL, MEDIUM = 32.0**2, 96.0**2
# Where the bins of the histograms begin; the last one has no end.
SIDES = (0, 8, 16, 32, 64, 96, 128, 256, 512, 1024)
ASPECT_RATIOS = (0, 0.2, 0.33, 0.5, 0.75, 1.33, 2, 3, 5)
OBJECTS = (0, 1, 2, 4, 8, 16, 32, 64, 128)
# Image sizes that are listed, the most frequent first.
LISTED_SIZES = 10


def statistics(dataset: Dataset) -> dict[str, Any]:
    """Counts what a data set holds.

    Crowd objects are counted in `crowd` and left out everywhere else, as in training.

    Args:
        dataset: `Dataset`.

    Returns:
        A dict that JSON can hold:

        - `name`, `split`, `images`, `images_without_objects`, `objects`, `crowd`.
        - `classes`: `{name: {"objects", "images", "median_side"}}`; the side is the square root of
          the area of the box in pixels, None without objects.
        - `sizes`: `{"small", "medium", "large"}`, objects of an annotated area below 32², below 96²
          and above, as COCO's evaluation sorts them.
        - `sides`, `aspect_ratios` (width / height) and `objects_per_image`: histograms
          `{"from": where each bin begins, "counts"}`. The last bin has no end.
        - `most_objects`: in one image.
        - `image_sizes`: `[[width, height, number of images], …]`, the ten most frequent.
        - `other_image_sizes`: number of images of other sizes.
        - `smallest_image`, `largest_image`: `[width, height]`, by area; None without images.
    """
    kept = ~dataset.crowd
    boxes, labels = dataset.boxes[kept].astype(np.float64), dataset.labels[kept]
    image_of_row = image_of_objects(dataset)[kept]
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    sides = np.sqrt(width * height)
    per_image = np.bincount(image_of_row, minlength=len(dataset))
    area = dataset.area[kept]
    small, large = int((area < SMALL).sum()), int((area >= MEDIUM).sum())
    ratios = np.divide(width, height, out=np.ones_like(width), where=height > 0)
    return {
        "name": dataset.name,
        "split": dataset.split,
        "images": len(dataset),
        "images_without_objects": int((per_image == 0).sum()),
        "objects": len(labels),
        "crowd": int(dataset.crowd.sum()),
        "classes": _classes(dataset.class_names, labels, image_of_row, sides),
        "sizes": {"small": small, "medium": len(labels) - small - large, "large": large},
        "sides": _histogram(sides, SIDES),
        "aspect_ratios": _histogram(ratios, ASPECT_RATIOS),
        "objects_per_image": _histogram(per_image, OBJECTS),
        "most_objects": int(per_image.max(initial=0)),
        **_image_sizes(dataset.image_sizes),
    }


def _classes(
    names: Sequence[str], labels: np.ndarray, image_of_row: np.ndarray, sides: np.ndarray
) -> dict[str, dict[str, Any]]:
    """Objects, images and median side of each class."""
    objects = np.bincount(labels, minlength=len(names))
    pairs = np.unique(np.stack([labels, image_of_row]), axis=1)
    images = np.bincount(pairs[0].astype(np.int64), minlength=len(names))
    order = np.argsort(labels, kind="stable")
    parts = np.split(sides[order], np.cumsum(objects)[:-1]) if len(names) else []
    return {
        name: {
            "objects": int(objects[i]),
            "images": int(images[i]),
            "median_side": round(float(np.median(parts[i])), 1) if len(parts[i]) else None,
        }
        for i, name in enumerate(names)
    }


def _histogram(values: np.ndarray, starts: Sequence[float]) -> dict[str, list[Any]]:
    """Counts values in bins `starts[i] <= value < starts[i + 1]`."""
    bins = np.searchsorted(np.array(starts, np.float64), values, side="right") - 1
    counts = np.bincount(np.maximum(bins, 0), minlength=len(starts))
    return {"from": list(starts), "counts": counts.tolist()}


def _image_sizes(sizes: np.ndarray) -> dict[str, Any]:
    """The most frequent sizes of images, and the smallest and largest."""
    counts = Counter((width, height) for height, width in sizes.tolist())
    common = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:LISTED_SIZES]
    ordered = sorted(counts, key=lambda size: (size[0] * size[1], size))
    return {
        "image_sizes": [[*size, count] for size, count in common],
        "other_image_sizes": len(sizes) - sum(count for _, count in common),
        "smallest_image": list(ordered[0]) if ordered else None,
        "largest_image": list(ordered[-1]) if ordered else None,
    }
