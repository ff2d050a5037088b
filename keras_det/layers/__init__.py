"""Custom Keras layers of the detectors."""

from keras_det.layers.anchor_generator import AnchorGenerator as AnchorGenerator
from keras_det.layers.corner_pooling import CornerPooling as CornerPooling
from keras_det.layers.nms import NonMaxSuppression as NonMaxSuppression
from keras_det.layers.normalization import Normalization as Normalization
