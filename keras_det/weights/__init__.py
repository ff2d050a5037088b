"""Importers of public checkpoints; each takes the model as an argument."""

from keras_det.weights.efficientdet import LoadReport as LoadReport
from keras_det.weights.efficientdet import load_efficientdet as load_efficientdet
