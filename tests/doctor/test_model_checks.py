"""The whole examination of a data set with a detector, and the evaluator fed with the truth."""

import numpy as np
import pytest

from keras_det.data.augment import AUGMENTS
from keras_det.doctor.model_checks import (
    _harm_below,
    check_evaluator,
    check_model,
    check_sizes,
    perfect_detections,
)
from keras_det.errors import DataError
from keras_det.models import EfficientDet
from tests.doctor.made import dataset_of, square


@pytest.fixture(scope="module")
def model():
    return EfficientDet("lite0", class_names=["cat", "dog"], image_size=128)


def good(**fields):
    boxes = [[square(10, 20, 80), square(150, 40, 120)]] * 3
    return dataset_of(boxes, [(240, 300)] * 3, [[0, 1]] * 3, ("cat", "dog"), **fields)


def test_truth_scores_one(model):
    data = good(crowd=[False, True] * 3)
    assert check_evaluator(data, model) == []
    (first, *_) = perfect_detections(data, model, [0])
    np.testing.assert_allclose(first["boxes"], [square(10, 20, 80)], atol=1e-3)


def test_more_than_100_objects_cannot_score_one(model):
    boxes = [[square(12 * (i % 20), 12 * (i // 20), 11) for i in range(150)]]
    data = dataset_of(boxes, [(240, 300)], None, ("cat", "dog"))
    (finding,) = check_evaluator(data, model)
    # 100 of 150 found: precision 1 up to recall 2 / 3, which are 67 of COCO's 101 points.
    assert finding.harm == "error" and finding.facts["AP"] == pytest.approx(67 / 101)
    assert "would score AP 0.663 on dataset, not 1, because of images with more" in finding.title
    assert "--max-detections" in finding.cure


def test_the_harm_grows_with_the_distance_from_one(model):
    counts = [150] + [100] * 19
    boxes = [[square(12 * (i % 20), 12 * (i // 20), 11) for i in range(n)] for n in counts]
    data = dataset_of(boxes, [(240, 300)] * len(counts), None, ("cat", "dog"))
    (finding,) = check_evaluator(data, model)
    # 2000 of 2050 are found: recall 0.976, 98 of COCO's 101 points.
    assert finding.harm == "warning" and finding.facts["AP"] == pytest.approx(98 / 101)
    assert "images with more than 100 objects" in finding.title
    assert [_harm_below(points / 101) for points in (95, 99, 100)] == ["error", "warning", "note"]


def test_boxes_beyond_the_image_cannot_score_one(model):
    data = dataset_of([[[100, 20, 500, 120]]], [(240, 300)], None, ("cat", "dog"))
    (finding,) = check_evaluator(data, model)
    assert "objects that extend beyond their image and are clipped (1)" in finding.title


def test_small_objects_are_shown(model):
    data = dataset_of([[square(10, 20, 80)], [square(5, 5, 6)]], [(240, 300)] * 2)
    (finding,) = check_sizes(data, model, AUGMENTS["none"])
    # 6 * 128 / 300 = 2.56 pixels, and 6 * 102 / 240 = 2.55.
    assert (finding.count, finding.total, finding.images) == (1, 2, (1,))
    assert "1.jpg, object 0: 2.6x2.5 pixels of the input" in finding.examples
    np.testing.assert_array_equal(finding.boxes[0], [square(5, 5, 6)])
    assert check_sizes(good(), model, AUGMENTS["none"]) == []


def test_good_data_have_no_finding(model):
    assert check_model(good(), model, validation=good(), quick=True) == []


def test_a_name_builds_the_model():
    tiny = dataset_of([[square(0, 0, 5)]] * 4, [(1000, 1500)] * 4)
    findings = check_model(tiny, "efficientdet_lite0", image_size=64, quick=True)
    assert (findings[0].code, findings[0].harm) == ("objects-vanish", "error")
    assert findings[0].images == (0, 1, 2, 3) and len(findings[0].boxes) == 4
    with pytest.raises(DataError, match="The model must be one of"):
        check_model(tiny, "efficientdet_lite", quick=True)


def test_image_size_is_for_names_only(model):
    with pytest.raises(ValueError, match="`image_size` must be left out for a model that is built"):
        check_model(good(), model, image_size=64)


def test_data_without_objects_end_early(model):
    data = dataset_of([[]], [(9, 9)], None, ("cat", "dog"))
    assert [f.code for f in check_model(data, model)] == ["no-objects"]
    assert [f.code for f in check_model(good(crowd=[True] * 6), model)] == ["no-objects"]
