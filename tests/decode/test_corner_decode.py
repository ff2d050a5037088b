"""CornerDecoder against the original CornerNet's decoding, and a brute-force one in NumPy."""

import keras
import numpy as np
import pytest

from keras_det.decode import AnchorDecoder, CornerDecoder, TFCornerDecoder, inference_decoder
from keras_det.decode.suppression import best_pairs
from tests.decode.corner_oracle import (
    KINDS,
    MAP_SIZE,
    PADDED,
    as_numpy,
    assert_same_detections,
    candidates_by_oracle,
    compare_tied_candidates,
    expected_detections,
    in_input,
    random_raw,
    raw_of_boxes,
    tied_raw,
)
from tests.helpers import golden, run_on_jax

# ---- the original ----

ORIGINAL_NAMES = {"heatmaps": "heat", "embeddings": "tag", "offsets": "off"}


def original(case):
    """Raw outputs in our order, the settings, and the rows that the original printed."""
    arrays = golden("cornernet/cornernet.npz")
    raw = {
        f"{kind}_{name}": arrays[f"decode/{case}/{prefix}_{theirs}"].transpose(0, 2, 3, 1)
        for kind, prefix in zip(KINDS, ("tl", "br"), strict=True)
        for name, theirs in ORIGINAL_NAMES.items()
    }
    top_k, window, threshold, pairs = arrays[f"decode/{case}/params_K_kernel_aethr_numdets"]
    settings = {"corner_top_k": int(top_k), "peak_window": int(window)}
    settings |= {"embedding_threshold": threshold, "pre_nms_top_k": int(pairs)}
    return raw, settings, arrays[f"decode/{case}/detections"]


# Its rows: x1, y1, x2, y2, score, score of the top-left and of the bottom-right corner, class.
@pytest.mark.parametrize("case", ["small", "k1", "full", "dense"])
def test_candidates_equal_the_original(case):
    raw, settings, rows = original(case)
    found = as_numpy(CornerDecoder(64, **settings).candidates(raw))
    for i in range(len(rows)):
        expected = rows[i][rows[i][:, 4] > 0]
        count = len(expected)
        assert count and (found["scores"][i] > 0).sum() == count
        np.testing.assert_allclose(found["boxes"][i, :count], expected[:, :4], atol=1e-4)
        for column, name in enumerate(("scores", "top_left_scores", "bottom_right_scores"), 4):
            np.testing.assert_allclose(found[name][i, :count], expected[:, column], atol=1e-5)
        np.testing.assert_array_equal(found["labels"][i, :count], expected[:, 7])


# ---- brute force ----


@pytest.mark.parametrize(
    "settings, oracle",
    [
        ({}, {}),
        ({"corner_top_k": 30, "pre_nms_top_k": 15}, {"top_k": 30, "pairs": 15}),
        ({"corner_top_k": 40, "peak_window": 1, "pre_nms_top_k": 0}, {"top_k": 40, "window": 1}),
        ({"corner_top_k": 600, "peak_window": 5}, {"top_k": 600, "window": 5}),
        ({"embedding_threshold": 0.1}, {"threshold": 0.1}),
    ],
)
@pytest.mark.parametrize("method", ["gaussian", "hard", "linear"])
def test_detections_equal_brute_force(method, settings, oracle):
    raw, image_size, padded_size = random_raw(), (40, 50), (47, 65)
    decoder = CornerDecoder(image_size, padded_size, method, max_detections=30, **settings)
    candidates = []
    for i in range(2):
        boxes, *rest = candidates_by_oracle(raw, i, **oracle)
        candidates.append((in_input(boxes, (12, 16), image_size, padded_size), *rest))
    expected = expected_detections(candidates, image_size, method=method, max_detections=30)
    assert expected["num_detections"].min() > 5
    assert_same_detections(decoder(raw), expected)


def test_of_equal_corners_and_pairs_the_first_wins():
    compare_tied_candidates(CornerDecoder(64, corner_top_k=50).candidates(tied_raw()))


@pytest.mark.parametrize("limit", [1, 6, 20, 45, 60, 500])
def test_the_choice_in_two_stages_equals_one_sort(limit):
    values = np.random.default_rng(0).poisson(0.4, (3, 50, 5)).astype("float32")
    best, rows, columns = (keras.ops.convert_to_numpy(x) for x in best_pairs(values, limit))
    order = np.argsort(-values.reshape(3, -1), axis=-1, kind="stable")[:, :limit]
    np.testing.assert_array_equal(rows * 5 + columns, order)
    np.testing.assert_array_equal(best, np.take_along_axis(values.reshape(3, -1), order, -1))


# ---- by hand ----


def test_padding_by_hand():
    """Ratios 64 / 255 and 32 / 127, margins 27 on the left and 13 above.

    x1 = 10.5 * 255 / 64 - 27 = 14.8359375, y1 = 5.25 * 127 / 32 - 13 = 7.8359375,
    x2 = 40 * 255 / 64 - 27 = 132.375, y2 = 25.75 * 127 / 32 - 13 = 89.1953125.
    """
    raw = raw_of_boxes([(10.5, 5.25, 40, 25.75, 2, 0.0)], MAP_SIZE)
    found = as_numpy(CornerDecoder(**PADDED)(raw))
    assert found["num_detections"].tolist() == [1] and found["labels"][0, 0] == 2
    expected = [14.8359375, 7.8359375, 132.375, 89.1953125]
    np.testing.assert_allclose(found["boxes"][0, 0], expected, atol=1e-4)
    np.testing.assert_allclose(found["scores"][0, 0], 0.5)


def test_without_padding_only_the_stride_counts():
    raw = raw_of_boxes([(1.5, 2, 10, 6.25, 0, 2.0)], (8, 16))
    found = as_numpy(CornerDecoder((32, 64))(raw))
    np.testing.assert_allclose(found["boxes"][0, 0], [6, 8, 40, 25], atol=1e-5)
    np.testing.assert_allclose(found["scores"][0, 0], 0.880797, rtol=1e-5)  # sigmoid(2)


# Map x = 5 lies in the left margin of 27 pixels: 19.9 - 27 < 0; y = 30 below the image:
# 119.1 - 13 > 100.
def test_boxes_are_clipped_and_those_in_the_padding_are_none():
    inside, below = (5.0, 10.0, 20.0, 20.0, 0, 1.0), (20.0, 29.0, 30.0, 30.0, 0, 3.0)
    found = as_numpy(CornerDecoder(**PADDED)(raw_of_boxes([inside, below], MAP_SIZE)))
    assert found["num_detections"].tolist() == [1]
    expected = [0, 10 * 127 / 32 - 13, 20 * 255 / 64 - 27, 20 * 127 / 32 - 13]
    np.testing.assert_allclose(found["boxes"][0, 0], expected, atol=1e-4)


# One object each; the second lacks what the name says. Logit 1 -> 0.731059 for the one that stays.
@pytest.mark.parametrize("reason", ["class", "embedding", "x", "y"])
def test_pairs_are_rejected(reason):
    good, other = (1.0, 1.0, 6.0, 6.0, 0, 1.0), (8.0, 8.0, 12.0, 12.0, 1, 2.0)
    if reason == "x":
        other = (12.0, 8.0, 8.0, 12.0, 1, 2.0)
    elif reason == "y":
        other = (8.0, 12.0, 12.0, 8.0, 1, 2.0)
    raw = raw_of_boxes([good, other], (16, 16))
    if reason == "class":
        heatmaps = raw["bottom_right_heatmaps"]
        heatmaps[0, 12, 12] = heatmaps[0, 12, 12, [0, 2, 1]]
    elif reason == "embedding":
        raw["bottom_right_embeddings"][0, 12, 12] = 1.0 + 0.55
    found = as_numpy(CornerDecoder(16).candidates(raw))
    assert (found["scores"][0] > 1e-3).sum() == 1
    np.testing.assert_allclose(found["scores"][0, 0], 0.731059, rtol=1e-5)
    np.testing.assert_allclose(found["boxes"][0, 0], good[:4])


@pytest.mark.parametrize("decoder", [CornerDecoder, TFCornerDecoder])
def test_no_pair_gives_an_empty_result(decoder):
    pytest.importorskip("tensorflow")
    raw = random_raw()
    raw["top_left_embeddings"] += 100
    found = as_numpy(decoder(64, score_threshold=0.0, max_detections=5)(raw))
    assert not found["boxes"].any() and not found["scores"].any()
    assert (found["labels"] == -1).all() and found["num_detections"].tolist() == [0, 0]


# One peak per map. The other 24 cells fill the 25 corners: the original would pair them, too.
def test_cells_that_are_no_peaks_are_no_corners():
    raw = {}
    for kind, centre in zip(KINDS, (1, 3), strict=True):
        rows, columns = np.mgrid[:5, :5]
        slope = -np.hypot(rows - centre, columns - centre)
        raw[f"{kind}_heatmaps"] = slope[None, ..., None].astype("float32")
        raw[f"{kind}_embeddings"] = np.zeros((1, 5, 5, 1), "float32")
        raw[f"{kind}_offsets"] = np.zeros((1, 5, 5, 2), "float32")
    found = as_numpy(CornerDecoder(5, method="hard")(raw))
    assert found["num_detections"].tolist() == [1]
    np.testing.assert_allclose(found["boxes"][0, 0], [1, 1, 3, 3])
    np.testing.assert_allclose(found["scores"][0, 0], 0.5)


# ---- the mirror image ----


def mirrored_in_map(box):
    """Where the network puts the mirror image of a box: both in pixels of the map of `PADDED`.

    It pads the mirrored image as any other: mirrored about the middle of the image, which lies at
    127 of 255, the box moves.
    """
    x1, y1, x2, y2, label, logit = box
    pixels = np.array([x1, x2]) * 255 / 64 - 27
    x2, x1 = (200 - pixels + 27) * 64 / 255
    return x1, y1, x2, y2, label, logit


def test_the_mirror_image_adds_and_confirms_boxes():
    """Three objects: seen in both images, only in the image, only in its mirror image.

    Gaussian: the weaker sight of the first is a duplicate, IoU 1 -> sigmoid(1) * exp(-1 / 0.5).
    """
    both, first = (10.5, 5.25, 40.25, 25.75, 2, 2.0), (12.0, 8.0, 20.0, 15.0, 0, 1.5)
    second = (30.5, 7.0, 50.25, 20.5, 1, 0.5)
    raw = raw_of_boxes([both, first], MAP_SIZE)
    weaker = (*both[:5], 1.0)
    flipped = raw_of_boxes([mirrored_in_map(second), mirrored_in_map(weaker)], MAP_SIZE)
    found = as_numpy(CornerDecoder(**PADDED).with_flipped(raw, flipped))
    assert found["num_detections"].tolist() == [4]
    assert found["labels"][0, :4].tolist() == [2, 0, 1, 2]
    scores = 1 / (1 + np.exp(-np.array([2.0, 1.5, 0.5, 1.0])))
    scores[3] *= np.exp(-2.0)
    np.testing.assert_allclose(found["scores"][0, :4], scores, atol=1e-4)
    boxes = np.array([both, first, second, both])[:, :4]
    expected = in_input(boxes, MAP_SIZE, PADDED["image_size"], PADDED["padded_size"])
    np.testing.assert_allclose(found["boxes"][0, :4], expected, atol=1e-3)


# Equal margins: the original's arithmetic, x mirrored in the map before it is scaled.
def test_candidates_of_both_images_equal_brute_force():
    raw, flipped = random_raw(seed=1), random_raw(seed=2)
    image_size, padded_size = (40, 50), (47, 64)
    candidates = []
    for i in range(2):
        boxes, *rest = candidates_by_oracle(raw, i, pairs=40)
        mirrored, *mirrored_rest = candidates_by_oracle(flipped, i, pairs=40)
        mirrored[:, [0, 2]] = 16 - mirrored[:, [2, 0]]
        boxes = in_input(np.concatenate([boxes, mirrored]), (12, 16), image_size, padded_size)
        rest = [np.concatenate(pair) for pair in zip(rest, mirrored_rest, strict=True)]
        candidates.append((boxes, *rest))
    decoder = CornerDecoder(image_size, padded_size, pre_nms_top_k=40)
    expected = expected_detections(candidates, image_size)
    assert_same_detections(decoder.with_flipped(raw, flipped), expected)


# ---- graphs, compilers, other backends ----


@pytest.mark.parametrize("decoder", [CornerDecoder, TFCornerDecoder])
def test_a_dynamic_batch_gives_the_same(decoder):
    tf = pytest.importorskip("tensorflow")
    raw = random_raw(batch=3)
    decode = decoder(64, max_detections=10)
    signature = {name: tf.TensorSpec((None, *array.shape[1:])) for name, array in raw.items()}
    traced = tf.function(lambda raw: decode(raw), input_signature=[signature])
    assert_same_detections(traced(raw), as_numpy(decode(raw)))
    nothing = traced({name: array[:0] for name, array in raw.items()})
    assert nothing["boxes"].shape == (0, 10, 4)


def test_decoder_compiles_under_xla():
    tf = pytest.importorskip("tensorflow")
    raw = {name: tf.constant(array) for name, array in random_raw().items()}
    decode = CornerDecoder(**PADDED, max_detections=10)
    compiled = tf.function(lambda raw: decode.with_flipped(raw, raw), jit_compile=True)
    assert_same_detections(compiled(raw), as_numpy(decode.with_flipped(raw, raw)))


def test_ties_are_the_same_under_xla():
    tf = pytest.importorskip("tensorflow")
    raw = {name: tf.constant(array) for name, array in tied_raw().items()}
    decode = CornerDecoder(64, corner_top_k=50)
    compare_tied_candidates(tf.function(decode.candidates, jit_compile=True)(raw))


JAX_SCRIPT = """
import jax
from keras_det.decode import CornerDecoder, inference_decoder
from tests.decode.corner_oracle import *

decoder = inference_decoder(decoder=CornerDecoder, corner_top_k=50, **PADDED)
assert type(decoder) is CornerDecoder
compare_tied_candidates(decoder.candidates(tied_raw()))
compare_tied_candidates(jax.jit(decoder.candidates)(tied_raw()))
raw = random_raw()
boxes = [candidates_by_oracle(raw, i, top_k=50) for i in range(2)]
boxes = [(in_input(b, (12, 16), *PADDED.values()), s, n) for b, s, n in boxes]
expected = expected_detections(boxes, PADDED["image_size"])
assert_same_detections(decoder(raw), expected)
assert_same_detections(jax.jit(decoder)(raw), expected)
print("without TensorFlow")
"""


@pytest.mark.slow
def test_decoder_on_jax():
    run_on_jax(JAX_SCRIPT)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_inputs_are_decoded_in_float32(dtype):
    halves = {name: keras.ops.cast(array, dtype) for name, array in random_raw().items()}
    singles = {name: keras.ops.cast(array, "float32") for name, array in halves.items()}
    decode = CornerDecoder(**PADDED, max_detections=20)
    found = decode(halves)
    assert keras.backend.standardize_dtype(found["boxes"].dtype) == "float32"
    assert_same_detections(found, as_numpy(decode(singles)))


def lite_runner(function, raw):
    """A function of raw outputs, converted with builtin operators only, in LiteRT's interpreter."""
    tf = pytest.importorskip("tensorflow")
    interpreters = pytest.importorskip("ai_edge_litert.interpreter")
    signature = {name: tf.TensorSpec(array.shape, name=name) for name, array in raw.items()}
    concrete = tf.function(lambda raw: function(raw), input_signature=[signature])
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [concrete.get_concrete_function()], tf.Module()
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return interpreters.Interpreter(model_content=converter.convert()).get_signature_runner()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gaussian", "hard"])
def test_tflite_runs_it_with_builtin_operators(method):
    decode = TFCornerDecoder(**PADDED, method=method, corner_top_k=50, max_detections=20)
    run = lite_runner(decode, random_raw(batch=1))
    for seed in range(4, 8):
        raw = random_raw(seed, batch=1)
        assert_same_detections(run(**raw), as_numpy(decode(raw)))


# Of the candidates only: LiteRT's suppression takes equal scores in any order.
@pytest.mark.slow
def test_ties_are_the_same_in_tflite():
    raw = {name: array[:1] for name, array in tied_raw().items()}
    found = lite_runner(CornerDecoder(64, corner_top_k=50).candidates, raw)(**raw)
    compare_tied_candidates(found)


# ---- suppression by TensorFlow's operator, settings ----


@pytest.mark.parametrize("class_agnostic", [False, True])
@pytest.mark.parametrize("method", ["gaussian", "hard", "linear"])
def test_tensorflows_operator_gives_what_the_layer_gives(method, class_agnostic):
    pytest.importorskip("tensorflow")
    raw = random_raw(seed=6)
    settings = {**PADDED, "method": method, "class_agnostic": class_agnostic}
    settings |= {"sigma": 0.3} if method == "gaussian" else {"iou_threshold": 0.4}
    settings |= {"score_threshold": 0.2, "max_detections": 30}
    found = as_numpy(TFCornerDecoder(**settings)(raw))
    expected = as_numpy(CornerDecoder(**settings)(raw))
    assert expected["num_detections"].min() > 5
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4, err_msg=name)


def test_inference_decoder_suits_the_device(monkeypatch):
    tf = pytest.importorskip("tensorflow")
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [])
    decoder = inference_decoder(64, decoder=CornerDecoder, corner_top_k=7)
    assert type(decoder) is TFCornerDecoder and decoder.get_config()["corner_top_k"] == 7
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["gpu"])
    assert type(inference_decoder(64, decoder=CornerDecoder)) is CornerDecoder
    assert type(inference_decoder(64)) is AnchorDecoder


def test_inference_decoder_names_what_it_knows():
    with pytest.raises(ValueError, match="'AnchorDecoder', 'CornerDecoder'.*decoder=<class 'str'>"):
        inference_decoder(64, decoder=str)


@pytest.mark.parametrize("decoder", [CornerDecoder, TFCornerDecoder])
def test_config_holds_every_setting(decoder):
    settings = {"method": "linear", "iou_threshold": 0.4, "sigma": None, "score_threshold": 0.2}
    settings |= {"pre_nms_top_k": 30, "max_detections": 9, "class_agnostic": True}
    settings |= {"corner_top_k": 50, "embedding_threshold": 0.3, "peak_window": 5, **PADDED}
    config = decoder(**settings).get_config()
    assert config == settings
    assert decoder(**config).get_config() == settings


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"corner_top_k": 0}, "`corner_top_k` must be at least 1. Received: corner_top_k=0"),
        ({"embedding_threshold": -0.1}, "`embedding_threshold` must be at least 0. .*=-0.1"),
        ({"peak_window": 2}, "`peak_window` must be odd, .*Received: peak_window=2"),
        ({"peak_window": -1}, "`peak_window` must be odd, .*Received: peak_window=-1"),
        ({"padded_size": (64, 63)}, r"`padded_size` must be .*=\(64, 63\), image_size=64"),
        ({"pre_nms_top_k": -1}, "`pre_nms_top_k` must be a number .*pre_nms_top_k=-1"),
        ({"method": "none"}, "`method` must be one of"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        CornerDecoder(64, **settings)
