"""The result of the check of an export, and its certificate."""

import dataclasses
import json
import math
import textwrap
from collections.abc import Iterator

from keras_det.export.check.budget import Budget
from keras_det.files import plain


class ExportError(ValueError):
    """An export differs too much from its model, or cannot run on a phone. Nothing is kept.

    Args:
        message: the differences in numbers.
        report: the `ExportReport`, or None if the export could not be run.
    """

    def __init__(self, message: str, report: "ExportReport | None" = None):
        super().__init__(message)
        self.report = report


@dataclasses.dataclass(frozen=True)
class Comparison:
    """An export compared with its Keras model on the same images.

    Args:
        num_images: images that went through both.
        total_detections: detections above `score_threshold` of the model or of the export, over
            all signatures.
        matched_detections: those with a partner of the same label and IoU >= 0.9.
        excused_detections: unmatched ones whose score is within the budget of the threshold.
        reordered: comparisons in which the export and Keras rank nearly equal scores (within the
            budget) differently. There the Keras model decoded in the export's order.
        box_error_max, box_error_mean: in pixels of the network's input.
        score_error_max: in 0..1.
        raw_error: per raw output, the difference that one value in a thousand exceeds, in standard
            deviations.
        raw_error_max: per raw output, the largest difference, in standard deviations.
        score_threshold: detections above it must be matched.
        judged: what the verdict is based on: "raw outputs", "detections", "average precision".
        unjudged: why detections were not judged; empty if they were.
        latency_ms: per signature, the median time of one image in milliseconds on the machine of
            the check, decoding included.
        precision: average precision of both on labelled images, 0..1: `keras`, `artefact`, `drop`;
            and `mean_drop` and `interval` (95%) of a paired bootstrap over images. None without
            labels.
        failures: one sentence for each difference outside the budget.
        notes: remarks on the images and the comparison.
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
    judged: tuple[str, ...]
    unjudged: str
    latency_ms: dict[str, float]
    precision: dict | None
    failures: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def matched_rate(self) -> float:
        """Fraction of the detections that are matched; NaN if there are no detections."""
        return self.matched_detections / (self.total_detections or math.nan)

    @property
    def passed(self) -> bool:
        """Whether everything is within the budget."""
        return not self.failures

    @property
    def verdict(self) -> str:
        """The result in one sentence."""
        if self.failures:
            return f"failed: {'; '.join(self.failures)}"
        *first, last = self.judged
        evidence = f"{', '.join(first)} and {last}" if first else f"{last} only"
        if not first:
            sentence = f"passed on {evidence}"
        else:
            sentence = f"passed: {evidence} agree with the Keras model"
        return f"{sentence}; detections: not judged, {self.unjudged}" if self.unjudged else sentence


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """The certificate of an export, written beside it as `<artefact>.certificate.json`.

    Args:
        artefact: name of the file or folder.
        format: "saved_model", "tflite" or "onnx".
        settings: of the export, such as quantize and postprocess; and facts about the result:
            operators, delegates, the sensitivity of layers.
        comparison: the check.
        budget: the allowed differences.
        image_source: "synthetic", "given" or "labelled".
        size_bytes: of all files of the export.
        sha256: of the file; of a folder, over the sorted names and contents of its files.
        weights_sha256: `export.weights_sha256` of the model.
        versions: of the libraries that wrote and ran the export.
        preprocessing: resizing and normalisation of an image.
        class_names: index k means `class_names[k]`.
        decoding: settings of the decoder in the export; empty for raw outputs.
        signatures: names of the outputs by signature name.
        score_thresholds: of the model, one per class: the score above which a detection is worth
            showing; None where they were not measured.
        notes: further remarks.
    """

    artefact: str
    format: str
    settings: dict
    comparison: Comparison
    budget: Budget
    image_source: str
    size_bytes: int
    sha256: str
    weights_sha256: str
    versions: dict[str, str]
    preprocessing: dict
    class_names: tuple[str, ...]
    decoding: dict
    signatures: dict
    score_thresholds: list[float] | None = None
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the export agrees with the Keras model within the budget."""
        return self.comparison.passed

    @property
    def verdict(self) -> str:
        """The result in one sentence."""
        return self.comparison.verdict

    def to_json(self) -> str:
        """Returns the whole report as JSON text. JSON has no NaN: it becomes null."""
        content = {"verdict": self.verdict, "passed": self.passed, **dataclasses.asdict(self)}
        content["comparison"]["matched_rate"] = self.comparison.matched_rate
        return json.dumps(plain(content), indent=2) + "\n"

    def __str__(self) -> str:
        lines = [*self._detection_lines(), *self._raw_lines(), *self._file_lines()]
        notes = [_wrapped(f"note: {note}") for note in (*self.comparison.notes, *self.notes)]
        return "\n  ".join([self.verdict, *lines, *notes])

    def _detection_lines(self) -> Iterator[str]:
        found, budget = self.comparison, self.budget
        excused = found.excused_detections
        yield f"images: {found.num_images} {self.image_source}"
        yield (
            f"detections above {found.score_threshold:g}: {found.matched_detections} of "
            f"{found.total_detections} matched"
            f"{f', {excused} unmatched at the threshold' if excused else ''}"
        )
        if found.matched_detections:
            yield (
                f"boxes: largest difference {found.box_error_max:.2g} pixels"
                f"{_allowed(budget.box_pixels)}, mean {found.box_error_mean:.2g}"
            )
            yield f"scores: largest difference {found.score_error_max:.2g}{_allowed(budget.score)}"
        if found.precision:
            yield from _precision_lines(found.precision, budget.ap_drop)

    def _raw_lines(self) -> Iterator[str]:
        found, budget = self.comparison, self.budget
        yield "differences of raw outputs, in standard deviations:"
        for name, error in found.raw_error.items():
            yield f"  {name}: 99.9% within {error:.2g}, largest {found.raw_error_max[name]:.2g}"
        limits = (("99.9% within", budget.raw), ("largest", budget.raw_largest))
        allowed = [f"{name} {limit:g}" for name, limit in limits if limit is not None]
        if allowed:
            yield f"  allowed: {', '.join(allowed)}"

    def _file_lines(self) -> Iterator[str]:
        size = f"{self.size_bytes / 1e6:.2f} MB"
        yield f"file: {self.artefact}, {size}, sha256 {self.sha256[:12]}…"
        times = [f"{name} {value:.3g} ms" for name, value in self.comparison.latency_ms.items()]
        if times:
            yield f"time per image on this machine: {', '.join(times)}"


def describe_precision(precision: dict) -> str:
    """Returns the numbers of `Comparison.precision` as text."""
    low, high = precision["interval"]
    return (
        f"{precision['keras']:.4f} with Keras, {precision['artefact']:.4f} exported: drop "
        f"{precision['drop']:.4f}, mean drop of a paired bootstrap {precision['mean_drop']:.4f} "
        f"(95%: {low:.4f} to {high:.4f})"
    )


def _precision_lines(precision: dict, allowed: float | None) -> Iterator[str]:
    low, high = precision["interval"]
    yield (
        f"AP {precision['keras']:.4f} with Keras, {precision['artefact']:.4f} exported, drop "
        f"{precision['drop']:.4f}"
    )
    yield (
        f"AP drop, paired bootstrap: mean {precision['mean_drop']:.4f}{_allowed(allowed)}, 95% "
        f"interval {low:.4f} to {high:.4f}"
    )


def _wrapped(text: str) -> str:
    """Returns an indented line of the report, wrapped to 80 columns."""
    wrapper = textwrap.TextWrapper(78, subsequent_indent="    ", break_long_words=False)
    wrapper.break_on_hyphens = False
    return wrapper.fill(text)


def _allowed(limit: float | None) -> str:
    """Returns the allowed difference in brackets, or nothing where the budget has none."""
    return "" if limit is None else f" (allowed {limit:g})"
