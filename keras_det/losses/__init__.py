from keras_det.losses.box_regression import BoxHuberLoss as BoxHuberLoss
from keras_det.losses.focal import SigmoidFocalLoss as SigmoidFocalLoss
from keras_det.losses.focal import SparseSigmoidFocalLoss as SparseSigmoidFocalLoss
