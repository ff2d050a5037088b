"""What several files of export tests share."""

import importlib.util

import pytest

# Largest batch of the warm-up requests; where nothing can write them there are none.
WARMUP = 3


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A model, its SavedModel's folder, named 1 as a version, and the report."""
    from keras_det import export
    from tests.export.tiny import tiny

    model = tiny(image_size=(96, 128))
    path = tmp_path_factory.mktemp("served") / "parent" / "1"
    warmup = WARMUP if importlib.util.find_spec("tensorflow_serving") else 0
    return model, path, export.saved_model(model, path, warmup=warmup)
