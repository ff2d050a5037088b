"""Exports of a trained detector: SavedModel for servers, TFLite for phones, ONNX for the rest.

Every export is run after it was written, on images, beside the Keras model; one that disagrees is
not kept. All need the TensorFlow backend. `keras_det.load_exported` opens what they write.

The rooms, each importing only from rooms before it: `check`, `network`; `tflite_file`; `int8`;
`to_tflite`, `to_saved_model`, `to_onnx`. Rooms have other names than the three functions, so that
`export.tflite` is the function, whatever was imported before.
"""

from keras_det.export.check.budget import BUDGETS as BUDGETS
from keras_det.export.check.budget import Budget as Budget
from keras_det.export.check.publishing import weights_sha256 as weights_sha256
from keras_det.export.check.report import ExportError as ExportError
from keras_det.export.check.report import ExportReport as ExportReport
from keras_det.export.to_onnx.onnx import onnx as onnx
from keras_det.export.to_saved_model.saved_model import saved_model as saved_model
from keras_det.export.to_tflite.tflite import tflite as tflite
