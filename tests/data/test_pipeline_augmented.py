"""Pipelines with lists of steps: several images, sampling, the plain last part."""

import dataclasses
import warnings

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_det.data import (
    AUGMENTS,
    Augment,
    Blur,
    CopyPaste,
    Cutout,
    Dataset,
    Flip,
    IoUCrop,
    MixUp,
    Mosaic,
    Photometric,
    Pipeline,
    Rotate90,
    Sample,
    ScaleJitter,
    Transform,
    ZoomOut,
)
from keras_det.errors import DataError
from tests.data.test_pipeline import make_dataset, model_like, take

EVERYTHING = [
    *(Flip(0.5, vertical=0.5), Rotate90(0.5), ScaleJitter(0.6, 1.5), Photometric()),
    *(Mosaic(0.5), CopyPaste(0.5), MixUp(0.5), Cutout(0.5), Blur(0.5)),
]
COLORS = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]


def painted_dataset(folder, sizes=((120, 90), (80, 140)), count=6, suffix="png"):
    """Black images; image i has a rectangle in the colour of its class i % 3."""
    folder.mkdir(exist_ok=True)
    samples = []
    for i in range(count):
        height, width = sizes[i % len(sizes)]
        pixels = np.zeros((height, width, 3), np.uint8)
        box = np.float32([20 + i, 15, 60 + i, 45 + i])
        pixels[15 : 45 + i, 20 + i : 60 + i] = COLORS[i % 3]
        path = folder / f"{i}.{suffix}"
        Image.fromarray(pixels).save(path, **({"quality": 100} if suffix == "jpg" else {}))
        crowd, area = np.zeros(1, bool), np.ones(1, np.float32)
        label = np.int32([i % 3])
        samples.append(Sample(str(path), box[None], label, crowd, area, (height, width), i))
    return Dataset.from_samples(samples, ["red", "green", "blue"])


def agreement(image, boxes, labels):
    """IoU of the painted pixels of each class with the inside of its boxes."""
    found = []
    for label, color in enumerate(COLORS):
        channel = int(np.argmax(color))
        # Both images of a mixup are seen; other channels show other classes.
        painted = image[..., channel] > 50
        inside = np.zeros(painted.shape, bool)
        for x1, y1, x2, y2 in np.round(boxes[labels == label]).astype(int):
            inside[y1:y2, x1:x2] = True
        if inside.sum() > 100:
            found.append((painted & inside).sum() / (painted | inside).sum())
    return found


@pytest.mark.parametrize("mode", ["letterbox", "stretch"])
@pytest.mark.parametrize(
    "steps, suffix",
    [
        ([Flip(0.5, vertical=0.5), Rotate90(0.7), ScaleJitter(0.7, 1.3)], "jpg"),
        ([Rotate90(0.7), ZoomOut(0.7, (1.0, 2.0)), IoUCrop(0.7)], "jpg"),
        ([Flip(), Rotate90(), Mosaic(0.7)], "jpg"),
        ([Flip(), Mosaic(0.5, scale=(0.2, 0.8)), MixUp(0.5, alpha=50.0)], "png"),
        ([CopyPaste(1.0, 2, max_hidden=0.0)], "png"),
    ],
)
def test_painted_pixels_and_boxes_agree(tmp_path, steps, suffix, mode):
    dataset = painted_dataset(tmp_path, suffix=suffix)
    model = model_like(mode, (96, 128), fill=(0, 0, 0))
    pipeline = Pipeline(dataset, model, 12, steps, max_boxes=8)
    ious = []
    for images, targets in take(pipeline, 1):
        for image, boxes, labels in zip(images, targets["boxes"], targets["labels"], strict=True):
            assert ((boxes[labels == -1]) == 0).all()
            ious += agreement(image, boxes, labels)
    assert len(ious) >= 6 and np.mean(ious) > 0.88 and np.quantile(ious, 0.1) > 0.7, sorted(ious)


def test_a_way_back_is_right_or_zero(tmp_path):
    dataset = painted_dataset(tmp_path)
    steps = [Flip(0.5, vertical=0.5), Rotate90(0.3), ZoomOut(0.5, (1, 2)), Mosaic(0.3)]
    _, targets = take(Pipeline(dataset, (96, 128), 24, steps, max_boxes=5), 1)[0]
    known = 0
    for k in range(24):
        if not targets["image_to_original"][k].any():
            continue
        known += 1
        back = Transform(*targets["image_to_original"][k].tolist())
        seen = back.apply(targets["boxes"][k, :1])
        np.testing.assert_allclose(seen, dataset[targets["image_index"][k]].boxes, atol=0.01)
    assert 4 < known < 24


def test_everything_is_a_function_of_the_seed_and_resumes(tmp_path):
    dataset = make_dataset(tmp_path, 10)
    make = lambda calls: Pipeline(  # noqa: E731
        dataset, (48, 64), 4, EVERYTHING, seed=2, num_parallel_calls=calls, max_boxes=9
    )
    first, resumed = take(make(1), 6), take(make(4).start(1), 3)
    for a, b in zip(first[3:], resumed, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, a, b)


def test_a_list_of_flip_and_jitter_is_ssj(tmp_path):
    dataset = make_dataset(tmp_path, 5)
    one = take(Pipeline(dataset, (48, 64), 5, [Flip(), ScaleJitter(0.8, 1.25)]), 1)[0]
    for name in ("ssj", "published"):
        other = take(Pipeline(dataset, (48, 64), 5, name), 1)[0]
        tf.nest.map_structure(np.testing.assert_array_equal, one, other)
    assert Pipeline(dataset, 64, augment=[]).augment == AUGMENTS["none"]


def test_published_is_what_the_model_says(tmp_path):
    dataset = make_dataset(tmp_path, 1)
    model = model_like("letterbox", (16, 16))
    assert Pipeline(dataset, model, augment="published").augment == AUGMENTS["ssj"]
    model.published_augment = "flip"
    assert Pipeline(dataset, model, augment="published").augment == AUGMENTS["flip"]
    model.published_augment = [Flip(), Photometric()]
    assert Pipeline(dataset, model, augment="published").augment.steps == (Photometric(),)


def test_weight_of_several_images_is_the_smallest(tmp_path):
    dataset = painted_dataset(tmp_path)
    weights = [1.0, 2, 3, 4, 0, 5]
    batch = take(Pipeline(dataset, 64, 24, [Mosaic(1.0)], sample_weight=weights), 1)[0]
    own = np.float32(weights)[batch[1]["image_index"]]
    assert (batch[2] <= own).all() and (batch[2] < own).sum() > 10


@pytest.mark.parametrize("steps", [[Mosaic(1.0)], [MixUp(1.0)], [CopyPaste(1.0)]])
def test_only_the_broken_image_is_accused(tmp_path, steps):
    dataset = make_dataset(tmp_path, 40, broken=(7,), sizes=((24, 32),))
    pipeline = Pipeline(dataset, (24, 32), 10, steps, max_boxes=4)
    with pytest.warns(UserWarning, match="7.jpg, which does not decode"):
        take(pipeline, 4)
    assert pipeline.failed == [dataset.image_paths[7]]


def test_the_last_part_goes_without_strong_steps(tmp_path):
    dataset = painted_dataset(tmp_path)
    make = lambda **options: Pipeline(dataset, 64, 3, **options, seed=3)  # noqa: E731
    late = [Flip(), Photometric(), Mosaic(1.0), MixUp(0.5)]
    both = take(make(augment=late, plain_after=1), 6)
    strong, plain = take(make(augment=late), 2), take(make(augment=late[:2]), 6)
    for a, b in zip(both, strong + plain[2:], strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, a, b)
    resumed = take(make(augment=late, plain_after=1).start(2), 2)
    tf.nest.map_structure(np.testing.assert_array_equal, resumed, both[4:])
    assert (
        Pipeline(dataset, 64, augment="strong").augment.without_strong().steps
        == (AUGMENTS["strong"].steps[:3])
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"augment": "ssj", "plain_after": 3}, "`plain_after` needs an augmentation with a strong"),
        ({"augment": "strong", "plain_after": -1}, "`plain_after` must be at least 0"),
        ({"sampling": "rare"}, "`sampling` must be one of uniform, repeat_factor, class_balanced"),
        ({"repeat_threshold": 0.0}, r"`repeat_threshold` must lie in \(0, 1\]"),
        ({"sampling": "class_balanced", "training": False}, "as they are.*'class_balanced'"),
        ({"augment": [Photometric(), Flip()]}, "geometry must come first.*Move Flip to the front"),
        ({"augment": [Flip(), Flip()]}, "must occur only once.*Flip 2 times"),
        ({"augment": [MixUp(), Mosaic()]}, "Mosaic must come before CopyPaste and MixUp"),
        ({"augment": [ScaleJitter(), IoUCrop()]}, "must not be used together"),
        ({"augment": ["mosaic"]}, r"must hold steps: .*Did you mean Mosaic\(\)"),
        ({"augment": [Mosaic]}, r"Write Mosaic\(\)"),
        ({"augment": Mosaic()}, r"must be a list of steps.*Write \[Mosaic"),
    ],
)
def test_wrong_arguments(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        Pipeline(make_dataset(tmp_path, 2), 16, **arguments)


def test_nothing_to_paste(tmp_path):
    dataset = make_dataset(tmp_path, 2, objects=0)
    with pytest.raises(DataError, match="CopyPaste must find an object.*Received: 0 objects"):
        take(Pipeline(dataset, 16, augment=[CopyPaste()]), 1)


def test_fields_of_an_augment():
    with pytest.raises(ValueError, match="`rotate` must lie"):
        Augment(rotate=2.0)
    with pytest.raises(ValueError, match="geometry must come first"):
        Augment(steps=(Flip(),))


def test_rare_classes_are_pasted_more_often(tmp_path):
    # 20 objects of class 0, one of class 1: 1/sqrt(20) : 1, so class 1 is drawn in 0.82.
    samples = [
        dataclasses.replace(each, labels=np.int32([i == 20]))
        for i, each in enumerate(painted_dataset(tmp_path, count=21))
    ]
    dataset = Dataset.from_samples(samples, ["many", "one"])
    steps = [CopyPaste(1.0, 1, scale=(0.2, 0.3))]
    labels = np.concatenate(
        [t["labels"][:, 1:2] for _, t in take(Pipeline(dataset, 64, 21, steps), 5)]
    )
    pasted = labels[labels >= 0]
    assert len(pasted) > 80 and abs((pasted == 1).mean() - 0.82) < 0.15


def test_sampling_has_an_exact_length_and_every_image(tmp_path):
    # Class z stands on one of 9 images: sqrt(0.5 / (1/9)) = 2.12; 8 + 2.12 -> 11 places.
    samples = [
        dataclasses.replace(each, labels=np.int32([2 if i == 4 else 0]), crowd=np.zeros(1, bool))
        for i, each in enumerate(make_dataset(tmp_path, 9, objects=1, sizes=((8, 8),)))
    ]
    dataset = Dataset.from_samples(samples, ["x", "y", "z"])
    pipeline = Pipeline(dataset, 8, 4, sampling="repeat_factor", repeat_threshold=0.5)
    assert pipeline.training and pipeline.steps_per_epoch == 3
    with pytest.raises(ValueError, match="must see every image once"):
        pipeline.as_tf_dataset(training=False)
    one = [int(i) for _, t in take(pipeline, 3) for i in t["image_index"]]
    assert set(one[:11]) == set(range(9)) and one[:11].count(4) in (2, 3)
    resumed = Pipeline(dataset, 8, 4, sampling="repeat_factor", repeat_threshold=0.5).start(1)
    again = take(pipeline, 6)[3:]
    for a, b in zip(again, take(resumed, 3), strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, a, b)
    balanced = Pipeline(dataset, 8, 9, sampling="class_balanced", seed=1)
    assert balanced.steps_per_epoch == 1
    seen = np.concatenate([t["image_index"] for _, t in take(balanced, 8)])
    assert 0.3 < (seen == 4).mean() < 0.7  # one of two classes
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Pipeline(dataset, 8, sampling="repeat_factor")
    assert "rarest class, z, is in 11.1% of the images" in str(caught[0].message)
