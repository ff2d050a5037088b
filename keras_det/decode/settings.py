"""The decoders' settings as named arguments of the functions that pass them on."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypedDict, TypeVar

from keras_det.decode.anchor_decode import AnchorDecoder
from keras_det.decode.corner_decode import CornerDecoder
from keras_det.errors import suggest


class SuppressionSettings(TypedDict, total=False):
    """Settings that every decoder has; see `keras_det.decode.AnchorDecoder`."""

    method: str
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
    """Settings of every detector: `candidates` with anchors, `flip` and `corner_top_k` … without.

    The model refuses those of the others.
    """

    flip: bool


def _settings_of(decoder: type) -> dict[str, Any]:
    """Names and defaults of a decoder's settings, without the sizes, which the model knows."""
    parameters = inspect.signature(decoder).parameters.values()
    sizes = ("image_size", "padded_size")
    return {each.name: each.default for each in parameters if each.name not in sizes}


# Name and default of each setting.
ANCHOR_SETTINGS = _settings_of(AnchorDecoder)
CORNER_SETTINGS = _settings_of(CornerDecoder)
ALL_SETTINGS = {**ANCHOR_SETTINGS, **CORNER_SETTINGS, "flip": False}

Function = TypeVar("Function", bound=Callable[..., Any])


def takes_settings(
    settings: dict[str, Any], attribute: str | None = None
) -> Callable[[Function], Function]:
    """Decorator of a function whose `**settings` go to a decoder.

    Its signature names them with their defaults, for completion and `help`; an unknown name is a
    TypeError of that function.

    Args:
        settings: names and defaults, such as `ANCHOR_SETTINGS`.
        attribute: name of an attribute of the first argument, a detector, that holds the settings
            of this one.
    """

    def decorate(function: Function) -> Function:
        # A method that is decorated again, for a subclass, has other settings there.
        function = inspect.unwrap(function)  # type: ignore[assignment]
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
            # A constructor is called by the name of its class.
            constructor = function.__name__ == "__init__"
            called = type(args[0]).__name__ if constructor else function.__name__
            check_names(called, given, accepted, own_names)
            return function(*args, **kwargs)

        checked.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*own, *named]
        )
        return checked  # type: ignore[return-value]

    return decorate


def check_names(
    function: str, given: dict[str, Any], accepted: Iterable[str], others: Iterable[str] = ()
) -> None:
    """TypeError where a setting is none of the accepted ones, with the nearest name.

    Args:
        function: name of the function that was called, for the message.
        given: settings by name.
        accepted: names of the decoder's settings.
        others: further arguments of the function, for the nearest name.
    """
    for name, value in given.items():
        if name not in accepted:
            raise TypeError(
                f"{function}() takes no argument {name!r}. Received: {name}={value!r}."
                f"{suggest(name, [*others, *accepted])} The settings of this model's decoder are "
                f"{', '.join(accepted)}."
            )
