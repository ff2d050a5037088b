"""The arguments of a constructor, captured when it is called, to make the model again."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import keras

Kind = inspect.Parameter
NAMED = (Kind.POSITIONAL_OR_KEYWORD, Kind.KEYWORD_ONLY)


class Arguments:
    """What the constructor of a model was called with, from which it can be made again.

    A constructor calls that of its base class, with arguments of its own choice. Those that count
    are the outermost constructor's: `type(model)(**values)` makes the model again. What the inner
    ones find out (names of classes, sizes) is kept where the outermost one takes it: as an argument
    that it names, or, where it passes on `**kwargs`, as one that it leaves open.

    Attributes:
        values: by name, defaults included.
    """

    def __init__(self, signature: inspect.Signature, given: dict[str, Any]) -> None:
        self.values = dict(given)
        self._accepted = set(given)
        self._not_none: set[str] = set()
        self._add(signature, _named(signature))

    def pass_on(self, signature: inspect.Signature, given: dict[str, Any]) -> None:
        """The constructor of a base class is called with `given`."""
        if self._passes_on:
            # What a constructor on the way chooses itself is no argument of the outermost one.
            chosen = given.keys() - self.values.keys()
            self._add(signature, _named(signature) - chosen)

    def _add(self, signature, names):
        """Arguments `names` of a constructor can be given to the outermost one."""
        defaults = {name: value for name, value in _defaults(signature).items() if name in names}
        self.values = {**defaults, **self.values}
        self._accepted |= names
        self._not_none |= names - {name for name, value in defaults.items() if value is None}
        self._passes_on = _takes_any(signature)

    def without(self, names: Iterable[str]) -> dict[str, Any]:
        """The values, some of them left out; None where the constructor has another default."""
        kept = {name: value for name, value in self.values.items() if name not in names}
        return kept | {name: None for name in names if name in self._not_none}

    def accepts(self, name: str) -> bool:
        return name in self._accepted


def capturing(init: Callable) -> Callable:
    """An `__init__` that puts its arguments, as `Arguments`, into `self.__dict__["_captured"]`.

    Signature and docstring stay as they are.

    Raises:
        TypeError: the signature has arguments without a name, which cannot be saved.
    """
    signature = inspect.signature(init)
    _check_named(init, signature)

    @functools.wraps(init)
    def constructor(self, *args, **kwargs):
        try:
            bound = signature.bind(self, *args, **kwargs)
        except TypeError:
            return init(self, *args, **kwargs)  # Python says what is wrong with the call.
        given = _flat(bound, signature)
        captured = self.__dict__.get("_captured")
        if captured is None:
            # Past Keras' own attributes, which would take the parts for layers of the model.
            self.__dict__["_captured"] = Arguments(signature, given)
        else:
            captured.pass_on(signature, given)
        return init(self, *args, **kwargs)

    # Keras reads the parameters of `__init__` without looking through wrappers.
    constructor.__signature__ = signature  # type: ignore[attr-defined]
    return constructor


def _check_named(init, signature):
    unnamed = [p for p in _parameters(signature) if p.kind not in (*NAMED, Kind.VAR_KEYWORD)]
    if unnamed:
        raise TypeError(
            f"{init.__qualname__} must name its arguments, or take further ones as **kwargs: a "
            f"model is saved as its arguments by name. Received: {unnamed[0]}. Write the names "
            "out."
        )


def _parameters(signature):
    return list(signature.parameters.values())[1:]  # without self


def _named(signature):
    return {p.name for p in _parameters(signature) if p.kind in NAMED}


def _takes_any(signature):
    return any(p.kind is Kind.VAR_KEYWORD for p in _parameters(signature))


def _defaults(signature):
    return {p.name: p.default for p in _parameters(signature) if p.default is not Kind.empty}


def _flat(bound, signature):
    """The arguments of a call by name, those of `**kwargs` among them."""
    given = {}
    for parameter in _parameters(signature):
        if parameter.kind is Kind.VAR_KEYWORD:
            given.update(bound.arguments.get(parameter.name, {}))
        elif parameter.name in bound.arguments:
            given[parameter.name] = bound.arguments[parameter.name]
    return given


def serialized(arguments: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments as plain values: objects become their configs, tuples lists."""
    return {name: _plain(value) for name, value in arguments.items()}


def _plain(value):
    if hasattr(value, "get_config"):
        return keras.saving.serialize_keras_object(value)
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value


def deserialized(config: dict[str, Any], custom_objects: dict | None = None) -> dict[str, Any]:
    """The inverse of `serialized`: new parts, with new weights."""
    return {
        name: keras.saving.deserialize_keras_object(value, custom_objects)
        if isinstance(value, dict) and "class_name" in value
        else value
        for name, value in config.items()
    }


def with_policy(config: Any, old: str, new: str) -> Any:
    """A config in which every layer of policy `old` has policy `new`, float32 layers included.

    A part handed over as an object was made under a policy of its own; a copy of the model for an
    export in float32 must not keep its half precision.
    """
    if isinstance(config, dict):
        is_policy = config.get("class_name") == "DTypePolicy"
        if is_policy and config.get("config", {}).get("name") == old:
            return {**config, "config": {**config["config"], "name": new}}
        return {key: with_policy(value, old, new) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(with_policy(value, old, new) for value in config)
    return config
