"""Training: recipes, callbacks, evaluation, and whole runs with their folder."""

from keras_det.training.averaging import averaged_weights as averaged_weights
from keras_det.training.callbacks import EvaluateAP as EvaluateAP
from keras_det.training.callbacks import SaveBest as SaveBest
from keras_det.training.comparing import compare as compare
from keras_det.training.evaluate import evaluate as evaluate
from keras_det.training.evaluate import measure as measure
from keras_det.training.report import write_report as write_report
from keras_det.training.run import train as train
