"""Quantisation-aware training: a detector that rounds like its int8 export."""

from keras_det.quantization.aware import quantize_aware as quantize_aware
from keras_det.quantization.aware import without_rounding as without_rounding
