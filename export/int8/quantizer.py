"""The library that writes 8-bit files, under its new name or its old one."""

import importlib
from types import ModuleType

from keras_det.errors import DataError, install_hint

# The new name first: `litert-quantizer` is `ai-edge-quantizer` from 0.11 on.
PACKAGES = ("litert_quantizer", "ai_edge_quantizer")


def quantizer_library(module: str | None = None) -> ModuleType:
    """The library, or a module of it.

    Args:
        module: name of a module inside it, e.g. "qtyping". Default: the package itself.

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
        f"installation without both. Install one with {install_hint('quantize')}."
    )
