"""Makes `keras.saving.load_model("m.keras")` work after `import keras_det`, without other imports.

A file names its classes "keras_det>EfficientDet" and so on. Keras looks these names up in its own
registry. The classes register themselves when their modules are imported, which takes seconds.
Until then the registry holds a stand-in for each of them; the first stand-in that Keras uses
imports the classes.
"""

import importlib
import importlib.util
import sys
from typing import Any

# The packages whose import registers every class that a file can name.
HOMES = tuple(f"keras_det.{name}" for name in ("layers", "losses", "targets", "necks", "models"))
# tests/test_saved_names.py compares this list with what the modules register.
NAMES = (
    "ATSSTargets",
    "AdamW",
    "AnchorGenerator",
    "AnchorTargets",
    "BatchNorm",
    "BiFPN",
    "BiFPNNode",
    "BoxHuberLoss",
    "BoxSmoothL1Loss",
    "CIoULoss",
    "CenterPadding",
    "ConvHead",
    "ConvNormReLU",
    "CornerFocalLoss",
    "CornerHead",
    "CornerNet",
    "CornerPooling",
    "CornerPoolingBlock",
    "CornerTargets",
    "DIoULoss",
    "EfficientDet",
    "FPN",
    "FakeQuantize",
    "GIoULoss",
    "NASFPN",
    "NonMaxSuppression",
    "Normalization",
    "PAFPN",
    "QualityFocalLoss",
    "ResampleToLevel",
    "ResidualBlock",
    "RetinaNet",
    "SGD",
    "SeparableHead",
    "SigmoidFocalLoss",
    "SimOTATargets",
    "SparseSigmoidFocalLoss",
    "TaskAlignedTargets",
    "VarifocalLoss",
    "WarmupThenDrops",
    "WeightedFusion",
)


class _StandIn:
    """Stands in Keras' registry for a class that is not imported yet."""

    registered_name = ""

    @classmethod
    def from_config(cls, config: dict) -> Any:
        """Imports the class and makes the object."""
        for home in HOMES:
            importlib.import_module(home)
        registered = sys.modules["keras"].saving.get_custom_objects()[cls.registered_name]
        if issubclass(registered, _StandIn):
            raise TypeError(
                f"{', '.join(HOMES)} must register every class of a saved model. Received: "
                f"{cls.registered_name}. Install the version of keras_det that wrote the file."
            )
        return registered.from_config(config)


def register_saved_names() -> None:
    """Puts the stand-ins into Keras' registry: now, or as soon as Keras is imported."""
    if sys.modules.get("keras") is not None:  # None: its import is blocked
        _register()
    elif not any(isinstance(finder, _WhenKerasIsImported) for finder in sys.meta_path):
        sys.meta_path.insert(0, _WhenKerasIsImported())


def _register() -> None:
    register = sys.modules["keras"].saving.get_custom_objects()
    for name in NAMES:
        full_name = f"keras_det>{name}"
        register.setdefault(full_name, type(name, (_StandIn,), {"registered_name": full_name}))


class _WhenKerasIsImported:
    """Import finder that registers the stand-ins when Keras is imported.

    It leaves the import itself to the other finders. It is needed because `import keras_det` must
    not import Keras, and Keras offers no way to register a class by name.
    """

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != "keras":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec("keras")
        loader: Any = spec.loader if spec is not None else None
        if loader is not None:
            execute = loader.exec_module

            def execute_and_register(module: Any) -> None:
                execute(module)
                _register()

            loader.exec_module = execute_and_register
        return spec
