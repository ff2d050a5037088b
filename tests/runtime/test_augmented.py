"""Test-time augmentation: views of an image, boxes back in its pixels, and what holds for both."""

import copy

import numpy as np
import pytest

from keras_det.runtime import AugmentedDetector, TiledDetector, weighted_box_fusion
from keras_det.runtime.fusion import suppressed

SIZE = (61, 95)  # odd, not square
BOXES = np.float32([[3, 7, 20, 30], [40, 11, 94, 60]])


def painted(boxes=BOXES, size=SIZE):
    """An image with a rectangle for each box, whose value is its class + 1."""
    image = np.zeros((*size, 3), np.uint8)
    for label, (x1, y1, x2, y2) in enumerate(np.int32(boxes)):
        image[y1:y2, x1:x2] = label + 1
    return image


class Painted:
    """Finds the rectangles of an image; the score of class k at `image_size[0]` is of a table."""

    class_names, image_size, score_thresholds = ["a", "b"], (128, 160), [0.5, 0.5]
    detect_settings = {"score_threshold": 0.001, "max_detections": 100, "class_agnostic": False}

    def __init__(self, score=lambda image, label: 0.8, image_size=(128, 160)):
        self.score, self.image_size = score, image_size
        self.calls = []

    def with_image_size(self, image_size):
        return type(self)(self.score, image_size)

    def detect(self, images, score_threshold=0.001, **settings):
        self.calls.append((len(images), {"score_threshold": score_threshold, **settings}))
        return [self._one(image, score_threshold) for image in images]

    def _one(self, image, threshold):
        assert image.flags.c_contiguous
        rows = []
        for label in range(2):
            y, x = np.nonzero(image[..., 0] == label + 1)
            if len(x) and self.score(image, label) > threshold:
                box = [x.min(), y.min(), x.max() + 1, y.max() + 1]
                rows.append((box, self.score(image, label), label))
        return {
            "boxes": np.float32([row[0] for row in rows]).reshape(-1, 4),
            "scores": np.float32([row[1] for row in rows]),
            "labels": np.int32([row[2] for row in rows]),
        }


class File(Painted):
    """The same as an exported file: it takes no settings but the threshold."""

    engine, score_threshold = "test", 0.1
    with_image_size = detect_settings = property()  # no such attributes

    def check_threshold(self, threshold):
        if threshold is not None and threshold < 0.1:
            raise ValueError("`score_threshold` must be at least 0.1")

    def detect(self, images, *, score_threshold=None):
        self.calls.append((len(images), score_threshold))
        return [self._one(image, 0.1) for image in images]


def in_place(found):
    order = np.argsort(found["labels"])
    return found["boxes"][order], found["scores"][order]


@pytest.mark.parametrize("fusion", ["wbf", "nms"])
@pytest.mark.parametrize("scales", [(1.0,), (0.5, 1.0, 1.5)])
@pytest.mark.parametrize("flip, views", [("horizontal", 2), ("vertical", 2), ("both", 4)])
def test_boxes_of_all_views_come_back_to_the_image(flip, views, scales, fusion):
    detector = Painted()
    augmented = AugmentedDetector(detector, flip, scales, fusion)
    boxes, scores = in_place(augmented.detect(painted()))
    np.testing.assert_allclose(boxes, BOXES, atol=1e-4)
    np.testing.assert_allclose(scores, [0.8, 0.8], rtol=1e-6)
    assert [calls for network in augmented._networks for calls, _ in network.calls] == [
        views
    ] * len(scales)


def test_each_view_is_another_one():
    seen = set()

    def noted(image, label):
        seen.add(image.tobytes())
        return 0.5

    AugmentedDetector(Painted(noted), "both").detect(painted())
    expected = {painted()[::y, ::x].tobytes() for y in (1, -1) for x in (1, -1)}
    assert seen == expected and len(seen) == 4


def left_only(image, label):
    """0.6, but for class 1 only where it is at the right, as in the image itself."""
    return 0.6 if label == 0 or image[20, 60, 0] == 2 else 0.0


# Class 1 is found in one of two views: 0.6 * 1 / 2. Suppression leaves the score as it is.
@pytest.mark.parametrize("fusion, second", [("wbf", 0.3), ("nms", 0.6)])
def test_what_one_view_finds_counts_less(fusion, second):
    found = AugmentedDetector(Painted(left_only), fusion=fusion).detect(painted())
    np.testing.assert_allclose(in_place(found)[1], [0.6, second], rtol=1e-6)


# The fused score is 0.3: a view has to report what is below the threshold, for the other one.
@pytest.mark.parametrize("threshold, count", [(0.25, 2), (0.35, 1), (0.7, 0)])
def test_the_threshold_holds_for_the_fused_scores(threshold, count):
    detector = Painted(left_only)
    found = AugmentedDetector(detector).detect(painted(), score_threshold=threshold)
    assert found["num_detections"] == count == len(found["boxes"])
    assert found["boxes"].shape == (count, 4) and len(found["class_names"]) == count
    assert detector.calls[0][1]["score_threshold"] == 0.001
    AugmentedDetector(detector).detect(painted(), score_threshold=0.0)
    assert detector.calls[1][1]["score_threshold"] == 0.0


def test_the_lowest_threshold_holds_for_fused_scores_too():
    weak = Painted(lambda image, label: 0.0015 if image[20, 60, 0] == 2 else 0.0)
    assert AugmentedDetector(weak).detect(painted())["num_detections"] == 0
    both = AugmentedDetector(weak).detect(painted(), score_threshold=0.0)
    np.testing.assert_allclose(both["scores"], 0.00075, rtol=1e-6)


def test_max_detections_holds_for_the_fused_ones():
    detector = Painted(lambda image, label: 0.3 + 0.2 * label)
    found = AugmentedDetector(detector).detect(painted(), max_detections=1)
    assert found["labels"].tolist() == [1] and found["class_names"] == ["b"]
    assert detector.calls[0][1]["max_detections"] == 1


def test_class_agnostic_holds_for_the_fused_ones():
    same = np.float32([[3, 7, 20, 30], [3, 7, 20, 30]])
    image = painted(same)  # the second lies on the first
    flipped = Painted(lambda image, label: 0.5)

    def one_class(pixels, threshold):
        found = type(flipped)._one(flipped, pixels, threshold)
        mirrored = pixels[10, 10, 0] == 0
        return {**found, "labels": np.zeros_like(found["labels"]) if mirrored else found["labels"]}

    flipped._one = one_class
    assert AugmentedDetector(flipped).detect(image)["labels"].tolist() == [0, 1]
    found = AugmentedDetector(flipped).detect(image, class_agnostic=True)
    assert len(found["labels"]) == 1
    np.testing.assert_allclose(found["scores"], [0.5])


# Soft suppression leaves a second box of the object, with a low score: without the step before the
# fusion, the object's score would be (0.9 + 0.9 + 0.1 + 0.1) / 4.
def test_boxes_that_soft_suppression_left_do_not_lower_the_score():
    class Soft(Painted):
        def _one(self, image, threshold):
            found = super()._one(image, threshold)
            first = {key: found[key][:1] for key in found}
            low = {**first, "scores": np.float32([0.1])}
            return {key: np.concatenate([first[key], low[key]]) for key in found}

    found = AugmentedDetector(Soft(lambda image, label: 0.9)).detect(painted())
    np.testing.assert_allclose(found["scores"], [0.9], rtol=1e-6)


def test_an_exported_file_is_flipped():
    detector = File(left_only)
    augmented = AugmentedDetector(detector)
    found = augmented.detect([painted(), painted()], score_threshold=0.35)
    assert [each["labels"].tolist() for each in found] == [[0], [0]]
    assert detector.calls == [(2, None)] * 2
    np.testing.assert_allclose(augmented.detect(painted())["scores"], [0.6, 0.3], rtol=1e-6)
    with pytest.raises(ValueError, match="at least 0.1"):
        augmented.detect(painted(), score_threshold=0.05)
    with pytest.raises(TypeError, match="`scales` needs a Keras detector.*one input size"):
        AugmentedDetector(detector, scales=(1.0, 1.5))


def test_lists_batches_and_one_image_agree():
    images = [painted(), painted(BOXES[::-1]), painted()[:, 20:]]
    detector = Painted()
    augmented = AugmentedDetector(detector)
    alone = [augmented.detect(image) for image in images]
    detector.calls.clear()
    together = augmented.detect(images, batch_size=4)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one["boxes"], other["boxes"])
        np.testing.assert_array_equal(one["scores"], other["scores"])
    assert [count for count, _ in detector.calls] == [4, 4]  # the last batch is filled up
    batch = augmented.detect(np.stack(images[:2]))
    assert [each["num_detections"] for each in batch] == [2, 2]
    assert augmented.detect([]) == []


def test_nothing_is_found_in_an_empty_image():
    found = AugmentedDetector(Painted(), "both", (0.5, 1.0)).detect(np.zeros((7, 5, 3), np.uint8))
    assert found["num_detections"] == 0 and found["boxes"].shape == (0, 4)
    assert found["labels"].dtype == np.int32 and found["class_names"] == []


def test_tiles_are_augmented():
    detector = Painted()
    tiled = TiledDetector(AugmentedDetector(detector), tile=48)
    boxes, scores = in_place(tiled.detect(painted(BOXES[:1])))
    np.testing.assert_allclose(boxes, BOXES[:1], atol=1e-4)
    np.testing.assert_allclose(scores, [0.8], rtol=1e-6)
    with pytest.raises(TypeError, match=r"TiledDetector\(AugmentedDetector\(detector\)\)"):
        AugmentedDetector(TiledDetector(detector))
    with pytest.raises(TypeError, match="Received: AugmentedDetector"):
        AugmentedDetector(AugmentedDetector(detector))


def test_it_looks_like_the_detector():
    augmented = copy.copy(AugmentedDetector(Painted()))
    assert augmented.class_names == ["a", "b"] and augmented.score_thresholds == [0.5, 0.5]
    assert not hasattr(augmented, "nothing") and not hasattr(augmented, "engine")
    assert hasattr(AugmentedDetector(File()), "engine")


@pytest.mark.parametrize(
    "scale, size", [(0.5, (64, 96)), (1.25, (160, 192)), (0.25, (32, 32)), (4.0, (512, 640))]
)
def test_sizes_are_multiples_of_32(scale, size):
    augmented = AugmentedDetector(Painted(), scales=(scale,))
    assert [network.image_size for network in augmented._networks] == [size]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"flip": "horizontl"}, "`flip` must be one of none.*Did you mean 'horizontal'"),
        ({"flip": None}, "`flip` must be one of"),
        ({"fusion": "soft"}, "`fusion` must be one of wbf, nms. Received: 'soft'"),
        (
            {"fusion_iou": 1.0},
            "`fusion_iou` must be at least 0 and below 1. Received: 1.0.*for 0.55",
        ),
        ({"scales": ()}, r"`scales` must hold factors from 0.25 to 4. Received: \(\)"),
        ({"scales": (1.0, 5.0)}, "`scales` must hold factors"),
        ({"scales": (float("nan"),)}, "`scales` must hold factors"),
        ({"scales": 1.5}, "`scales` must hold factors.*Received: 1.5"),
        ({"scales": (1.0, 1.05)}, "must give another input size.*128x160, 128x160"),
        ({"flip": "none"}, "another view than the image itself. Received: flip='none'"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        AugmentedDetector(Painted(), **arguments)


# ---- with a network ----


@pytest.fixture(scope="module")
def augmented(model):
    return AugmentedDetector(model, scales=(1.0, 0.5))


def test_a_network_gets_the_views_and_its_weights_stay(model, augmented):
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (51, 77, 3), np.uint8)
    smaller = model.with_image_size((64, 64))
    assert augmented._networks[0] is model
    assert augmented._networks[1].image_size == smaller.image_size
    views = []
    for network in (model, smaller):
        for mirrored in (False, True):
            found = dict(network.detect(np.ascontiguousarray(image[:, :: -1 if mirrored else 1])))
            if mirrored:
                found["boxes"] = [77, 0, 77, 0] - found["boxes"][:, [2, 1, 0, 3]] * [1, -1, 1, -1]
            views.append(found)
    expected = weighted_box_fusion([suppressed([view], 0.55) for view in views])
    found = augmented.detect(image)
    assert found["num_detections"] >= 20
    count = found["num_detections"]
    np.testing.assert_allclose(found["scores"], expected["scores"][:count], atol=1e-5)
    keep = found["scores"] > found["scores"][-1] + 1e-4  # ties may change places
    np.testing.assert_allclose(
        np.sort(found["boxes"][keep], axis=0), np.sort(expected["boxes"][:count][keep], axis=0),
        atol=0.05,
    )  # fmt: skip


def test_settings_of_the_decoder_reach_the_network(augmented):
    image = np.zeros((40, 60, 3), np.uint8)
    few = augmented.detect(image, method="hard", max_detections=3)
    assert few["num_detections"] == 3
    with pytest.raises(TypeError, match="takes no argument 'sigmas'"):
        augmented.detect(image, sigmas=0.1)
    with pytest.raises(ValueError, match="`batch_size` must be at least 1"):
        augmented.detect(image, batch_size=0)
