"""Differences of raw outputs from the Keras model's, in standard deviations of each output."""

import numpy as np

from keras_det.export.check.budget import Budget

# Fraction of the values of a raw output that may differ by more than `Budget.raw`.
TAIL = 1e-3


class RawErrors:
    """Collects differences and spread of the raw outputs, one image at a time."""

    def __init__(self) -> None:
        self.finite = True
        self.images: dict[str, list[tuple]] = {}

    def add(self, reference: dict, found: dict) -> None:
        """Adds the raw outputs of one image, arrays of equal shape by name."""
        for name, expected in reference.items():
            expected, value = expected.astype(np.float64), found[name].astype(np.float64)
            self.finite &= bool(np.isfinite(value).all())
            off = np.abs(value - expected)
            row = expected.mean(), (expected**2).mean(), np.abs(expected).max()
            place = off.size - 1 - int(off.size * TAIL)
            exceeded = np.partition(off, place, axis=None)[place]
            self.images.setdefault(name, []).append((*row, exceeded, off.max()))

    def relative(self, budget: Budget) -> tuple[dict, dict, list[str]]:
        """Returns the errors over all images, in standard deviations.

        Returns:
            `(usual, largest, flat)`. `usual`: by name of the output, the difference that one value
            in a thousand exceeds, in the worst image. `largest`: the largest difference. `flat`:
            names of the outputs that vary by less than the rounding.
        """
        usual, largest, flat = {}, {}, []
        for name, rows in self.images.items():
            mean, square, magnitude, exceeded, worst = np.array(rows).T
            deviation = np.sqrt(max(square.mean() - mean.mean() ** 2, 0.0))
            floor = budget.rounding * magnitude.max() / (budget.raw or 1.0)
            if deviation < floor:
                flat.append(name)
            scale = max(deviation, floor, np.finfo(np.float32).tiny)
            usual[name] = float(exceeded.max() / scale)
            largest[name] = float(worst.max() / scale)
        return usual, largest, flat
