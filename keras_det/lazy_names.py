"""Public names that a package imports on first use (PEP 562)."""

import importlib
from collections.abc import Callable, Collection, Mapping
from typing import Any


def importer(
    package: str, homes: Mapping[str, str], modules: Collection[str] = ()
) -> Callable[[str], Any]:
    """Returns the `__getattr__` of a package.

    Args:
        package: its `__name__`.
        homes: the module inside the package that holds a name, by name.
        modules: names of modules inside the package.
    """

    def find(name: str) -> Any:
        if name in homes:
            return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
        if name in modules:
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find
