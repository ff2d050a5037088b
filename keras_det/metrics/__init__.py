"""How good detections are, and where they fail."""

from typing import TYPE_CHECKING

from keras_det.lazy_names import importer

if TYPE_CHECKING:
    from keras_det.metrics.analysis import Analysis as Analysis
    from keras_det.metrics.analysis import analyse as analyse
    from keras_det.metrics.coco import coco_metrics as coco_metrics
    from keras_det.metrics.coco import format_metrics as format_metrics
    from keras_det.metrics.error_kinds import format_errors as format_errors

__all__ = ["Analysis", "analyse", "coco_metrics", "format_errors", "format_metrics"]

_HOMES = {
    "Analysis": "analysis",
    "analyse": "analysis",
    "coco_metrics": "coco",
    "format_errors": "error_kinds",
    "format_metrics": "coco",
}

__getattr__ = importer(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
