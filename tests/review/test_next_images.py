"""The ranking of unlabelled images, by hand."""

import numpy as np
import pytest

from keras_det.review import rank_images
from keras_det.review.next_images import log_odds, uncertainty_of


def row(scores, labels=None):
    return {"scores": scores, "labels": [0] * len(scores) if labels is None else labels}


# Threshold 0.5: p is the score. (1 - |2 * 0.5 - 1|)^2 = 1, 0.75 and 0.25: 0.25, 0.9: 0.04.
def test_uncertainty_of_each_detection():
    found = uncertainty_of(row([0.5, 0.75, 0.25, 0.9, 0.0, 1.0]), 0.5)
    np.testing.assert_allclose(found, [1, 0.25, 0.25, 0.04, 0, 0], atol=1e-5)


# Threshold 0.2, odds 1/4. Score 0.5 has odds 1, so p has odds 4: 0.8 -> (1 - 0.6)^2 = 0.16.
def test_the_threshold_of_a_class_is_one_half():
    found = uncertainty_of(row([0.2, 0.5, 0.5, 0.9], [0, 0, 1, -1]), [0.2, 0.5])
    np.testing.assert_allclose(found, [1, 0.16, 1, 0], atol=1e-6)
    assert log_odds(np.array([0.8])) == pytest.approx(np.log(4))


def test_the_least_sure_image_comes_first():
    rows = [row([0.99, 0.01]), row([]), row([0.5, 0.4]), row([0.6])]
    ranked = rank_images(rows, 0.5)
    assert [each.image for each in ranked] == [2, 3, 0, 1]
    assert ranked[0].uncertainty == pytest.approx(1 + 0.64)
    assert [each.detections for each in ranked] == [0, 1, 1, 0]
    assert ranked[0].most_uncertain == 0 and ranked[-1].most_uncertain is None
