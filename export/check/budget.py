"""How far an export may differ from the Keras model."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Budget:
    """The largest differences from the Keras model with which an export passes its check.

    None means: the difference is measured and reported, but cannot fail the check.

    Args:
        box_pixels: largest difference of a box coordinate, in pixels of the network's input. With
            None no detection can fail the check, not even one that only one of both finds.
        score: largest difference of a score.
        raw: difference of a raw output, in standard deviations of that output. At most one value
            in a thousand may exceed it.
        raw_largest: largest difference of a raw output, in the same unit. Rounded weights add
            noise. Among a million values, the largest noise is several times the usual one.
        rounding: fraction of the largest raw output. Smaller differences are rounding. It matters
            only where outputs hardly vary, as in an untrained model.
        ap_drop: largest drop of average precision on labelled images, in 0..1. An export fails if
            the mean drop of a paired bootstrap over images and its whole 95% interval exceed it.
    """

    box_pixels: float | None
    score: float | None
    raw: float | None
    raw_largest: float | None
    rounding: float
    ap_drop: float | None = None

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if value is None and name != "rounding":
                continue
            if not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise ValueError(
                    f"`{name}` must be a finite number of at least 0. Received: {value!r}. Start "
                    "from one of keras_det.export.BUDGETS, and change it with dataclasses.replace."
                )
        if (self.box_pixels is None) != (self.score is None):
            raise ValueError(
                "`box_pixels` and `score` must both be numbers or both be None. Received: "
                f"box_pixels={self.box_pixels}, score={self.score}. They judge detections "
                "together: set both, or None for both."
            )

    @property
    def judges_detections(self) -> bool:
        """Whether single detections can fail the check."""
        return self.box_pixels is not None

    @property
    def units(self) -> tuple[float, float]:
        """Units, in pixels and in score, of the distance between two detections."""
        if self.box_pixels is None or self.score is None:
            return UNITS
        return max(self.box_pixels, TINY), max(self.score, TINY)


# The units where detections are not judged, and the unit that replaces an allowed difference of 0.
UNITS, TINY = (1.0, 1e-2), 1e-9
# Kernels and activations are rounded to 8 bits, so single detections differ. The average precision
# is judged, by the published drop of EfficientDet-Lite. Raw outputs only reveal a wrong file:
# trained Lite0s differ by 0.2 to 0.54, pixels shifted by 10 by 2.2, swapped channels by 3.
_EIGHT_BITS = Budget(
    box_pixels=None, score=None, raw=1.0, raw_largest=None, rounding=2.0**-7, ap_drop=0.004
)
BUDGETS = {
    "float32": Budget(box_pixels=0.5, score=1e-3, raw=1e-3, raw_largest=1e-3, rounding=2.0**-19),
    # Lite0: 0.008 and 0.012 after 25 training steps, 0.010 and 0.022 with random weights.
    "float16": Budget(box_pixels=1.0, score=1e-2, raw=2e-2, raw_largest=0.1, rounding=2.0**-10),
    "dynamic": _EIGHT_BITS,
    "int8": _EIGHT_BITS,
}


def check_budget(budget: Budget | None, default: str) -> Budget:
    """Returns the budget itself, or the default of a number format where it is None.

    Args:
        budget: `Budget` or None.
        default: a key of `BUDGETS`.

    Raises:
        TypeError: `budget` is something else.
    """
    if budget is not None and not isinstance(budget, Budget):
        raise TypeError(
            f"`budget` must be a keras_det.export.Budget or None. Received: {budget!r}. Change a "
            f"default: dataclasses.replace(keras_det.export.BUDGETS[{default!r}], raw=2e-3)."
        )
    return budget or BUDGETS[default]
