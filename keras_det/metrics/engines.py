"""COCO's precision and recall arrays: by hotcoco where it is installed, else by pycocotools.

Both give the same numbers to the last bit; pycocotools is the reference. hotcoco comes with the
extra `fast-eval`.
"""

import contextlib
import io
from typing import Any, NamedTuple

import numpy as np

from keras_det.metrics.columns import Found, Objects


class Evaluation(NamedTuple):
    """What COCO's evaluation finds; -1 where there are no objects.

    Attributes:
        numbers: float64 `(12,)`, in the order of `keras_det.metrics.coco.NUMBERS`.
        precision: float64 `(10, 101, classes, 4, 3)`: the highest precision at a recall of at least
            0, 0.01, … 1. The axes are IoU 0.5 … 0.95, recall, class, object size (all, small,
            medium, large), and detections per image and class (1, 10, 100).
    """

    numbers: np.ndarray
    precision: np.ndarray


def evaluate(objects: Objects, found: Found, num_classes: int) -> Evaluation:
    """Evaluates with the fastest library that is installed.

    Args:
        objects, found: as `keras_det.metrics.columns.columns` returns them.
        num_classes: labels run from 0 to `num_classes - 1`.
    """
    try:
        import hotcoco  # noqa: F401
    except ImportError:
        return by_pycocotools(objects, found, num_classes)
    return by_hotcoco(objects, found, num_classes)


def by_hotcoco(objects: Objects, found: Found, num_classes: int) -> Evaluation:
    """`evaluate` with hotcoco (https://github.com/derekallman/hotcoco), which takes arrays."""
    import hotcoco

    truth = hotcoco.COCO.from_arrays(
        [{"id": image} for image in range(objects.images)],
        [{"id": label, "name": str(label)} for label in range(num_classes)],
        objects.image,
        objects.labels,
        objects.boxes,
        area=objects.area,
        iscrowd=objects.crowd,
    )
    # Image, box, score, class: the table that pycocotools' `loadRes` takes, too.
    table = np.column_stack([found.image, found.boxes, found.scores, found.labels])
    return _finished(hotcoco.COCOeval(truth, truth.load_res(table), "bbox"))


def by_pycocotools(objects: Objects, found: Found, num_classes: int) -> Evaluation:
    """`evaluate` with pycocotools, the reference."""
    from pycocotools.cocoeval import COCOeval

    truth = _by_image_and_class(
        objects, area=objects.area, iscrowd=objects.crowd, ignore=objects.crowd
    )
    sizes = found.boxes[:, 2] * found.boxes[:, 3]
    results = _by_image_and_class(found, area=sizes, score=found.scores)

    class Evaluated(COCOeval):
        """Uses the objects directly; pycocotools' `COCO` class would copy and index them first."""

        def _prepare(self) -> None:
            self._gts, self._dts = truth, results
            self.evalImgs: list[dict[str, Any] | None] = []
            self.eval: dict[str, Any] = {}

    evaluation = Evaluated(iouType="bbox")
    evaluation.params.imgIds = list(range(objects.images))
    evaluation.params.catIds = list(range(num_classes))
    return _finished(evaluation)


def _finished(evaluation: Any) -> Evaluation:
    """Runs the three steps, which are the same in both libraries."""
    with contextlib.redirect_stdout(io.StringIO()):  # they print
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return Evaluation(np.asarray(evaluation.stats, "float64"), evaluation.eval["precision"])


def _by_image_and_class(rows: Objects | Found, **more: np.ndarray) -> "_Groups":
    """pycocotools' entries by (image, class). Ids start at 1: it takes id 0 for no match."""
    groups = _Groups()
    names = ("id", "image_id", "category_id", "bbox", *more)
    lists = (rows.image.tolist(), rows.labels.tolist(), rows.boxes.tolist())
    others = (values.tolist() for values in more.values())
    for values in zip(range(1, len(rows.image) + 1), *lists, *others, strict=True):
        groups.setdefault((values[1], values[2]), []).append(dict(zip(names, values, strict=True)))
    return groups


class _Groups(dict[tuple[int, int], list[dict[str, Any]]]):
    """Lists by key. A missing key gives an empty list without being stored."""

    def __missing__(self, key: tuple[int, int]) -> list[dict[str, Any]]:
        return []
