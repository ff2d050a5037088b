"""Captures the arguments of a constructor call, so that the model can be rebuilt from them."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np

Kind = inspect.Parameter
NAMED = (Kind.POSITIONAL_OR_KEYWORD, Kind.KEYWORD_ONLY)


class Arguments:
    """The arguments that the constructor of a model was called with.

    `type(model)(**values)` builds the model again. A constructor calls the one of its base class
    with arguments that it chooses itself; only those of the outermost constructor count. Values
    that an inner constructor determines, such as class names and sizes, are kept if the outermost
    one accepts them: by name, or through `**kwargs` if it does not choose them itself.

    Attributes:
        values: the arguments by name, defaults included.
    """

    def __init__(self, signature: inspect.Signature, given: dict[str, Any]) -> None:
        self.values = dict(given)
        self._accepted = set(given)
        self._not_none: set[str] = set()
        self._add(signature, _named(signature))

    def pass_on(self, signature: inspect.Signature, given: dict[str, Any]) -> None:
        """Records that the constructor of a base class is called with `given`."""
        if self._passes_on:
            # What an inner call chooses itself cannot be given to the outermost constructor.
            chosen = given.keys() - self.values.keys()
            self._add(signature, _named(signature) - chosen)

    def _add(self, signature: inspect.Signature, names: set[str]) -> None:
        """Records that the outermost constructor accepts the arguments `names`."""
        defaults = {name: value for name, value in _defaults(signature).items() if name in names}
        self.values = {**defaults, **self.values}
        self._accepted |= names
        self._not_none |= names - {name for name, value in defaults.items() if value is None}
        self._passes_on = _takes_any(signature)

    def without(self, names: Iterable[str]) -> dict[str, Any]:
        """The values without some of them; those have None where their default is not None."""
        kept = {name: value for name, value in self.values.items() if name not in names}
        return kept | {name: None for name in names if name in self._not_none}

    def accepts(self, name: str) -> bool:
        """Whether the outermost constructor takes an argument of this name."""
        return name in self._accepted


def capturing(init: Callable[..., None]) -> Callable[..., None]:
    """Wraps an `__init__`: its arguments go into `self.__dict__["_captured"]`, as `Arguments`.

    Signature and docstring stay as they are.

    Args:
        init: the `__init__` of a model class.

    Raises:
        TypeError: the signature has arguments without a name, which cannot be saved.
    """
    signature = inspect.signature(init)
    _check_named(init, signature)

    @functools.wraps(init)
    def constructor(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            bound = signature.bind(self, *args, **kwargs)
        except TypeError:
            return init(self, *args, **kwargs)  # Python says what is wrong with the call.
        given = _flat(bound, signature)
        captured = self.__dict__.get("_captured")
        if captured is None:
            # Not by `setattr`: Keras would track the parts as layers of the model.
            self.__dict__["_captured"] = Arguments(signature, given)
        else:
            captured.pass_on(signature, given)
        return init(self, *args, **kwargs)

    # Keras reads the parameters of `__init__` without looking through wrappers.
    wrapped: Any = constructor
    wrapped.__signature__ = signature
    return wrapped


def _check_named(init: Callable[..., None], signature: inspect.Signature) -> None:
    unnamed = [p for p in _parameters(signature) if p.kind not in (*NAMED, Kind.VAR_KEYWORD)]
    if unnamed:
        raise TypeError(
            f"{init.__qualname__} must name its arguments, or take further ones as **kwargs: a "
            f"model is saved as its arguments by name. Received: {unnamed[0]}. Write out the "
            "names."
        )


def _parameters(signature: inspect.Signature) -> list[inspect.Parameter]:
    return list(signature.parameters.values())[1:]  # without self


def _named(signature: inspect.Signature) -> set[str]:
    return {p.name for p in _parameters(signature) if p.kind in NAMED}


def _takes_any(signature: inspect.Signature) -> bool:
    return any(p.kind is Kind.VAR_KEYWORD for p in _parameters(signature))


def _defaults(signature: inspect.Signature) -> dict[str, Any]:
    return {p.name: p.default for p in _parameters(signature) if p.default is not Kind.empty}


def _flat(bound: inspect.BoundArguments, signature: inspect.Signature) -> dict[str, Any]:
    """The arguments of a call by name, including those of `**kwargs`."""
    given: dict[str, Any] = {}
    for parameter in _parameters(signature):
        if parameter.kind is Kind.VAR_KEYWORD:
            given.update(bound.arguments.get(parameter.name, {}))
        elif parameter.name in bound.arguments:
            given[parameter.name] = bound.arguments[parameter.name]
    return given


def serialized(arguments: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments as plain values: objects become configs, tuples become lists.

    Lists, tuples and dicts may hold objects too, at any depth.

    Raises:
        TypeError: a value cannot be saved.
    """
    return {name: _plain(name, value) for name, value in arguments.items()}


def _plain(name: str, value: Any) -> Any:
    """A value as what a JSON file can hold; `name` is the argument that it belongs to."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(name, each) for each in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(name, each) for key, each in value.items()}
    if isinstance(value, np.generic):
        return _plain(name, value.item())
    known = isinstance(value, np.ndarray) or hasattr(value, "get_config")
    try:
        if known and not isinstance(value, type):
            return keras.saving.serialize_keras_object(value)
        if inspect.isfunction(value) and value.__name__ != "<lambda>":
            config = keras.saving.serialize_keras_object(value)
            keras.saving.deserialize_keras_object(config)  # Is it found again by its name?
            return config
    except (NotImplementedError, TypeError, ValueError) as error:
        raise _cannot_be_saved(name, value) from error
    raise _cannot_be_saved(name, value)


def _cannot_be_saved(name: str, value: Any) -> TypeError:
    return TypeError(
        f"`{name}` must be a value that a model file can hold: a number, text, None, an object "
        "with `get_config`, a function registered with keras.saving.register_keras_serializable, "
        "or a list, tuple or dict of these whose keys are text. Received: "
        f"{value!r}. Give such a value; if the argument only fills the model with weights, name it "
        "in `NOT_SAVED` of the model's class."
    )


def deserialized(config: dict[str, Any], custom_objects: dict | None = None) -> dict[str, Any]:
    """The inverse of `serialized`: it creates new parts, with new weights."""
    return {name: _restored(value, custom_objects) for name, value in config.items()}


def _restored(value: Any, custom_objects: dict | None) -> Any:
    if isinstance(value, list):
        return [_restored(each, custom_objects) for each in value]
    if not isinstance(value, dict):
        return value
    if _is_object(value):
        return keras.saving.deserialize_keras_object(value, custom_objects)
    return {key: _restored(each, custom_objects) for key, each in value.items()}


def _is_object(value: dict[str, Any]) -> bool:
    """Whether a dict is what Keras writes for an object or an array, not a dict of the user."""
    is_array = value.keys() == {"class_name", "config"} and value["class_name"] == "__numpy__"
    return is_array or {"module", "class_name", "config"} <= value.keys()


def with_policy(config: Any, old: str, new: str) -> Any:
    """A copy of a config in which every layer with dtype policy `old` has the policy `new`.

    A part that was given as an object has its own policy in the config. A float32 copy of the
    model, made for an export, must not keep the half precision of such a part.

    Args:
        config: a config, or any value inside one.
        old, new: names of dtype policies.
    """
    if isinstance(config, dict):
        is_policy = config.get("class_name") == "DTypePolicy"
        if is_policy and config.get("config", {}).get("name") == old:
            return {**config, "config": {**config["config"], "name": new}}
        return {key: with_policy(value, old, new) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(with_policy(value, old, new) for value in config)
    return config
