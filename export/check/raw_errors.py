"""How far raw outputs are from those of the Keras model, in their own standard deviations."""

import numpy as np

from keras_det.export.check.budget import Budget

# The part of the raw outputs that may differ by more than `Budget.raw`.
TAIL = 1e-3


class RawErrors:
    """Differences and spread of the raw outputs over images, one image at a time."""

    def __init__(self) -> None:
        self.finite = True
        self.images: dict[str, list[tuple]] = {}

    def add(self, reference: dict, found: dict) -> None:
        """Takes the raw outputs of one image, arrays of equal shape by name."""
        for name, expected in reference.items():
            expected, value = expected.astype(np.float64), found[name].astype(np.float64)
            self.finite &= bool(np.isfinite(value).all())
            off = np.abs(value - expected)
            row = expected.mean(), (expected**2).mean(), np.abs(expected).max()
            place = off.size - 1 - int(off.size * TAIL)
            exceeded = np.partition(off, place, axis=None)[place]
            self.images.setdefault(name, []).append((*row, exceeded, off.max()))

    def relative(self, budget: Budget) -> tuple[dict, dict, list[str]]:
        """Errors in standard deviations over all images.

        Returns:
            `(usual, largest, flat)`: by name of the output, the difference that one value in a
            thousand exceeds, in the worst image, and the largest; the names of the outputs that
            hardly vary beside their rounding.
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
