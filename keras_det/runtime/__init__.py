"""Opens exported files and detects with them: TFLite, SavedModel and ONNX.

`load_exported` is the door. A TFLite file needs the package ai-edge-litert, an ONNX file
onnxruntime, a SavedModel TensorFlow; for the first two, neither Keras nor TensorFlow is imported.
"""

from keras_det.runtime.exported import ExportedDetector as ExportedDetector
from keras_det.runtime.exported import load_exported as load_exported
