"""The names of the models, without loading Keras: for completion, and for names that are wrong."""

import re
from typing import Any

import click
from click.shell_completion import CompletionItem

from keras_det.errors import DataError, suggest

# Parameters of each model, batch statistics included, with the 90 classes of COCO's numbering. A
# test builds the models and compares.
PARAMETERS = {
    "efficientdet_d0": 3_927_203,
    "efficientdet_d1": 6_697_354,
    "efficientdet_d2": 8_178_815,
    "efficientdet_d3": 12_146_600,
    "efficientdet_d4": 20_890_987,
    "efficientdet_d5": 33_880_707,
    "efficientdet_d6": 52_183_766,
    "efficientdet_d7": 52_183_766,
    "efficientdet_d7x": 77_564_894,
    "efficientdet_lite0": 3_290_606,
    "efficientdet_lite1": 4_311_390,
    "efficientdet_lite2": 5_324_894,
    "efficientdet_lite3": 8_455_054,
    "efficientdet_lite3x": 9_392_574,
    "efficientdet_lite4": 15_286_398,
    "retinanet_resnet18": 21_627_150,
    "retinanet_resnet34": 31_742_734,
    "retinanet_resnet50": 38_229_262,
    "retinanet_resnet101": 57_273_614,
    "retinanet_resnet152": 72_963_342,
    "cornernet_hourglass104": 201_171_188,
    "cornernet_hourglass52": 100_398_138,
    "cornernet_tiny": 1_723_554,
}
NAMES = tuple(PARAMETERS)
# Parameters in millions that the sizes of YOLO have, about the same in each of its versions.
YOLO_SIZES = {"n": 3, "t": 3, "s": 10, "m": 25, "l": 45, "x": 70}


def check_model_name(name: str) -> None:
    """DataError if no model has this name; the message suggests a model."""
    if name not in PARAMETERS:
        raise DataError(
            f"The model must be one that `keras-det info` lists. Received: {name!r}.{_advice(name)}"
        )


def in_millions(count: int) -> str:
    """A number of parameters as tables print it: 3290606 -> "3.3"."""
    return f"{count / 1e6:.1f}"


def _advice(name: str) -> str:
    """Advice for a wrong name: the likely model, one of similar size, or the list of families."""
    given = name.lower()
    if given.startswith("yolo"):
        return f" YOLO models are not included.{_of_size(given)} {_families()}"
    inside = [each for each in NAMES if each.endswith(f"_{given}")]
    inside = inside or [each for each in NAMES if given in each]
    if len(inside) == 1:
        return f" Did you mean {inside[0]!r}?"
    return (not inside and suggest(name, NAMES)) or f" {_families()}"


def _of_size(yolo: str) -> str:
    size = re.match(r"yolo(?:v?\d+[-_]?|(?:x|[-_]?nas)[-_])(nano|tiny|[ntsmlx])(?![a-z])", yolo)
    if size is None:
        return ""
    millions = YOLO_SIZES[size[1][0]]
    near = min(NAMES, key=lambda each: abs(PARAMETERS[each] - 1e6 * millions))
    return (
        f" Nearest in size (about {millions} million parameters) is {near} with "
        f"{in_millions(PARAMETERS[near])} million."
    )


def _families() -> str:
    families: dict[str, list[str]] = {}
    for name in sorted(NAMES, key=lambda name: PARAMETERS[name]):
        families.setdefault(name.split("_")[0], []).append(name)
    ranges = [f"{members[0]} to {members[-1]}" for members in families.values()]
    return f"Models from small to large: {', '.join(ranges)}."


class ModelName(click.ParamType):
    """A name that `keras-det info` lists, completed by the shell.

    Args:
        or_file: whether a file or folder may stand there, too; the shell then completes both.
    """

    name = "name"

    def __init__(self, or_file: bool = False) -> None:
        self.or_file = or_file

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The names that begin with what was typed."""
        words = {name: f"{in_millions(count)} M parameters" for name, count in PARAMETERS.items()}
        return completions(words, incomplete, self.or_file)


class WordOrPath(click.ParamType):
    """One of some words, or a path; the shell completes both.

    Args:
        words: the words and what each means.
    """

    name = "path"

    def __init__(self, words: dict[str, str]) -> None:
        self.words = words

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The words that begin with what was typed, and files."""
        return completions(self.words, incomplete, or_file=True)


def completions(words: dict[str, str], incomplete: str, or_file: bool) -> list[CompletionItem]:
    """What a shell offers: words, and files if asked (bash: where no word fits)."""
    found = [CompletionItem(word, help=text) for word, text in words.items()]
    found = [item for item in found if item.value.startswith(incomplete)]
    # The request for files comes first: click's script for bash drops everything before it.
    return [CompletionItem(incomplete, type="file"), *found] if or_file else found


def model_option(default: str) -> Any:
    """The option --model of commands that build one."""
    return click.option(
        "--model",
        type=ModelName(),
        default=default,
        help="Model to train; `keras-det info` lists the names.",
    )
