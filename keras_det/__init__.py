"""Object detection for Keras 3: from your own images to a phone or a server with plain `model.fit`.

Nothing heavy is imported until it is used: `import keras_det` loads neither Keras nor TensorFlow.
Each public name is listed here twice: for people and for type checkers. If it is not a module, it
is listed a third time, with the module that holds it. tests/typing compares them.
"""

from typing import TYPE_CHECKING

from keras_det.lazy_names import importer
from keras_det.saved_names import register_saved_names

if TYPE_CHECKING:
    from keras_det import backbones as backbones
    from keras_det import boxes as boxes
    from keras_det import data as data
    from keras_det import decode as decode
    from keras_det import doctor as doctor
    from keras_det import errors as errors
    from keras_det import export as export
    from keras_det import heads as heads
    from keras_det import layers as layers
    from keras_det import losses as losses
    from keras_det import metrics as metrics
    from keras_det import models as models
    from keras_det import necks as necks
    from keras_det import optimizers as optimizers
    from keras_det import profiling as profiling
    from keras_det import report as report
    from keras_det import review as review
    from keras_det import runtime as runtime
    from keras_det import targets as targets
    from keras_det import training as training
    from keras_det import weights as weights
    from keras_det.models import CornerNet as CornerNet
    from keras_det.models import EfficientDet as EfficientDet
    from keras_det.models import RetinaNet as RetinaNet
    from keras_det.models import load_model as load_model
    from keras_det.runtime import load_exported as load_exported

__version__ = "0.1.0"
register_saved_names()  # so that plain Keras opens our files

__all__ = [
    "CornerNet",
    "EfficientDet",
    "RetinaNet",
    "__version__",
    "backbones",
    "boxes",
    "data",
    "decode",
    "doctor",
    "errors",
    "export",
    "heads",
    "layers",
    "load_exported",
    "load_model",
    "losses",
    "metrics",
    "models",
    "necks",
    "optimizers",
    "profiling",
    "report",
    "review",
    "runtime",
    "targets",
    "training",
    "weights",
]
# Where a public name that is not a module lives.
_HOMES = {
    "CornerNet": "models",
    "EfficientDet": "models",
    "RetinaNet": "models",
    "load_exported": "runtime",
    "load_model": "models",
}

if not TYPE_CHECKING:  # else checkers would accept every name
    __getattr__ = importer(__name__, _HOMES, __all__)


def __dir__() -> list[str]:
    return sorted(__all__)
