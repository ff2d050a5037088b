"""What the check of an export found, and the certificate that is made of it."""

import dataclasses
import json
import math

from keras_det.export.check.budget import Budget


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
        judged: what the verdict rests on: "raw outputs", "detections", "average precision".
        unjudged: why detections are not among it; empty where they are.
        latency_ms: per signature, the median time of one image, decoding included, in milliseconds
            on the machine of the check.
        precision: average precision of both on labelled images, 0..1: `keras`, `artefact`, `drop`,
            and of a paired bootstrap over images `mean_drop` and `interval` (95%); None without
            labels.
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
    judged: tuple[str, ...]
    unjudged: str
    latency_ms: dict[str, float]
    precision: dict | None
    failures: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def matched_rate(self) -> float:
        """The part of the detections that found its partner; NaN where there are none."""
        return self.matched_detections / (self.total_detections or math.nan)

    @property
    def passed(self) -> bool:
        """Whether everything is within the budget."""
        return not self.failures

    @property
    def verdict(self) -> str:
        """One sentence."""
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
        artefact: file or folder name.
        format: "saved_model", "tflite" or "onnx".
        settings: of the export, e.g. quantize and postprocess, and what it found: operators,
            delegates, the sensitivity of layers.
        comparison: the check.
        budget: what it was checked against.
        image_source: "drawn", "given" or "labelled".
        size_bytes: of all files of the artefact.
        sha256: of the file; of a folder, over the sorted names and contents of its files.
        weights_sha256: `writing.weights_sha256` of the model.
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
    weights_sha256: str
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
        comparison = {**dataclasses.asdict(self.comparison)}
        comparison["matched_rate"] = self.comparison.matched_rate
        content = {"verdict": self.verdict, "passed": self.passed, **dataclasses.asdict(self)}
        content["comparison"] = comparison
        return json.dumps(_without_nan(content), indent=2, sort_keys=False) + "\n"

    def __str__(self) -> str:
        lines = [self.verdict, *self._detection_lines(), self._raw_line(), self._file_line()]
        notes = (*self.comparison.notes, *self.notes)
        return "\n  ".join([*lines, *(f"note: {note}" for note in notes)])

    def _detection_lines(self):
        found, budget = self.comparison, self.budget
        yield (
            f"{found.num_images} {self.image_source} images, {found.matched_detections} of "
            f"{found.total_detections} detections above {found.score_threshold:g} matched, "
            f"{found.excused_detections} at the threshold"
        )
        if found.matched_detections:
            yield (
                f"boxes within {found.box_error_max:.2g} pixels (mean {found.box_error_mean:.2g}"
                f"{_allowed(budget.box_pixels, ', allowed ')}), scores within "
                f"{found.score_error_max:.2g}{_allowed(budget.score)}"
            )
        if found.precision:
            yield f"AP {describe_precision(found.precision)}{_allowed(budget.ap_drop)}"

    def _raw_line(self):
        found, budget = self.comparison, self.budget
        raw = ", ".join(
            f"`{name}` {error:.2g} (largest {found.raw_error_max[name]:.2g})"
            for name, error in found.raw_error.items()
        )
        allowed = [
            f"{name}{limit:g}"
            for name, limit in (("", budget.raw), ("largest ", budget.raw_largest))
            if limit is not None
        ]
        allowed = f", allowed {', '.join(allowed)}" if allowed else ""
        return f"raw outputs in standard deviations: {raw}{allowed}"

    def _file_line(self):
        times = [f"{name} {value:.3g} ms" for name, value in self.comparison.latency_ms.items()]
        times = f", one image on this machine: {', '.join(times)}" if times else ""
        size = f"{self.size_bytes / 1e6:.2f} MB"
        return f"{self.artefact}: {size}, sha256 {self.sha256[:12]}…{times}"


def describe_precision(precision: dict) -> str:
    """The numbers of `Comparison.precision` in words."""
    low, high = precision["interval"]
    return (
        f"{precision['keras']:.4f} with Keras, {precision['artefact']:.4f} exported: a drop of "
        f"{precision['drop']:.4f}, {precision['mean_drop']:.4f} in the mean of a paired bootstrap "
        f"(95%: {low:.4f} to {high:.4f})"
    )


def _allowed(limit, before=" (allowed "):
    """What the budget allows, or nothing where it does not judge."""
    if limit is None:
        return ""
    return f"{before}{limit:g}" + (")" if "(" in before else "")


def _without_nan(value):
    """JSON has no NaN: None in its place."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
