"""Private names of Keras: used in one module, and there in the Keras at hand."""

import ast
import configparser
import functools
import re

import keras
import numpy as np
import pytest

from keras_det import keras_private
from keras_det.keras_private import OptimizerStep, all_layers, replace_call
from tests.helpers import ROOT
from tests.test_import_order import sources

FENCE = ROOT / "keras_det" / "keras_private.py"
TRIED_WITH = keras_private.TRIED_WITH


def private(name):
    return name.startswith("_") and not name.startswith("__")


def used(tree):
    """Private names that a module reads from objects or defines in classes, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and private(node.attr):
            yield node.attr, node.lineno
        elif isinstance(node, ast.ClassDef):
            functions = [x for x in node.body if isinstance(x, ast.FunctionDef)]
            yield from ((x.name, x.lineno) for x in functions if private(x.name))
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "").endswith("attr"):
            texts = [x.value for x in node.args if isinstance(x, ast.Constant)]
            yield from ((x, node.lineno) for x in texts if isinstance(x, str) and private(x))


@functools.cache
def names_of_keras():
    """Private attributes of what our classes derive from, and of what they work with."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    optimizers = [
        keras.optimizers.AdamW(use_ema=True, weight_decay=0.1),
        keras.optimizers.SGD(momentum=0.9),
    ]
    for optimizer in optimizers:
        optimizer.build(model.trainable_variables)
    others = [keras.losses.MeanSquaredError(), keras.metrics.Mean(), keras.callbacks.Callback()]
    return {x for each in (model, *model.layers, *optimizers, *others) for x in dir(each)}


def test_this_keras_has_every_private_name():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("some of the names are those of Keras' TensorFlow optimizer")
    wanted = {name for name, _ in used(ast.parse(FENCE.read_text()))}
    assert len(wanted) > 10 and "_flatten_layers" in wanted
    missing = sorted(wanted - names_of_keras())
    assert not missing, (
        f"Keras {keras.version()} has no {', '.join(missing)}, which keras_det/keras_private.py "
        f"uses. It was tried with Keras {TRIED_WITH}: see CONTRIBUTING, 'A new Keras'."
    )


@pytest.mark.parametrize("module, path", [pytest.param(m, p, id=m) for m, p in sources()])
def test_private_names_are_used_in_one_module_only(module, path):
    if path == FENCE:
        return
    text = path.read_text()
    found = [f"{line}: {x}" for x, line in used(ast.parse(text)) if x in names_of_keras()]
    assert not found, "put what needs it into keras_det/keras_private.py"
    assert "keras.src" not in text and "__internal__" not in text


def test_the_search_finds_reading_defining_and_getattr():
    source = "class A:\n    def _build(self): x._layers\ngetattr(x, '_kept', None)\nx.call"
    assert sorted(used(ast.parse(source))) == [("_build", 2), ("_kept", 3), ("_layers", 2)]


def test_setup_allows_no_keras_that_was_not_tried():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    (line,) = re.findall(r"^keras[^\w\n].*$", setup["options"]["install_requires"], re.MULTILINE)
    major, minor = map(int, TRIED_WITH.split("."))
    assert line.endswith(f",<{major}.{minor + 1}"), f"keras_private was tried with {TRIED_WITH}"


class Recorded(OptimizerStep, keras.optimizers.AdamW):
    """Notes which of the four parts of a step Keras asks for."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.asked = set()

    def clipped(self, gradients, variables):
        self.asked.add("clipped")
        return super().clipped(gradients, variables)

    def average_decay(self):
        self.asked.add("average_decay")
        return super().average_decay()

    def decay_on_tensorflow(self):
        self.asked.add("decay_on_tensorflow")
        return super().decay_on_tensorflow()

    def update_on_tensorflow(self, learning_rate):
        self.asked.add("update_on_tensorflow")
        return super().update_on_tensorflow(learning_rate)


# By default the parts are Keras' own; AdamW's first step is sign(gradient) * rate, here after
# 2 * 0.1 * 0.5 of decay: 2 - 0.1 - 0.1 = 1.8.
def test_keras_asks_for_every_part_of_a_step():
    variable = keras.Variable([2.0], name="kernel")
    optimizer = Recorded(0.1, weight_decay=0.5, use_ema=True, ema_momentum=0.9, clipnorm=1.0)
    optimizer.build([variable])
    optimizer.apply([keras.ops.convert_to_tensor([3.0])])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), [1.8], rtol=1e-5)
    parts = {"clipped", "average_decay"}
    if keras.backend.backend() == "tensorflow":
        parts |= {"decay_on_tensorflow", "update_on_tensorflow"}
    assert optimizer.asked == parts


def test_keras_calls_a_replaced_call():
    inside = keras.layers.Dense(2)
    model = keras.Sequential([keras.Input((2,)), keras.Sequential([inside])])
    assert all_layers(model)[0] is model and inside in all_layers(model)
    replace_call(inside, lambda inputs: inputs + 5.0)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model(np.ones((1, 2)))), [[6.0, 6.0]])
