"""A constructor's arguments are captured by its call: what is saved of them, and what is made."""

import gc
import inspect
import weakref

import keras
import numpy as np
import pytest

from keras_det.layers.normalization import Normalization
from keras_det.models import CornerNet, EfficientDet, RetinaNet, load_model
from keras_det.models.arguments import capturing
from keras_det.models.detecting import DetectingModel
from keras_det.models.parts import precision


@keras.saving.register_keras_serializable(package="keras_det_tests")
class Small(DetectingModel):
    """One convolution that knows its classes."""

    NOT_SAVED = ("weights",)

    def __init__(
        self,
        num_classes=None,
        class_names=None,
        image_size=(8, 8),
        sizes=None,
        part=None,
        weights=None,
        dtype=None,
        name="small",
    ):
        class_names = class_names or [f"class_{i}" for i in range(num_classes)]
        with precision(dtype):
            images = keras.Input((*image_size, 3))
            super().__init__(images, keras.layers.Conv2D(2, 1)(images), name=name)
        self.describe(class_names, image_size, "stretch")
        self.sizes = [4, 5] if sizes is None else sizes
        self._keep(sizes=self.sizes)


class Derived(Small):
    """One argument more; the others pass through."""

    def __init__(self, extra, weights="imagenet", **kwargs):
        super().__init__(weights=weights, **kwargs)
        self.extra = extra


class Deep(Derived):
    """Chooses two arguments itself, one of them of the base of its base."""

    def __init__(self, *, depth=2, **kwargs):
        super().__init__(extra=7, image_size=(6, 6), **kwargs)


@keras.saving.register_keras_serializable(package="keras_det_tests")
class Nested(Small):
    """Takes lists and dicts that hold objects."""

    def __init__(self, parts=(), named=None, **kwargs):
        super().__init__(**kwargs)
        self.__dict__["given"] = (parts, named)


class Closed(Small):
    """Takes nothing but its own arguments."""

    def __init__(self, kinds, *, scale=1.0):
        super().__init__(num_classes=len(kinds), image_size=(4, 4), name="closed")


DESCRIBED = {"class_names": ["class_0", "class_1"], "image_size": [8, 8], "name": "small"}
DESCRIBED |= {"sizes": [4, 5], "dtype": "float32", "part": None}
OPEN = {name: value for name, value in DESCRIBED.items() if name != "image_size"}


@pytest.mark.parametrize(
    "make, expected",
    [
        (lambda: Small(2), DESCRIBED),
        (lambda: Small(2, None, (8, 8), (1, (2, 3))), {**DESCRIBED, "sizes": [1, [2, 3]]}),
        # The default would fetch weights once more, so that None is saved.
        (lambda: Derived(5, num_classes=2), {**DESCRIBED, "extra": 5, "weights": None}),
        (lambda: Deep(num_classes=2), {**OPEN, "depth": 2, "weights": None}),
        (lambda: Deep(num_classes=2, weights="w"), {**OPEN, "depth": 2, "weights": None}),
        (lambda: Closed(["a", "b"], scale=2.0), {"kinds": ["a", "b"], "scale": 2.0}),
    ],
    ids=["plain", "nested", "derived", "deep", "filled", "closed"],
)
def test_what_is_saved(make, expected):
    model = make()
    config = model.get_config()
    assert config == expected
    copy = type(model).from_config(config)
    assert type(copy) is type(model) and copy.get_config() == config


def test_the_policy_at_hand_is_saved_for_classes_that_pass_it_on():
    with precision("mixed_bfloat16"):
        model = Derived(1, num_classes=1)
    assert model.get_config()["dtype"] == "mixed_bfloat16"
    assert Derived.from_config(model.get_config()).dtype_policy.name == "mixed_bfloat16"


def test_parts_are_saved_as_they_were_given():
    part, names = Normalization((1.0,) * 3, (2.0,) * 3, name="part"), ["a", "b"]
    model = Small(class_names=names, part=part)
    part.trainable = False
    names.append("c")
    config = model.get_config()
    assert config["class_names"] == ["a", "b"]
    assert config["part"]["config"]["mean"] == [1.0] * 3 and config["part"]["config"]["trainable"]
    assert not [layer for layer in model.layers if layer is part], "an argument is no layer"


def test_what_a_model_was_filled_from_is_not_kept_in_memory():
    class Source:
        pass

    source = Source()
    kept = weakref.ref(source)
    model = Small(2, weights=source)
    del source
    gc.collect()
    assert kept() is None and model.get_config() == DESCRIBED


def test_resolved_values_of_foreign_names_are_left_out():
    model = Closed(["a"])
    model._keep(freeze="backbone", scale=3.0)
    assert model.get_config() == {"kinds": ["a"], "scale": 3.0}


def test_objects_inside_lists_and_dicts_come_back_as_objects(tmp_path):
    def layer(mean):
        return Normalization((mean,) * 3, (2.0,) * 3)

    parts = (layer(1.0), [layer(2.0), "text"], {"class_name": "cat"}, np.float32(0.5))
    named = {"a": layer(3.0), "b": {"config": 1, "class_name": "dog"}, "c": np.arange(3)}
    model = Nested(parts, named, num_classes=2)
    model.save(tmp_path / "nested.keras")
    loaded = load_model(tmp_path / "nested.keras")
    for copy in (loaded, model.with_changes(), model.with_changes(parts=parts, named=named)):
        assert copy.get_config() == model.get_config()
        (first, (second, text), plain, half), found = copy.__dict__["given"]
        objects = [first, second, found["a"]]
        assert [type(each) for each in objects] == [Normalization] * 3
        assert [each.get_config()["mean"][0] for each in objects] == [1.0, 2.0, 3.0]
        assert (text, plain, half) == ("text", {"class_name": "cat"}, 0.5)
        assert found["b"] == {"config": 1, "class_name": "dog"}
        np.testing.assert_array_equal(found["c"], [0, 1, 2])


@keras.saving.register_keras_serializable(package="keras_det_tests")
def registered(x):
    return x


def unregistered(x):
    return x


def test_a_registered_function_comes_back():
    model = Nested([registered], num_classes=2)
    assert model.with_changes().__dict__["given"][0] == [registered]


@pytest.mark.parametrize(
    "value",
    [object(), [object()], {"a": {1, 2}}, {1: "ant"}, lambda x: x, unregistered, Normalization],
)
def test_a_value_that_cannot_be_saved_is_refused_when_it_is_given(value):
    with pytest.raises(TypeError, match="`part` must be a value that a model file.*Received: "):
        Small(2, part=value)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: Derived(), "missing 1 required positional argument: 'extra'"),
        (lambda: Small(2, sides=3), "unexpected keyword argument 'sides'"),
    ],
)
def test_a_wrong_call_fails_as_in_python(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_arguments_without_a_name_are_refused():
    with pytest.raises(TypeError, match=r"must name its arguments.*Received: \*sizes"):

        class Unnamed(Small):
            def __init__(self, *sizes):
                super().__init__(num_classes=1)

    with pytest.raises(TypeError, match=r"must name its arguments"):
        capturing(lambda self, a, /: None)


@pytest.mark.parametrize("model", [EfficientDet, RetinaNet, CornerNet])
def test_the_signature_stays_visible(model):
    parameters = inspect.signature(model).parameters
    assert {"num_classes", "image_size", "freeze"} <= set(parameters)
    assert parameters["freeze"].annotation is str and parameters["freeze"].default == "none"
    assert inspect.getsourcefile(inspect.unwrap(model.__init__)).endswith(
        f"{model.__name__.lower()}.py"
    )
    assert {"weights", "backbone_weights"} & set(parameters) == set(model.NOT_SAVED)


@keras.saving.register_keras_serializable(package="keras_det_tests")
class Shifted(EfficientDet):
    """A user's model: EfficientDet whose class logits are shifted by an argument of its own."""

    def __init__(self, shift: float, variant: str = "lite0", **kwargs):
        super().__init__(variant, **kwargs)
        self.shift = shift

    def call(self, inputs, training=None, mask=None):
        raw = super().call(inputs, training=training, mask=mask)
        return {**raw, "class_logits": raw["class_logits"] + self.shift}


@pytest.mark.slow
def test_a_subclass_with_an_argument_more_is_saved_and_loaded(tmp_path):
    model = Shifted(3.0, class_names=["ant", "bee"], image_size=32, freeze="backbone")
    images = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3)).astype("float32")
    expected = keras.ops.convert_to_numpy(model(images)["class_logits"])
    plain = EfficientDet("lite0", class_names=["ant", "bee"], image_size=32)
    plain.set_weights(model.get_weights())
    logits = keras.ops.convert_to_numpy(plain(images)["class_logits"])
    np.testing.assert_allclose(expected, logits + 3.0, rtol=1e-5)
    model.save(tmp_path / "shifted.keras")
    loaded = load_model(tmp_path / "shifted.keras")
    assert type(loaded) is Shifted and loaded.get_config() == model.get_config()
    assert (loaded.shift, loaded.class_names, loaded.image_size) == (3.0, ["ant", "bee"], (32, 32))
    for copy in (loaded, model.with_changes(), model.with_changes(shift=4.0)):
        found = keras.ops.convert_to_numpy(copy(images)["class_logits"])
        np.testing.assert_allclose(found, expected + (copy.shift - 3.0), rtol=1e-5)
        assert not copy.backbone.trainable and copy.get_config()["freeze"] == "backbone"
