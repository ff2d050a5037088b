"""What an export is allowed to differ by, and what its check found."""

import dataclasses
import json
import math


@dataclasses.dataclass(frozen=True)
class Budget:
    """How far an artefact may be from the Keras model.

    Args:
        box_pixels: largest difference of a box coordinate, in pixels of the network's input.
        score: largest difference of a score.
        raw: difference of a raw output that at most one value in a thousand may exceed, in
            standard deviations of that output.
        raw_largest: the largest difference, in the same unit. Rounded weights make noise, whose
            largest value among a million is several times its usual size.
        rounding: a difference below this part of the largest raw output is rounding. It only counts
            where outputs hardly vary, as those of an untrained model.
    """

    box_pixels: float
    score: float
    raw: float
    raw_largest: float
    rounding: float


BUDGETS = {
    "float32": Budget(box_pixels=0.5, score=1e-3, raw=1e-3, raw_largest=1e-3, rounding=2.0**-19),
    # Lite0: 0.008 and 0.012 after 25 training steps, 0.010 and 0.022 with random weights.
    "float16": Budget(box_pixels=1.0, score=1e-2, raw=2e-2, raw_largest=0.1, rounding=2.0**-10),
}


def check_budget(budget: Budget | None, default: str) -> Budget:
    """The budget itself, or the one of the number format `default`."""
    if budget is not None and not isinstance(budget, Budget):
        raise TypeError(
            f"`budget` must be a keras_det.export.Budget or None. Received: {budget!r}. Change the "
            "default with dataclasses.replace(keras_det.export.BUDGETS['float32'], score=2e-3)."
        )
    return budget or BUDGETS[default]


class ExportError(ValueError):
    """An artefact disagrees with the model it was made from; nothing is kept.

    Args:
        message: what disagrees, with the numbers.
        report: the `ExportReport`, or None where the artefact could not be run.
    """

    def __init__(self, message: str, report: "ExportReport | None" = None):
        super().__init__(message)
        self.report = report


@dataclasses.dataclass(frozen=True)
class Comparison:
    """An artefact beside its Keras model on the same images.

    Args:
        num_images: images that went through both.
        total_detections: detections above `score_threshold` of the one or the other, over all
            signatures.
        matched_detections: those with a partner of the same label and IoU >= 0.9.
        excused_detections: those without one whose score is within the budget of the threshold.
        reordered: comparisons where scores within the budget of each other changed places
            in NMS; there Keras decoded in the artefact's order.
        box_error_max, box_error_mean: pixels of the network's input.
        score_error_max: in 0..1.
        raw_error: per raw output, the difference in standard deviations that one value in a
            thousand exceeds.
        raw_error_max: per raw output, the largest one.
        score_threshold: detections above it must be matched.
        failures: one sentence for each thing outside the budget.
        notes: what a reader should know about the evidence.
    """

    num_images: int
    total_detections: int
    matched_detections: int
    excused_detections: int
    reordered: int
    box_error_max: float
    box_error_mean: float
    score_error_max: float
    raw_error: dict[str, float]
    raw_error_max: dict[str, float]
    score_threshold: float
    failures: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether everything is within the budget."""
        return not self.failures

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.failures:
            return f"failed: {'; '.join(self.failures)}"
        if not self.total_detections:
            return (
                "passed on raw outputs only: the model detects nothing above "
                f"{self.score_threshold:g} in these images"
            )
        return "passed: raw outputs and detections agree with the Keras model"


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """The certificate of an export, written beside it as `<artefact>.certificate.json`.

    Args:
        artefact: file or folder name.
        format: "saved_model" or "tflite".
        settings: of the export, e.g. quantize and postprocess.
        comparison: the check.
        budget: what it was checked against.
        image_source: "drawn" or "given".
        size_bytes: of all files of the artefact.
        sha256: of the file; of a folder, over the sorted names and contents of its files.
        versions: of the libraries that wrote and ran it.
        preprocessing: what turns an image into the network's input, and that into numbers.
        class_names: index k means `class_names[k]`.
        decoding: settings of the decoder inside the artefact; empty for raw outputs.
        signatures: outputs by signature name.
        notes: what a reader should know.
    """

    artefact: str
    format: str
    settings: dict
    comparison: Comparison
    budget: Budget
    image_source: str
    size_bytes: int
    sha256: str
    versions: dict[str, str]
    preprocessing: dict
    class_names: tuple[str, ...]
    decoding: dict
    signatures: dict
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the artefact agrees with the Keras model within the budget."""
        return self.comparison.passed

    @property
    def verdict(self) -> str:
        """One sentence."""
        return self.comparison.verdict

    def to_json(self) -> str:
        """The whole report as JSON text."""
        content = {"verdict": self.verdict, "passed": self.passed, **dataclasses.asdict(self)}
        return json.dumps(_without_nan(content), indent=2, sort_keys=False) + "\n"

    def __str__(self) -> str:
        found = self.comparison
        lines = [
            self.verdict,
            f"{found.num_images} {self.image_source} images, "
            f"{found.matched_detections} of {found.total_detections} detections above "
            f"{found.score_threshold:g} matched, {found.excused_detections} at the threshold",
        ]
        if found.matched_detections:
            lines.append(
                f"boxes within {found.box_error_max:.2g} pixels (mean {found.box_error_mean:.2g}, "
                f"allowed {self.budget.box_pixels:g}), scores within {found.score_error_max:.2g} "
                f"(allowed {self.budget.score:g})"
            )
        raw = ", ".join(
            f"`{name}` {error:.2g} (largest {found.raw_error_max[name]:.2g})"
            for name, error in found.raw_error.items()
        )
        lines.append(
            f"raw outputs in standard deviations: {raw}, allowed {self.budget.raw:g} (largest "
            f"{self.budget.raw_largest:g})"
        )
        lines.append(f"{self.artefact}: {self.size_bytes / 1e6:.2f} MB, sha256 {self.sha256[:12]}…")
        return "\n  ".join([*lines, *(f"note: {note}" for note in (*found.notes, *self.notes))])


def _without_nan(value):
    """JSON has no NaN: None in its place."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
