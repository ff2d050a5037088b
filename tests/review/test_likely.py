"""Labels that were made wrong are found, from detections made by hand."""

import numpy as np
import pytest

from keras_det.review import find_label_errors

NAMES = ["cat", "dog"]
EMPTY = {"boxes": np.zeros((0, 4)), "labels": [], "scores": []}


def scene(images=60, seed=0):
    """Objects on a grid, and what a good model finds: every object, and some noise."""
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for _ in range(images):
        corners = np.array([[x, y] for x in (10, 110, 210) for y in (10, 110)], float)
        corners += rng.uniform(0, 20, corners.shape)
        sides = rng.uniform(40, 60, corners.shape)
        boxes = np.hstack([corners, corners + sides])
        labels = rng.integers(0, 2, len(boxes))
        truth.append({"boxes": boxes, "labels": labels})
        jitter = boxes + rng.normal(0, 2, boxes.shape)
        noise = np.array([[320.0, 10, 360, 50], [320, 110, 360, 150]])
        found.append(
            {
                "boxes": np.vstack([jitter, noise]),
                "labels": np.concatenate([labels, [0, 1]]),
                "scores": np.concatenate([rng.uniform(0.6, 0.95, 6), rng.uniform(0.02, 0.2, 2)]),
            }
        )
    return truth, found


def changed(row, **more):
    return {**row, **more}


def without(row, k):
    return {key: np.delete(value, k, axis=0) for key, value in row.items()}


@pytest.fixture(scope="module")
def errors():
    """One label of each kind made wrong in the first four images; the findings."""
    truth, found = scene()
    for image, k in enumerate((2, 3, 4)):
        found[image]["scores"][k] = 0.9  # the model is sure
    truth[0] = without(truth[0], 2)
    swapped = truth[1]["labels"].copy()
    swapped[3] = 1 - swapped[3]
    truth[1] = changed(truth[1], labels=swapped)
    moved = truth[2]["boxes"].copy()
    moved[4] += 20
    truth[2] = changed(truth[2], boxes=moved)
    extra = np.vstack([truth[3]["boxes"], [[400, 10, 450, 60]]])
    truth[3] = changed(truth[3], boxes=extra, labels=np.append(truth[3]["labels"], 1))
    return truth, found, find_label_errors(truth, found, NAMES)


def test_each_error_is_found_first_and_likely(errors):
    truth, found, findings = errors
    first = {each.kind: each for each in findings[:4]}
    assert set(first) == {"missing", "swapped", "misplaced", "spurious"}
    assert [each.score for each in findings] == sorted((f.score for f in findings), reverse=True)
    assert all(0.2 < each.score <= 1 for each in first.values())
    assert all(each.score < 0.05 for each in findings[4:])


def test_what_is_proposed(errors):
    truth, found, findings = errors
    first = {each.kind: each for each in findings[:4]}
    missing, swapped = first["missing"], first["swapped"]
    assert (missing.image, missing.object, missing.box) == (0, None, None)
    assert missing.proposed_box == pytest.approx(found[0]["boxes"][2])
    assert missing.detected == pytest.approx(found[0]["scores"][2])
    assert (swapped.image, swapped.object) == (1, 3)
    assert swapped.label == 1 - swapped.proposed_label == truth[1]["labels"][3]
    assert swapped.box == pytest.approx(truth[1]["boxes"][3])
    assert swapped.text(NAMES).startswith("wrong class: ")
    misplaced, spurious = first["misplaced"], first["spurious"]
    assert (misplaced.image, misplaced.object) == (2, 4)
    assert misplaced.proposed_box == pytest.approx(found[2]["boxes"][4])
    assert misplaced.label == misplaced.proposed_label == truth[2]["labels"][4]
    assert (spurious.image, spurious.object, spurious.label) == (3, 6, 1)
    assert spurious.score <= 0.5  # nothing shows what else is there
    assert spurious.proposed_label is spurious.proposed_box is None


def test_a_surer_detection_gives_a_higher_score():
    truth, found = scene()
    for image in range(10):
        truth[image] = without(truth[image], 0)
        found[image]["scores"][0] = 0.3 + 0.06 * image
    findings = [each for each in find_label_errors(truth, found, NAMES) if each.kind == "missing"]
    detected = [each.detected for each in findings if each.image < 10][:10]
    assert detected == pytest.approx(sorted(detected, reverse=True), abs=0.1)
    assert detected[0] > 0.7 and findings[0].score > 0.5


def test_a_class_that_is_also_detected_is_less_likely_wrong():
    truth, found = scene()
    rng = np.random.default_rng(1)
    for image, row in enumerate(found):
        second = rng.uniform(0.02, 0.3, 6)  # the scores of the other class at the same places
        row["scores"][:2] = 0.9
        second[1] = rng.uniform(0.6, 0.85)  # the model is not sure of the second object, and …
        wrong = [1] if image % 3 == 0 else []  # … is wrong in a third of the images
        if image < 5:
            wrong.append(0)  # the model is sure, the label is wrong
        labels = truth[image]["labels"].copy()
        labels[wrong] = 1 - labels[wrong]
        truth[image]["labels"] = labels
        row["boxes"] = np.vstack([row["boxes"], row["boxes"][:6]])
        row["labels"] = np.concatenate([row["labels"], 1 - row["labels"][:6]])
        row["scores"] = np.concatenate([row["scores"], second])
    findings = [each for each in find_label_errors(truth, found, NAMES) if each.kind == "swapped"]
    assert [each.object for each in findings[:5]] == [0] * 5
    assert findings[4].score > 2 * max((each.score for each in findings[5:]), default=0)


def test_images_that_were_trained_on_are_judged_by_themselves():
    truth, found = scene()
    truth[0] = without(truth[0], 2)
    known = np.arange(len(truth)) < 30
    findings = find_label_errors(truth, found, NAMES, trained_on=known, images=range(100, 160))
    assert (findings[0].kind, findings[0].image, findings[0].trained_on) == ("missing", 100, True)
    apart = find_label_errors(truth[:30], found[:30], NAMES)
    assert findings[0].score == pytest.approx(apart[0].score)


def test_padding_crowd_and_empty_images():
    truth, found = scene(4)
    truth[0]["labels"] = truth[0]["labels"].copy()
    truth[0]["labels"][0] = -1  # an empty slot: the numbers of the others stay
    truth[0]["boxes"] = truth[0]["boxes"].copy()
    truth[0]["labels"][5] = 1 - found[0]["labels"][5]
    swapped = [e for e in find_label_errors(truth, found, NAMES, least=0) if e.kind == "swapped"]
    assert swapped[0].object == 5
    crowd = [{"boxes": [[0, 0, 90, 90]], "labels": [0], "crowd": [True]}]
    assert find_label_errors(crowd, [EMPTY], NAMES, least=0) == []
    assert find_label_errors([], [], NAMES) == []
    assert find_label_errors([{"boxes": [], "labels": []}], [EMPTY], NAMES) == []


def test_lengths_are_checked():
    with pytest.raises(ValueError, match="one dict per image of `ground_truth`"):
        find_label_errors([EMPTY], [], NAMES)
