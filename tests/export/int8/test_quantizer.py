"""The quantizer under its new and its old name."""

import sys
import types

import pytest

from keras_det.errors import DataError
from keras_det.export.int8.quantizer import PACKAGES, quantizer_library


def fake(monkeypatch, package):
    """Puts a package with a module `qtyping` where imports find it."""
    made = types.ModuleType(package)
    made.__path__ = []
    inner = types.ModuleType(f"{package}.qtyping")
    monkeypatch.setitem(sys.modules, package, made)
    monkeypatch.setitem(sys.modules, f"{package}.qtyping", inner)
    return made, inner


@pytest.mark.parametrize("package", ["litert_quantizer", "ai_edge_quantizer"])
def test_either_name_is_taken(monkeypatch, package):
    for other in PACKAGES:
        monkeypatch.setitem(sys.modules, other, None)
    made, inner = fake(monkeypatch, package)
    assert quantizer_library() is made and quantizer_library("qtyping") is inner


def test_the_new_name_comes_first(monkeypatch):
    old, new = (fake(monkeypatch, name)[0] for name in ("ai_edge_quantizer", "litert_quantizer"))
    assert quantizer_library() is new and new is not old


def test_neither_is_installed(monkeypatch):
    for package in PACKAGES:
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DataError, match="litert-quantizer or ai-edge-quantizer.*with neither"):
        quantizer_library()
