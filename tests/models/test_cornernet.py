"""CornerNet as a detector: losses, training, saving, detecting, exchanging classes."""

import keras
import numpy as np
import pytest

import keras_det
from keras_det import CornerNet
from keras_det.backbones import Hourglass
from keras_det.data import Pipeline, draw_shapes_dataset, load
from keras_det.data.augment import get_augment
from keras_det.errors import DataError
from keras_det.models import build_model
from keras_det.profiling import multiply_adds
from keras_det.training import evaluate
from keras_det.training.recipes import adamw, published
from tests.helpers import golden

SMALL = Hourglass(2, (8, 12), (1, 1), 4)


def build(num_classes=2, **arguments):
    return CornerNet(SMALL, num_classes, **{"image_size": 47, **arguments})


def batch(size=47, images=2):
    pixels = np.random.default_rng(0).integers(0, 256, (images, size, size, 3)).astype("uint8")
    boxes = np.array([[[4, 4, 20, 24], [10, 12, 40, 44]], [[3, 5, 30, 17], [0, 0, 0, 0]]])
    labels = np.array([[1, 0], [1, -1]], "int32")
    return pixels, {"boxes": boxes.astype("float32"), "labels": labels}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return build()


# The original cuts a window of s times the input's sides, s one of 0.6, 0.7 … 1.3, and resizes it
# to the input: a factor of 1 / s.
def test_published_augmentation_is_the_originals(model):
    augment, factors = get_augment("published", model), 1 / np.arange(0.6, 1.4, 0.1)
    np.testing.assert_allclose(augment.scale, (factors.min(), factors.max()))
    assert augment.flip == 0.5 and not augment.strong and augment.crop is None
    (colours,) = augment.steps
    assert (colours.brightness, colours.contrast, colours.saturation) == (0.4, 0.4, 0.4)
    assert (colours.hue, colours.grey, colours.probability) == (0.0, 0.0, 1.0)


@pytest.mark.slow
def test_hourglass104_is_the_original_in_size():
    model = CornerNet("hourglass104", num_classes=80)
    count = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    assert count == 201_035_212
    # At test time the first stack's heads are not computed: 343.2 G multiply-adds.
    assert multiply_adds(model) == pytest.approx(343.2e9, rel=2e-3)
    assert model.image_size == (511, 511) and model.name == "cornernet_hourglass104"


def test_training_gives_all_stacks_and_inference_the_last(model):
    images, _ = batch()
    trained, found = model(images, training=True), model(images, training=False)
    assert sorted(found) == sorted(set(trained) - {"intermediate"}) and len(found) == 6
    assert [sorted(each) for each in trained["intermediate"]] == [sorted(found)]
    assert found["top_left_heatmaps"].shape == (2, 12, 12, 2)


# What the first stack's heads compute is not in the inference graph.
def test_inference_does_not_compute_the_other_heads(model):
    tf = pytest.importorskip("tensorflow")
    function = tf.function(lambda x: model(x, training=False))
    graph = function.get_concrete_function(tf.TensorSpec((1, 47, 47, 3), tf.uint8)).graph
    names = " ".join(operation.name for operation in graph.get_operations())
    assert "stack_1_head" in names and "stack_0_head" not in names


# full/*: two stacks on 32 x 32 maps of 5 classes; the original's sum of all parts.
def test_loss_of_the_parts_is_the_originals_sum():
    values = golden("cornernet/cornernet.npz")
    mask = values["full/mask"].astype(bool)
    net = build(5, image_size=127)

    def maps(first):
        names = ("heatmaps", "heatmaps", "embeddings", "embeddings", "offsets", "offsets")
        corners = ("top_left", "bottom_right") * 3
        return {
            f"{corner}_{name}": values[f"full/out{first + i}"]
            for i, (corner, name) in enumerate(zip(corners, names, strict=True))
        }

    # The golden embeddings and offsets are gathered already, one per object: put object k of an
    # image into cell k of a row.
    stacks = []
    for first in (0, 6):
        stack = maps(first)
        for name, value in stack.items():
            if name.endswith("heatmaps"):
                stack[name] = value.transpose(0, 2, 3, 1)
            else:
                full = np.zeros((3, 32, 32, value.shape[-1]), "float32")
                full[:, 0, :16] = value
                stack[name] = full
        stacks.append(stack)
    cells = np.tile(np.arange(16, dtype="int32"), (3, 1))
    wanted = {
        "top_left_heatmaps": values["full/gt_tl"].transpose(0, 2, 3, 1),
        "bottom_right_heatmaps": values["full/gt_br"].transpose(0, 2, 3, 1),
        "top_left_offsets": values["full/off_tl"],
        "bottom_right_offsets": values["full/off_br"],
        "top_left_cells": cells,
        "bottom_right_cells": cells,
        "mask": mask,
    }
    net.targets.assign = lambda *arguments, **settings: wanted
    raw = {**stacks[1], "intermediate": [stacks[0]]}
    targets = {"boxes": np.zeros((3, 16, 4), "float32"), "labels": np.where(mask, 0, -1)}
    parts = net.losses_of(targets, raw)
    total = sum(float(parts[name]) for name in CornerNet.LOSSES)
    # The original's constant for an image with exactly one object, (1 - 1 / (1 + 1e-4)) / 1e-4.
    constant = 0.1 * (1 - 1 / (1 + 1e-4)) / 1e-4 * (mask.sum(1) == 1).sum()
    np.testing.assert_allclose(total, values["full/loss"][0] - constant, rtol=1e-5)
    assert float(parts["positives_per_image"]) == pytest.approx(mask.sum() / 3)


def test_targets_lie_where_the_padded_image_has_them():
    with pytest.warns(UserWarning, match="padded"):
        net = build(image_size=(40, 47))  # padded to 47 x 47: 47 // 2 - 40 // 2 = 3 rows above
    seen = {}
    assign = net.targets.assign

    def watch(boxes, labels, **settings):
        seen.update(settings, boxes=np.array(boxes))
        return assign(boxes, labels, **settings)

    net.targets.assign = watch
    images = np.zeros((1, 40, 47, 3), "uint8")
    targets = {"boxes": np.array([[[1.0, 2, 21, 32]]]), "labels": np.array([[0]])}
    net.losses_of(targets, net(images, training=True))
    np.testing.assert_array_equal(seen["boxes"][0, 0], [1, 5, 21, 35])
    assert (seen["image_size"], seen["map_size"]) == ((47, 47), (12, 12))


def test_fit_predict_detect_and_save(tmp_path):
    net = build()
    net.compile(run_eagerly=True)
    images, targets = batch()
    logs = net.fit(images, targets, epochs=2, verbose=0).history
    assert all(np.isfinite(logs[name]).all() for name in ("loss", *CornerNet.LOSSES))
    assert logs["positives_per_image"][0] == 1.5
    assert logs["loss"][0] == pytest.approx(sum(logs[name][0] for name in CornerNet.LOSSES))
    path = tmp_path / "model.keras"
    net.save(path)
    again = keras_det.load_model(path)
    assert again.optimizer.iterations == net.optimizer.iterations
    picture = np.random.default_rng(1).integers(0, 256, (60, 90, 3)).astype("uint8")
    for settings in ({}, {"flip": True}, {"original_size": True}, {"method": "hard"}):
        ours, theirs = net.detect(picture, **settings), again.detect(picture, **settings)
        np.testing.assert_allclose(theirs["boxes"], ours["boxes"], atol=1e-3)
        assert ours["num_detections"] > 0 and ours["boxes"][:, 2].max() <= 90
    found = net.predict(images, verbose=0)
    assert found["boxes"].shape == (2, 100, 4) and found["boxes"].max() <= 47


# All weights of a symmetric network equal for left and right would be needed for equality; what
# must hold for any network: the mirror image of a batch gives the mirrored boxes with flip.
def test_flip_makes_detections_mirror_each_other(model):
    images, _ = batch(images=1)
    settings = {"flip": True, "method": "hard", "iou_threshold": 1.0, "max_detections": 40}
    detect = model.detect_function(**settings)
    ours = {k: np.array(v) for k, v in detect(images).items()}
    theirs = {k: np.array(v) for k, v in detect(images[:, :, ::-1].copy()).items()}
    np.testing.assert_allclose(theirs["scores"], ours["scores"], atol=1e-5)
    x1, y1, x2, y2 = theirs["boxes"][0].T
    mirrored = np.stack([47 - x2, y1, 47 - x1, y2], axis=-1)
    order = [np.lexsort(np.round(boxes, 2).T) for boxes in (mirrored, ours["boxes"][0])]
    np.testing.assert_allclose(mirrored[order[0]], ours["boxes"][0][order[1]], atol=1e-3)


# 40 x 47 pixels in a network of 47 x 47: what `detect` pads itself, the network pads else.
def test_original_size_is_the_network_at_that_size(model):
    picture = np.random.default_rng(2).integers(0, 256, (40, 47, 3)).astype("uint8")
    with pytest.warns(UserWarning, match="padded"):
        same = model.with_image_size((40, 47))
    ours = model.detect(picture, original_size=True)
    theirs = same.detect(picture)
    np.testing.assert_allclose(ours["boxes"], theirs["boxes"], atol=1e-3)
    np.testing.assert_allclose(ours["scores"], theirs["scores"], atol=1e-4)


def test_pull_has_no_part_without_its_weight():
    images, targets = batch()
    net = build(pull_weight=0.0, push_weight=0.3)
    raw = net(images, training=True)
    parts = net.losses_of(targets, raw)
    plain = build()
    plain.set_weights(net.get_weights())
    reference = plain.losses_of(targets, raw)
    assert float(parts["pull_loss"]) == 0 and float(reference["pull_loss"]) > 0
    np.testing.assert_allclose(parts["push_loss"], 3 * np.array(reference["push_loss"]), rtol=1e-5)


def test_images_without_objects_are_ordinary():
    images, targets = batch()
    targets["labels"] = np.full((2, 2), -1, "int32")
    net = build()
    parts = net.losses_of(targets, net(images, training=True))
    assert all(np.isfinite(float(value)) for value in parts.values())
    assert float(parts["pull_loss"]) == float(parts["offset_loss"]) == 0


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_gives_float32(dtype):
    net = build(dtype=dtype)
    images, targets = batch()
    raw = net(images, training=True)
    kinds = {keras.backend.standardize_dtype(x.dtype) for x in keras.tree.flatten(raw)}
    assert kinds == {"float32"}
    parts = net.losses_of(targets, raw)
    assert all(np.isfinite(float(value)) for value in parts.values())
    copy = net.with_changes(dtype="float32")
    assert copy.backbone.layers[1].compute_dtype == "float32"


def test_remat_takes_the_same_step():
    images, targets = batch()
    found = []
    for remat in (False, True):
        keras.utils.set_random_seed(0)
        net = build(remat=remat)
        net.compile(keras.optimizers.SGD(0.01))
        net.train_on_batch(images, targets)
        found.append(net.get_weights())
    for plain, again in zip(*found, strict=True):
        np.testing.assert_allclose(again, plain, rtol=1e-4, atol=1e-5)


def test_other_classes_keep_their_heat_maps(tmp_path):
    path = tmp_path / "three.keras"
    old = CornerNet(SMALL, class_names=["a", "b", "c"], image_size=47)
    old.save(path)
    new = CornerNet(SMALL, class_names=["c", "x"], image_size=47, weights=path)
    assert new.load_report.classes == {"c": "c", "x": None}
    for ours, theirs in zip(new.heads, old.heads, strict=True):
        for i in (0, 3):  # heat maps of both corners
            np.testing.assert_array_equal(
                ours.predictions[i].kernel[..., 0], theirs.predictions[i].kernel[..., 2]
            )
        np.testing.assert_array_equal(ours.hidden[0].kernel, theirs.hidden[0].kernel)


def test_frozen_backbone_stays(model):
    net = build(freeze="backbone")
    heads = sum(len(head.trainable_variables) for head in net.heads)
    assert len(net.trainable_variables) == heads
    with pytest.raises(ValueError, match="which has no neck"):
        net.freeze("neck")


@pytest.mark.slow
def test_it_learns_drawn_shapes_from_random_weights(tmp_path):
    draw_shapes_dataset(tmp_path, num_train=200, num_val=32, image_size=95, seed=0)
    train, val = load(tmp_path, split="train"), load(tmp_path, split="val")
    keras.utils.set_random_seed(0)
    model = CornerNet("tiny", class_names=train.class_names, image_size=95)
    pipeline = Pipeline(train, model, 8, augment="flip", seed=0, training=True)
    model.compile(adamw(model, 8, 8 * pipeline.steps_per_epoch))
    model.fit(pipeline, epochs=8, verbose=0)
    assert evaluate(model, val)["AP50"] > 0.5  # 200 steps gave 0.72


def test_names_on_the_command_line():
    net = build_model("cornernet_tiny", num_classes=2, image_size=63)
    assert net.name == "cornernet_tiny" and isinstance(net, CornerNet)
    with pytest.raises(DataError, match="has no argument neck"):
        build_model("cornernet_tiny", num_classes=2, neck="fpn")


def test_a_size_that_pads_much_is_told():
    with pytest.warns(UserWarning, match=r"image_size=\(39, 47\) needs no padding"):
        build(image_size=(40, 47))


def test_published_recipe_is_adam_with_one_drop(model):
    optimizer = published(model, batch_size=49, steps=500)
    rates = [float(optimizer._learning_rate(step)) for step in (0, 449, 450, 499)]
    np.testing.assert_allclose(rates, [2.5e-4, 2.5e-4, 2.5e-5, 2.5e-5], rtol=1e-5)
    assert not optimizer.weight_decay and optimizer.global_clipnorm is None


def test_settings_are_its_own_and_named(model):
    images, targets = batch()
    assert model.predict(images, verbose=0, max_detections=3, corner_top_k=5)["scores"].shape == (
        2,
        3,
    )
    both = model.detect_function(corner_top_k=5, flip=True)(images)
    assert both["boxes"].shape == (2, 100, 4)
    for name in ("detect", "detect_function", "decoder", "decode", "predict"):
        data = [] if name in ("detect_function", "decoder") else [images]
        for wrong in ("candidates", "embeding_threshold"):
            with pytest.raises(TypeError, match=rf"^{name}\(\) takes no argument '{wrong}'"):
                getattr(model, name)(*data, **{wrong: 1})
    for name in ("decoder", "decode", "predict"):
        with pytest.raises(TypeError, match=rf"^{name}\(\) takes no argument 'flip'"):
            getattr(model, name)(*([] if name == "decoder" else [images]), flip=True)
    with pytest.raises(ValueError, match="A batch must be"):
        model.fit(images, {**targets, "boxes": targets["boxes"][:, :1]})


# All routes refuse the same images: also the one without resizing.
@pytest.mark.parametrize("original_size", [False, True])
@pytest.mark.parametrize(
    "pixels, message",
    [
        (np.ones((40, 50, 3), "float32"), "must be uint8.*Received: float32"),
        (np.ones((40, 50), "uint8"), r"must have the shape.*Received: uint8 \(40, 50\)"),
        (np.ones((40, 0, 3), "uint8"), r"at least 1 pixel high.*shape \(40, 0, 3\)"),
        (np.ones((40, 50, 4), "uint8"), r"must have the shape.*Received: uint8 \(40, 50, 4\)"),
    ],
)
def test_every_route_refuses_the_same_images(model, pixels, message, original_size):
    with pytest.raises(ValueError, match=message):
        model.detect(pixels, original_size=original_size)


@pytest.mark.parametrize("name", ["flip", "original_size", "remat"])
@pytest.mark.parametrize("value", ["no", 1, None])
def test_switches_must_be_bools(model, name, value):
    with pytest.raises(
        TypeError, match=f"`{name}` must be True or False. Received: {name}={value!r}"
    ):
        if name == "remat":
            build(remat=value)
        else:
            model.detect(np.zeros((40, 50, 3), "uint8"), **{name: value})


def test_predict_on_batch_has_settings_of_its_own(model):
    images, _ = batch()
    expected = model.predict(images, verbose=0)
    assert expected["num_detections"].max() > 0
    assert model.predict(images, verbose=0, score_threshold=0.99)["num_detections"].max() == 0
    found = model.predict_on_batch(images)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-4)
    assert model.predict_on_batch(images, max_detections=3)["scores"].shape == (2, 3)
    with pytest.raises(TypeError, match=r"^predict_on_batch\(\) takes no argument 'candidates'"):
        model.predict_on_batch(images, candidates="anchors")


def test_detect_names_the_settings_that_a_cornernet_has(model):
    with pytest.raises(TypeError, match="Received: candidates='pairs'.*, corner_top_k, ") as raised:
        model.detect(np.zeros((40, 50, 3), "uint8"), candidates="pairs")
    assert "Did you mean" not in str(raised.value)
