"""Recipes, callbacks, evaluation, and the training that fills a run folder."""

from keras_det.training.averaging import averaged_weights as averaged_weights
from keras_det.training.callbacks import EvaluateAP as EvaluateAP
from keras_det.training.evaluate import evaluate as evaluate
from keras_det.training.run import train as train
