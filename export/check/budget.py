"""What an artefact is allowed to differ by from the Keras model."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Budget:
    """How far an artefact may be from the Keras model; None: measured and written, not judged.

    Args:
        box_pixels: largest difference of a box coordinate, in pixels of the network's input. None
            leaves all detections unjudged, also those that only one of both finds.
        score: largest difference of a score.
        raw: difference of a raw output that at most one value in a thousand may exceed, in
            standard deviations of that output.
        raw_largest: the largest difference, in the same unit. Rounded weights make noise, whose
            largest value among a million is several times its usual size.
        rounding: a difference below this part of the largest raw output is rounding. It only counts
            where outputs hardly vary, as those of an untrained model.
        ap_drop: largest drop of average precision on labelled images, in 0..1. It is kept to where
            the mean of a paired bootstrap over images is below it, or its 95% interval holds it.
    """

    box_pixels: float | None
    score: float | None
    raw: float | None
    raw_largest: float | None
    rounding: float
    ap_drop: float | None = None

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            if value is None and name != "rounding":
                continue
            if not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise ValueError(
                    f"`{name}` must be a number of at least 0. Received: {value!r}. Start from "
                    "keras_det.export.BUDGETS and change it with dataclasses.replace."
                )
        if (self.box_pixels is None) != (self.score is None):
            raise ValueError(
                "`box_pixels` and `score` judge detections together: give both, or None for both. "
                f"Received: box_pixels={self.box_pixels}, score={self.score}."
            )

    @property
    def judges_detections(self) -> bool:
        """Whether single detections may fail an artefact."""
        return self.box_pixels is not None

    @property
    def units(self) -> tuple[float, float]:
        """Pixels and score in which the distance of two detections is counted."""
        if self.box_pixels is None or self.score is None:
            return UNITS
        return max(self.box_pixels, TINY), max(self.score, TINY)


# What is near where nothing is judged, and what stands for an allowed difference of 0.
UNITS, TINY = (1.0, 1e-2), 1e-9
# Kernels and values between layers are rounded to 8 bits: single detections differ, so the average
# precision is judged, by the published drop of EfficientDet-Lite. Raw outputs only tell a wrong
# file: trained Lite0s differ by 0.2 to 0.54, pixels shifted by 10 by 2.2, swapped channels by 3.
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
    """The budget itself, or the one of the number format `default`."""
    if budget is not None and not isinstance(budget, Budget):
        raise TypeError(
            f"`budget` must be a keras_det.export.Budget or None. Received: {budget!r}. Change the "
            "default with dataclasses.replace(keras_det.export.BUDGETS['float32'], score=2e-3)."
        )
    return budget or BUDGETS[default]
