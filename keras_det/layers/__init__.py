from keras_det.layers.anchor_generator import AnchorGenerator as AnchorGenerator
from keras_det.layers.nms import NonMaxSuppression as NonMaxSuppression
