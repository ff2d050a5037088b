"""Opens exported files and detects with them: TFLite, SavedModel and ONNX.

Start with `load_exported`. A TFLite file needs the package ai-edge-litert, an ONNX file
onnxruntime, a SavedModel TensorFlow. For TFLite and ONNX neither Keras nor TensorFlow is imported.
"""

from keras_det.results import to_coco as to_coco
from keras_det.results import to_dataframe as to_dataframe
from keras_det.results import to_fiftyone as to_fiftyone
from keras_det.results import to_supervision as to_supervision
from keras_det.runtime.augmented import AugmentedDetector as AugmentedDetector
from keras_det.runtime.exported import ExportedDetector as ExportedDetector
from keras_det.runtime.exported import load_exported as load_exported
from keras_det.runtime.fusion import weighted_box_fusion as weighted_box_fusion
from keras_det.runtime.tiled import TiledDetector as TiledDetector
