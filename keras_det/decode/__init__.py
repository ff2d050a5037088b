"""From raw outputs to detections: choose candidates, decode their boxes, suppress duplicates."""

from keras_det.decode.anchor_decode import AnchorDecoder
from keras_det.decode.tf_nms import TFAnchorDecoder, inference_decoder, tf_non_max_suppression

__all__ = ["AnchorDecoder", "TFAnchorDecoder", "inference_decoder", "tf_non_max_suppression"]
