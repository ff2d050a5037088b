"""How much AP each part of a CornerNet costs: the ground truth takes the place of each in turn."""

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import keras
import numpy as np

from keras_det.data.dataset import Dataset
from keras_det.data.pipeline import Pipeline
from keras_det.decode.corner_decode import NO_PEAK
from keras_det.decode.settings import CORNER_SETTINGS, CornerSettings, takes_settings
from keras_det.heads.corner_head import CORNERS
from keras_det.layers.center_padding import padded_size
from keras_det.metrics.coco import coco_metrics
from keras_det.models.compiled import compiled
from keras_det.models.cornernet import CornerNet
from keras_det.training.evaluate import filled_up
from keras_det.types import Size

PARTS = ("heatmaps", "embeddings", "offsets")
# The predictions, one part replaced at a time, the two steps of the paper, and everything.
STEPS: tuple[tuple[str, ...], ...] = (
    (),
    *((part,) for part in PARTS),
    ("heatmaps", "offsets"),
    PARTS,
)
LARGEST_LOGIT = 20.0  # of a corner: its sigmoid is 1 in float32


@takes_settings(CORNER_SETTINGS)
def replace_parts(
    model: CornerNet,
    dataset: Dataset,
    batch_size: int = 8,
    steps: Sequence[Sequence[str]] = STEPS,
    **settings: Unpack[CornerSettings],
) -> dict[str, dict[str, Any]]:
    """Measures a CornerNet with the ground truth in place of some of its outputs.

    The error analysis in the ablation study of the paper (https://arxiv.org/abs/1808.01244), which
    replaces the heat maps, then also the offsets. The part whose replacement raises AP most is the
    one to improve. `true_parts` says what the ground truth of each part is.

    Args:
        model: the detector.
        dataset: labelled images with the model's classes.
        batch_size: images per call.
        steps: which of "heatmaps", "embeddings" and "offsets" to replace, together, in each step.
        **settings: settings of the decoder, as in `CornerNet.detect`.

    Returns:
        By step, such as "none" or "heatmaps + offsets", the dict of `coco_metrics`.

    Raises:
        ValueError: a part does not exist, or the data set does not have the model's classes.
    """
    for part in (part for step in steps for part in step):
        if part not in PARTS:
            raise ValueError(
                f"`steps` must hold names among {', '.join(PARTS)}. Received: {part!r}. Leave "
                "`steps` out to replace each of them."
            )
    model.check_dataset(dataset)
    network, decoder = compiled(model, lambda raw: raw), model.decoder(**settings)
    indices: list[int] = []
    found: list[list[dict[str, Any]]] = [[] for _ in steps]
    for images, targets in Pipeline(dataset, model, batch_size, training=False):
        output = network(filled_up(images, batch_size))
        raw = {k: keras.ops.convert_to_numpy(output[k])[: len(images)] for k in _names(PARTS)}
        truth = true_parts(model, raw, targets["boxes"], targets["labels"])
        indices += map(int, targets["image_index"])
        for step, rows in zip(steps, found, strict=True):
            mixed = {**raw, **{name: truth[name] for name in _names(step)}}
            arrays = model.decode(mixed, decoder)
            arrays = {k: keras.ops.convert_to_numpy(value) for k, value in arrays.items()}
            for i, index in enumerate(targets["image_index"]):
                shape = dataset[index].original_size
                row = model.to_original(i, arrays, targets["image_to_original"][i], shape)
                rows.append({k: row[k] for k in ("boxes", "scores", "labels")})
    objects = dataset.ground_truth(indices)
    return {
        " + ".join(step) or "none": coco_metrics(objects, rows, model.class_names)
        for step, rows in zip(steps, found, strict=True)
    }


def _names(parts: Sequence[str]) -> list[str]:
    return [f"{corner}_{part}" for part in parts for corner in CORNERS]


def true_parts(
    model: CornerNet, raw: Mapping[str, np.ndarray], boxes: np.ndarray, labels: np.ndarray
) -> dict[str, np.ndarray]:
    """What a perfect network would give for these objects, in the form of its raw outputs.

    Heat maps are the logits of the training targets. The embedding of a cell is the number of the
    object whose corner is nearest, so that a peak beside a corner belongs to it. An offset is the
    true one in the cell of a corner, and the predicted one elsewhere. Of objects whose corners
    share a cell, the last one gives it its offset, and the first one its embedding.

    Args:
        model: for its targets and its padding.
        raw: its outputs, dict of `(batch, height, width, n)`.
        boxes: `(batch, max_boxes, 4)`, xyxy pixels of the network's input.
        labels: `(batch, max_boxes)`, -1 in empty slots.

    Returns:
        dict with the keys and shapes of `raw`, float32.
    """
    top, left = model.padding.before(model.image_size)
    map_size = raw["top_left_heatmaps"].shape[1:3]
    padded = padded_size(model.image_size, model.padding.divisor)
    moved = np.asarray(boxes, "float32") + np.array([left, top, left, top], "float32")
    assigned = model.targets.assign(moved, labels, padded, map_size, model.num_classes)
    wanted = {name: keras.ops.convert_to_numpy(value) for name, value in assigned.items()}
    truth = {}
    for corner in CORNERS:
        cells = wanted[f"{corner}_cells"]
        offsets = np.array(raw[f"{corner}_offsets"], "float32")
        embeddings = np.zeros_like(raw[f"{corner}_embeddings"], "float32")
        for i, mask in enumerate(wanted["mask"]):
            rows, columns = np.divmod(cells[i][mask], map_size[1])
            offsets[i, rows, columns] = wanted[f"{corner}_offsets"][i][mask]
            embeddings[i, ..., 0] = _nearest(rows, columns, map_size)
        truth[f"{corner}_heatmaps"] = _logits(wanted[f"{corner}_heatmaps"])
        truth[f"{corner}_embeddings"], truth[f"{corner}_offsets"] = embeddings, offsets
    return truth


def _logits(heatmaps: np.ndarray) -> np.ndarray:
    """Logits of heat maps in 0..1: 20 at a corner, `NO_PEAK` where the map is 0."""
    values = np.clip(heatmaps.astype("float64"), 1e-12, 1 - 1e-12)
    logits = np.minimum(np.log(values) - np.log1p(-values), LARGEST_LOGIT)
    return np.where(heatmaps > 0, logits, NO_PEAK).astype("float32")


def _nearest(rows: np.ndarray, columns: np.ndarray, map_size: Size) -> np.ndarray:
    """Number of the nearest corner of each cell, `(height, width)`; 0 where there is no corner."""
    if not len(rows):
        return np.zeros(map_size, "float32")
    y, x = np.mgrid[: map_size[0], : map_size[1]]
    nearest, least = np.zeros(map_size, "float32"), np.full(map_size, np.inf)
    for number, (row, column) in enumerate(zip(rows, columns, strict=True)):
        distance = (y - row) ** 2 + (x - column) ** 2
        nearest[distance < least] = number
        least = np.minimum(least, distance)
    return nearest
