"""The settings of the decoders, as named arguments of the functions that pass them on."""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypedDict, TypeVar

from keras_det.decode.anchor_decode import AnchorDecoder
from keras_det.decode.corner_decode import CornerDecoder
from keras_det.errors import suggest
from keras_det.types import NMSMethod


class SuppressionSettings(TypedDict, total=False):
    """Settings that every decoder has; see `keras_det.decode.AnchorDecoder`."""

    method: NMSMethod | str
    iou_threshold: float | None
    sigma: float | None
    score_threshold: float
    pre_nms_top_k: int
    max_detections: int
    class_agnostic: bool


class AnchorSettings(SuppressionSettings, total=False):
    """Settings of `AnchorDecoder`."""

    candidates: str


class CornerSettings(SuppressionSettings, total=False):
    """Settings of `CornerDecoder`."""

    corner_top_k: int
    embedding_threshold: float
    peak_window: int


class DecoderSettings(AnchorSettings, CornerSettings, total=False):
    """Settings of every detector.

    `candidates` is for detectors with anchors; `flip`, `corner_top_k`, `embedding_threshold` and
    `peak_window` are for CornerNet. A model refuses the settings of the others.
    """

    flip: bool


def _settings_of(decoder: type) -> dict[str, Any]:
    """Names and defaults of a decoder's settings, without the sizes: the model knows them."""
    parameters = inspect.signature(decoder).parameters.values()
    sizes = ("image_size", "padded_size")
    return {each.name: each.default for each in parameters if each.name not in sizes}


# Name and default of each setting.
ANCHOR_SETTINGS = _settings_of(AnchorDecoder)
CORNER_SETTINGS = _settings_of(CornerDecoder)
ALL_SETTINGS = {**ANCHOR_SETTINGS, **CORNER_SETTINGS, "flip": False}
# Who has a setting that not every decoder has, for messages.
OWNERS = {
    **dict.fromkeys(ANCHOR_SETTINGS.keys() - CORNER_SETTINGS, "Detectors with anchors have"),
    **dict.fromkeys(CORNER_SETTINGS.keys() - ANCHOR_SETTINGS, "CornerNet has"),
    "flip": "CornerNet.detect has",
}

Function = TypeVar("Function", bound=Callable[..., Any])


def takes_settings(
    settings: dict[str, Any], attribute: str | None = None
) -> Callable[[Function], Function]:
    """Decorator for a function whose `**settings` go to a decoder.

    The signature of the decorated function names the settings with their defaults, for completion
    and `help`. An unknown name raises a TypeError that names that function.

    Args:
        settings: names and defaults, such as `ANCHOR_SETTINGS`.
        attribute: where the settings depend on the detector, the first argument of the function:
            the name of the detector's attribute that holds them.
    """

    def decorate(function: Function) -> Function:
        # A subclass may decorate a method again, with its own settings.
        function = inspect.unwrap(function)
        signature = inspect.signature(function)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        own_names = [each.name for each in own if each.name != "self"]
        hints = DecoderSettings.__annotations__
        named = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[name]
            )
            for name, default in settings.items()
            if name not in own_names
        ]

        @functools.wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            accepted = getattr(args[0], attribute or "", settings) if args else settings
            given = {name: kwargs[name] for name in kwargs if name not in own_names}
            # The user calls a constructor by the name of its class.
            constructor = function.__name__ == "__init__"
            called = type(args[0]).__name__ if constructor else function.__name__
            check_names(called, given, accepted, own_names)
            return function(*args, **kwargs)

        decorated: Any = checked
        decorated.__signature__ = signature.replace(parameters=[*own, *named])
        return decorated

    return decorate


def check_names(
    function: str, given: Mapping[str, object], accepted: Iterable[str], others: Iterable[str] = ()
) -> None:
    """Raises a TypeError for a setting that is not accepted.

    The message says which detectors have the setting. If none has, it names the nearest one.

    Args:
        function: name of the function that was called, for the message.
        given: settings by name.
        accepted: names of the decoder's settings.
        others: further arguments of the function, which may be the nearest name.
    """
    for name, value in given.items():
        if name not in accepted:
            owner = OWNERS.get(name)
            advice = f" {owner} it." if owner else suggest(name, [*others, *accepted])
            raise TypeError(
                f"{function}() takes no argument {name!r}. Received: {name}={value!r}."
                f"{advice} The settings of this model's decoder are "
                f"{', '.join(accepted)}."
            )
