"""From raw outputs to detections: choose candidates, decode their boxes, remove duplicates."""

from keras_det.decode.anchor_decode import AnchorDecoder
from keras_det.decode.corner_decode import CornerDecoder
from keras_det.decode.settings import DecoderSettings, takes_settings
from keras_det.decode.tf_nms import (
    TFAnchorDecoder,
    TFCornerDecoder,
    inference_decoder,
    tf_non_max_suppression,
)

__all__ = [
    "AnchorDecoder",
    "CornerDecoder",
    "DecoderSettings",
    "TFAnchorDecoder",
    "TFCornerDecoder",
    "inference_decoder",
    "takes_settings",
    "tf_non_max_suppression",
]
