"""How much computation a detector needs, how fast it is, and what limits it.

Loads neither Keras nor TensorFlow by itself: files that need neither are measured without them.
"""

from typing import TYPE_CHECKING

from keras_det.lazy_names import importer

if TYPE_CHECKING:
    from keras_det.profiling.activations import activation_elements as activation_elements
    from keras_det.profiling.operations import multiply_adds as multiply_adds

__all__ = ["activation_elements", "multiply_adds"]
_HOMES = {"activation_elements": "activations", "multiply_adds": "operations"}

if not TYPE_CHECKING:  # else checkers would accept every name
    __getattr__ = importer(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
