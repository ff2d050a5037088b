"""The quantisation library, under its new or its old name."""

import importlib
from types import ModuleType

from keras_det.errors import DataError, install_hint

# The new name first: `litert-quantizer` is `ai-edge-quantizer` from 0.11 on.
PACKAGES = ("litert_quantizer", "ai_edge_quantizer")


def quantizer_library(module: str | None = None) -> ModuleType:
    """Returns the library, or a module of it.

    Args:
        module: name of a module in it, such as "qtyping". Default: the package.

    Raises:
        DataError: neither package is installed.
    """
    for package in PACKAGES:
        try:
            found = importlib.import_module(package)
        except ImportError:
            continue
        return importlib.import_module(f"{package}.{module}") if module else found
    raise DataError(
        "8-bit files need the package litert-quantizer or ai-edge-quantizer. Received: an "
        f"installation with neither. Install one with {install_hint('quantize')}."
    )
