"""Average precision of a detector on a data set."""

import numpy as np

from keras_det.data.dataset import Dataset
from keras_det.data.pipeline import Pipeline
from keras_det.metrics.coco import coco_metrics


def detect_dataset(
    model, dataset: Dataset, batch_size: int = 8, on_batch=None, **settings
) -> tuple[list[int], list[dict]]:
    """Runs a detector over a data set.

    Args:
        model: a detector.
        dataset: `keras_det.data.Dataset`.
        batch_size: images per call; the last batch is filled up, so that nothing recompiles.
        on_batch: called with the number of images done and the number in all.
        **settings: of the decoder, e.g. `method="hard"` or `pre_nms_top_k=5000`.

    Returns:
        `(indices, detections)`: the images that decoded, and for each a dict `boxes` xyxy in
        pixels of the original image, `scores`, `labels`.
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


def evaluate(model, dataset: Dataset, batch_size: int = 8, on_batch=None, **settings) -> dict:
    """COCO's twelve numbers and the AP of each class.

    Args:
        model: a detector with the data set's classes.
        dataset: `keras_det.data.Dataset`.
        batch_size: images per call.
        on_batch: called with the number of images done and the number in all.
        **settings: of the decoder.

    Returns:
        dict "AP", "AP50", "AP75", … (0..1, NaN where undefined) and "AP_per_class".
    """
    model.check_dataset(dataset)
    indices, detections = detect_dataset(model, dataset, batch_size, on_batch, **settings)
    return coco_metrics(dataset.ground_truth(indices), detections, model.class_names)
