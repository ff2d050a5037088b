"""A saved detector, and copies of it with another configuration or other weights."""

import json
import zipfile

import pytest

from keras_det import RetinaNet
from tests.helpers import tiny_parts

CONFIG, WEIGHTS = "config.json", "model.weights.h5"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    model = RetinaNet(**tiny_parts(num_classes=2))
    model.compile()
    model.save(folder / "model.keras")
    model.save_weights(folder / "model.weights.h5")
    model.save_to_preset(folder / "preset")
    return folder


def changed(
    saved,
    tmp_path,
    change=None,
    weights=None,
    extra=(),
    compression=zipfile.ZIP_STORED,
    name="changed.keras",
):
    """A copy of the model with a changed configuration or other weights."""
    target = tmp_path / name
    with zipfile.ZipFile(saved / "model.keras") as old, zipfile.ZipFile(target, "w") as new:
        for member in old.namelist():
            content = old.read(member)
            if member == CONFIG and change is not None:
                config = json.loads(content)
                change(config)
                content = json.dumps(config).encode()
            if member == WEIGHTS and weights is not None:
                content = weights
            new.writestr(member, content, compression)
        for member, content in extra:
            new.writestr(member, content, compression)
    return target
