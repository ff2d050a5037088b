"""After `import keras_det`, plain Keras opens our files, whichever is imported first."""

import importlib
import json
import subprocess
import sys

import numpy as np
import pytest

from keras_det import saved_names
from tests.helpers import ROOT

CHECK = """
import json, sys
import numpy as np
assert "keras_det.models" not in sys.modules
model = keras.saving.load_model(sys.argv[1] + "/model.keras")
assert type(model) is keras_det.EfficientDet and type(model).__module__.startswith("keras_det.")
data = np.load(sys.argv[1] + "/data.npz")
np.testing.assert_allclose(model(data["images"])["class_logits"], data["logits"], atol=1e-5)
assert type(model.optimizer) is keras_det.optimizers.AdamW
print("opened")
"""
# A layer of ours in a model that is none of ours.
LAYER = """
config = {"class_name": "WeightedFusion", "module": None, "config": {"name": "x"},
          "registered_name": "keras_det>WeightedFusion"}
layer = keras.saving.deserialize_keras_object(config)
assert type(layer).__module__ == "keras_det.layers.weighted_fusion" and layer.name == "x"
print("opened")
"""
PRESET = """
import json, sys
config = json.load(open(sys.argv[1] + "/preset/config.json"))
model = keras.saving.deserialize_keras_object(config)
assert type(model) is keras_det.EfficientDet and model.class_names == ["a", "b"]
print("opened")
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    from keras_det import EfficientDet

    folder = tmp_path_factory.mktemp("saved")
    model = EfficientDet("lite0", class_names=["a", "b"], image_size=64)
    model.compile()
    model.save(folder / "model.keras")
    model.save_to_preset(folder / "preset")
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype("uint8")
    np.savez(folder / "data.npz", images=images, logits=model(images)["class_logits"])
    return folder


def opens(imports, script, folder):
    done = subprocess.run(
        [sys.executable, "-c", f"{imports}\n{script}", str(folder)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert "opened" in done.stdout, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("imports", ["import keras, keras_det", "import keras_det, keras"])
def test_plain_keras_opens_a_saved_model(saved, imports):
    opens(imports, CHECK, saved)


@pytest.mark.slow
def test_plain_keras_opens_a_preset_and_a_layer(saved):
    opens("import keras\nfrom keras import ops\nimport keras_det", PRESET, saved)
    opens("import keras_det\nfrom keras import ops\nimport keras", LAYER, saved)


def test_importing_keras_det_imports_no_keras_and_waits_for_it():
    script = (
        "import sys, keras_det, keras_det; from keras_det import saved_names as names\n"
        "names.register_saved_names()\n"
        "assert 'keras' not in sys.modules\n"
        "waiting = [f for f in sys.meta_path if isinstance(f, names._WhenKerasIsImported)]\n"
        "assert len(waiting) == 1 and waiting[0].find_spec('kera') is None\n"
        "print('opened')"
    )
    opens("", script, "")


def test_the_list_holds_every_class_that_is_registered():
    import keras

    import keras_det.export  # noqa: F401
    import keras_det.training  # noqa: F401

    for home in saved_names.HOMES:
        importlib.import_module(home)

    registered = keras.saving.get_custom_objects()
    # Not the classes that other tests register.
    ours = {n for n, each in registered.items() if each.__module__.startswith("keras_det.")}
    assert ours == {f"keras_det>{name}" for name in saved_names.NAMES}
    left = [name for name in ours if issubclass(registered[name], saved_names._StandIn)]
    assert not left, "one of HOMES must import them"


def test_names_in_a_file_are_the_registered_ones(saved):
    config = json.loads((saved / "preset" / "config.json").read_text())
    assert config["registered_name"] == "keras_det>EfficientDet"
