"""A data set on disk whose boxes, areas and names try what formats can hold."""

import dataclasses

import numpy as np

from keras_det.data import Dataset
from tests.data.builders import write_image

NAMES = ("red cat", "dog & co", "7: <x>")


def drawn(root, split=None, start=0, crowd=False):
    """Three images, one without objects; boxes with decimals, at the borders and thin ones."""
    sizes = [(48, 64), (40, 40), (64, 48)]
    paths = [root / "photos" / f"p {start + i}.png" for i in range(3)]
    for path, (height, width) in zip(paths, sizes, strict=True):
        write_image(path, height, width)
    boxes = np.array(
        [[0, 0, 64, 48], [1.2345, 2.3456, 30.987, 40.125], [10, 10, 12.5, 13.25],
         [0.4, 50.3, 47.7, 64], [46, 3, 48, 60.7]]
    )  # fmt: skip
    sides = boxes[:, 2:] - boxes[:, :2]
    return Dataset(
        image_paths=tuple(map(str, paths)),
        image_ids=tuple(5 + 2 * (start + i) for i in range(3)),
        image_sizes=np.array(sizes),
        boxes=boxes,
        labels=np.array([0, 1, 2, 2, 0]),
        crowd=np.array([False, crowd, False, False, crowd]),
        area=sides[:, 0] * sides[:, 1],
        row_splits=np.array([0, 3, 3, 5]),
        class_names=NAMES,
        category_ids=(3, 7, 90),
        name="drawn",
        split=split,
    )


def splits(root, **options):
    return {"train": drawn(root, "train", **options), "val": drawn(root, "val", 3, **options)}


def with_mask_areas(dataset):
    return dataclasses.replace(dataset, area=dataset.area / 2)


def objects(dataset):
    """`{base name of the image: rows (class, box, crowd)}`, sorted."""
    found = {}
    for sample in dataset:
        names = [dataset.class_names[label] for label in sample.labels]
        rows = zip(names, sample.boxes.tolist(), sample.crowd.tolist(), strict=True)
        found[sample.image_path.rpartition("/")[2]] = sorted(rows)
    return found


def largest_difference(first, second):
    """The largest difference of two data sets' boxes in pixels; images and classes must agree."""
    one, other = objects(first), objects(second)
    assert one.keys() == other.keys()
    largest = 0.0
    for name in one:
        assert [(row[0], row[2]) for row in one[name]] == [(row[0], row[2]) for row in other[name]]
        for a, b in zip(one[name], other[name], strict=True):
            largest = max(largest, np.abs(np.subtract(a[1], b[1])).max())
    return largest
