"""Average precision of a detector on a data set."""

from collections.abc import Callable
from typing import Any, Unpack

import numpy as np

from keras_det.data.dataset import Dataset
from keras_det.data.pipeline import Pipeline
from keras_det.decode.settings import ALL_SETTINGS, DecoderSettings, takes_settings
from keras_det.metrics.coco import coco_metrics
from keras_det.metrics.score_facts import LEAST_SCORE, score_facts
from keras_det.models.detector import Detector


@takes_settings(ALL_SETTINGS, "detect_settings")
def detect_dataset(
    model: Detector,
    dataset: Dataset,
    batch_size: int = 8,
    on_batch: Callable[[int, int], None] | None = None,
    **settings: Unpack[DecoderSettings],
) -> tuple[list[int], list[dict]]:
    """Runs a detector over a data set.

    Args:
        model: a detector.
        dataset: `keras_det.data.Dataset`.
        batch_size: images per call. The last batch is filled up, so that nothing is compiled again.
        on_batch: function called with the number of images done and the total number.
        **settings: `method`, `iou_threshold`, `sigma`, `score_threshold`, `pre_nms_top_k`,
            `max_detections`, `class_agnostic`; for models with anchors `candidates`; for CornerNet
            `corner_top_k`, `embedding_threshold`, `peak_window`, `flip`. See `Detector.detect`.

    Returns:
        `(indices, detections)`: the indices of the images that could be decoded, and for each of
        them a dict of `boxes` xyxy in pixels of the original image, `scores`, `labels`.
    """
    function = model.detect_function(**settings)
    indices, detections = [], []
    for images, targets in Pipeline(dataset, model, batch_size, training=False):
        count = len(images)
        padding = [(0, batch_size - count)] + [(0, 0)] * 3
        found = {k: np.asarray(v) for k, v in function(np.pad(images, padding)).items()}
        for i, index in enumerate(targets["image_index"]):
            transform, shape = targets["image_to_original"][i], dataset[index].original_size
            result = model.to_original(i, found, transform, shape)
            indices.append(int(index))
            detections.append({k: result[k] for k in ("boxes", "scores", "labels")})
        if on_batch is not None:
            on_batch(len(indices), len(dataset))
    return indices, detections


def provenance(model: str, dataset: Dataset, images: int, **settings: Any) -> dict[str, Any]:
    """What was measured: the entry `measured` in `metrics.json`.

    It holds names, not paths, because a published preset contains it too.

    Args:
        model: name of the model's file.
        dataset: what it was measured on.
        images: number of images that were measured; some may not decode.
        **settings: settings of the decoder that were given.

    Returns:
        dict of the names `model`, `data` and `split` (None: all splits), `images` and `settings`.
    """
    where = {"data": dataset.name, "split": dataset.split}
    return {"model": model, **where, "images": images, "settings": settings}


@takes_settings(ALL_SETTINGS, "detect_settings")
def evaluate(
    model: Detector,
    dataset: Dataset,
    batch_size: int = 8,
    on_batch: Callable[[int, int], None] | None = None,
    **settings: Unpack[DecoderSettings],
) -> dict[str, Any]:
    """Computes COCO's twelve metrics, the AP of each class, and whether the model has learned.

    Args:
        model: a detector with the data set's classes.
        dataset: `keras_det.data.Dataset`.
        batch_size: images per call.
        on_batch: function called with the number of images done and the total number.
        **settings: as in `detect_dataset`, e.g. `method="hard"` or `pre_nms_top_k=5000`.

    Returns:
        dict "AP", "AP50", "AP75", … (0..1, NaN where undefined), "AP_per_class", "highest_score"
        (the highest in any image, 0..1) and "learned" (False for a model that has learned too
        little; see `keras_det.metrics.score_facts`).

    Raises:
        ValueError: the data set does not have the model's classes, in the model's order.
    """
    model.check_dataset(dataset)
    indices, detections = detect_dataset(model, dataset, batch_size, on_batch, **settings)
    metrics = coco_metrics(dataset.ground_truth(indices), detections, model.class_names)
    sizes = [dataset[index].original_size for index in indices]
    facts = score_facts(detections, sizes, LEAST_SCORE)
    return {**metrics, "highest_score": facts.highest, "learned": facts.learned}
