"""EfficientDet against the original: parameters, outputs, loss; and what a user does with it."""

import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_det.models import EfficientDet, build_model, load_model
from keras_det.weights import load_efficientdet
from tests.export.tiny import tiny
from tests.helpers import golden, trainable_count

# Counted on the original implementation with 90 classes: trainable, and with moving statistics.
PARAMETERS = {
    "d0": (3_880_067, 3_927_203),
    "d1": (6_625_898, 6_697_354),
    "d2": (8_097_039, 8_178_815),
    "d3": (12_032_296, 12_146_600),
    "d4": (20_723_675, 20_890_987),
    "d5": (33_653_315, 33_880_707),
    "d6": (51_871_782, 52_183_766),
    "d7": (51_871_782, 52_183_766),
    "d7x": (77_147_166, 77_564_894),
    "lite0": (3_243_470, 3_290_606),
    "lite1": (4_248_318, 4_311_390),
    "lite2": (5_252_334, 5_324_894),
    "lite3": (8_350_862, 8_455_054),
    "lite3x": (9_280_862, 9_392_574),
    "lite4": (15_130_894, 15_286_398),
}


@pytest.mark.parametrize("variant", PARAMETERS)
def test_parameter_counts_equal_the_originals(variant):
    # The count does not depend on the image size; a small one builds anchors faster.
    model = EfficientDet(variant, num_classes=90, image_size=64)
    weights = [w for w in model.variables if w.name in ("moving_mean", "moving_variance")]
    statistics = sum(int(np.prod(w.shape)) for w in weights)
    assert (trainable_count(model), trainable_count(model) + statistics) == PARAMETERS[variant]


def test_published_sizes_and_anchors():
    assert {name: row.image_size for name, row in EfficientDet.variants.items()} == dict(
        d0=512, d1=640, d2=768, d3=896, d4=1024, d5=1280, d6=1280, d7=1536, d7x=1536,
        lite0=320, lite1=384, lite2=448, lite3=512, lite3x=640, lite4=640,
    )  # fmt: skip
    # 9 * (64^2 + 32^2 + 16^2 + 8^2 + 4^2)
    assert EfficientDet("d0", 2).anchors.shape == (49_104, 4)


@pytest.fixture(scope="module")
def original():
    file = golden("efficientdet/net_d0.npz")
    variables = {k[4:]: file[k].astype("float32") for k in file.files if k.startswith("var/")}
    return file, variables


@pytest.mark.parametrize("case, size", [("x128", 128), ("h130_w100", (130, 100))])
def test_outputs_equal_the_originals(original, case, size):
    file, variables = original
    model = EfficientDet("d0", num_classes=90, image_size=size)
    load_efficientdet(model, variables)
    features = model.backbone(file[f"{case}/input"])  # the golden input is normalised already
    pyramid = model.neck({level: features[level] for level in ("P3", "P4", "P5")})

    def expected(kind, columns):
        levels = [file[f"{case}/{kind}_{level}"].reshape(1, -1, columns) for level in range(3, 8)]
        return np.concatenate(levels, axis=1)

    logits, deltas = model.class_head(pyramid), model.box_head(pyramid)
    np.testing.assert_allclose(logits, expected("cls", 90), atol=2e-5)
    np.testing.assert_allclose(deltas, expected("box", 4)[..., [1, 0, 3, 2]], atol=2e-5)


def small_model(**arguments):
    arguments = {"num_classes": 3, "image_size": (64, 96), **arguments}
    return EfficientDet("lite0", **arguments)


def batch(empty=False):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 64, 96, 3)).astype("uint8")
    boxes = np.zeros((2, 5, 4), "float32")
    labels = np.full((2, 5), -1, "int32")
    if not empty:
        boxes[0, :2] = [[10, 10, 50, 40], [30, 20, 90, 60]]
        labels[0, :2] = [0, 2]
    return images, {"boxes": boxes, "labels": labels}


@pytest.fixture(scope="module")
def fitted():
    """A model and its logs after a step with objects and one without (eager: nothing to trace)."""
    model = small_model(class_names=["a", "b", "c"], resize_mode="stretch")
    model.compile(run_eagerly=True)
    logs = [model.fit(*batch(empty), epochs=1, verbose=0).history for empty in (False, True)]
    return model, logs


def test_fit_reports_the_losses_and_positives(fitted):
    logs = fitted[1][0]
    assert set(logs) == {"loss", "class_loss", "box_loss", "positives_per_image"}
    assert logs["loss"][0] == pytest.approx(logs["class_loss"][0] + logs["box_loss"][0], rel=1e-5)
    assert logs["positives_per_image"][0] >= 1


def test_a_batch_without_objects_has_a_finite_loss_and_gradient(fitted):
    model, (_, logs) = fitted
    assert np.isfinite(logs["loss"][0]) and logs["box_loss"][0] == 0
    assert logs["positives_per_image"][0] == 0
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


# The prior: every logit at ln(0.01 / 0.99) costs 0.75 * 0.01^1.5 * -ln(0.99) = 7.54e-6 a negative.
def test_untrained_class_loss_is_that_of_the_prior():
    model = small_model()
    images, targets = batch(empty=True)
    raw = {name: np.array(value) for name, value in model(images).items()}
    raw["class_logits"] = np.full_like(raw["class_logits"], np.log(0.01 / 0.99))
    parts = model.losses_of(targets, raw)
    expected = raw["class_logits"].size * 0.75 * 0.01**1.5 * -np.log(0.99)  # divided by 0 + 1
    np.testing.assert_allclose(parts["class_loss"], expected, rtol=1e-4)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_trains_with_float32_outputs(policy):
    model = small_model(dtype=policy)
    model.compile(run_eagerly=True)
    assert np.isfinite(model.fit(*batch(), epochs=1, verbose=0).history["loss"]).all()
    raw = model(batch()[0])
    assert {keras.backend.standardize_dtype(x.dtype) for x in raw.values()} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"


def test_a_saved_model_goes_on_in_a_fresh_process(fitted, tmp_path):
    model, (images, targets) = fitted[0], batch()
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "data.npz", images=images, logits=model(images)["class_logits"], **targets)
    script = f"""
import numpy as np, keras_det
model = keras_det.load_model(r"{tmp_path / "model.keras"}")
data = np.load(r"{tmp_path / "data.npz"}")
assert model.class_names == ["a", "b", "c"]
assert model.resize_policy == {{"mode": "stretch", "size": (64, 96)}}
np.testing.assert_allclose(model(data["images"])["class_logits"], data["logits"], atol=1e-5)
assert int(model.optimizer.iterations) == 2
assert not model.optimizer._use_weight_decay(model.class_head.prediction.bias)
momentum = model.optimizer._momentums[-1].numpy()
assert abs(momentum).max() > 0  # the slots came back
model.compile(model.optimizer, run_eagerly=True)
model.fit(data["images"], {{k: data[k] for k in ("boxes", "labels")}}, verbose=0)
assert int(model.optimizer.iterations) == 3
print("went on")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "went on" in done.stdout, done.stderr[-2000:]


def test_predict_and_detect_agree_and_detect_returns_original_pixels():
    model = tiny(image_size=(64, 64))  # its scores differ: an untrained model's are near ties
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (32, 64, 3)).astype("uint8")  # already as wide as the input
    found = model.detect(image)
    canvas = np.empty((64, 64, 3), "uint8")
    canvas[:] = model.normalization.fill_color
    canvas[:32] = image
    raw = model.predict(canvas[None], verbose=0)
    assert found["num_detections"] == len(found["boxes"]) == len(found["class_names"]) > 0
    np.testing.assert_allclose(found["scores"], raw["scores"][0, : len(found["scores"])], atol=1e-6)
    assert found["boxes"][:, 3].max() <= 32 and found["boxes"][:, 2].max() <= 64
    expected = np.clip(raw["boxes"][0, : len(found["boxes"])], 0, [64, 32, 64, 32])
    np.testing.assert_allclose(found["boxes"], expected, atol=1e-3)
    larger = model.detect([np.repeat(np.repeat(image, 2, 0), 2, 1), image])
    assert isinstance(larger, list) and len(larger) == 2
    np.testing.assert_allclose(larger[1]["boxes"], found["boxes"], atol=1e-3)


def test_detect_gives_nothing_above_a_high_threshold():
    found = small_model().detect(batch()[0][0], score_threshold=0.9)
    assert found["boxes"].shape == (0, 4) and found["class_names"] == []


def test_another_image_size_keeps_the_weights():
    model = small_model()
    other = model.with_image_size(128)
    assert other.image_size == (128, 128) and len(other.anchors) > len(model.anchors)
    for ours, theirs in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_whole_model_is_no_hdf5_file_but_its_weights_are_read_from_one(tmp_path):
    model, path = small_model(), tmp_path / "x.h5"
    with pytest.raises(ValueError, match="must be saved as .keras. Received: .*x.h5"):
        model.save(path)
    keras.Model.save(model, path)  # as older versions did
    other = small_model()
    assert not np.array_equal(model.get_weights()[0], other.get_weights()[0])
    with pytest.raises(ValueError, match=r"load them with model.load_weights\(path\)"):
        load_model(path)
    other.load_weights(path)
    for ours, theirs in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_weights_argument_takes_a_saved_model(tmp_path):
    model = small_model()
    model.save_weights(tmp_path / "x.weights.h5")
    other = small_model(weights=str(tmp_path / "x.weights.h5"))
    np.testing.assert_array_equal(model(batch()[0])["box_deltas"], other(batch()[0])["box_deltas"])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"image_size": 31}, r"from 32 to 8,192 pixels. Received: 31"),
        ({"image_size": (64, 16)}, r"from 32 to 8,192 pixels. Received: \(64, 16\)"),
        ({"resize_mode": "crop"}, r"`resize_mode` must be one of .* Received: 'crop'"),
        ({"class_names": ["a"]}, r"one name per class.* Received: num_classes=3, 1 name\."),
        ({"num_classes": None}, r"`num_classes` or `class_names` must be given"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        small_model(**arguments)


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(ValueError, match=r"Received: 'lite_0'. Did you mean 'lite0'\?"):
        EfficientDet("lite_0", 3)
    with pytest.raises(ValueError, match=r"Did you mean 'efficientdet_d0'\?"):
        build_model("eficientdet_d0")


def test_loading_something_else_says_what_to_give(tmp_path):
    with pytest.raises(ValueError, match=r"must be an existing .keras file. Received"):
        load_model(tmp_path / "absent.keras")


def test_labels_out_of_range_and_xywh_are_refused_before_training():
    model = small_model()
    model.compile()
    images, targets = batch()
    wrong = {**targets, "labels": np.where(targets["labels"] == 2, 3, targets["labels"])}
    with pytest.raises(
        ValueError, match=r"image 0: `labels\[1\]` must lie in \[0, 2\]. Received: 3"
    ):
        model.fit(images, wrong)
    xywh = {**targets, "boxes": targets["boxes"][..., [0, 1, 1, 0]]}
    with pytest.raises(ValueError, match=r"x1 < x2 and y1 < y2.*If the file stores \"xywh\""):
        model.fit(images, xywh)
    with pytest.raises(ValueError, match=r"must be a dict with `boxes`"):
        model.fit(images, np.zeros((2, 3)))
