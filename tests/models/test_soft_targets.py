"""Matchers and class losses by name: what the losses are, how they are saved, copied, trained."""

import keras
import numpy as np
import pytest

from keras_det import losses
from keras_det.models import EfficientDet, RetinaNet, load_model
from keras_det.models.anchor_detector import AnchorDetector
from keras_det.targets import AnchorTargets, ATSSTargets, SimOTATargets, TaskAlignedTargets
from tests.export.tiny import small_backbone
from tests.targets.scenes import decoded, overlap

MATCHERS = {
    "iou": AnchorTargets,
    "atss": ATSSTargets,
    "task_aligned": TaskAlignedTargets,
    "simota": SimOTATargets,
}
SOFT = {"quality_focal": losses.QualityFocalLoss, "varifocal": losses.VarifocalLoss}
numbers = keras.ops.convert_to_numpy


def small(**arguments):
    arguments = {"num_classes": 3, "image_size": (64, 96), "neck_channels": 8, **arguments}
    return RetinaNet(small_backbone(), max_level=5, head_repeats=1, **arguments)


def batch():
    """Two objects, none, one; images differ everywhere."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 64, 96, 3)).astype("uint8")
    boxes, labels = np.zeros((3, 4, 4), "float32"), np.full((3, 4), -1, "int32")
    boxes[0, :2], labels[0, :2] = [[10, 10, 50, 40], [30, 20, 90, 60]], [0, 2]
    boxes[2, 1], labels[2, 1] = [40, 4, 80, 44], 1
    return images, {"boxes": boxes, "labels": labels}


def raw_outputs(model, seed=0):
    rng = np.random.default_rng(seed)
    count = len(model.anchors)
    return {
        "class_logits": rng.normal(-2, 1, (3, count, 3)).astype("float32"),
        "box_deltas": rng.normal(0, 0.3, (3, count, 4)).astype("float32"),
    }


def matched_by(model, targets, raw):
    given = {"raw": raw} if model.matcher.needs_predictions else {}
    found = model.matcher.assign(
        model.anchors, targets["boxes"], targets["labels"], level_sizes=model.level_sizes, **given
    )
    return {name: numbers(value) for name, value in found.items()}


# The whole sum once more, one positive after the other: quality from the decoded boxes, or that of
# the matcher; class loss and box loss divided by the sum of the qualities.
@pytest.mark.parametrize("class_loss", SOFT)
@pytest.mark.parametrize("matcher", MATCHERS)
def test_losses_with_soft_targets_equal_plain_loops(matcher, class_loss):
    model = small(matcher=matcher, class_loss=class_loss, box_loss="giou", box_loss_weight=2.0)
    assert type(model.matcher) is MATCHERS[matcher]
    assert type(model.class_loss) is SOFT[class_loss]
    _, targets = batch()
    raw = raw_outputs(model)
    matched = matched_by(model, targets, raw)
    positive = matched["positive_mask"]
    quality, goals = np.zeros(positive.shape), np.zeros((*positive.shape, 4))
    predicted = np.zeros(goals.shape)
    for i, a in np.argwhere(positive):
        goals[i, a] = decoded(model.anchors[a], matched["box_targets"][i, a])
        predicted[i, a] = decoded(model.anchors[a], raw["box_deltas"][i, a])
        quality[i, a] = overlap(predicted[i, a], goals[i, a])
    if matcher == "task_aligned":
        quality = matched["quality"]
    assert quality.sum() > 1
    y_true = {"labels": matched["class_targets"], "quality": quality}
    weight = 1.0 - matched["ignore_mask"]
    class_sum = SOFT[class_loss]()(y_true, raw["class_logits"], sample_weight=weight)
    box_sum = losses.GIoULoss()(goals, predicted, sample_weight=quality)
    found = model.losses_of(targets, raw)
    np.testing.assert_allclose(found["class_loss"], class_sum / quality.sum(), rtol=1e-4)
    np.testing.assert_allclose(found["box_loss"], 2 * box_sum / quality.sum(), rtol=1e-4)
    np.testing.assert_allclose(found["positives_per_image"], positive.sum() / 3, rtol=1e-6)


# With hard labels every positive counts 1, whatever the matcher says of its quality.
@pytest.mark.parametrize("matcher", ["task_aligned", "simota"])
def test_losses_with_hard_labels_count_positives(matcher):
    model = small(matcher=matcher)
    _, targets = batch()
    raw = raw_outputs(model)
    matched = matched_by(model, targets, raw)
    class_sum = model.class_loss(matched["class_targets"], raw["class_logits"])
    found = model.losses_of(targets, raw)
    positives = matched["positive_mask"].sum()
    np.testing.assert_allclose(found["class_loss"], class_sum / positives, rtol=1e-5)


def test_few_qualities_divide_by_one():
    model = small(class_loss="varifocal", matcher="task_aligned")
    _, targets = batch()
    raw = raw_outputs(model)
    raw["box_deltas"] += 50.0  # no predicted box overlaps an object
    found = model.losses_of(targets, raw)
    labels = np.full(raw["class_logits"].shape[:2], -1)
    everything = {"labels": labels, "quality": np.zeros(labels.shape)}
    np.testing.assert_allclose(
        found["class_loss"], model.class_loss(everything, raw["class_logits"]), rtol=1e-5
    )
    assert found["box_loss"] == 0 and found["positives_per_image"] == 0


# An image of weight w counts as w copies: in the losses and in the sum of the qualities.
@pytest.mark.parametrize("matcher", MATCHERS)
def test_sample_weights_are_copies_of_images(matcher):
    model = small(matcher=matcher, class_loss="quality_focal")
    _, targets = batch()
    raw = raw_outputs(model)

    def of(chosen, weights=None):
        parts = [{k: v[chosen] for k, v in each.items()} for each in (targets, raw)]
        found = model.losses_of(*parts, None if weights is None else np.float32(weights))
        return {name: float(value) for name, value in found.items()}

    for weights, copies in (([2, 1, 1], [0, 0, 1, 2]), ([1, 3, 0], [0, 1, 1, 1])):
        assert of([0, 1, 2], weights) == pytest.approx(of(copies), rel=1e-5, abs=1e-7)
    assert set(of([0, 1, 2], [0, 0, 0]).values()) == {0.0}


# The qualities of all devices are added up.
def test_the_sum_of_qualities_is_that_of_all_devices(monkeypatch):
    from keras_det.models import anchor_detector

    model = small(class_loss="quality_focal")
    _, targets = batch()
    raw = raw_outputs(model)
    alone = model.losses_of(targets, raw)
    monkeypatch.setattr(anchor_detector, "sum_over_replicas", lambda value: 2 * value)
    shared = model.losses_of(targets, raw)
    for name in ("class_loss", "box_loss"):
        np.testing.assert_allclose(2 * shared[name], alone[name], rtol=1e-6)


@pytest.mark.parametrize("matcher, class_loss", [("simota", "varifocal")])
def test_names_are_saved_and_copied_and_train(matcher, class_loss, tmp_path):
    model = small(matcher=matcher, class_loss=class_loss, box_loss="giou")
    images, targets = batch()
    model.compile(run_eagerly=True)
    history = model.fit(images, targets, verbose=0).history
    assert np.isfinite(history["loss"]).all() and history["box_loss"][0] > 0
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    raw = raw_outputs(model)
    expected = model.losses_of(targets, raw)
    for copy in (again, model.with_image_size((64, 96))):
        assert type(copy.matcher) is type(model.matcher)
        assert copy.get_config()["matcher"] == matcher
        assert copy.get_config()["class_loss"] == class_loss
        for name, value in copy.losses_of(targets, raw).items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-5)
    hard = model.with_changes(matcher="iou", class_loss="focal")
    assert (hard.matcher.matched_threshold, hard.matcher.unmatched_threshold) == (0.5, 0.4)
    np.testing.assert_array_equal(hard(images)["class_logits"], again(images)["class_logits"])


@pytest.mark.slow
@pytest.mark.parametrize("matcher", ["task_aligned", "simota"])
def test_compiled_training_lowers_the_loss(matcher):
    keras.utils.set_random_seed(0)
    model = small(matcher=matcher, class_loss="quality_focal", head_norm="batch")
    images, targets = batch()
    model.compile(keras.optimizers.Adam(3e-3))
    history = model.fit(images, targets, epochs=40, verbose=0).history
    assert history["loss"][-1] < 0.7 * history["loss"][0]


def test_objects_with_arguments_are_saved(tmp_path):
    model = small(matcher=SimOTATargets(1.5), class_loss=losses.VarifocalLoss(alpha=0.5))
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    assert again.matcher.centre_radius == 1.5 and again.class_loss.alpha == 0.5


def test_the_names_of_the_published_parts_are_the_published_parts():
    model = EfficientDet("lite0", 2, image_size=64, matcher="iou", class_loss="focal")
    default = EfficientDet("lite0", 2, image_size=64)
    for name in ("matcher", "class_loss"):
        ours, theirs = getattr(model, name), getattr(default, name)
        assert type(ours) is type(theirs) and ours.get_config() == theirs.get_config()
    assert default.class_loss.gamma == 1.5 and default.class_head.norm == "batch"
    # 9 cells of 9 anchors.
    assert small(matcher="atss").matcher.num_candidates == 81


def test_heads_of_an_efficientdet_take_another_norm():
    model = EfficientDet("lite0", 2, image_size=64, head_norm="group")
    assert model.class_head.norm == model.box_head.norm == "group"
    kinds = {type(layer).__name__ for layer in model.class_head.norms}
    assert kinds == {"GroupNormalization"} and model.get_config()["head_norm"] == "group"


class NoPredictions:
    needs_predictions = True

    def assign(self, anchors, boxes, labels, level_sizes=None):
        return {}


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"matcher": "tood"}, ValueError, "`matcher` must be one of .*Received: matcher='tood'"),
        ({"matcher": NoPredictions()}, TypeError, "`needs_predictions` must take `raw` in `ass"),
        ({"class_loss": "qfl"}, ValueError, "`class_loss` must be one of .*Received: 'qfl'"),
    ],
)
def test_wrong_parts_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        small(**arguments)


# A matcher of one's own that knows nothing of `raw` still works.
def test_a_matcher_of_ones_own_gets_no_predictions():
    class Mine(AnchorTargets):
        def assign(self, anchors, boxes, labels, level_sizes=None):
            return super().assign(anchors, boxes, labels, level_sizes)

    model, (_, targets) = small(matcher=Mine()), batch()
    raw = raw_outputs(model)
    expected = AnchorDetector.losses_of(small(matcher=AnchorTargets()), targets, raw)
    for name, value in model.losses_of(targets, raw).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-6)
