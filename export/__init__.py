"""Exports of a trained detector: SavedModel for servers, TFLite for phones, ONNX and OpenVINO.

Every export is checked: it runs on images, and its results are compared with those of the Keras
model. If they differ too much, nothing is kept. Exports need the TensorFlow backend.
`keras_det.load_exported` opens the exported files.

The folders, each importing only from folders before it: `check`, `network`; `tflite_file`; `int8`;
`to_tflite`, `to_saved_model`, `to_onnx`; `to_openvino`; then `verifying.py`. No folder has the name
of one of the functions. Otherwise importing the folder would replace the function.
"""

from keras_det.export.check.budget import BUDGETS as BUDGETS
from keras_det.export.check.budget import Budget as Budget
from keras_det.export.check.publishing import weights_sha256 as weights_sha256
from keras_det.export.check.report import ExportError as ExportError
from keras_det.export.check.report import ExportReport as ExportReport
from keras_det.export.to_onnx.onnx import onnx as onnx
from keras_det.export.to_openvino.openvino import openvino as openvino
from keras_det.export.to_saved_model.saved_model import saved_model as saved_model
from keras_det.export.to_tflite.tflite import tflite as tflite
from keras_det.export.verifying import Verification as Verification
from keras_det.export.verifying import verify as verify
