"""RetinaNet: the published numbers, its loss by hand, parts as arguments, saving, learning."""

import keras
import numpy as np
import pytest

from keras_det import losses, necks
from keras_det.backbones import feature_pyramid, resnet
from keras_det.boxes import decode_deltas
from keras_det.data import Pipeline, draw_shapes_dataset, load
from keras_det.layers.anchor_generator import AnchorGenerator
from keras_det.models import EfficientDet, RetinaNet, build_model, load_model
from keras_det.targets import AnchorTargets, ATSSTargets
from keras_det.training import evaluate
from keras_det.training.recipes import adamw
from tests.helpers import trainable_count

numbers = keras.ops.convert_to_numpy


def small_model(backbone="resnet18", **arguments):
    arguments = {"num_classes": 3, "image_size": (64, 96), "neck_channels": 16, **arguments}
    return RetinaNet(backbone, **arguments)


def batch():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 64, 96, 3)).astype("uint8")
    boxes = np.zeros((2, 5, 4), "float32")
    labels = np.full((2, 5), -1, "int32")
    boxes[0, :2] = [[10, 10, 50, 40], [30, 20, 90, 60]]
    labels[0, :2] = [0, 2]
    return images, {"boxes": boxes, "labels": labels}


# torchvision documents 34,014,999 for retinanet_resnet50_fpn with 91 outputs, batch normalisation
# frozen, P6 from P5. The paper makes P6 from C5: 9 * 256 * (2048 - 256) more.
def test_parameters_equal_torchvisions():
    model = RetinaNet(resnet("resnet50", frozen_norm=True), 91, image_size=64)
    assert trainable_count(model) == 34_014_999 + 9 * 256 * (2048 - 256)
    neck = necks.FPN(extra="p5")
    model = RetinaNet(resnet("resnet50", frozen_norm=True), 91, image_size=64, neck=neck)
    assert trainable_count(model) == 34_014_999


# RetinaNet section 4: areas 32² to 512² on P3 to P7, 2^{0, 1/3, 2/3}, ratios 1:2, 1:1, 2:1.
def test_anchors_are_the_published_ones():
    model = small_model(image_size=256)
    assert model.anchors.shape == (9 * (32 * 32 + 16 * 16 + 8 * 8 + 4 * 4 + 2 * 2), 4)
    sides = model.anchors[:, 2:] - model.anchors[:, :2]
    roots = np.unique(np.sqrt(sides.prod(1)).round(2))
    expected = np.ravel([size * 2.0 ** (np.arange(3) / 3) for size in (32, 64, 128, 256, 512)])
    np.testing.assert_allclose(roots, expected, atol=0.01)
    ratios = np.unique((sides[:, 0] / sides[:, 1]).round(4))
    np.testing.assert_allclose(ratios, [0.5, 1, 2])


@pytest.fixture(scope="module")
def untrained():
    return small_model()


def random_outputs(model, seed=0):
    rng = np.random.default_rng(seed)
    count = len(model.anchors)
    return {
        "class_logits": rng.normal(-2, 1, (2, count, 3)).astype("float32"),
        "box_deltas": rng.normal(0, 0.3, (2, count, 4)).astype("float32"),
    }


def overlaps(anchors, box):
    low, high = np.maximum(anchors[:, :2], box[:2]), np.minimum(anchors[:, 2:], box[2:])
    common = np.prod(np.maximum(high - low, 0), axis=1)
    areas = np.prod(anchors[:, 2:] - anchors[:, :2], axis=1)
    return common / (areas + np.prod(box[2:] - box[:2]) - common)


# The whole of section 4.1 once more in NumPy: thresholds 0.5 and 0.4, the best anchor of every
# object forced, focal loss with alpha 0.25 and gamma 2, smooth L1 with beta 1/9, over positives.
def test_losses_equal_numpys(untrained):
    _, targets = batch()
    raw = random_outputs(untrained)
    found = untrained.losses_of(targets, raw)
    anchors = untrained.anchors.astype("float64")
    class_loss = box_loss = positives = 0.0
    for i in range(2):
        boxes = targets["boxes"][i][targets["labels"][i] >= 0].astype("float64")
        iou = np.array([overlaps(anchors, box) for box in boxes]).reshape(-1, len(anchors))
        best = iou.max(0, initial=0)
        match = iou.argmax(0) if len(boxes) else np.zeros(len(anchors), int)
        positive = best >= 0.5
        for k, row in enumerate(iou):
            positive[row.argmax()], match[row.argmax()] = True, k
        one_hot = np.zeros((len(anchors), 3))
        one_hot[positive, targets["labels"][i][match[positive]]] = 1
        p = 1 / (1 + np.exp(-raw["class_logits"][i].astype("float64")))
        focal = np.where(
            one_hot == 1,
            -0.25 * (1 - p) ** 2 * np.log(p),
            -0.75 * p**2 * np.log(1 - p),
        )
        class_loss += focal[(best < 0.4) | positive].sum()
        positives += positive.sum()
        for a in np.flatnonzero(positive):
            side, box = anchors[a, 2:] - anchors[a, :2], boxes[match[a]]
            shift = (box[2:] + box[:2] - anchors[a, 2:] - anchors[a, :2]) / 2 / side
            delta = np.concatenate([shift, np.log((box[2:] - box[:2]) / side)])
            e = abs(raw["box_deltas"][i, a] - delta)
            box_loss += np.where(e < 1 / 9, 4.5 * e**2, e - 1 / 18).sum()
    assert positives > 2
    np.testing.assert_allclose(found["class_loss"], class_loss / positives, rtol=1e-4)
    np.testing.assert_allclose(found["box_loss"], box_loss / positives, rtol=1e-4)
    np.testing.assert_allclose(found["positives_per_image"], positives / 2)


def test_an_anchor_generator_replaces_the_arguments_of_anchors():
    generator = AnchorGenerator((3, 4, 5), 2.0, 1, (1.0,))
    levels = {"min_level": 3, "max_level": 5, "num_classes": 1, "image_size": 64}
    for given in ({"anchor_scale": 2.0}, {"num_octaves": 1}, {"aspect_ratios": (1.0,)}):
        with pytest.raises(ValueError, match=f"`{next(iter(given))}` must not be given"):
            RetinaNet("resnet18", anchor_generator=generator, **given, **levels)
    model = RetinaNet("resnet18", anchor_generator=generator, neck_channels=8, **levels)
    # Files of version 0.1.0 also hold the published values.
    config = {**model.get_config(), "anchor_scale": 4.0, "num_octaves": 3}
    again = RetinaNet.from_config({**config, "aspect_ratios": [1.0, 2.0, 0.5]})
    np.testing.assert_array_equal(again.anchors, model.anchors)
    plain = RetinaNet("resnet18", num_octaves=2, neck_channels=8, **levels).get_config()
    assert [plain[name] for name in ("anchor_scale", "num_octaves")] == [4.0, 2]
    assert list(plain["aspect_ratios"]) == [1.0, 2.0, 0.5]


@pytest.mark.parametrize("name", ["giou", "diou", "ciou"])
def test_losses_of_boxes_get_decoded_boxes(untrained, name):
    model = small_model(box_loss=name, box_loss_weight=2.0)
    _, targets = batch()
    raw = random_outputs(model)
    found = model.losses_of(targets, raw)
    matched = model.matcher.assign(model.anchors, targets["boxes"], targets["labels"])
    mask = numbers(matched["positive_mask"])
    anchors = np.broadcast_to(model.anchors, (2, *model.anchors.shape))[mask]
    loss = losses.make_box_loss(name)
    expected = loss(
        decode_deltas(anchors, numbers(matched["box_targets"])[mask])[None],
        decode_deltas(anchors, raw["box_deltas"][mask])[None],
    )
    np.testing.assert_allclose(found["box_loss"], 2 * expected / mask.sum(), rtol=1e-4)


@pytest.mark.parametrize("neck", ["fpn", "pafpn", "nas_fpn", "bifpn"])
@pytest.mark.parametrize("build", [small_model, EfficientDet])
def test_necks_are_arguments_of_every_anchor_detector(build, neck):
    if build is EfficientDet:
        model = EfficientDet("lite0", 3, image_size=128, neck=neck)
    else:
        model = small_model(neck=neck, image_size=128)
    assert type(model.neck).__name__ == necks.NECKS[neck].__name__
    again = type(model).from_config(model.get_config())
    assert [w.shape for w in again.weights] == [w.shape for w in model.weights]


@pytest.mark.parametrize("build", [small_model, EfficientDet])
def test_levels_scales_and_ratios_are_arguments(build):
    arguments = dict(min_level=2, max_level=5, anchor_scale=2.0, num_octaves=2)
    arguments |= dict(aspect_ratios=(1.0, 3.0), image_size=64, num_classes=2)
    name = "lite0" if build is EfficientDet else "resnet18"
    model = build(name, **arguments)
    assert model.anchors.shape == (4 * (16 * 16 + 8 * 8 + 4 * 4 + 2 * 2), 4)
    first = model.anchors[:2, 2:] - model.anchors[:2, :2]
    np.testing.assert_allclose(first[0], [8, 8])  # 2 strides of 4 pixels
    np.testing.assert_allclose(first[1], [8 * 3**0.5, 8 / 3**0.5], rtol=1e-6)
    assert model(np.zeros((1, 64, 64, 3)))["class_logits"].shape == (1, len(model.anchors), 2)


def mobile_net():
    application = keras.applications.MobileNetV3Small(
        include_top=False, weights=None, input_shape=(None, None, 3), include_preprocessing=False
    )
    # The last layers with strides 8, 16 and 32.
    names = {"P3": "expanded_conv_2_add", "P4": "expanded_conv_7_add", "P5": "activation_17"}
    return feature_pyramid(application, names)


def test_models_of_keras_applications_are_backbones(tmp_path):
    model = small_model(mobile_net(), normalization="tf")
    black = model.normalization(np.zeros((1, 1, 1, 3), "float32"))
    np.testing.assert_allclose(black, -np.ones((1, 1, 1, 3)))
    images, _ = batch()
    before = numbers(model(images)["class_logits"])
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(images)["class_logits"], before, atol=1e-5)
    larger = model.with_image_size(128)
    assert larger.backbone is not model.backbone
    for ours, theirs in zip(model.get_weights(), larger.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_backbone_that_rescales_itself_gets_pixels():
    model = small_model(normalization=None)
    pixels = np.full((1, 2, 2, 3), 7.0, "float32")
    np.testing.assert_array_equal(model.normalization(pixels), pixels)
    assert model.normalization.fill_color == (124, 116, 104)


def test_parts_given_as_objects_are_saved(tmp_path):
    model = small_model(
        neck=necks.FPN(16, extra="p5"),
        matcher=ATSSTargets(num_candidates=5),
        class_loss=losses.SparseSigmoidFocalLoss(alpha=[0.2, 0.5, 0.9], class_weights=[1, 2, 3]),
        box_loss=losses.BoxSmoothL1Loss(beta=0.5),
        head_norm="group",
    )
    images, targets = batch()
    model.compile(run_eagerly=True)
    model.fit(images, targets, verbose=0)
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    assert again.matcher.num_candidates == 5 and again.box_loss.beta == 0.5
    assert list(again.class_loss.class_weights) == [1, 2, 3]
    raw = random_outputs(model)
    for name, value in model.losses_of(targets, raw).items():
        np.testing.assert_allclose(again.losses_of(targets, raw)[name], value, rtol=1e-6)
    ours, theirs = model(images), again(images)
    np.testing.assert_allclose(ours["box_deltas"], theirs["box_deltas"], atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_trains_and_goes_back_to_float32(policy):
    model = small_model(dtype=policy)
    model.compile(run_eagerly=True)
    images, targets = batch()
    assert np.isfinite(model.fit(images, targets, verbose=0).history["loss"]).all()
    assert {keras.backend.standardize_dtype(x.dtype) for x in model(images).values()} == {"float32"}
    single = model.with_changes(dtype="float32")
    assert {layer.dtype_policy.name for layer in single._flatten_layers()} == {"float32"}


def test_a_copy_in_float32_has_no_half_precision_in_parts_given_as_objects():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = small_model(resnet("resnet18"), neck=necks.FPN(16))
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.backbone.get_layer("stem").compute_dtype == "bfloat16"
    single = model.with_changes(dtype="float32")
    assert {layer.dtype_policy.name for layer in single._flatten_layers()} == {"float32"}


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"backbone": "resnet20"}, r"`backbone` must be one of .*Did you mean 'resnet50'"),
        ({"neck": "pan"}, r"`neck` must be one of .*Received: 'pan'"),
        ({"normalization": "torch"}, r"`normalization` must be one of .*Received: 'torch'"),
        ({"box_loss": "iou"}, r"box loss must be one of .*Received: 'iou'"),
        ({"head_norm": "layer"}, r"`norm` must be one of .*Received: 'layer'"),
        ({"min_level": 6, "max_level": 5}, r"Received: "),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        small_model(**arguments)


def test_command_line_names():
    model = build_model("retinanet_resnet18", num_classes=2, image_size=64, neck="bifpn")
    assert model.name == "retinanet_resnet18" and isinstance(model.matcher, AnchorTargets)
    with pytest.raises(ValueError, match="efficientdet_d0 has no argument num_anchors"):
        build_model("efficientdet_d0", num_classes=2, num_anchors=9)


def test_keras_hub_backbones_are_taken_as_they_are():
    hub = pytest.importorskip("keras_hub", reason="keras_hub is not installed")
    backbone = hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 64, 64, 64],
        stackwise_num_blocks=[1, 1, 1, 1],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
    )
    model = small_model(backbone)
    images, targets = batch()
    model.compile(run_eagerly=True)
    assert np.isfinite(model.fit(images, targets, verbose=0).history["loss"]).all()
    again = type(model).from_config(model.get_config())
    again.set_weights(model.get_weights())
    np.testing.assert_allclose(model(images)["box_deltas"], again(images)["box_deltas"], atol=1e-6)


# Objects of 128-pixel drawings are 9 to 64 pixels wide: anchors from 16 pixels on instead of 32.
@pytest.mark.slow
def test_it_learns_drawn_shapes_from_random_weights(tmp_path):
    draw_shapes_dataset(tmp_path, num_train=400, num_val=32, image_size=128, seed=0)
    train, val = load(tmp_path, split="train"), load(tmp_path, split="val")
    keras.utils.set_random_seed(0)
    model = RetinaNet(
        "resnet18",
        class_names=train.class_names,
        image_size=128,
        neck_channels=64,
        anchor_scale=2.0,
    )
    pipeline = Pipeline(train, model, 8, augment="flip", seed=0, training=True)
    model.compile(adamw(model, 8, 8 * pipeline.steps_per_epoch, 1e-3))
    model.fit(pipeline, epochs=8, verbose=0)
    assert evaluate(model, val)["AP50"] > 0.5  # 400 steps gave 0.64
