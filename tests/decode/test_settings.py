"""The decoder's settings are named arguments: a typo is named by the function that was called."""

import inspect

import numpy as np
import pytest

from keras_det.decode import AnchorDecoder, CornerDecoder, DecoderSettings, takes_settings
from keras_det.decode.settings import ALL_SETTINGS, ANCHOR_SETTINGS, CORNER_SETTINGS
from keras_det.decode.tf_nms import TFAnchorDecoder
from keras_det.types import NMSMethod


@takes_settings(ANCHOR_SETTINGS)
def find(images, batch_size=8, **settings):
    """Finds."""
    return settings


def test_settings_are_those_of_the_decoders():
    assert set(ANCHOR_SETTINGS) == set(AnchorDecoder(64).get_config()) - {"image_size"}
    assert set(CORNER_SETTINGS) == set(CornerDecoder(64).get_config()) - {
        "image_size", "padded_size"
    }  # fmt: skip
    assert ANCHOR_SETTINGS["score_threshold"] == 0.001 and CORNER_SETTINGS["corner_top_k"] == 100
    assert set(ALL_SETTINGS) == set(DecoderSettings.__annotations__)


def test_the_signature_shows_the_settings_with_defaults():
    parameters = inspect.signature(find).parameters
    assert list(parameters) == ["images", "batch_size", *ANCHOR_SETTINGS]
    assert parameters["max_detections"].default == 100
    assert parameters["method"].annotation == NMSMethod | str and find.__doc__ == "Finds."


def test_decorated_again_it_takes_other_settings():
    again = takes_settings(CORNER_SETTINGS)(find)
    assert list(inspect.signature(again).parameters) == ["images", "batch_size", *CORNER_SETTINGS]
    assert again(1, corner_top_k=5) == {"corner_top_k": 5}
    with pytest.raises(TypeError, match="takes no argument 'candidates'"):
        again(1, candidates="pairs")


def test_what_is_given_is_passed_on_and_nothing_else():
    assert find(1, 2, sigma=0.25) == {"sigma": 0.25} and find(1) == {}


def test_a_typo_is_a_type_error_of_the_function_that_was_called():
    message = (
        r"^find\(\) takes no argument 'score_treshold'. Received: score_treshold=0.3. "
        r"Did you mean 'score_threshold'\?"
    )
    with pytest.raises(TypeError, match=message):
        find(1, score_treshold=0.3)
    with pytest.raises(TypeError, match=r"Did you mean 'batch_size'\?"):
        find(1, batchsize=3)
    with pytest.raises(TypeError, match=r"Received: colour=3\. The settings of this"):
        find(1, colour=3)  # no name is near


@pytest.mark.parametrize(
    "settings, name, owner",
    [
        (CORNER_SETTINGS, "candidates", "Detectors with anchors have it"),
        (ANCHOR_SETTINGS, "corner_top_k", "CornerNet has it"),
        (CORNER_SETTINGS, "flip", "CornerNet.detect has it"),
    ],
)
def test_a_setting_of_other_detectors_is_no_typo(settings, name, owner):
    function = takes_settings(settings)(find)
    names = ", ".join(settings)
    message = rf"Received: {name}=1\. {owner}\. The settings .* decoder are {names}\.$"
    with pytest.raises(TypeError, match=message):
        function(1, **{name: 1})


@pytest.mark.parametrize(
    "decoder, settings, error, message",
    [
        (AnchorDecoder, {"max_detections": 2.5}, TypeError, "must be an integer. Received: max_"),
        (AnchorDecoder, {"max_detections": True}, TypeError, "must be an integer"),
        (AnchorDecoder, {"pre_nms_top_k": "all"}, TypeError, "must be an integer"),
        (AnchorDecoder, {"score_threshold": "0.3"}, TypeError, "must be a number"),
        (AnchorDecoder, {"score_threshold": None}, TypeError, "must be a number"),
        (AnchorDecoder, {"sigma": float("nan")}, TypeError, "must be a number"),
        (AnchorDecoder, {"class_agnostic": "no"}, TypeError, "must be True or False"),
        (AnchorDecoder, {"score_threshold": 30}, ValueError, "must be in 0..1.*=30"),
        (AnchorDecoder, {"iou_threshold": 1.5}, ValueError, "must be in 0..1 or None"),
        (AnchorDecoder, {"pre_nms_top_k": -1}, ValueError, "must be .*or 0 for all. Rec"),
        (AnchorDecoder, {"iou_threshold": 0.5}, ValueError, "is for method='linear' or 'hard'"),
        (CornerDecoder, {"iou_threshold": 0.5}, ValueError, "is for method='linear' or 'hard'"),
        (CornerDecoder, {"corner_top_k": 3.5}, TypeError, "must be an integer"),
        (CornerDecoder, {"embedding_threshold": "x"}, TypeError, "must be a number"),
        (CornerDecoder, {"peak_window": 2}, ValueError, "must be odd"),
    ],
)
def test_values_are_checked_where_the_decoder_is_made(decoder, settings, error, message):
    (name,) = settings
    with pytest.raises(error, match=f"`{name}` {message}"):
        decoder(64, **settings)


@pytest.mark.parametrize("decoder", [AnchorDecoder, CornerDecoder, TFAnchorDecoder])
def test_sigma_is_for_the_gaussian(decoder):
    with pytest.raises(ValueError, match="`sigma` is for method='gaussian'.*method='hard'"):
        decoder(64, method="hard", sigma=0.5)
    with pytest.raises(ValueError, match="`sigma` is for method='gaussian'.*method='linear'"):
        decoder(64, method="linear", sigma=0.5)
    assert decoder(64, sigma=0.7).get_config()["sigma"] == 0.7


def test_numbers_of_numpy_are_numbers():
    decoder = AnchorDecoder(
        64, score_threshold=np.float32(0.5), max_detections=np.int64(3), class_agnostic=np.True_
    )
    assert decoder.nms.max_detections == 3
