"""Exports of a trained detector: SavedModel for servers, TFLite for phones, ONNX for the rest.

Every export is run after it was written, on images, beside the Keras model; one that disagrees is
not kept. All need the TensorFlow backend.
"""

from keras_det.export.budget import BUDGETS as BUDGETS
from keras_det.export.budget import Budget as Budget
from keras_det.export.litert import tflite as tflite
from keras_det.export.onnx_file import onnx as onnx
from keras_det.export.report import ExportError as ExportError
from keras_det.export.report import ExportReport as ExportReport
from keras_det.export.serving import saved_model as saved_model
from keras_det.export.writing import weights_sha256 as weights_sha256
