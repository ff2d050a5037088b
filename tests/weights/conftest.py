"""Fixtures for tests that fetch files: a cache of their own and no mirror."""

import pytest

from keras_det.weights.common.fetch import MIRROR_VARIABLE


@pytest.fixture(autouse=True)
def no_mirror(monkeypatch):
    monkeypatch.delenv(MIRROR_VARIABLE, raising=False)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"
