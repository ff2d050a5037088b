import dataclasses
import pathlib
import struct
import types
import warnings
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_det.data import (
    Augment,
    Dataset,
    Mosaic,
    Pipeline,
    Sample,
    Transform,
    load,
    read_image,
)
from keras_det.data.pipeline import PADDING_LABEL
from keras_det.data.resize import resize_image
from keras_det.errors import DataError
from tests.data.test_png_chunks import png
from tests.helpers import data_set, painted_iou


def make_dataset(folder, count=6, suffix="jpg", sizes=((48, 64), (40, 30)), objects=2, broken=()):
    """Noise images; image i has `objects` boxes, the first of them crowd on image 1."""
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    samples = []
    for i in range(count):
        height, width = sizes[i % len(sizes)]
        path = folder / f"{i}.{suffix}"
        coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((width, height)).save(path)
        if i in broken:
            path.write_bytes(path.read_bytes()[:-60])
        boxes = np.float32([[2 + k, 4, 12 + 2 * k, 20 + k] for k in range(objects)])
        crowd = np.array([i == 1 and k == 0 for k in range(objects)], bool)
        labels = np.arange(objects, dtype=np.int32) % 3
        areas = np.ones(objects, np.float32)
        samples.append(Sample(str(path), boxes, labels, crowd, areas, (height, width), i))
    return Dataset.from_samples(samples, ["x", "y", "z"])


def take(pipeline, count):
    return list(pipeline.as_tf_dataset().take(count).as_numpy_iterator())


def model_like(mode, size, fill=(1, 2, 3)):
    return types.SimpleNamespace(
        resize_policy={"mode": mode, "size": size},
        normalization=types.SimpleNamespace(fill_color=fill),
    )


def test_constant_is_that_of_boxes():
    from keras_det import boxes

    assert PADDING_LABEL == boxes.PADDING_LABEL


@pytest.mark.parametrize("mode", ["letterbox", "stretch", "mediapipe"])
@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp", "gif"])
def test_evaluation_equals_the_numpy_reference(tmp_path, mode, suffix):
    dataset = make_dataset(tmp_path, 3, suffix)
    model = model_like(mode, (32, 56))
    batches = list(Pipeline(dataset, model, 2, max_boxes=4))
    assert [len(images) for images, _ in batches] == [2, 1]
    for i in range(3):
        images, targets = batches[i // 2]
        sample, k = dataset[i], i % 2
        expected, transform = resize_image(sample.read(), model.resize_policy, (1, 2, 3))
        assert images.dtype == np.uint8
        np.testing.assert_array_equal(images[k], expected)
        way_back = Transform(*targets["image_to_original"][k].tolist())
        np.testing.assert_allclose(way_back, transform.inverse(), rtol=1e-6)
        kept = ~sample.crowd
        n = kept.sum()
        np.testing.assert_array_equal(targets["labels"][k], [*sample.labels[kept], *[-1] * (4 - n)])
        boxes = targets["boxes"][k]
        np.testing.assert_allclose(boxes[:n], transform.apply(sample.boxes[kept]), rtol=1e-5)
        np.testing.assert_allclose(way_back.apply(boxes[:n]), sample.boxes[kept], rtol=1e-4)
        assert (boxes[n:] == 0).all() and targets["image_index"][k] == i


@pytest.mark.parametrize("kind", ["L", "CMYK", "LA", "RGBA"])
def test_grey_cmyk_and_transparent_images(tmp_path, kind):
    dataset = make_dataset(tmp_path, 1, "jpg" if kind in ("L", "CMYK") else "png")
    Image.open(dataset.image_paths[0]).convert(kind).save(dataset.image_paths[0])
    ((images, _),) = Pipeline(dataset, (48, 64), 1)
    # CMYK is multiplied out in other roundings by Pillow and TensorFlow.
    np.testing.assert_allclose(
        images[0].astype(int), read_image(dataset.image_paths[0]), atol=1 if kind == "CMYK" else 0
    )


@pytest.mark.parametrize(
    "augment, mode, suffix",
    [
        ("flip", "letterbox", "jpg"),
        ("ssj", "stretch", "jpg"),
        ("lsj", "letterbox", "png"),
        ("lsj", "stretch", "jpg"),
        (Augment(1.0, (0.3, 0.5)), "letterbox", "jpg"),  # the decoder reduces by 2
    ],
)
def test_painted_boxes_through_the_whole_pipeline(tmp_path, augment, mode, suffix):
    def run(image, box):
        path = tmp_path / f"painted.{suffix}"
        options = {"quality": 100, "subsampling": 0} if suffix == "jpg" else {}
        Image.fromarray(image.astype(np.uint8)).save(path, **options)
        sample = Sample(
            str(path), box[None], np.int32([1]), np.zeros(1, bool), np.ones(1), image.shape[:2], 0
        )
        dataset = Dataset.from_samples([sample] * 20, ["x", "y"])
        model = model_like(mode, (176, 320), fill=(0, 0, 0))
        images, targets = take(
            Pipeline(dataset, model, 20, augment, seed=run.seed, max_boxes=3), 1
        )[0]
        # A draw in which the object is whole and large enough to measure.
        way_back = targets["image_to_original"]
        for k in range(20):
            seen = Transform(*way_back[k].tolist()).apply(targets["boxes"][k, 0])
            side = targets["boxes"][k, 0, 3] - targets["boxes"][k, 0, 1]
            if targets["labels"][k, 0] == 1 and np.abs(seen - box).max() < 0.01 and side > 16:
                assert targets["labels"][k].tolist() == [1, -1, -1]
                return images[k], targets["boxes"][k, 0]
        raise AssertionError("no draw shows the whole object")

    run.seed = 1
    assert painted_iou(run, run.seed) > 0.85


def test_training_is_a_function_of_the_seed(tmp_path):
    dataset = make_dataset(tmp_path, 7)
    pipeline = Pipeline(dataset, (32, 40), 3, "lsj", seed=5, num_parallel_calls=4)
    first, second = take(pipeline, 6), take(Pipeline(dataset, (32, 40), 3, "lsj", seed=5), 6)
    for a, b in zip(first, second, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, a, b)
    other = take(Pipeline(dataset, (32, 40), 3, "lsj", seed=6), 6)
    order = lambda batches: np.concatenate([t["image_index"] for _, t in batches])  # noqa: E731
    assert (order(first) != order(other)).any()
    # Three batches of three: seven images, then two of the next pass; epochs differ.
    assert pipeline.steps_per_epoch == 3
    assert sorted(order(first)[:7]) == list(range(7)) == sorted(order(first)[9:16])
    assert (order(first)[:9] != order(first)[9:]).any()
    assert pipeline.as_tf_dataset().cardinality() == tf.data.INFINITE_CARDINALITY


def test_orders_of_epochs_are_unlike_each_other_and_the_data_set(tmp_path):
    sample = Sample("x", np.zeros((0, 4)), [], [], [], (1, 1), 0)
    pipeline = Pipeline(Dataset.from_samples([sample] * 205, ["x"]), 8, training=True)
    slots = tf.data.Dataset.range(6 * 205)
    orders = slots.map(lambda s: pipeline.slots.index(s // 205, s % 205)).as_numpy_iterator()
    orders = np.reshape(list(orders), (6, 205))
    assert all(sorted(order) == list(range(205)) for order in orders)
    correlations = np.corrcoef([np.arange(205), *orders]) - np.eye(7)
    # Random orders: standard deviation 1 / sqrt(205) = 0.07.
    assert np.abs(correlations).max() < 0.28 and abs(correlations.mean()) < 0.06
    neighbours = np.mean([np.abs(np.diff(order)) == 1 for order in orders])
    assert neighbours < 3 * 2 / 205


@pytest.mark.parametrize("broken", [(), (3,)])
def test_start_resumes_exactly(tmp_path, broken):
    dataset = make_dataset(tmp_path, 25, broken=broken)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make = lambda: Pipeline(dataset, (16, 20), 10, "lsj", seed=1, max_boxes=2)  # noqa: E731
        whole, resumed = take(make(), 9), take(make().start(2), 3)
        # In the middle of epoch 1, and after its only whole pass over the images.
        within = [take(make().start(1, step, bool(broken)), 9 - 3 - step) for step in (1, 2)]
    for later in (resumed, *within):
        for a, b in zip(whole[-len(later) :], later, strict=True):
            tf.nest.map_structure(np.testing.assert_array_equal, a, b)


def test_batches_that_are_left_out_are_not_read(tmp_path, monkeypatch):
    dataset = make_dataset(tmp_path, 25)
    pipeline = Pipeline(dataset, (16, 20), 5, training=True, num_parallel_calls=1)
    for step, markers in ((1, 0), (4, 0), (5, 1)):
        assert pipeline.start(0, step).first.slot == 5 * step + markers
        assert pipeline.first.read == 0
    assert pipeline.start(0, 3, broken=True).first.read == 15


def test_flip_is_drawn_per_image(tmp_path):
    dataset = make_dataset(tmp_path, 40, sizes=((8, 8),))
    images, targets = take(Pipeline(dataset, (8, 8), 40, "flip"), 1)[0]
    flipped = targets["image_to_original"][:, 0] < 0
    assert 8 < flipped.sum() < 32
    for image, index, turned in zip(images, targets["image_index"], flipped, strict=True):
        original = dataset[int(index)].read()
        np.testing.assert_array_equal(image, original[:, ::-1] if turned else original)


def test_images_without_objects(tmp_path):
    for augment in (None, "lsj"):
        pipeline = Pipeline(make_dataset(tmp_path, 2, objects=0), (16, 20), 2, augment, max_boxes=3)
        _, targets = take(pipeline, 1)[0]
        assert (targets["labels"] == -1).all() and (targets["boxes"] == 0).all()
        assert targets["boxes"].shape == (2, 3, 4)


@pytest.mark.parametrize("augment", ["none", "lsj"])
def test_images_one_pixel_high_or_wide_are_finite_samples(tmp_path, augment):
    data = make_dataset(tmp_path, 3, "png", ((1, 1), (1, 500), (500, 1)), objects=0)
    corners = [[0, 0, width, height] for height, width in data.image_sizes.tolist()]
    data = dataclasses.replace(
        data,
        boxes=np.array(corners, np.float32),
        labels=np.zeros(3, np.int64),
        crowd=np.zeros(3, bool),
        area=np.prod(data.image_sizes, axis=1),
        row_splits=np.arange(4),
    )
    pipeline = Pipeline(data, 64, 3, augment=augment, training=augment != "none")
    images, targets = next(iter(pipeline))
    boxes = targets["boxes"][:, 0]
    assert np.isfinite(images).all() and np.isfinite(boxes).all() and not pipeline.failed
    if augment == "none":  # 64 / 500 of a pixel is drawn as one
        assert boxes.tolist() == [[0, 0, 64, 64], [0, 0, 64, 1], [0, 0, 1, 64]]


def test_largest_objects_are_kept_and_it_is_said(tmp_path):
    # Box k is 10 + k by 16 + k: the later, the larger.
    with pytest.warns(
        UserWarning,
        match=r"More than max_boxes=3 objects are in 2 of 2 images \(up "
        r"to 5; first: .*0\.jpg\)",
    ):
        pipeline = Pipeline(make_dataset(tmp_path, 2, objects=5), (48, 64), 2, max_boxes=3)
    _, targets = take(pipeline, 1)[0]
    np.testing.assert_array_equal(targets["boxes"][0, :, 0], [4, 5, 6])
    np.testing.assert_array_equal(targets["labels"], [[2, 0, 1]] * 2)


@pytest.mark.parametrize("augment", [None, "lsj"])
def test_broken_images_are_skipped_counted_and_named(tmp_path, augment):
    dataset = make_dataset(tmp_path, 41, broken=(0, 40), sizes=((12, 16),))
    pipeline = Pipeline(dataset, (12, 16), 8, augment, max_boxes=2)
    steps = pipeline.steps_per_epoch * (2 if augment else 1)
    with pytest.warns(
        UserWarning, match=r"(0|40)\.jpg, which does not decode .*`Pipeline.failed`"
    ) as caught:
        batches = take(pipeline, steps)
    assert len(caught) == 2
    assert sorted(pipeline.failed) == sorted(dataset.image_paths[i] for i in (0, 40))
    seen = np.concatenate([targets["image_index"] for _, targets in batches])
    assert set(seen) == set(range(1, 40))
    # Training fills the places with images of the next pass, evaluation ends sooner.
    assert len(seen) == (2 * 48 if augment else 39)


@pytest.mark.parametrize("augment", [None, "flip"])
@pytest.mark.parametrize("broken", [(0, 1, 2), range(20)])
def test_too_many_broken_images(tmp_path, augment, broken):
    dataset = make_dataset(tmp_path, 20, broken=broken, sizes=((12, 16),))
    pipeline = Pipeline(dataset, (12, 16), 4, augment)
    with pytest.warns(UserWarning, match="is skipped"):
        with pytest.raises(
            DataError,
            match=r"At most 5% .*Received: \d+ of 20 so far in epoch 0: .*\.jpg"
            r"(; and \d+ more)?. The first: .*\.jpg, which does not decode.*Replace these files",
        ):
            for _ in zip(pipeline, range(20), strict=False):
                pass
    with pytest.raises(DataError, match="At most 5%"):
        pipeline.check()
    assert set(pipeline.failed) <= {dataset.image_paths[i] for i in broken}


@pytest.mark.parametrize("batch_size, calls", [(1, 1), (4, 2), (8, 4)])
@pytest.mark.parametrize("broken", [(0,), (3, 0)])
def test_only_broken_images_are_accused(tmp_path, batch_size, calls, broken):
    dataset = make_dataset(tmp_path, 8, broken=broken, sizes=((12, 16),))
    pipeline = Pipeline(dataset, (12, 16), batch_size, num_parallel_calls=calls)
    names = {dataset.image_paths[i] for i in broken}
    with pytest.warns(UserWarning, match="is skipped"):
        if len(broken) == 1:  # more than 5%, but one alone is no error
            assert sum(len(images) for images, _ in pipeline) == 7
        else:
            with pytest.raises(DataError, match="Received: 2 of 8 so far"):
                list(pipeline)
            with pytest.raises(DataError, match="Received: 2 of 8 so far"):
                list(pipeline)
    assert set(pipeline.failed) == names


# Pillow fills the missing rows of a PNG that has its end, TensorFlow does not read it.
def test_of_the_images_of_a_mosaic_only_the_broken_one_is_accused(tmp_path):
    dataset = make_dataset(tmp_path, 40, sizes=((12, 16),))
    path = pathlib.Path(dataset.image_paths[5])
    header = struct.pack(">2I5B", 16, 12, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(5 * (1 + 3 * 16)))  # 5 of 12
    path.write_bytes(png((b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")))
    pipeline = Pipeline(dataset, (12, 16), 8, [Mosaic(1.0)], seed=0)
    with pytest.warns(UserWarning, match="5.jpg, which does not decode .*truncated"):
        take(pipeline, 10)
    assert pipeline.failed == [str(path)]


def test_a_data_set_of_one_broken_image_is_an_error(tmp_path):
    dataset = make_dataset(tmp_path, 1, broken=(0,))
    with pytest.warns(UserWarning), pytest.raises(DataError, match="Received: 1 of 1 so far"):
        list(Pipeline(dataset, 16, 4))


def test_unusual_files_give_what_the_reader_gives(tmp_path):
    """A JPEG without its end marker, 16 bits in PNG and TIFF, decimal numbers, more pixels."""
    dataset = make_dataset(tmp_path, 7, sizes=((12, 16),))
    grey = np.random.default_rng(0).uniform(0, 1, (12, 16))
    paths = [pathlib.Path(path) for path in dataset.image_paths]
    paths[0].write_bytes(paths[0].read_bytes()[:-2])
    Image.fromarray((grey * 65535).astype(np.uint16)).save(paths[1], "PNG")
    Image.fromarray((grey * 65535).astype(np.uint16)).save(paths[2], "TIFF")
    Image.fromarray(grey.astype(np.float32)).save(paths[3], "TIFF")
    Image.fromarray((grey * 255).astype(np.int32)).save(paths[4], "TIFF")
    paths[5].write_bytes(paths[5].read_bytes() + b"more bytes")
    Image.new("RGB", (17, 12)).save(paths[6])
    pipeline = Pipeline(dataset, (12, 16), 6)
    with pytest.warns(UserWarning, match="6.jpg with 17x12 pixels .*, annotated as 16x12"):
        ((images, _),) = pipeline
    for sample, pixels in zip(dataset, images, strict=False):
        np.testing.assert_array_equal(pixels, sample.read())
        np.testing.assert_array_equal(pixels, read_image(sample.image_path))
    small = Pipeline(dataset, (12, 16), 6, max_pixels=12 * 16 - 1)
    with pytest.warns(UserWarning, match="at most 191 pixels"), pytest.raises(DataError):
        list(small)


def test_missing_files_count_as_broken(tmp_path):
    dataset = make_dataset(tmp_path, 21)
    (tmp_path / "4.jpg").unlink()
    pipeline = Pipeline(dataset, 16, 4)
    with pytest.warns(UserWarning, match=r"must exist at the given path. Received: .*4\.jpg"):
        assert sum(len(images) for images, _ in pipeline) == 20
    assert pipeline.failed == [dataset.image_paths[4]]


def test_sizes(tmp_path):
    dataset = make_dataset(tmp_path, 5)
    assert Pipeline(dataset, 16).size == (16, 16) and Pipeline(dataset, (8, 16)).size == (8, 16)
    assert Pipeline(dataset, 16, 2).steps_per_epoch == len(Pipeline(dataset, 16, 2)) == 3
    assert Pipeline(dataset, 16, training=True).training
    assert Pipeline(dataset, 16, augment="none").training and not Pipeline(dataset, 16).training


def test_wrong_arguments(tmp_path):
    dataset = make_dataset(tmp_path, 2)
    with pytest.raises(ValueError, match="`batch_size` must be at least 1. Received: 0"):
        Pipeline(dataset, 16, 0)
    with pytest.raises(ValueError, match="`num_parallel_calls` must be at least 1. Received: 0"):
        Pipeline(dataset, 16, num_parallel_calls=0)
    with pytest.raises(ValueError, match=r"detector, an integer or \(height, width\).*'x'"):
        Pipeline(dataset, "x")
    with pytest.raises(ValueError, match="as they are. Received: training=False"):
        Pipeline(dataset, 16, augment="flip", training=False)
    with pytest.raises(DataError, match="at least one image. Received: dataset: 0 images"):
        Pipeline(dataset.select([]), 16)


@pytest.mark.parametrize(
    "arguments, rule",
    [
        *(({name: 2.7}, "a whole number") for name in ("batch_size", "max_boxes", "seed")),
        ({"num_parallel_calls": 1.5}, "a whole number"),
        ({"batch_size": True}, "a whole number"),
        ({"batch_size": "8"}, "a whole number"),
        ({"training": "no"}, "True, False or None"),
        ({"training": 1}, "True, False or None"),
    ],
)
def test_arguments_are_not_rounded_nor_taken_for_true(tmp_path, arguments, rule):
    (name,) = arguments
    with pytest.raises(TypeError, match=f"`{name}` must be {rule}. Received: {name}="):
        Pipeline(make_dataset(tmp_path, 1), 16, **arguments)


def test_numpy_integers_are_whole_numbers(tmp_path):
    dataset = make_dataset(tmp_path, 1)
    pipeline = Pipeline(dataset, np.int64(16), np.int32(2), seed=-1, training=np.False_)
    assert (pipeline.size, pipeline.batch_size, pipeline.seed) == ((16, 16), 2, -1)
    assert pipeline.training is False
    with pytest.raises(ValueError, match=r"detector, an integer or \(height, width\).*16.5"):
        Pipeline(dataset, 16.5)


def order(dataset):
    return [int(i) for _, targets, *_ in dataset for i in targets["image_index"]]


def test_the_caller_decides_between_training_and_a_pass(tmp_path):
    dataset = make_dataset(tmp_path, 25)
    pipeline = Pipeline(dataset, 16, 5, seed=1)
    assert order(pipeline) == list(range(25)) == order(pipeline.as_tf_dataset())
    assert order(pipeline.as_tf_dataset(training=False)) == list(range(25))
    training = pipeline.as_tf_dataset(training=True)
    assert training.cardinality() == tf.data.INFINITE_CARDINALITY
    first = order(training.take(5))
    assert sorted(first) == list(range(25)) and first != list(range(25))
    explicit = Pipeline(dataset, 16, 5, seed=1, training=True)
    assert order(explicit.as_tf_dataset().take(5)) == first


@pytest.mark.parametrize("arguments", [{"augment": "flip"}, {"training": True}])
def test_a_training_stream_is_no_pass(tmp_path, arguments):
    pipeline = Pipeline(make_dataset(tmp_path, 2), 16, **arguments)
    with pytest.raises(ValueError, match="must see every image once, as it is.*Make another"):
        pipeline.as_tf_dataset(training=False)
    with pytest.raises(ValueError, match="Received: a Pipeline with training=False. Leave out"):
        Pipeline(pipeline.dataset, 16, training=False).as_tf_dataset(training=True)


def test_batches_of_a_pass_are_known_once_broken_images_are(tmp_path):
    dataset = make_dataset(tmp_path, 41, broken=(0, 40), sizes=((12, 16),))
    pipeline = Pipeline(dataset, (12, 16), 13)
    assert pipeline.batches_per_pass == 4  # 41 images
    with pytest.warns(UserWarning, match="is skipped"):
        assert len(list(pipeline)) == 3
    assert pipeline.batches_per_pass == 3  # 39


@pytest.mark.parametrize("augment", [None, "flip"])
def test_weights_stay_with_their_images(tmp_path, augment):
    dataset, weights = make_dataset(tmp_path, 7), [0, 1, 2, 3, 0.5, 5, 6]
    pipeline = Pipeline(dataset, 16, 3, augment, sample_weight=weights)
    for _, targets, found in take(pipeline, 3):
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, np.float32(weights)[targets["image_index"]])


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [1.0, np.nan], [[1.0, 1.0]], "x"])
def test_wrong_weights_are_refused(tmp_path, weights):
    with pytest.raises(ValueError, match="`sample_weight` must hold one finite number"):
        Pipeline(make_dataset(tmp_path, 2), 16, sample_weight=weights)


def test_padding_has_the_colour_that_was_asked_for(tmp_path):
    dataset = make_dataset(tmp_path, 1, "png", sizes=((8, 16),))
    model = model_like("letterbox", (16, 16))
    for arguments, expected in (
        ({}, (1, 2, 3)),
        ({"fill": (9, 8, 7)}, (9, 8, 7)),
        ({"fill": 5}, 5),
    ):
        ((images, _),) = Pipeline(dataset, model, **arguments)
        assert (images[0, 8:] == expected).all()
    ((images, _),) = Pipeline(dataset, 16)
    assert (images[0, 8:] == (124, 116, 104)).all()  # ImageNet's mean
    for wrong in (-1, 256, (1, 2), "red"):
        with pytest.raises(ValueError, match="`fill` must be a colour"):
            Pipeline(dataset, model, fill=wrong)


@pytest.mark.filterwarnings("ignore:bccd")
def test_real_photographs():
    dataset = load(data_set("bccd"), "val")
    images, targets = take(Pipeline(dataset, (96, 128), 4), 1)[0]
    expected, _ = resize_image(dataset[2].read(), {"mode": "letterbox", "size": (96, 128)})
    np.testing.assert_array_equal(images[2], expected)  # 480x640: no padding
    # 5:1 in both directions.
    n = len(dataset[2].labels)
    np.testing.assert_allclose(targets["boxes"][2, :n], dataset[2].boxes / 5, rtol=1e-5, atol=1e-5)
