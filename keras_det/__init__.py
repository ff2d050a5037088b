"""Object detection for Keras 3: from your own images to a phone or a server with plain `model.fit`.

Nothing heavy is imported until it is used: `import keras_det` loads neither Keras nor TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keras_det import (
        backbones,
        boxes,
        data,
        errors,
        export,
        layers,
        losses,
        metrics,
        models,
        necks,
        report,
        runtime,
        targets,
        training,
    )
    from keras_det.models import CornerNet, EfficientDet, RetinaNet, load_model
    from keras_det.runtime import load_exported

__version__ = "0.1.0"

__all__ = [
    "CornerNet",
    "EfficientDet",
    "RetinaNet",
    "__version__",
    "backbones",
    "boxes",
    "data",
    "errors",
    "export",
    "layers",
    "load_exported",
    "load_model",
    "losses",
    "metrics",
    "models",
    "necks",
    "report",
    "runtime",
    "targets",
    "training",
]
# Where a public name that is not a module lives.
_HOMES = {
    name: "keras_det.models" for name in ("CornerNet", "EfficientDet", "RetinaNet", "load_model")
}
_HOMES["load_exported"] = "keras_det.runtime"


def __getattr__(name: str):
    """Imports a public name at its first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'keras_det' has no attribute {name!r}")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    return importlib.import_module(f"keras_det.{name}")


def __dir__() -> list[str]:
    return sorted(__all__)
