"""Runs an artefact and its Keras model on the same images and measures where they differ."""

import time
from collections.abc import Iterator

import keras
import numpy as np

from keras_det.boxes import decode_deltas
from keras_det.data.resize import resize_image
from keras_det.errors import DataError
from keras_det.export.check.artefact import Artefact, Call, to_numpy
from keras_det.export.check.average_precision import AveragePrecision, exceeds
from keras_det.export.check.budget import Budget
from keras_det.export.check.evidence import Evidence, fill_of
from keras_det.export.check.matching import SCORE_THRESHOLD, Matching, match
from keras_det.export.check.raw_errors import RawErrors
from keras_det.export.check.report import Comparison, describe_precision
from keras_det.models import Detector
from keras_det.models.compiled import compiled
from keras_det.runtime.detections import in_original_pixels, trim

# Fewer pairs say little about detections.
FEWEST_MATCHES = 10


class Check:
    """Compares an artefact with a model, image by image.

    Args:
        model: the detector.
        artefact: what was made of it, see `Artefact`.
        budget: `Budget`.
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
        """Puts one image, uint8 `(height, width, 3)`, through both; `truth` are its objects."""
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
                truth = None  # by the first signature
        self.num_images += 1

    def _timed(self, name: str, call: Call) -> dict:
        start = time.perf_counter()
        found = call()
        self.seconds.setdefault(name, []).append(time.perf_counter() - start)
        return found

    def _compare(self, name, raws, reference, found, image, transform):
        scale = (transform.scale_x, transform.scale_y)
        scale = scale if self.artefact.in_original_pixels else (1.0, 1.0)
        matching = self._match(reference, found, scale)
        if self.budget.judges_detections and not matching.within(self.budget):
            for other in self._in_the_order_of_the_artefact(*raws, image, transform):
                again = self._match(other, found, scale)
                if again.within(self.budget):
                    matching, self.reordered = again, self.reordered + 1
                    break
        if self.budget.judges_detections:
            where = f"{name}, image {self.num_images}"
            self.failures += [f"{where}: {sentence}" for sentence in matching.lost]
        self.matchings.append(matching)

    def _count(self, truth, reference, found, image, transform):
        both = [reference, found]
        if not self.artefact.in_original_pixels:
            both = [in_original_pixels(each, transform, image.shape) for each in both]
        self.precision.add(truth, *both)

    def _match(self, reference, found, scale):
        slots = reference["slots"]
        return match(reference, found, self.budget, scale, slots)

    def _detections(self, raw, image, transform):
        """What the Keras model finds, in the artefact's pixels."""
        detections = to_numpy(self.model.decode(raw, self.decoder))
        slots = detections["scores"].shape[1]
        if self.artefact.in_original_pixels:
            trimmed = self.model.to_original(0, detections, transform.inverse(), image.shape)
        else:
            trimmed = trim(detections)
        return {**trimmed, "slots": slots}

    def _in_the_order_of_the_artefact(self, raw, found_raw, image, transform):
        """Keras' decoding of what the artefact is within the budget of, as far as it is.

        Soft-NMS takes candidates in the order of their scores, decayed by their overlaps. Where two
        are nearer than the budget, the artefact may take the other one first, and both decay
        differently; of two neighbouring corners the other may be the peak.
        """
        for mixed in within_budget(self.model, raw, found_raw, self.budget):
            yield self._detections(mixed, image, transform)

    def _check_that_outputs_follow_the_image(self, pixels, raw, found_raw):
        """A file that lost its weights may return the same numbers for every image."""
        if self.num_images:
            return
        other = 255 - pixels
        expected, found = to_numpy(self.keras_raw(other)), self.artefact.raw(other)
        for name in raw:
            # An untrained model's logits may change by less than the rounding.
            visible = self.budget.rounding * np.abs(raw[name]).max()
            changes = np.abs(raw[name] - expected[name]).max() > visible
            if changes and np.array_equal(found_raw[name], found[name]):
                self.failures.append(f"`{name}` does not change when the image does")

    def result(self) -> Comparison:
        """What was found in all images so far."""
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

    def _judged(self, matched, precision):
        """What the verdict rests on, and why detections are not among it."""
        judged, unjudged = ["raw outputs"] if self.budget.raw is not None else [], ""
        if not self.budget.judges_detections:
            unjudged = "single ones differ in this number format"
        elif matched < FEWEST_MATCHES:
            unjudged = (
                f"{matched} matched above {SCORE_THRESHOLD:g} in these images, and "
                f"{FEWEST_MATCHES} are needed"
            )
        else:
            judged.append("detections")
        if self.budget.ap_drop is not None and precision is not None:
            judged.append("average precision")
        elif self.budget.ap_drop is not None:
            unjudged += "; average precision: not judged, no labelled images were given"
        return tuple(judged) or ("finite numbers",), unjudged

    def _raw_outside(self, usual, largest):
        if not self.raw_errors.finite:
            return ["raw outputs are not finite"]
        budget, unit = self.budget, "standard deviations (allowed"
        found = []
        for name in usual:
            if budget.raw is not None and usual[name] > budget.raw:
                found.append(f"`{name}` differs by {usual[name]:.3g} {unit} {budget.raw:g})")
            elif budget.raw_largest is not None and largest[name] > budget.raw_largest:
                worst = f"{largest[name]:.3g} {unit} {budget.raw_largest:g})"
                found.append(f"`{name}` differs in places by {worst}")
        return found

    def _outside(self, box_error, score_error):
        budget, found = self.budget, []
        if not budget.judges_detections:
            return found
        if box_error > budget.box_pixels:
            allowed = f"(allowed {budget.box_pixels:g})"
            found.append(f"a box differs by {box_error:.3g} pixels {allowed}")
        if score_error > budget.score:
            found.append(f"a score differs by {score_error:.3g} (allowed {budget.score:g})")
        return found

    def _precision_outside(self, precision):
        allowed = self.budget.ap_drop
        if precision is None or allowed is None or not exceeds(precision, allowed):
            return []
        return [f"AP {describe_precision(precision)}, allowed {allowed:g}"]

    def _notes(self, flat):
        notes = []
        if flat:
            notes.append(
                f"{' and '.join(f'`{name}`' for name in flat)} hardly varies, as in an untrained "
                "model: only differences beyond the rounding of its numbers could be seen"
            )
        if self.reordered:
            notes.append(
                f"{self.reordered} of {len(self.matchings)} times NMS met scores nearer than "
                "the budget in another order: Keras decoded in the artefact's order there"
            )
        return notes


def within_budget(model: Detector, raw: dict, found_raw: dict, budget: Budget) -> Iterator[dict]:
    """Yields raw outputs with numbers of the artefact that are within the budget of the model's.

    The artefact's scores with the model's own boxes where all scores are within the budget; then
    the artefact's boxes too where those of all places that score are. Whether two corners belong
    together is a threshold on embeddings, which the budget of raw outputs bounds.

    Args:
        model: the detector.
        raw, found_raw: raw outputs of one image, the model's and the artefact's.
        budget: `Budget`.
    """
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


def _places(model, name, raw, scoring):
    """Pixels of the boxes, or of the corners within their cells, that belong to some scores."""
    if name == "class_logits":
        boxes = decode_deltas(model.anchors[scoring], raw["box_deltas"][0, scoring])
        return keras.ops.convert_to_numpy(boxes)
    return raw[name.replace("heatmaps", "offsets")][0, scoring] * model.stride


def compare(model: Detector, artefact: Artefact, images: Evidence, budget: Budget) -> Comparison:
    """Runs both on every image; arguments as of `Check`, `images` an `Evidence`."""
    check = Check(model, artefact, budget)
    for image, truth in images:
        check.add(image, truth)
    if not check.num_images:
        raise DataError(
            "At least one image of the check must decode. Received: "
            f"{len(images)} images; {images.unread[0]}. Check the data set."
        )
    return check.result()


def _latency(seconds):
    """Median milliseconds; the first call prepares and does not count where there are others."""
    return float(np.median(seconds[1:] or seconds)) * 1e3


def _sigmoid(logits):
    return 1.0 / (1.0 + np.exp(-np.clip(logits.astype(np.float64), -50, 50)))
