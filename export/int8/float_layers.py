"""Chooses the layers of an int8 file that stay in float32 to keep the accuracy."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from keras_det.export.check.budget import Budget
from keras_det.export.check.report import Comparison, describe_precision
from keras_det.export.int8.calibration import observed_ranges
from keras_det.export.int8.float_file import FloatFile
from keras_det.words import counted

# Images on which the sensitivity of layers is measured. Each has thousands of values.
NUM_IMAGES = 8
# At most this fraction of the layers stays in float32. With more, int8 brings little.
LARGEST_PART = 0.25
NUM_SHOWN = 5
WITHIN = "raw outputs within the budget"
Tell = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Choice:
    """An int8 file, and how it was chosen.

    Args:
        content: the file.
        sensitivity: by layer, the largest first: the error of the raw outputs if only this layer is
            in int8. It is the root mean square, in standard deviations of each output.
        in_float: layers that stay in float32.
        tried: one sentence per attempt.
        passed: whether the file is within the budget.
    """

    content: bytes
    sensitivity: dict[str, float]
    in_float: tuple[str, ...]
    tried: tuple[str, ...]
    passed: bool

    def settings(self) -> dict:
        """Returns the entries of the certificate."""
        rounded = {name: float(f"{error:.3g}") for name, error in self.sensitivity.items()}
        return {
            "sensitivity": rounded,
            "float_layers": list(self.in_float),
            "attempts": list(self.tried),
        }

    def notes(self) -> list[str]:
        """Returns remarks for the printed report."""
        worst = list(self.sensitivity.items())[:NUM_SHOWN]
        listed = ", ".join(f"{name} {error:.2g}" for name, error in worst)
        notes = [
            "layers most sensitive to int8, with the error of the raw outputs in standard "
            f"deviations: {listed}"
        ]
        if self.in_float:
            notes.append(
                f"{len(self.in_float)} of {counted(len(self.sensitivity), 'layer')} kept in "
                f"float32: {', '.join(self.in_float)}"
            )
        return notes

    def refusal(self) -> str:
        """Returns the message of the error if no file is within the budget."""
        return (
            "An int8 file must be within the budget with at most "
            f"{_most(len(self.sensitivity))} of {counted(len(self.sensitivity), 'layer')} in "
            f"float32. Received: {'; '.join(self.tried)}. Nothing was kept. Give `calibration` "
            "more training images, of more kinds; or train for some more epochs with "
            "keras_det.models.quantize_aware(model) and export that model; or use "
            'quantize="float16".'
        )


def choose_int8(
    file: FloatFile,
    pixels: Sequence[np.ndarray],
    check: Callable[[bytes], Comparison],
    budget: Budget,
    on_progress: Tell | None = None,
) -> Choice:
    """Returns the int8 file within the budget that has the fewest layers in float32.

    Args:
        file: the float32 file.
        pixels: of `calibration.calibration_pixels`.
        check: function from a file to its `Comparison` with the Keras model.
        budget: of that comparison.
        on_progress: called with a sentence about the progress.
    """
    tell = on_progress or (lambda sentence: None)
    ranges = observed_ranges(file.content, file.tensors, file.pixels, pixels)
    tell(
        f"measured the ranges of {counted(len(ranges), 'tensor')} on "
        f"{counted(len(pixels), 'image')}"
    )
    errors = sensitivity(file, ranges, pixels, tell)
    return keep_accuracy(file, ranges, errors, check, budget, tell)


def sensitivity(
    file: FloatFile, ranges: dict, pixels: Sequence[np.ndarray], on_progress: Tell
) -> dict[str, float]:
    """Returns the sensitivity of each layer; see `Choice`.

    Only one layer at a time is in int8, so that the errors of other layers do not hide its error.
    The errors of several layers add up like independent noise.

    Args:
        file: the float32 file.
        ranges: of all its tensors.
        pixels: inputs `(1, height, width, channels)`; a few evenly spread ones are used.
        on_progress: called with a sentence about the progress.
    """
    chosen = pixels[:: max(1, len(pixels) // NUM_IMAGES)][:NUM_IMAGES]
    expected = _outputs(file.content, chosen, file.raw_outputs)
    scales = {name: max(float(value.std()), 1e-12) for name, value in expected.items()}
    errors = {}
    for i, layer in enumerate(file.layers):
        others = [name for name in file.layers if name != layer]
        found = _outputs(file.int8(ranges, others), chosen, file.raw_outputs)
        squares = [
            np.square((found[name] - value) / scales[name]).mean()
            for name, value in expected.items()
        ]
        errors[layer] = float(np.sqrt(np.mean(squares)))
        if (i + 1) % 10 == 0:
            on_progress(f"measured {i + 1} of {counted(len(file.layers), 'layer')} in int8")
    return dict(sorted(errors.items(), key=lambda item: -item[1]))


def _outputs(content: bytes, pixels: Sequence, names: Sequence[str]) -> dict[str, np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    run = interpreter.get_signature_runner()
    ((given, details),) = run.get_input_details().items()
    rows = [run(**{given: image.astype(details["dtype"])}) for image in pixels]
    return {name: np.stack([row[name] for row in rows]) for name in names}


def keep_accuracy(
    file: FloatFile,
    ranges: dict,
    errors: dict[str, float],
    check: Callable[[bytes], Comparison],
    budget: Budget,
    on_progress: Tell,
) -> Choice:
    """Keeps layers in float32, the most sensitive first, until the file is within the budget.

    It tries 0, 1, 2, 4, … layers, up to a quarter of all. If a number is enough, it tries one more:
    halfway between it and the largest number that was not enough. So at most eight files are
    measured. On few images the drop of AP is uncertain, and the budget accepts a file whose 95%
    interval contains the allowed drop. A file whose mean drop is allowed is preferred.

    Args:
        file: the float32 file.
        ranges: of all its tensors.
        errors: of `sensitivity`.
        check: function from a file to its `Comparison` with the Keras model.
        budget: of that comparison.
        on_progress: called with a sentence after each attempt.
    """
    order = list(errors)
    attempts: dict[int, tuple[bytes, Comparison]] = {}

    def attempt(count: int) -> bool:
        content = file.int8(ranges, order[:count])
        comparison = check(content)
        attempts[count] = content, comparison
        on_progress(_describe(count, comparison))
        return _clearly_within(comparison, budget)

    counts = _counts(_most(len(order)))
    enough = next((count for count in counts if attempt(count)), None)
    if enough is not None:
        below = max((count for count in attempts if count < enough), default=enough)
        halfway = (enough + below) // 2
        if halfway not in attempts and attempt(halfway):
            enough = halfway
    else:
        passed = [count for count in counts if attempts[count][1].passed]
        enough = passed[0] if passed else counts[-1]
    content, comparison = attempts[enough]
    tried = tuple(_describe(count, each[1]) for count, each in attempts.items())
    return Choice(content, dict(errors), tuple(order[:enough]), tried, comparison.passed)


def _clearly_within(comparison: Comparison, budget: Budget) -> bool:
    """Whether a file is within the budget, its mean drop of AP included."""
    if not comparison.passed or comparison.precision is None or budget.ap_drop is None:
        return comparison.passed
    return comparison.precision["mean_drop"] <= budget.ap_drop


def _most(layers: int) -> int:
    """Returns how many of the layers may stay in float32."""
    return max(1, math.ceil(layers * LARGEST_PART))


def _counts(most: int) -> list[int]:
    """Returns 0, 1, 2, 4, … and `most`."""
    powers = (2**i for i in range(most.bit_length()))
    return [0, *(count for count in powers if count < most), most]


def _describe(count: int, comparison: Comparison) -> str:
    what = f"{count} layers in float32" if count != 1 else "1 layer in float32"
    if comparison.precision:
        what += f": AP {describe_precision(comparison.precision)}"
    others = [sentence for sentence in comparison.failures if not sentence.startswith("AP ")]
    if others or not comparison.precision:
        what += f"{',' if comparison.precision else ':'} {'; '.join(others[:2]) or WITHIN}"
    return what
