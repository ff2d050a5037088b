"""Evaluation on several workers: each detects in a share of the images; the chief gathers all."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_det.data.dataset import Dataset
from keras_det.layers.replicas import strategy_of, sum_over_workers, worker_of
from keras_det.models.detector import Detector
from keras_det.training.evaluate import Measured, measure, measured_from, passed

AT_ONCE = 2**20  # numbers in one exchange: 8 MB


def measure_together(
    model: Detector,
    dataset: Dataset,
    batch_size: int = 8,
    losses: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> Measured | None:
    """`keras_det.training.measure`, with the images shared among the workers of the model.

    All workers must call it. Each takes whole batches: the first worker the first batch, the second
    one the next, and so on. So the batches, AP and losses are the same as with one worker. If an
    image cannot be decoded, the losses are means over other batches.

    Args:
        model: a detector with the data set's classes.
        dataset: `keras_det.data.Dataset`, the same on all workers.
        batch_size: images per call.
        losses: bool. True also computes the mean losses.
        settings: of the decoder.

    Returns:
        What was measured; None on every worker but the chief.
    """
    strategy = strategy_of(model)
    worker, workers = worker_of(strategy)
    if workers == 1:
        return measure(model, dataset, batch_size, None, losses, **(settings or {}))
    model.check_dataset(dataset)
    own = np.flatnonzero(np.arange(len(dataset)) // batch_size % workers == worker)
    if own.size:
        indices, found, means = passed(
            model, dataset.select(own), batch_size, None, losses, settings or {}
        )
    else:  # more workers than batches
        names = ("loss", *model.LOSSES) if losses else ()
        indices, found, means = list[int](), [], dict.fromkeys(names, 0.0)
    sums = sum_over_workers(strategy, np.array(list(means.values())) * len(indices))
    indices, found = gather(strategy, own[np.array(indices, int)], found)
    if worker > 0:
        return None
    means = dict(zip(means, (sums / max(1, len(indices))).tolist(), strict=True))
    return measured_from(dataset, indices, found, model.class_names, means)


def gather(
    strategy: Any, indices: np.ndarray, detections: Sequence[Mapping[str, Any]]
) -> tuple[list[int], list[dict[str, Any]]]:
    """The detections of all workers, ordered by the index of the image; all workers must call it.

    Every worker puts its own rows into a table of zeros, and the tables are summed. A sum with
    zeros is exact, so every number arrives as it was.

    Args:
        strategy: a `tf.distribute.Strategy` with several workers.
        indices: of the images of this worker; no other worker has them.
        detections: of each of them: `boxes` float32 `(n, 4)`, `scores` float32 `(n,)`, `labels`
            int32 `(n,)`.

    Returns:
        `(indices, detections)` of all images, on every worker.
    """
    counts = [len(each["labels"]) for each in detections]
    images = _table(strategy, np.column_stack([indices, np.array(counts, int)]))
    rows = [np.column_stack([d["boxes"], d["scores"], d["labels"]]) for d in detections]
    numbers = _table(strategy, np.concatenate([np.zeros((0, 6)), *rows]))
    parts = np.split(numbers, np.cumsum(images[:, 1]).astype(int)[:-1])
    order = np.argsort(images[:, 0])
    found = [
        {
            "boxes": parts[i][:, :4].astype("float32"),
            "scores": parts[i][:, 4].astype("float32"),
            "labels": parts[i][:, 5].astype("int32"),
        }
        for i in order
    ]
    return images[order, 0].astype(int).tolist(), found


def _table(strategy: Any, rows: np.ndarray) -> np.ndarray:
    """The rows of all workers below each other, in the order of the workers.

    Args:
        strategy: a `tf.distribute.Strategy` with several workers.
        rows: float64 `(n, columns)` of this worker; n may differ between workers.
    """
    worker, workers = worker_of(strategy)
    counts = np.zeros(workers)
    counts[worker] = len(rows)
    counts = sum_over_workers(strategy, counts).astype(int)
    first = int(counts[:worker].sum())
    total = np.zeros((int(counts.sum()), rows.shape[1]))
    total[first : first + len(rows)] = rows
    flat = total.reshape(-1)
    for start in range(0, flat.size, AT_ONCE):
        flat[start : start + AT_ONCE] = sum_over_workers(strategy, flat[start : start + AT_ONCE])
    return total
