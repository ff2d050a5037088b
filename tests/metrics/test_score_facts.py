"""What the scores of a detector say, with numbers by hand."""

import numpy as np
import pytest

from keras_det.metrics.score_facts import ScoreFacts, above_threshold, score_facts

SIZE = (100, 200, 3)  # height, width


def found(*rows):
    """Detections of one image from rows of x1, y1, x2, y2, score, label."""
    table = np.array(rows, "float64").reshape(-1, 6)
    return {"boxes": table[:, :4], "scores": table[:, 4], "labels": table[:, 5].astype(int)}


# Best boxes 20x10 at x = 0 and x = 10: half of each is common, IoU 100 / 300. Spread (0.8-0.6)/0.8.
def test_facts_are_those_by_hand():
    images = [
        found((0, 0, 20, 10, 0.8, 0), (50, 50, 60, 60, 0.5, 1)),
        found((10, 0, 30, 10, 0.6, 1)),
    ]
    facts = score_facts(images, [SIZE] * 2, [0.7, 0.5])
    assert facts.highest == 0.8 and facts.images == 2
    assert facts.passing == 2, "0.8 > 0.7, 0.6 > 0.5, and 0.5 is not above 0.5"
    assert facts.same_box == pytest.approx(1 / 3) and facts.spread == pytest.approx(0.25)
    assert facts.learned
    assert facts.sentence("the threshold 0.5") == (
        "Highest score 0.80; 2 detections in 2 images above the threshold 0.5."
    )


def test_boxes_are_compared_in_shares_of_the_image():
    images = [found((0, 0, 20, 10, 0.8, 0)), found((0, 0, 40, 20, 0.8, 0))]
    facts = score_facts(images, [(100, 200), (200, 400)], 0.3)
    assert facts.same_box == pytest.approx(1.0)


# As reported: AP50 0.53, but no score above 0.012 and the same box everywhere.
@pytest.mark.parametrize(
    "highest, same_box, spread, images, learned",
    [
        (0.012, 0.2, 0.9, 30, False),  # scores of the prior
        (0.02, 0.2, 0.9, 30, True),
        (0.3, 0.95, 0.05, 30, False),  # one box for all images
        (0.3, 0.95, 0.2, 30, True),  # scores differ
        (0.3, 0.85, 0.05, 30, True),  # boxes differ
        (0.6, 0.95, 0.05, 30, True),  # sure of objects that are always in the same place
        (0.3, 0.95, 0.05, 3, True),  # too few images to say
        (0.05, 0.95, 0.05, 2, False),  # two images show it, with such a low score
        (0.05, 0.95, 0.05, 1, True),
    ],
)
def test_a_model_that_has_learned_too_little_says_so(highest, same_box, spread, images, learned):
    facts = ScoreFacts(images, highest, 5, same_box, spread)
    assert facts.learned == learned
    sentence = facts.sentence("the threshold 0.3")
    assert sentence.startswith("The model has learned too little") == (not learned)
    assert ("--epochs" in sentence) == (not learned)


def test_images_without_detections_are_not_the_same():
    images = [found((0, 0, 20, 10, 0.3, 0))] * 5 + [found()]
    facts = score_facts(images, [SIZE] * 6, 0.3)
    assert facts.spread == 1.0 and facts.learned
    assert score_facts([found()], [SIZE], 0.3).highest == 0.0


def test_thresholds_belong_to_classes_and_empty_slots_never_pass():
    rows = found((0, 0, 1, 1, 0.5, 0), (0, 0, 1, 1, 0.5, 1), (0, 0, 1, 1, 0.9, -1))
    assert above_threshold(rows, [0.4, 0.6]).tolist() == [True, False, False]
    assert above_threshold(rows, 0.5).tolist() == [False, False, False]
