"""What the report advises."""

import numpy as np
import pytest

from keras_det.metrics.analysis import analyse
from keras_det.metrics.score_facts import ScoreFacts
from keras_det.training.advice import advice

LEARNED = ScoreFacts(images=60, highest=0.9, passing=100, same_box=0.1, spread=0.5)
NAMES = ["cat", "dog"]
BOX = np.array([[10, 10, 60, 60]], "float64")


def image(label, found=None, score=0.8, shift=0.0):
    """An object, and a detection of its class, or of another one, or none."""
    truth = {"boxes": BOX, "labels": [label]}
    labels = [label if found is None else found]
    return truth, {"boxes": BOX + shift, "scores": [score], "labels": labels}


def of(images, facts=LEARNED, history=()):
    truth, found = zip(*images, strict=True)
    return advice(analyse(found, truth, NAMES), facts, history)


def test_the_most_costly_error_comes_first():
    images = [image(0)] * 40 + [image(1)] * 20 + [image(1, 0)] * 20
    assert of(images)[0].startswith("Most AP50 is lost to “classification” (")
    shifted = [image(0)] * 30 + [image(0, shift=20.0)] * 30 + [image(1)] * 60
    assert of(shifted)[0].startswith("Most AP50 is lost to “localisation” (")


def test_a_class_that_is_behind_is_named():
    images = [image(0)] * 60 + [image(1)] * 3 + [image(1, shift=100.0)] * 7
    assert any("“dog” has AP 0." in line and "Label more" in line for line in of(images))
    never = [image(0)] * 60 + [image(1, shift=100.0)] * 7
    assert any(line.startswith("“dog” is hardly ever found (7 objects)") for line in of(never))


def test_a_model_that_learned_nothing_gets_one_sentence():
    facts = ScoreFacts(images=60, highest=0.01, passing=0, same_box=0.1, spread=0.5)
    (line,) = of([image(0)] * 60, facts)
    assert line.startswith("The model has learned too little")


@pytest.mark.parametrize("losses, named", [([1.0, 0.5, 0.7], True), ([1.0, 0.5, 0.51], False)])
def test_overfitting_is_seen_in_the_validation_loss(losses, named):
    history = [{"epoch": str(k), "val_loss": str(v)} for k, v in enumerate(losses, 1)]
    lines = of([image(0)] * 60, history=history)
    assert any("lowest after epoch 2" in line for line in lines) == named


def test_few_images_are_mentioned_and_five_lines_are_the_most():
    lines = of([image(0)] * 3 + [image(1, 0)] * 3)
    assert any("come from only 6 images" in line for line in lines) and len(lines) <= 5
    assert "wrong or missing labels" in of([image(0)] * 60)[-1]
