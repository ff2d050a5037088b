"""Checks that a user's loss fits the model, once, when the model is built."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_det.types import Tensor


def check_class_loss(
    loss: keras.losses.Loss, num_classes: int, model: str = "anchors"
) -> keras.losses.Loss:
    """Returns the loss of a class head after a check that the model can train on it.

    Args:
        loss: `keras.losses.Loss`. For "anchors" it compares integer labels `(batch, anchors)`, -1
            for background, with logits `(batch, anchors, classes)`. If its attribute `targets` is
            "quality", it gets a dict of `labels` and `quality` `(batch, anchors)` instead of
            labels. For "corners" it compares heat maps with logits, both `(batch, height, width,
            classes)`. It must sum over everything: the model divides by the number of positives.
        num_classes: number of classes of the model.
        model: "anchors" or "corners".

    Raises:
        TypeError: it is not a Keras loss.
        ValueError: it fails on such a batch, returns more than one number, or averages; or its
            attribute `targets` is wrong.
    """
    kind = _kind_of_targets(loss, model)
    labels: Any
    logits = np.linspace(-1.0, 1.0, 4 * num_classes, dtype="float32")
    if model == "anchors":
        labels, ours = np.array([[0, -1, 0, -1]], "int32"), "SparseSigmoidFocalLoss"
        logits, shape = logits.reshape(1, 4, num_classes), "(batch, anchors)"
        what = (
            "integer labels (batch, anchors), -1 for background, and logits (batch, anchors, "
            "classes)"
        )
        if kind == "quality":
            quality = np.array([[0.7, 0.0, 0.2, 0.0]], "float32")
            labels, ours = {"labels": labels, "quality": quality}, "QualityFocalLoss"
            what = f'a dict of "labels" and "quality" with {what}'
    else:
        labels, ours = np.zeros((1, 2, 2, num_classes), "float32"), "CornerFocalLoss"
        labels[0, 0, 0, 0], logits = 1.0, logits.reshape(labels.shape)
        shape = "(batch, height, width)"
        what = "heat maps and logits, both (batch, height, width, classes)"
    must = (
        f"`class_loss` must be a keras.losses.Loss of {what}, that sums "
        f'(reduction="sum") and takes a `sample_weight` of shape {shape}'
    )
    advice = f"Use keras_det.losses.{ours}, or write a loss of that form."
    _check_sum(loss, labels, logits, must, advice)
    return loss


def _kind_of_targets(loss: keras.losses.Loss, model: str) -> str:
    """What the loss is compared with: "labels", or "quality" for labels and qualities."""
    kind = getattr(loss, "targets", "labels")
    if kind not in ("labels", "quality"):
        raise ValueError(
            'The attribute `targets` of `class_loss` must be "labels" or "quality". Received: '
            f'{loss!r} with targets={kind!r}. Use "quality" if it needs the quality of each box '
            "beside its label."
        )
    if kind == "quality" and model == "corners":
        raise ValueError(
            "`class_loss` of CornerNet compares heat maps: corners have no quality. Received: "
            f"{loss!r}. Use keras_det.losses.CornerFocalLoss."
        )
    return kind


def check_box_loss(loss: keras.losses.Loss) -> keras.losses.Loss:
    """Returns the loss of a box head after a check that a model can train on it.

    Args:
        loss: `keras.losses.Loss` of two arrays `(batch, anchors, 4)`. It must sum over everything:
            the model divides by the number of positives.

    Raises:
        TypeError: it is not a Keras loss.
        ValueError: it fails on such a batch, returns more than one number, or averages.
    """
    first = np.array([[[0, 0, 2, 2], [1, 1, 4, 5], [0, 1, 3, 3]]], "float32")
    must = (
        "`box_loss` must be a keras.losses.Loss of two arrays (batch, anchors, 4) that sums "
        '(reduction="sum") and takes a `sample_weight` of shape (batch, anchors)'
    )
    advice = "Use one of keras_det.losses.BOX_LOSSES, or write a loss of that form."
    _check_sum(loss, first, first + np.array([0.5, -0.25, 0.5, 1.0], "float32"), must, advice)
    return loss


def _check_sum(
    loss: keras.losses.Loss, targets: Any, outputs: np.ndarray, must: str, advice: str
) -> None:
    """Checks that a batch twice as large has twice the loss: a mean would stay the same."""
    if not isinstance(loss, keras.losses.Loss):
        raise TypeError(f"{must}. Received: {loss!r}. {advice}")
    weights = np.ones(outputs.shape[:-1], "float32")

    def of_copies(count: int) -> Tensor:
        targets_of, outputs_of, weights_of = keras.tree.map_structure(
            lambda x: ops.convert_to_tensor(np.concatenate([x] * count)),
            (targets, outputs, weights),
        )
        return loss(targets_of, outputs_of, sample_weight=weights_of)

    try:
        once, twice = of_copies(1), of_copies(2)
        shape = tuple(once.shape)
    except Exception as error:
        ours = type(loss).__module__.startswith("keras_det.") and isinstance(error, ValueError)
        if ours and "Received: " in str(error):
            raise  # This package's losses name the wrong argument themselves; JAX's errors do not.
        lines = str(error).strip().splitlines() or [""]
        raise ValueError(
            f"{must}. Received: {loss!r}, which fails on such a batch ({type(error).__name__}: "
            f"{lines[0][:200]}). {advice}"
        ) from error
    if shape != ():
        raise ValueError(
            f"{must}. Received: {loss!r}, which returns shape {shape} instead of one number. "
            f'Give it reduction="sum". {advice}'
        )
    once, twice = float(once), float(twice)
    if not np.isclose(twice, 2.0 * once, rtol=1e-3, atol=1e-6):
        raise ValueError(
            f"{must}. Received: {loss!r}, whose value does not double when the batch is "
            f"doubled ({once:.4g}, then {twice:.4g}), so it does not sum. Give it "
            f'reduction="sum". {advice}'
        )
