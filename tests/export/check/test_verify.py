"""The check itself: it must see every kind of damage, and excuse what is no damage."""

import dataclasses

import keras
import numpy as np
import pytest

from keras_det import export
from keras_det.data import drawn_images
from keras_det.data.resize import resize_image
from keras_det.export.check.evidence import check_images
from keras_det.export.check.matching import match
from keras_det.export.check.raw_errors import RawErrors
from keras_det.export.check.verify import Check, compare
from keras_det.runtime.detections import trim
from tests.export.tiny import one_weight, tiny, wrong_mean

BUDGET = export.BUDGETS["float32"]
HALF = export.BUDGETS["float16"]


class KerasArtefact:
    """A Keras model in the place of an artefact, with a hook on its outputs."""

    in_original_pixels, decoder_settings, channels = False, {}, 3

    def __init__(self, model, change=lambda found: found, change_raw=lambda raw: raw):
        self.model, self.change, self.change_raw = model, change, change_raw

    def raw(self, pixels):
        raw = self.model(pixels)
        return self.change_raw({k: keras.ops.convert_to_numpy(v) for k, v in raw.items()})

    def calls(self, image, pixels):
        def call():
            found = self.model.decode(self.raw(pixels))
            return self.change(trim({k: np.array(v) for k, v in found.items()}))

        return {"default": call}


@pytest.fixture(scope="module")
def model():
    return tiny(image_size=(96, 128))


IMAGES = drawn_images(3, 150, seed=11)


def checked(model, artefact, budget=BUDGET):
    return compare(model, artefact, check_images(IMAGES, model), budget)


def test_the_model_agrees_with_itself(model):
    found = checked(model, KerasArtefact(model))
    assert found.passed and found.matched_detections == found.total_detections > 20
    assert found.box_error_max < 1e-4 and found.reordered == 0
    assert found.verdict.startswith("passed: raw outputs and detections agree")


def mutated(change):
    copy = tiny(image_size=(96, 128))
    change(copy)
    return copy


def swapped_channels(copy):
    copy.normalization.channel_order = "bgr"


def one_statistic(copy):
    variance = copy.class_head.norms[0].moving_variance
    variance.assign(
        keras.ops.convert_to_numpy(variance) * np.linspace(0.95, 1.0, variance.shape[0])
    )


def other_anchors(copy):
    copy.anchors = copy.anchors + np.float32(0.6)


@pytest.mark.parametrize("budget", [BUDGET, HALF], ids=["float32", "float16"])
@pytest.mark.parametrize("change", [one_weight, wrong_mean, swapped_channels, one_statistic])
def test_damage_to_the_network_is_seen(model, change, budget):
    found = checked(model, KerasArtefact(mutated(change)), budget)
    assert not found.passed
    assert "standard deviations" in found.verdict


def test_damage_behind_the_network_is_seen(model):
    found = checked(model, KerasArtefact(mutated(other_anchors)))
    assert max(found.raw_error_max.values()) < 1e-4
    assert not found.passed and "pixels (allowed 0.5)" in found.verdict


def test_swapped_axes_are_seen(model):
    def swap(found):
        return {**found, "boxes": found["boxes"][:, [1, 0, 3, 2]]}

    def swap_deltas(raw):
        return {**raw, "box_deltas": raw["box_deltas"][..., [1, 0, 3, 2]]}

    assert "finds label" in checked(model, KerasArtefact(model, swap), HALF).verdict
    assert "`box_deltas`" in checked(model, KerasArtefact(model, change_raw=swap_deltas)).verdict


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda found: {k: v[1:] for k, v in found.items()}, "only the Keras model finds"),
        (lambda found: {**found, "labels": (found["labels"] + 1) % 3}, "finds label"),
        (lambda found: {**found, "scores": found["scores"] * 0.9}, "a score differs"),
        (lambda found: {**found, "boxes": found["boxes"] + 0.6}, "a box differs by 0.6 pixels"),
        (lambda found: {**found, "boxes": found["boxes"] * np.nan}, "finds label"),
    ],
)
def test_damaged_detections_are_seen(model, change, message):
    found = checked(model, KerasArtefact(model, change))
    assert not found.passed and message in found.verdict


def test_additional_detections_are_seen(model):
    def add(found):
        extra = {"boxes": [[5.0, 5, 60, 60]], "scores": [0.7], "labels": [2]}
        return {k: np.concatenate([np.array(extra[k], v.dtype), v]) for k, v in found.items()}

    assert "only the export finds label 2" in checked(model, KerasArtefact(model, add)).verdict


def test_outputs_without_a_number_or_without_the_image_are_seen(model):
    def nan(raw):
        return {**raw, "class_logits": raw["class_logits"] * np.nan}

    frozen = {k: np.array(v) for k, v in model(np.zeros((1, 96, 128, 3), "uint8")).items()}
    found = checked(model, KerasArtefact(model, change_raw=nan))
    assert "not finite" in found.verdict
    found = checked(model, KerasArtefact(model, change_raw=lambda raw: frozen))
    assert "`class_logits` does not change when the image does" in found.verdict


def test_damage_to_an_untrained_model_is_seen():
    model = tiny(finds=False)
    copy = tiny(finds=False)
    assert checked(model, KerasArtefact(copy)).passed
    one_weight(copy)
    assert not checked(model, KerasArtefact(copy)).passed


def near_ties(model):
    """Scores of many candidates closer together than any budget, in another order."""

    def change(raw):
        noise = np.random.default_rng(0).uniform(-1, 1, raw["class_logits"].shape)
        return {**raw, "class_logits": (raw["class_logits"] + 0.006 * noise).astype("float32")}

    return KerasArtefact(model, change_raw=change)


def test_candidates_that_change_places_are_no_damage():
    # Many candidates that overlap, with scores around 0.05 to 0.9.
    model = tiny(image_size=(96, 128))
    bias = model.class_head.prediction.bias
    bias.assign(np.full(bias.shape, -3.0))
    found = checked(model, near_ties(model), HALF)
    assert found.reordered > 0 and found.passed, found.verdict
    assert any("rank nearly equal scores differently" in note for note in found.notes)
    # The same exchange is damage where the scores are not that close.
    strict = dataclasses.replace(HALF, score=1e-5)
    assert not checked(model, near_ties(model), strict).passed


# An order may also turn on the overlaps: then the artefact's own boxes stand in, if they are within
# the budget (1 pixel for HALF) for every anchor that scores. Anchors are 12 pixels and more wide:
# a delta of 0.001 moves a box far less than a pixel, one of 1 by the width of the anchor.
@pytest.mark.parametrize("score, delta, alternatives", [(0, 0.001, 2), (0, 1.0, 1), (0.1, 0.0, 0)])
def test_what_stands_in_for_another_order_is_within_the_budget(model, score, delta, alternatives):
    image = drawn_images(1, 128, seed=11)[0][:96]
    check = Check(model, KerasArtefact(model), HALF)
    pixels, transform = resize_image(image, model.resize_policy, model.normalization.fill_color)
    raw = KerasArtefact(model).raw(pixels[None])
    found = {
        "class_logits": raw["class_logits"] + 8 * score,
        "box_deltas": raw["box_deltas"] + np.float32(delta),
    }
    others = list(check._in_the_order_of_the_export((raw, found), image, transform))
    assert len(others) == alternatives


# ---- matching, by hand ----


def detections(*rows):
    boxes = np.array([row[:4] for row in rows], "float32").reshape(-1, 4)
    scores = np.array([row[4] for row in rows], "float32")
    return {"boxes": boxes, "scores": scores, "labels": np.array([row[5] for row in rows], int)}


A = (10, 10, 50, 50, 0.9, 0)


def test_match_measures_in_pixels_of_the_input():
    found = match(detections(A), detections((12, 10, 50, 51, 0.89, 0)), HALF, scale=(0.5, 0.25))
    assert found.box_errors == [1.0] and found.score_errors == pytest.approx([0.01])
    assert found.within(dataclasses.replace(HALF, score=0.011)) and not found.within(BUDGET)


def test_match_may_cross_the_threshold():
    # 0.0505 has its partner at 0.0496, below the threshold: matched, not lost.
    found = match(detections((0, 0, 9, 9, 0.0505, 1)), detections((0, 0, 9, 9, 0.0496, 1)), BUDGET)
    assert len(found.box_errors) == 1 and found.within(BUDGET)


def test_match_excuses_only_at_the_threshold():
    for score, excused, lost in ((0.0509, 1, 0), (0.0512, 0, 1), (0.0499, 0, 0)):
        for pair in ((True, False), (False, True)):
            sides = [detections((0, 0, 9, 9, score, 1)) if own else detections() for own in pair]
            found = match(*sides, BUDGET)
            assert (found.excused, len(found.lost)) == (excused, lost)


def test_match_excuses_what_a_full_list_cut_off():
    full = detections(A, (60, 60, 90, 90, 0.4, 0))
    longer = detections(A, (60, 60, 90, 90, 0.4, 0), (0, 0, 9, 9, 0.4005, 1))
    assert match(longer, full, BUDGET, slots=2).excused == 1
    assert len(match(longer, full, BUDGET, slots=3).lost) == 1


def test_match_takes_the_nearest_of_equal_boxes():
    # Clipped to one box, scores apart: each finds its own, whatever the order.
    first = detections((0, 0, 96, 96, 0.9, 0), (0, 0, 96, 96, 0.3, 0))
    second = {key: value[::-1] for key, value in first.items()}
    assert match(first, second, BUDGET).score_errors == [0.0, 0.0]


def test_match_needs_the_label_and_the_overlap():
    shifted = (16, 10, 56, 50, 0.9, 0)  # IoU 34 / 46
    for other in ((*A[:5], 1), shifted):
        assert len(match(detections(A), detections(other), HALF).lost) == 2


def test_raw_errors_count_in_standard_deviations():
    errors = RawErrors()
    errors.add({"x": np.array([1.0, -1.0])}, {"x": np.array([1.0, -0.98])})
    errors.add({"x": np.array([3.0, -3.0])}, {"x": np.array([3.0, -3.0])})
    usual, largest, flat = errors.relative(BUDGET)
    # Mean 0, variance (1 + 1 + 9 + 9) / 4 = 5.
    assert largest["x"] == pytest.approx(0.02 / np.sqrt(5)) and flat == []
    assert usual["x"] == largest["x"], "of two values, the largest is exceeded by no thousandth"


def test_raw_errors_know_the_tail_from_the_rest():
    expected = np.tile([1.0, -1.0], 2500)
    for damaged, usual in ((5, 0.0), (6, 0.5)):
        value = expected.copy()
        value[:damaged] += 0.5
        errors = RawErrors()
        errors.add({"x": expected}, {"x": value})
        # Standard deviation 1; 5 of 5000 values are a thousandth, 6 are more.
        assert errors.relative(HALF)[:2] == ({"x": usual}, {"x": 0.5})


def test_raw_errors_of_a_flat_output_count_in_roundings():
    errors = RawErrors()
    errors.add({"x": np.full(8, -4.6)}, {"x": np.full(8, -4.6 * (1 + 2.0**-20))})
    usual, largest, flat = errors.relative(BUDGET)
    # Half of the 2**-19 that counts as rounding: half of the budget of 1e-3.
    assert usual["x"] == pytest.approx(0.5e-3, rel=1e-3) == largest["x"] and flat == ["x"]


def test_one_wrong_output_among_many_is_seen(model):
    def damage(raw):
        raw["box_deltas"][0, 17, 2] += 0.2
        return raw

    for budget in (BUDGET, HALF):
        found = checked(model, KerasArtefact(model, change_raw=damage), budget)
        assert "`box_deltas` differs in places by" in found.verdict


def test_synthetic_images_fit_the_input(model):
    evidence = check_images(None, model)
    assert evidence.source == "synthetic" and len(evidence) == 8
    assert all(max(image.shape) == 160 and image.dtype == np.uint8 for image, _ in evidence)
