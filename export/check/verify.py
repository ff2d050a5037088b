"""Runs an export and its Keras model on the same images and measures the differences."""

import time
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_det.boxes import decode_deltas
from keras_det.data.resize import Transform, resize_image
from keras_det.errors import DataError
from keras_det.export.check.artefact import Artefact, Call, to_numpy
from keras_det.export.check.average_precision import AveragePrecision, exceeds
from keras_det.export.check.budget import Budget
from keras_det.export.check.evidence import Evidence, fill_of
from keras_det.export.check.matching import SCORE_THRESHOLD, Matching, match
from keras_det.export.check.raw_errors import RawErrors
from keras_det.export.check.report import Comparison, describe_precision
from keras_det.interrupts import stop_if_asked
from keras_det.models import Detector
from keras_det.models.compiled import compiled
from keras_det.runtime.detections import in_original_pixels, trim
from keras_det.words import counted

# Fewer matched detections are not enough to judge detections.
FEWEST_MATCHES = 10
# Raw outputs or detections of one image, arrays by name.
Arrays: TypeAlias = dict[str, np.ndarray]


class Check:
    """Compares an export with its model, image by image.

    Args:
        model: the detector.
        artefact: the export.
        budget: the allowed differences.
    """

    def __init__(self, model: Detector, artefact: Artefact, budget: Budget):
        self.model, self.artefact, self.budget = model, artefact, budget
        self.raw_errors = RawErrors()
        self.matchings: list[Matching] = []
        self.failures: list[str] = []
        self.reordered = self.num_images = 0
        self.seconds: dict[str, list[float]] = {}
        self.precision = AveragePrecision(model.class_names)
        self.keras_raw = compiled(model, lambda raw: raw)
        self.decoder = model.decoder(**artefact.decoder_settings)

    def add(self, image: np.ndarray, truth: dict | None = None) -> None:
        """Runs both on one image.

        Args:
            image: uint8 `(height, width, 3)`.
            truth: its objects, for the average precision; None without labels.
        """
        fill = fill_of(self.model, self.artefact.channels)
        pixels, transform = resize_image(image, self.model.resize_policy, fill)
        pixels = pixels[None]
        raw = to_numpy(self.keras_raw(pixels))
        found_raw = self.artefact.raw(pixels)
        self.raw_errors.add(raw, found_raw)
        self._check_that_outputs_follow_the_image(pixels, raw, found_raw)
        reference = self._detections(raw, image, transform)
        for name, call in self.artefact.calls(image, pixels).items():
            found = self._timed(name, call)
            self._compare(name, (raw, found_raw), reference, found, image, transform)
            if truth is not None:
                self._count(truth, reference, found, image, transform)
                truth = None  # AP is measured with the first signature
        self.num_images += 1

    def _timed(self, name: str, call: Call) -> dict:
        start = time.perf_counter()
        found = call()
        self.seconds.setdefault(name, []).append(time.perf_counter() - start)
        return found

    def _compare(
        self,
        name: str,
        raws: tuple[Arrays, Arrays],
        reference: dict,
        found: dict,
        image: np.ndarray,
        transform: Transform,
    ) -> None:
        scale = (transform.scale_x, transform.scale_y)
        scale = scale if self.artefact.in_original_pixels else (1.0, 1.0)
        matching = self._match(reference, found, scale)
        if self.budget.judges_detections and not matching.within(self.budget):
            for other in self._in_the_order_of_the_export(raws, image, transform):
                again = self._match(other, found, scale)
                if again.within(self.budget):
                    matching, self.reordered = again, self.reordered + 1
                    break
        if self.budget.judges_detections:
            where = f"{name}, image {self.num_images}"
            self.failures += [f"{where}: {sentence}" for sentence in matching.lost]
        self.matchings.append(matching)

    def _count(
        self, truth: dict, reference: dict, found: dict, image: np.ndarray, transform: Transform
    ) -> None:
        both = [reference, found]
        if not self.artefact.in_original_pixels:
            both = [in_original_pixels(each, transform, image.shape) for each in both]
        self.precision.add(truth, *both)

    def _match(self, reference: dict, found: dict, scale: tuple[float, float]) -> Matching:
        return match(reference, found, self.budget, scale, reference["slots"])

    def _detections(self, raw: Arrays, image: np.ndarray, transform: Transform) -> dict:
        """Returns the detections of the Keras model, in the pixels of the export's boxes."""
        detections = to_numpy(self.model.decode(raw, self.decoder))
        slots = detections["scores"].shape[1]
        trimmed: Mapping[str, Any]
        if self.artefact.in_original_pixels:
            trimmed = self.model.to_original(0, detections, transform.inverse(), image.shape)
        else:
            trimmed = trim(detections)
        return {**trimmed, "slots": slots}

    def _in_the_order_of_the_export(
        self, raws: tuple[Arrays, Arrays], image: np.ndarray, transform: Transform
    ) -> Iterator[dict]:
        """Yields detections that Keras decodes from raw outputs of the export.

        Only raw outputs within the budget are taken from the export. Soft-NMS takes candidates in
        the order of their scores and lowers the scores of those that overlap. If two scores are
        closer than the budget, the export may take them in the other order, and both end with
        different scores. Likewise, a neighbouring corner may become the peak.
        """
        for mixed in within_budget(self.model, *raws, self.budget):
            yield self._detections(mixed, image, transform)

    def _check_that_outputs_follow_the_image(
        self, pixels: np.ndarray, raw: Arrays, found_raw: Arrays
    ) -> None:
        """Adds a failure if a raw output is the same for another image.

        A file that lost its weights may return the same numbers for every image.
        """
        if self.num_images:
            return
        other = 255 - pixels
        expected, found = to_numpy(self.keras_raw(other)), self.artefact.raw(other)
        for name in raw:
            # The logits of an untrained model may change by less than the rounding.
            visible = self.budget.rounding * np.abs(raw[name]).max()
            changes = np.abs(raw[name] - expected[name]).max() > visible
            if changes and np.array_equal(found_raw[name], found[name]):
                self.failures.append(f"`{name}` does not change when the image does")

    def result(self) -> Comparison:
        """Returns the comparison over all images so far."""
        raw_error, raw_error_max, flat = self.raw_errors.relative(self.budget)
        boxes = [error for matching in self.matchings for error in matching.box_errors]
        scores = [error for matching in self.matchings for error in matching.score_errors]
        excused = sum(matching.excused for matching in self.matchings)
        lost = sum(len(matching.lost) for matching in self.matchings)
        box_error, score_error = max(boxes, default=0.0), max(scores, default=0.0)
        precision = self.precision.result()
        judged, unjudged = self._judged(len(boxes), precision)
        return Comparison(
            num_images=self.num_images,
            total_detections=len(boxes) + excused + lost,
            matched_detections=len(boxes),
            excused_detections=excused,
            reordered=self.reordered,
            box_error_max=box_error,
            box_error_mean=float(np.mean(boxes)) if boxes else 0.0,
            score_error_max=score_error,
            raw_error=raw_error,
            raw_error_max=raw_error_max,
            score_threshold=SCORE_THRESHOLD,
            judged=judged,
            unjudged=unjudged,
            latency_ms={name: _latency(each) for name, each in self.seconds.items()},
            precision=precision,
            failures=(
                *self._raw_outside(raw_error, raw_error_max),
                *self._outside(box_error, score_error),
                *self._precision_outside(precision),
                *self.failures,
            ),
            notes=tuple(self._notes(flat)),
        )

    def _judged(self, matched: int, precision: dict | None) -> tuple[tuple[str, ...], str]:
        """Returns what the verdict is based on, and why detections were not judged."""
        judged, unjudged = ["raw outputs"] if self.budget.raw is not None else [], ""
        if not self.budget.judges_detections:
            unjudged = "the budget sets no limit for single detections"
        elif matched < FEWEST_MATCHES:
            unjudged = (
                f"{matched} matched above {SCORE_THRESHOLD:g} in these images, at least "
                f"{FEWEST_MATCHES} are needed"
            )
        else:
            judged.append("detections")
        if self.budget.ap_drop is not None and precision is not None:
            judged.append("average precision")
        elif self.budget.ap_drop is not None:
            unjudged += "; average precision: not judged, no labelled images were given"
        return tuple(judged) or ("finite numbers",), unjudged

    def _raw_outside(self, usual: dict[str, float], largest: dict[str, float]) -> list[str]:
        if not self.raw_errors.finite:
            return ["raw outputs are not finite; check the outputs of the Keras model too"]
        budget, unit = self.budget, "standard deviations (allowed"
        found: list[str] = []
        for name in usual:
            if budget.raw is not None and usual[name] > budget.raw:
                found.append(f"`{name}` differs by {usual[name]:.3g} {unit} {budget.raw:g})")
            elif budget.raw_largest is not None and largest[name] > budget.raw_largest:
                worst = f"{largest[name]:.3g} {unit} {budget.raw_largest:g})"
                found.append(f"`{name}` differs in places by {worst}")
        return found

    def _outside(self, box_error: float, score_error: float) -> list[str]:
        budget, found = self.budget, list[str]()
        if budget.box_pixels is not None and box_error > budget.box_pixels:
            allowed = f"(allowed {budget.box_pixels:g})"
            found.append(f"a box differs by {box_error:.3g} pixels {allowed}")
        if budget.score is not None and score_error > budget.score:
            found.append(f"a score differs by {score_error:.3g} (allowed {budget.score:g})")
        return found

    def _precision_outside(self, precision: dict | None) -> list[str]:
        allowed = self.budget.ap_drop
        if precision is None or allowed is None or not exceeds(precision, allowed):
            return []
        return [f"AP {describe_precision(precision)}, allowed {allowed:g}"]

    def _notes(self, flat: list[str]) -> list[str]:
        notes = [
            f"`{name}` hardly varies, as in an untrained model: differences below the rounding "
            "of its numbers cannot be seen"
            for name in flat
        ]
        if self.reordered:
            notes.append(
                f"in {self.reordered} of {counted(len(self.matchings), 'comparison')}, the export "
                "and Keras rank nearly equal scores differently; there, Keras decoded in the "
                "export's order"
            )
        return notes


def within_budget(
    model: Detector, raw: Arrays, found_raw: Arrays, budget: Budget
) -> Iterator[Arrays]:
    """Yields raw outputs in which values of the export replace those of the model.

    First the scores of the export with the boxes of the model, if all scores are within the
    budget. Then the boxes of the export too, if they are within the budget wherever there is a
    score above the threshold. Whether two corners belong together depends on a threshold of the
    embeddings, which the budget of raw outputs bounds.

    Args:
        model: the detector.
        raw, found_raw: raw outputs of one image, of the model and of the export.
        budget: the allowed differences; without limits for detections nothing is yielded.
    """
    if budget.score is None or budget.box_pixels is None:
        return
    scores = [name for name in raw if name.endswith(("logits", "heatmaps"))]
    both = [[_sigmoid(each[name])[0] for each in (raw, found_raw)] for name in scores]
    if not all(np.abs(ours - theirs).max() <= budget.score for ours, theirs in both):
        return
    yield {**raw, **{name: found_raw[name] for name in scores}}
    for name, (ours, theirs) in zip(scores, both, strict=True):
        scoring = np.maximum(ours, theirs).max(axis=-1) > SCORE_THRESHOLD
        places = [_places(model, name, each, scoring) for each in (raw, found_raw)]
        if np.abs(places[0] - places[1]).max(initial=0.0) > budget.box_pixels:
            return
    yield found_raw


def _places(model: Detector, name: str, raw: Arrays, scoring: np.ndarray) -> np.ndarray:
    """Returns pixels of the boxes, or of the corners within their cells, at the chosen places.

    Args:
        model: the detector.
        name: of the raw output that holds the scores.
        raw: raw outputs of one image.
        scoring: bool, which anchors or cells are chosen.
    """
    if name == "class_logits":
        boxes = decode_deltas(model.anchors[scoring], raw["box_deltas"][0, scoring])
        return keras.ops.convert_to_numpy(boxes)
    return raw[name.replace("heatmaps", "offsets")][0, scoring] * model.stride


def compare(model: Detector, artefact: Artefact, images: Evidence, budget: Budget) -> Comparison:
    """Runs an export and its model on every image.

    Args:
        model, artefact, budget: see `Check`.
        images: of `evidence.check_images`.

    Raises:
        DataError: no image decodes.
    """
    check = Check(model, artefact, budget)
    for image, truth in images:
        stop_if_asked()
        check.add(image, truth)
    if not check.num_images:
        raise DataError(
            "At least one image for the check must be readable. Received: "
            f"{counted(len(images), 'image')}; {images.unread[0]}. Check the data set."
        )
    return check.result()


def _latency(seconds: list[float]) -> float:
    """Returns the median in milliseconds, without the first call if there are others."""
    return float(np.median(seconds[1:] or seconds)) * 1e3


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-np.clip(logits.astype(np.float64), -50, 50)))
