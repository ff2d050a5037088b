"""The paint test of every step, eagerly and in `tf.data`, and what each argument does."""

import numpy as np
import pytest
import tensorflow as tf

from keras_det.data import (
    Blur,
    CopyPaste,
    Cutout,
    Flip,
    IoUCrop,
    JPEGNoise,
    MixUp,
    Mosaic,
    Photometric,
    Rotate90,
    ScaleJitter,
    TileCrop,
    ZoomOut,
)
from keras_det.data import augment as augmenting
from tests.helpers import painted_iou

SINGLE = [
    Flip(1.0),
    Flip(0.0, vertical=1.0),
    Rotate90(1.0),
    ScaleJitter(0.6, 1.2),
    ScaleJitter(1.5, 1.6),
    IoUCrop(1.0, min_ious=(0.1,)),
    ZoomOut(1.0, scale=(1.2, 2.0)),
    TileCrop(1.0, (60, 80), on_object=1.0),
    TileCrop(1.0, 70, scale=(1.3, 1.5)),
    Photometric(probability=1.0),
    Blur(1.0),
    JPEGNoise(1.0),
]
SEVERAL = [Mosaic(1.0), MixUp(1.0), CopyPaste(1.0, count=1)]


def sample_of(image, boxes, labels=None, slots=3):
    """A sample with empty slots, whose boxes must never be looked at."""
    boxes = np.reshape(np.float32(boxes), (-1, 4))
    labels = np.zeros(len(boxes)) if labels is None else labels
    empty = slots - len(boxes)
    return {
        "image": np.uint8(image),
        "boxes": np.concatenate([boxes, np.full((empty, 4), 7.0, np.float32)]),
        "labels": np.int32([*labels, *[-1] * empty]),
    }


def run(step, sample, seed, others, in_graph):
    if not in_graph:
        return step(sample, seed, others, fill=0)
    size = sample["image"].shape
    data = tf.data.Dataset.from_tensors((sample, tuple(others)))

    def change(sample, others):
        sample["image"] = tf.ensure_shape(sample["image"], size)
        return step(sample, seed, list(others), fill=0)

    return next(iter(data.map(change)))


def painted(step, seed, in_graph, place=0, count=1, height=96, width=128):
    """The painted IoU where sample number `place` of `count` is the painted one."""
    slots = []

    def augment(image, box):
        blank = sample_of(np.zeros((70, 50, 3)), [])
        samples = [blank if place else None, *[blank] * (count - 1)]
        samples[0] = sample_of(np.zeros((height, width, 3)), [])
        samples[place] = sample_of(image, box, [5])
        found = run(step, samples[0], seed, samples[1:], in_graph)
        labels = np.asarray(found["labels"])
        slots.append(labels)
        assert found["image"].dtype == np.uint8 and (labels[1:] == -1).all()
        assert found["image"].shape == (height, width, 3)
        if labels[0] == -1:
            raise LookupError("the object is not in the picture")
        assert labels[0] == 5
        image = np.asarray(found["image"])
        threshold = 60 if isinstance(step, MixUp) else 127
        return np.where(image > threshold, 255, 0), np.asarray(found["boxes"])[0]

    return painted_iou(augment, seed, height, width)


@pytest.mark.parametrize("step", SINGLE, ids=repr)
def test_painted_box_stays_with_its_pixels(step):
    ious = []
    for seed in range(6):
        try:
            ious.append(painted(step, seed, False))
        except LookupError:
            continue
    assert len(ious) >= 3
    assert min(ious) > 0.8 and np.mean(ious) > 0.9, ious
    assert painted(step, int(np.argmax(ious)) if len(ious) == 6 else 0, True) > 0.8


@pytest.mark.parametrize(
    "step, place, count",
    [
        *((Mosaic(1.0), place, 4) for place in range(4)),
        *((MixUp(1.0), place, 2) for place in range(2)),
        (CopyPaste(1.0, count=1), 1, 2),
    ],
)
def test_painted_box_of_each_of_several_images(step, place, count):
    ious, first = [], None
    for seed in range(12):
        try:
            ious.append(painted(step, seed, False, place, count))
        except (LookupError, ValueError):  # cut off by its quarter
            continue
        first = seed if first is None else first
        if len(ious) == 3:
            break
    assert len(ious) == 3
    assert min(ious) > 0.75 and np.mean(ious) > 0.9, ious
    assert painted(step, first, True, place, count) > 0.75


@pytest.mark.parametrize("step", [*SINGLE, Cutout(1.0), *SEVERAL], ids=repr)
def test_no_boxes_and_the_same_seed(step):
    rng = np.random.default_rng(0)
    samples = [
        sample_of(rng.integers(0, 256, (20 + k, 30, 3)), [], slots=2)
        for k in range(1 + step.others)
    ]
    first, again = (run(step, samples[0], 3, samples[1:], graph) for graph in (False, True))
    assert (np.asarray(first["labels"]) == -1).all() and first["boxes"].shape[1] == 4
    assert (np.asarray(first["boxes"]) == 0).all()
    np.testing.assert_array_equal(first["image"], again["image"])
    images = [np.asarray(run(step, samples[0], seed, samples[1:], False)["image"])
              for seed in range(4)]  # fmt: skip
    if not isinstance(step, (Flip, CopyPaste, IoUCrop, TileCrop)):
        assert any((image != images[0]).any() for image in images)


@pytest.mark.parametrize("step", [*SINGLE, Cutout(1.0), *SEVERAL], ids=repr)
def test_probability_zero_changes_nothing(step):
    import dataclasses

    if isinstance(step, ScaleJitter):
        step = ScaleJitter(1.0, 1.0)
    elif isinstance(step, Flip):
        step = Flip(0.0)
    else:
        step = dataclasses.replace(step, probability=0.0)
    rng = np.random.default_rng(0)
    samples = [
        sample_of(rng.integers(0, 256, (20, 31, 3)), [[2, 3, 9, 11], [4, 4, 30, 20]], [1, 0])
        for _ in range(1 + step.others)
    ]
    for seed in range(3):
        found = step(samples[0], seed, samples[1:])
        np.testing.assert_array_equal(found["image"], samples[0]["image"])
        np.testing.assert_array_equal(found["labels"][:3], [1, 0, -1])
        np.testing.assert_allclose(found["boxes"][:2], samples[0]["boxes"][:2])


# A dot in row 2, column 5 of 10 x 20 pixels. Turned by 90 degrees (counterclockwise: x -> y) it
# lies in a picture of 20 x 10, which is fitted into 10 x 20 by a half: 10 x 5 at the left.
def test_right_angles_are_right():
    image = np.zeros((12, 12, 3), np.uint8)
    image[2, 5] = 255
    found = set()
    for seed in range(16):
        changed = Rotate90(1.0)(sample_of(image, [5, 2, 6, 3]), seed)
        ((row, column),) = np.argwhere(np.asarray(changed["image"])[..., 0] == 255)
        np.testing.assert_allclose(changed["boxes"][0], [column, row, column + 1, row + 1])
        found.add((int(row), int(column)))
    # np.rot90 by 1, 2 and 3 quarters: (11 - 5, 2), (11 - 2, 11 - 5), (5, 11 - 2).
    assert found == {(6, 2), (9, 6), (5, 9)}


def test_a_turned_image_is_fitted_into_the_input():
    image = np.full((10, 20, 3), 255, np.uint8)
    found = Rotate90(1.0)(sample_of(image, [0, 0, 20, 10]), 1, fill=0)
    boxes = [np.asarray(Rotate90(1.0)(sample_of(image, [0, 0, 20, 10]), s, fill=0)["boxes"][0])
             for s in range(12)]  # fmt: skip
    # 20 x 10 turned is 10 x 20; into a height of 10 by a half: 5 wide, 10 high.
    assert {tuple(box) for box in boxes} == {(0, 0, 20, 10), (0, 0, 5, 10)}
    assert found["image"].shape == (10, 20, 3)


def test_zooming_out_puts_the_image_anywhere():
    image = np.full((40, 60, 3), 255, np.uint8)
    corners = []
    for seed in range(20):
        found = ZoomOut(1.0, (2.0, 2.0))(sample_of(image, [0, 0, 60, 40]), seed, fill=9)
        x1, y1, x2, y2 = np.asarray(found["boxes"][0])
        assert abs(x2 - x1 - 30) <= 1 and abs(y2 - y1 - 20) <= 1
        white = np.argwhere(np.asarray(found["image"])[..., 0] == 255)
        assert (white.min(axis=0) == [y1, x1]).all() and (white.max(axis=0) + 1 == [y2, x2]).all()
        assert (np.asarray(found["image"])[..., 0] == 9).sum() == 2400 - len(white)
        corners.append((x1, y1))
    assert len(set(corners)) > 15 and np.std(corners, axis=0).min() > 4


def test_the_crop_shows_an_object_as_well_as_asked():
    # Whole, the object fills 0.39 of the image. From an IoU of a half on it fills at least half of
    # the window, whose sides have at most 1:2, so at least 3/8 of the input are not padding.
    sample = sample_of(np.zeros((90, 120, 3)), [20, 15, 90, 75])
    seen = set()
    for seed in range(15):
        found = IoUCrop(1.0, min_ious=(0.5,), scale=(0.3, 1.0))(sample, seed)
        x1, y1, x2, y2 = np.asarray(found["boxes"][0])
        assert found["labels"][0] == 0 and (x2 - x1) * (y2 - y1) > 0.18 * 90 * 120
        seen.add(round(float((x2 - x1) * (y2 - y1))))
    assert len(seen) > 8
    nothing = IoUCrop(1.0, min_ious=(1.0,))(sample, 0)
    np.testing.assert_allclose(nothing["boxes"][0], [20, 15, 90, 75])


# Windows of 20 x 30 of an image of 60 x 80 are enlarged by 8 / 3 to 53 x 80: 80 / 30, rounded.
def test_a_tile_is_a_window_of_the_image_itself():
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    image[:, :, 2] = 0
    image[30:33, 50:54] = 255, 255, 255
    seen, step = set(), TileCrop(1.0, (20, 30), scale=(1.0, 1.0), on_object=1.0, min_visible=0.6)
    for seed in range(12):
        found = step(sample_of(image, [50, 30, 54, 33]), seed, fill=0)
        x1, y1, x2, y2 = np.asarray(found["boxes"][0])
        white = np.argwhere(np.asarray(found["image"])[:, :, 2] > 127)
        if found["labels"][0] == 0:
            assert abs(white.min(axis=0) - [y1, x1]).max() <= 1
            assert abs(white.max(axis=0) + 1 - [y2, x2]).max() <= 1
            assert (x2 - x1) * (y2 - y1) >= 0.6 * 12 * (8 / 3) ** 2 * 0.95
        assert (np.asarray(found["image"])[54:] == 0).all()  # padding below 53 rows
        seen.add((round(float(x1)), round(float(y1))))
    assert len(seen) > 8


# Of 60 x 80, windows of 20 x 30 anywhere show the centre of the object in about a sixth of the
# draws; around an object, in all of them. The object of the second class is never drawn in full.
@pytest.mark.parametrize("on_object, least, most", [(1.0, 20, 20), (0.0, 1, 10)])
def test_the_share_of_tiles_on_objects(on_object, least, most):
    step = TileCrop(1.0, (20, 30), (1.0, 1.0), on_object, min_visible=0.5)
    sample = sample_of(np.zeros((60, 80, 3)), [38, 28, 40, 30])
    shown = [int(step(sample, seed)["labels"][0]) == 0 for seed in range(20)]
    assert least <= sum(shown) <= most


def test_each_object_may_be_that_of_the_tile():
    step = TileCrop(1.0, 12, (1.0, 1.0), on_object=1.0)
    objects = [[2, 2, 5, 5], [70, 5, 74, 9], [40, 50, 43, 54]]
    sample = sample_of(np.zeros((60, 80, 3)), objects, [0, 1, 2])
    shown = [int(step(sample, seed)["labels"][0]) for seed in range(30)]
    assert {*shown} == {0, 1, 2} and all(shown.count(label) >= 4 for label in range(3))


# An object of 40 x 40 in windows of 20: it fills the tile, but 1/4 of it is seen at most.
def test_objects_that_a_tile_cuts_are_clipped_or_dropped():
    sample = sample_of(np.zeros((60, 80, 3)), [20, 10, 60, 50])
    for least, label in ((0.05, 0), (0.3, -1)):
        found = TileCrop(1.0, 20, (1.0, 1.0), on_object=1.0, min_visible=least)(sample, 1)
        assert found["labels"][0] == label
        x1, y1, x2, y2 = np.asarray(found["boxes"][0])
        assert 0 <= x1 <= x2 <= 60 and 0 <= y1 <= y2 <= 60


# The window has the sides of the image where these are shorter: 30 x 100 is fitted into 60 x 80.
def test_a_tile_is_no_larger_than_the_image():
    from keras_det.data.augmenting.views import draw_view

    augment = augmenting.composed([TileCrop(1.0, scale=(1.0, 1.0))])
    view = draw_view(tf.constant([30, 100]), (60, 80), "letterbox", augment,
                     tf.constant([0, 3], tf.int64), 1, tf.zeros((0, 4)))  # fmt: skip
    plan = view.plan
    assert (int(plan.window_height), int(plan.window_width)) == (30, 80)
    assert (int(plan.height), int(plan.width)) == (30, 80) and int(plan.left) in range(21)
    tall = draw_view(tf.constant([500, 50]), (60, 80), "letterbox", augment,
                     tf.constant([0, 3], tf.int64), 1, tf.zeros((0, 4)))  # fmt: skip
    assert (int(tall.plan.window_height), int(tall.plan.window_width)) == (60, 50)


def test_tiles_by_name_and_what_does_not_go_with_them():
    tiles = augmenting.AUGMENTS["tiles"]
    assert tiles.tile == TileCrop() and tiles.flip == 0.5 and tiles.windowed
    assert augmenting.AUGMENTS["ssj"].tile is None
    for other in (ScaleJitter(), IoUCrop(), ZoomOut()):
        with pytest.raises(ValueError, match="TileCrop must not be used together with ScaleJitter"):
            augmenting.composed([TileCrop(), other])
    for other in (Mosaic(), CopyPaste()):
        with pytest.raises(ValueError, match="together with Mosaic or CopyPaste"):
            augmenting.composed([TileCrop(), other])
    assert augmenting.composed([TileCrop(), Photometric(), MixUp()]).mixes


def test_the_four_images_of_a_mosaic_meet_in_its_centre():
    samples = [sample_of(np.full((40, 60, 3), 50 * k + 50), [0, 0, 60, 40], [k]) for k in range(4)]
    found = Mosaic(1.0, scale=(1.0, 1.0), centre=0.5)(samples[0], 5, samples[1:], fill=0)
    image = np.asarray(found["image"])[..., 0]
    quarters = [image[:20, :30], image[:20, 30:], image[20:, :30], image[20:, 30:]]
    assert [set(np.unique(quarter)) for quarter in quarters] == [{50}, {100}, {150}, {200}]
    np.testing.assert_array_equal(found["labels"][:4], range(4))
    expected = [[0, 0, 30, 20], [30, 0, 60, 20], [0, 20, 30, 40], [30, 20, 60, 40]]
    np.testing.assert_allclose(found["boxes"][:4], expected, atol=1e-4)
    # At a third of their size they touch the centre, with the padding colour around them.
    small = Mosaic(1.0, scale=(1 / 3, 1 / 3), centre=0.5)(samples[0], 5, samples[1:], fill=7)
    np.testing.assert_allclose(
        small["boxes"][:4], [[10, 7, 30, 20], [30, 7, 50, 20], [10, 20, 30, 33], [30, 20, 50, 33]],
        atol=1e-4,
    )  # fmt: skip
    assert (np.asarray(small["image"])[:7] == 7).all()


def test_mixup_keeps_the_objects_of_both():
    first = sample_of(np.full((20, 30, 3), 200), [1, 2, 10, 12], [1], slots=2)
    second = sample_of(np.full((20, 30, 3), 100), [3, 4, 20, 15], [2], slots=4)
    found = MixUp(1.0, alpha=9999.0)(first, 0, [second])
    assert np.abs(np.asarray(found["image"]).astype(int) - 150).max() <= 2
    np.testing.assert_array_equal(found["labels"], [1, 2, -1, -1, -1, -1])
    np.testing.assert_allclose(found["boxes"][:2], [[1, 2, 10, 12], [3, 4, 20, 15]])


def test_pasted_objects_hide_no_other():
    rng = np.random.default_rng(0)
    other = sample_of(np.full((60, 80, 3), 250), [10, 10, 30, 30], [3])
    pasted = 0
    for seed in range(20):
        corner = rng.integers(0, 25, 2)
        own = np.float32([*corner, *corner + 30])
        found = CopyPaste(1.0, 1, (1.0, 1.0))(
            sample_of(np.zeros((60, 80, 3)), own, [1]), seed, [other]
        )
        np.testing.assert_allclose(found["boxes"][0], own)
        if found["labels"][1] == 3:
            pasted += 1
            x1, y1, x2, y2 = np.asarray(found["boxes"][1]).astype(int)
            assert (x2 - x1, y2 - y1) == (20, 20)
            assert (np.asarray(found["image"])[y1:y2, x1:x2] == 250).all()
            left, top, right, bottom = own.astype(int)
            hidden = np.asarray(found["image"])[top:bottom, left:right] > 0
            assert hidden.mean() <= 0.2
    assert pasted >= 15
    crowded = CopyPaste(1.0, 1)(sample_of(np.zeros((60, 80, 3)), [0, 0, 80, 60]), 0, [
        sample_of(np.full((60, 80, 3), 250), [0, 0, 80, 60], [3])])  # fmt: skip
    assert (np.asarray(crowded["labels"][1:]) == -1).all() and not np.asarray(
        crowded["image"]
    ).any()


def test_covered_objects_are_dropped():
    from keras_det.data.augmenting.pixels import covered_share

    # Two rectangles that overlap: columns 0-8 and 4-12 of rows 0-8 of a box 16 x 8: 12 / 16.
    boxes = tf.constant([[0.0, 0, 16, 8], [20, 20, 30, 30], [0, 0, 4, 4]])
    first, last = tf.constant([[0.0, 0], [0, 4]]), tf.constant([[8.0, 8], [8, 12]])
    np.testing.assert_allclose(covered_share(boxes, first, last), [0.75, 0, 1])
    image, kept = np.full((40, 40, 3), 200, np.uint8), set()
    for seed in range(30):
        step = Cutout(1.0, count=1, scale=(0.5, 0.5), max_hidden=0.7)
        found = step(sample_of(image, [10, 10, 26, 26]), seed, fill=0)
        changed = np.asarray(found["image"])
        assert (changed == 0).all(axis=-1).sum() == 400
        hidden = (changed[10:26, 10:26] == 0).mean()
        if abs(hidden - 0.7) > 0.1:
            assert (found["labels"][0] == -1) == (hidden > 0.7)
        kept.add(int(found["labels"][0]))
    assert kept == {0, -1}


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Flip(2), r"`probability` of Flip must lie in \[0, 1\]. Received: 2"),
        (lambda: Flip(vertical=-1), "`vertical` of Flip"),
        (lambda: Rotate90(-0.1), "`probability` of Rotate90"),
        (lambda: ScaleJitter(2, 1), "0 < low <= high. Received: 2, 1"),
        (lambda: IoUCrop(min_ious=()), "`min_ious` of IoUCrop must hold numbers"),
        (lambda: IoUCrop(tries=0), "`tries` of IoUCrop must be at least 1"),
        (lambda: IoUCrop(scale=(0.5, 2)), "`scale` of IoUCrop"),
        (lambda: ZoomOut(scale=(0.5, 2)), r"`scale` of ZoomOut must be \(low, high\) with 1 <="),
        (lambda: TileCrop(1.1), "`probability` of TileCrop"),
        (lambda: TileCrop(on_object=-1), "`on_object` of TileCrop must lie in"),
        (lambda: TileCrop(min_visible=2), "`min_visible` of TileCrop must lie in"),
        (lambda: TileCrop(tile=0), "`tile` of TileCrop must be a whole number.*Received: 0"),
        (lambda: TileCrop(tile=(64, 64.5)), "`tile` of TileCrop must be"),
        (lambda: TileCrop(tile=(64,)), "`tile` of TileCrop must be"),
        (lambda: TileCrop(scale=(0, 1)), "`scale` of TileCrop must be"),
        (lambda: Photometric(hue=1), r"`hue` of Photometric must lie in \[0, 0.5\]"),
        (lambda: Photometric(brightness=float("nan")), "`brightness` of Photometric must be a num"),
        (lambda: Photometric(0, 0, 0, 0, 0), "Photometric must change something"),
        (lambda: Blur(sigma=3), r"`sigma` of Blur must be \(low, high\).*Received: 3"),
        (lambda: JPEGNoise(quality=(0, 50)), "`quality` of JPEGNoise"),
        (
            lambda: Cutout(count=0),
            r"`count` of Cutout must be a whole number in 1..10. Received: 0",
        ),
        (lambda: Mosaic(centre=0), "`centre` of Mosaic"),
        (lambda: MixUp(alpha=0), "`alpha` of MixUp must be a positive"),
        (lambda: CopyPaste(count=1.5), "`count` of CopyPaste"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_wrong_samples():
    sample = sample_of(np.zeros((4, 4, 3)), [])
    with pytest.raises(ValueError, match="Mosaic needs 3 other samples. Received: 1"):
        Mosaic()(sample, 0, [sample])
    with pytest.raises(ValueError, match="Flip needs no other samples. Received: 1"):
        Flip()(sample, 0, [sample])
