"""Opens exported files and detects with them: TFLite, SavedModel and ONNX.

Start with `load_exported`. A TFLite file needs the package ai-edge-litert, an ONNX file
onnxruntime, a SavedModel TensorFlow. For TFLite and ONNX neither Keras nor TensorFlow is imported.
"""

from keras_det.runtime.exported import ExportedDetector as ExportedDetector
from keras_det.runtime.exported import load_exported as load_exported
from keras_det.runtime.tiled import TiledDetector as TiledDetector
