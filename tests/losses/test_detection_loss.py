"""Anchors, targets and losses together: the original EfficientDet's whole detection loss."""

import keras
import numpy as np

from keras_det.layers.anchor_generator import AnchorGenerator
from keras_det.losses import BoxHuberLoss, SparseSigmoidFocalLoss
from keras_det.targets import AnchorTargets
from tests.helpers import golden
from tests.losses.gradients import value_and_gradients

LEVELS = range(3, 8)


def detection_loss(class_logits, box_deltas, boxes, labels):
    """EfficientDet: both sums over the batch, divided by positives + 1, box weight 50."""
    targets = AnchorTargets().assign(AnchorGenerator().anchors(128), boxes, labels)
    positive = keras.ops.cast(targets["positive_mask"], "float32")
    # The original drops coordinates whose target is exactly 0; predicting them exactly does too.
    target = targets["box_targets"]
    box_deltas = keras.ops.where(target == 0, target, box_deltas)
    normaliser = keras.ops.sum(positive) + 1.0
    focal = SparseSigmoidFocalLoss(alpha=0.25, gamma=1.5)
    class_loss = focal(targets["class_targets"], class_logits) / normaliser
    box_loss = BoxHuberLoss()(target, box_deltas, sample_weight=positive) / (4 * normaliser)
    return class_loss + 50.0 * box_loss, class_loss, box_loss


def ground_truth(file, names, slots=25):
    boxes, labels = np.zeros((2, slots, 4), "float32"), np.full((2, slots), -1)
    for i, name in enumerate(names):
        rows = file[f"{name}/gt_boxes"][:, [1, 0, 3, 2]]
        boxes[i, : len(rows)], labels[i, : len(rows)] = rows, file[f"{name}/gt_classes"][:, 0] - 1
    return boxes, labels


def loss_and_gradients(class_logits, box_deltas, boxes, labels):
    parts, gradients = value_and_gradients(
        lambda *raw: detection_loss(*raw, boxes, labels), class_logits, box_deltas
    )
    return parts, *gradients


def flat(levels, width):
    return np.concatenate([level.reshape(2, -1, width) for level in levels], axis=1)


def test_loss_and_gradients_equal_the_originals():
    file = golden("efficientdet/losses.npz")
    boxes, labels = ground_truth(golden("efficientdet/targets_128.npz"), file["full_images"])
    class_logits = flat([file[f"full_cls_{level}"] for level in LEVELS], 90)
    box_deltas = flat([file[f"full_box_{level}"] for level in LEVELS], 4)[..., [1, 0, 3, 2]]
    parts, class_gradient, box_gradient = loss_and_gradients(
        class_logits, box_deltas, boxes, labels
    )
    np.testing.assert_allclose(parts, file["full_huber"][:3], rtol=1e-5)
    expected = flat([file[f"full_dbox_{level}"] for level in LEVELS], 4)[..., [1, 0, 3, 2]]
    np.testing.assert_allclose(box_gradient, expected, rtol=1e-4, atol=1e-8)
    expected = flat([file[f"full_dcls_{level}"] for level in (5, 6, 7)], 90)
    found = class_gradient[:, -expected.shape[1] :]
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-9)
    # Levels 3 and 4 are kept as the sum of absolute values and the sum of squares.
    start = 0
    for level, cells in ((3, 256), (4, 64)):
        part = class_gradient[:, start : start + 9 * cells].astype("float64")
        start += 9 * cells
        sums = [np.abs(part).sum(), (part**2).sum()]
        np.testing.assert_allclose(sums, file[f"full_dcls_{level}"], rtol=1e-5)


def test_a_batch_without_objects_trains_the_classes_only():
    rng = np.random.default_rng(0)
    class_logits = rng.normal(-4.6, 1, (2, 3069, 3)).astype("float32")
    box_deltas = rng.normal(0, 1, (2, 3069, 4)).astype("float32")
    boxes, labels = np.full((2, 4, 4), np.nan, "float32"), np.full((2, 4), -1)
    parts, class_gradient, box_gradient = loss_and_gradients(
        class_logits, box_deltas, boxes, labels
    )
    assert np.isfinite(parts).all() and parts[0] == parts[1] > 0 and parts[2] == 0
    assert (class_gradient > 0).all() and not box_gradient.any()
