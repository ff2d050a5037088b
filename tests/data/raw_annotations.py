"""Raw annotations as a reader hands them on, for the tests of what follows."""

import numpy as np

from keras_det.data.raw import RawAnnotations
from tests.data.builders import write_image


def raw_of(names, folders=(), rows=(), class_names=("cat", "dog"), **fields):
    """Annotations of images 6 high and 8 wide.

    Args:
        names: the file names of the images.
        folders: where they may lie.
        rows: `(image, label, x1, y1, x2, y2)` per object, with 1 at the end for a crowd.
        class_names: of the data set.
        **fields: others of `RawAnnotations`.
    """
    table = np.array([[*row, 0][:7] for row in rows], np.float64).reshape(-1, 7)
    given = {
        "source": "labels.txt",
        "name": "zoo",
        "split": "train",
        "class_names": list(class_names),
        "category_ids": list(range(len(class_names))),
        "image_names": list(names),
        "image_ids": list(range(len(names))),
        "image_sizes": np.tile([[6, 8]], (len(names), 1)),
        "image_index": table[:, 0].astype(np.int64),
        "boxes": table[:, 2:6].copy(),
        "labels": table[:, 1].astype(np.int64),
        "crowd": table[:, 6] > 0,
        "area": np.full(len(table), np.nan),
        "where": lambda row: f"labels.txt, line {row}",
        "folders": list(folders),
        **fields,
    }
    return RawAnnotations(**given)


def raw_with_images(folder, rows, names=("a.png", "b.png"), **fields):
    """`raw_of` with its images drawn into a folder."""
    for name in names:
        write_image(folder / name)
    return raw_of(names, [folder], rows, **fields)
