"""The matchers by name, as the argument `matcher` of the detectors takes them."""

import inspect
from typing import Any

from keras_det.errors import suggest
from keras_det.targets.anchor_targets import AnchorTargets
from keras_det.targets.atss import ATSSTargets
from keras_det.targets.simota import SimOTATargets
from keras_det.targets.task_aligned import TaskAlignedTargets

MATCHERS = {
    "iou": AnchorTargets,
    "atss": ATSSTargets,
    "task_aligned": TaskAlignedTargets,
    "simota": SimOTATargets,
}
# Cells per level that ATSS looks at.
ATSS_CELLS = 9


def make_matcher(matcher: Any, num_anchors_per_cell: int, iou: Any = None) -> Any:
    """Returns a matcher by its name, or checks and returns a given one.

    Args:
        matcher: "iou", "atss" (9 cells per level, as in the authors' code), "task_aligned",
            "simota", an object with a method `assign`, or None for "iou".
        num_anchors_per_cell: int.
        iou: the matcher that "iou" means for the model. None: `AnchorTargets()`.

    Raises:
        ValueError: there is no such name.
        TypeError: it is not a matcher, or it needs predictions and its `assign` does not take them.
    """
    if matcher is None or (isinstance(matcher, str) and matcher == "iou"):
        return AnchorTargets() if iou is None else iou
    if isinstance(matcher, str):
        if matcher not in MATCHERS:
            raise ValueError(
                f"`matcher` must be one of {list(MATCHERS)} or a matcher of keras_det.targets. "
                f"Received: matcher={matcher!r}.{suggest(matcher, MATCHERS)} Use a name from the "
                "list, or leave it out for the default."
            )
        if matcher == "atss":
            return ATSSTargets(ATSS_CELLS * num_anchors_per_cell)
        return MATCHERS[matcher]()
    if isinstance(matcher, type) or not callable(getattr(matcher, "assign", None)):
        raise TypeError(
            f"`matcher` must be an object with a method `assign`. Received: matcher={matcher!r}. "
            'Give a name, such as "atss", or an object, such as keras_det.targets.ATSSTargets(), '
            "or leave it out for the default."
        )
    if getattr(matcher, "needs_predictions", False):
        parameters = inspect.signature(matcher.assign).parameters
        if "raw" not in parameters and not any(
            p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()
        ):
            raise TypeError(
                "A `matcher` with `needs_predictions` must take `raw` in `assign`. Received: "
                f"matcher={matcher!r}. Add the argument raw: it gets the outputs of the model."
            )
    return matcher
