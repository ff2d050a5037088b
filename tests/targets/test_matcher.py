"""What all matchers share: how they are saved and called."""

import keras
import numpy as np
import pytest

from keras_det.targets import AnchorTargets, ATSSTargets, SimOTATargets, TaskAlignedTargets

MATCHERS = [
    (AnchorTargets, {}),
    (
        AnchorTargets,
        {"matched_threshold": 0.6, "unmatched_threshold": 0.3, "force_match": False},
    ),
    (ATSSTargets, {"num_candidates": 5}),
    (TaskAlignedTargets, {"num_candidates": 3, "alpha": 0.5, "beta": 2.0}),
    (SimOTATargets, {"centre_radius": 1.5, "iou_weight": 1.0, "num_overlaps": 4}),
]


@pytest.mark.parametrize("cls, arguments", MATCHERS)
def test_a_saved_matcher_comes_back(cls, arguments):
    config = keras.saving.serialize_keras_object(cls(**arguments))
    assert config["registered_name"] == f"keras_det>{cls.__name__}"
    matcher = keras.saving.deserialize_keras_object(config)
    assert type(matcher) is cls
    assert matcher.get_config() == {**cls().get_config(), **arguments}


@pytest.mark.parametrize("cls, arguments", MATCHERS)
def test_every_matcher_is_called_alike(cls, arguments):
    anchors = np.array([[0, 0, 10, 10], [10, 0, 20, 10], [40, 0, 50, 10]], "float32")
    raw = {"class_logits": np.zeros((1, 3, 4), "float32"), "box_deltas": np.zeros((1, 3, 4))}
    result = cls(**arguments).assign(
        anchors, boxes=anchors[None, :1], labels=np.array([[2]]), level_sizes=(2, 1), raw=raw
    )
    np.testing.assert_array_equal(result["class_targets"], [[2, -1, -1]])
    always = ["box_targets", "class_targets", "ignore_mask", "positive_mask"]
    assert sorted(set(result) - {"quality"}) == always
    assert ("quality" in result) == (cls is TaskAlignedTargets)
    assert cls.needs_predictions == (cls in (TaskAlignedTargets, SimOTATargets))


def test_levels_play_no_part_in_matching_by_overlap():
    anchors, boxes = np.eye(4, 4, 1, "float32") * 9, np.float32([[[0, 0, 9, 9], [1, 0, 5, 5]]])
    results = [
        AnchorTargets().assign(anchors, boxes, np.array([[0, 1]]), *sizes)
        for sizes in ((), (None,), ((4,),), ((99,),))
    ]
    for result in results[1:]:
        np.testing.assert_array_equal(result["class_targets"], results[0]["class_targets"])
