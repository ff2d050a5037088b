"""A model saved by each release goes on loading and gives the outputs it gave then.

`python -m tests.models.test_releases` writes the file of the release at hand. Its weights take few
values, so that the file is small, but are as wide as trained ones, so that outputs differ.
"""

import json
import pathlib
import zipfile

import numpy as np
import pytest

import keras_det
from keras_det.models import EfficientDet, load_model

FOLDER = pathlib.Path(__file__).parent.parent / "golden" / "releases"
RELEASES = sorted(FOLDER.glob("*.keras"))


def example_image():
    rows, columns = np.mgrid[:48, :64]
    return np.stack([rows * 5, columns * 3, (rows * columns) % 256], axis=-1).astype("uint8")


def summary(model):
    """Numbers that change with any weight, and what is saved beside the weights."""
    raw = model(example_image()[None])
    return {
        "class_names": model.class_names,
        "resize_policy": [model.resize_policy["mode"], list(model.resize_policy["size"])],
        "class_logits": np.array(raw["class_logits"])[0, ::97].round(5).tolist(),
        "box_deltas": np.array(raw["box_deltas"])[0, ::97].round(5).tolist(),
    }


@pytest.mark.parametrize("path", RELEASES, ids=lambda path: path.stem)
def test_a_released_model_loads_and_gives_the_same(path):
    expected = json.loads(path.with_suffix(".json").read_text())
    found = summary(load_model(path))
    for name in ("class_names", "resize_policy"):
        assert found[name] == expected[name]
    for name in ("class_logits", "box_deltas"):
        assert np.std(expected[name]) > 0.01
        np.testing.assert_allclose(found[name], expected[name], atol=1e-3)


def test_this_release_has_a_file():
    assert keras_det.__version__ in [path.stem for path in RELEASES]


def write():
    model = EfficientDet(
        "lite0", class_names=["ant", "bee"], image_size=(48, 64), resize_mode="stretch"
    )
    rng = np.random.default_rng(0)
    for variable in model.variables:
        size = int(np.prod(variable.shape))
        if variable.name.endswith("kernel"):
            fan_in = max(1, size // variable.shape[-1])
            if "depthwise" in variable.path:
                fan_in = variable.shape[0] * variable.shape[1]
            # A pattern of 64 signs, repeated: compresses to almost nothing.
            pattern = np.resize(rng.choice([-1.0, 1.0], 64 + len(variable.path) % 7), size)
            variable.assign(pattern.reshape(variable.shape) * fan_in**-0.5)
    path = FOLDER / f"{keras_det.__version__}.keras"
    model.save(path)
    path.with_suffix(".json").write_text(json.dumps(summary(model)))
    with zipfile.ZipFile(path) as stored:
        members = {name: stored.read(name) for name in stored.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as small:
        for name, content in members.items():
            small.writestr(name, content)


if __name__ == "__main__":
    write()
