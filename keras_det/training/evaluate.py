"""What a detector achieves on a data set: average precision, thresholds, facts about its scores."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack

import keras
import numpy as np

from keras_det.data.dataset import Dataset
from keras_det.data.pipeline import Pipeline
from keras_det.decode.settings import ALL_SETTINGS, DecoderSettings, takes_settings
from keras_det.metrics.analysis import Analysis, analyse_matches
from keras_det.metrics.coco import format_metrics, metrics_of
from keras_det.metrics.columns import columns
from keras_det.metrics.engines import Evaluation
from keras_det.metrics.engines import evaluate as evaluate_arrays
from keras_det.metrics.error_kinds import format_errors
from keras_det.metrics.matching import IOUS, Matches, match
from keras_det.metrics.score_facts import OWN, ScoreFacts, score_facts
from keras_det.metrics.thresholds import ClassThreshold, format_thresholds, thresholds_of
from keras_det.names import DEFAULT_THRESHOLD
from keras_det.training.detecting import check_classes, detect_each, has_network

FEWEST_OBJECTS = 10  # a class with fewer takes the threshold of all classes together
LEAST_F1 = 0.1  # the threshold of a class that is hardly found means nothing


@dataclasses.dataclass(frozen=True)
class Seen:
    """The images that were measured, and what was found in them.

    Attributes:
        indices: of the images in the data set, without those that cannot be decoded.
        matches: of their objects and detections, at an IoU of 0.5.
        evaluation: of the same, for COCO's metrics.
        class_names: of the labels.
    """

    indices: list[int]
    matches: Matches
    evaluation: Evaluation
    class_names: Sequence[str]

    @functools.cached_property
    def analysis(self) -> Analysis:
        """Where the detector fails; computed when it is first asked for."""
        return analyse_matches(self.matches, self.class_names, self.evaluation)


@dataclasses.dataclass(frozen=True)
class Measured:
    """A detector on a data set: COCO's metrics, the best thresholds, and facts about its scores.

    `losses` are means over the images, if they were asked for: "loss" and its parts. `seen` says
    where the detector fails.
    """

    metrics: dict[str, Any]
    thresholds: dict[str, ClassThreshold]
    facts: ScoreFacts
    losses: dict[str, float] = dataclasses.field(default_factory=dict)
    seen: Seen | None = None

    def score_thresholds(self) -> list[float] | None:
        """One threshold per class: its own, or the common one for a rare or hardly found class.

        None for a model that has learned too little.
        """
        return per_class(self.thresholds, DEFAULT_THRESHOLD) if self.facts.learned else None

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        """The fields of each class's `ClassThreshold` by class name."""
        return {name: row._asdict() for name, row in self.thresholds.items() if name}

    def as_metrics(self) -> dict[str, Any]:
        """The content of `metrics.json`."""
        shown = {"highest_score": self.facts.highest, "detections_above": self.facts.passing}
        known = {**self.metrics, **shown, "learned": self.facts.learned, "thresholds": self.rows}
        return {**known, **self.losses}

    def text(self, images: str) -> str:
        """COCO's table, the best thresholds and one sentence about the scores, for a terminal.

        Args:
            images: which images were measured, such as "validation set".
        """
        words = OWN if self.facts.learned else f"the threshold {DEFAULT_THRESHOLD:g}"
        errors = self.seen.analysis.errors if self.seen is not None else None
        return "\n".join(
            [
                format_metrics(
                    self.metrics, {name: row["objects"] for name, row in self.rows.items()} or None
                ),
                f"\nThe best score threshold of each class (IoU 0.5, {images})",
                format_thresholds(self.rows),
                *([f"\n{format_errors(errors)}"] if errors is not None else []),
                f"\n{self.facts.sentence(words)}",
            ]
        )


@takes_settings(ALL_SETTINGS, "detect_settings")
def detect_dataset(
    model: Any,
    dataset: Dataset,
    batch_size: int = 8,
    on_batch: Callable[[int, int], None] | None = None,
    **settings: Unpack[DecoderSettings],
) -> tuple[list[int], list[dict]]:
    """Runs a detector over a data set.

    Args:
        model: a Keras detector, or anything with its `detect`: what `load_exported` returns, a
            `TiledDetector` or an `AugmentedDetector`. These detect image by image.
        dataset: `keras_det.data.Dataset`.
        batch_size: images per call; with `TiledDetector` or `AugmentedDetector`, tiles or views of
            one image. The last batch is filled up, so that nothing is compiled again.
        on_batch: function called with the number of images done and the total number.
        **settings: `method`, `iou_threshold`, `sigma`, `score_threshold`, `pre_nms_top_k`,
            `max_detections`, `class_agnostic`; for models with anchors `candidates`; for CornerNet
            `corner_top_k`, `embedding_threshold`, `peak_window`, `flip`. See `Detector.detect`.

    Returns:
        `(indices, detections)`: the indices of the images that could be decoded, and for each of
        them a dict of `boxes` xyxy in pixels of the original image, `scores`, `labels`.
    """
    return passed(model, dataset, batch_size, on_batch, False, settings)[:2]


def passed(
    model: Any,
    dataset: Dataset,
    batch_size: int,
    on_batch: Callable[[int, int], None] | None,
    losses: bool,
    settings: Mapping[str, Any],
) -> tuple[list[int], list[dict], dict[str, float]]:
    """What `detect_dataset` returns, and the mean losses over the images, {} without `losses`.

    Args:
        model: a detector.
        dataset: to detect in.
        batch_size: images per call.
        on_batch: as of `detect_dataset`.
        losses: bool. Whether the losses are computed.
        settings: of the decoder.
    """
    if not has_network(model):
        if losses:
            raise ValueError(
                "`losses` needs a Keras detector: others compute none. Received: losses=True for "
                f"{type(model).__name__}. Leave it out."
            )
        return (*detect_each(model, dataset, batch_size, on_batch, settings), {})
    function = (model.measuring_function if losses else model.detect_function)(**settings)
    indices: list[int] = []
    detections: list[dict] = []
    sums = dict.fromkeys(model.LOSSES if losses else (), 0.0)
    for images, targets in Pipeline(dataset, model, batch_size, training=False):
        count = len(images)
        more = _targets(targets, count, batch_size) if losses else {}
        found: Any = function(filled_up(images, batch_size), **more)
        parts: dict[str, Any] = {}
        if losses:
            found, parts = found
        for name, value in parts.items():
            sums[name] += count * float(keras.ops.convert_to_numpy(value))
        arrays = {name: keras.ops.convert_to_numpy(value) for name, value in found.items()}
        for i, index in enumerate(targets["image_index"]):
            transform, shape = targets["image_to_original"][i], dataset[index].original_size
            result = model.to_original(i, arrays, transform, shape)
            indices.append(int(index))
            detections.append({k: result[k] for k in ("boxes", "scores", "labels")})
        if on_batch is not None:
            on_batch(len(indices), len(dataset))
    means = {name: value / max(1, len(indices)) for name, value in sums.items()}
    return indices, detections, {"loss": sum(means.values()), **means} if losses else {}


def _targets(
    targets: Mapping[str, np.ndarray], count: int, batch_size: int
) -> dict[str, np.ndarray]:
    """The targets of a batch; the images that fill it up have the weight 0."""
    filled = {name: filled_up(targets[name], batch_size) for name in ("boxes", "labels")}
    return {**filled, "sample_weight": (np.arange(batch_size) < count).astype("float32")}


def filled_up(rows: np.ndarray, batch_size: int) -> np.ndarray:
    """A batch with zeros in the place of missing rows."""
    return np.pad(rows, [(0, batch_size - len(rows))] + [(0, 0)] * (rows.ndim - 1))


def provenance(model: str, dataset: Dataset, images: int, **settings: Any) -> dict[str, Any]:
    """What was measured: the entry `measured` in `metrics.json`.

    It holds names, not paths, because a published preset contains it too.

    Args:
        model: name of the model's file.
        dataset: what it was measured on.
        images: number of images that were measured; some may not decode.
        **settings: settings of the decoder that were given.

    Returns:
        dict of the names `model`, `data` and `split` (None: all splits), `images` and `settings`.
    """
    where = {"data": dataset.name, "split": dataset.split}
    return {"model": model, **where, "images": images, "settings": settings}


@takes_settings(ALL_SETTINGS, "detect_settings")
def measure(
    model: Any,
    dataset: Dataset,
    batch_size: int = 8,
    on_batch: Callable[[int, int], None] | None = None,
    losses: bool = False,
    **settings: Unpack[DecoderSettings],
) -> Measured:
    """Runs a detector over a data set and measures everything that is reported about it.

    Args:
        model: as of `detect_dataset`, with the data set's classes.
        dataset: `keras_det.data.Dataset`.
        batch_size: as of `detect_dataset`.
        on_batch: function called with the number of images done and the total number.
        losses: bool. True also computes the mean losses; only for a Keras detector.
        **settings: as in `detect_dataset`, e.g. `method="hard"` or `pre_nms_top_k=5000`.

    Raises:
        ValueError: the data set does not have the model's classes, in the model's order.
    """
    check_classes(model, dataset)
    indices, detections, means = passed(model, dataset, batch_size, on_batch, losses, settings)
    return measured_from(dataset, indices, detections, model.class_names, means)


def measured_from(
    dataset: Dataset,
    indices: Sequence[int],
    detections: Sequence[dict[str, Any]],
    class_names: Sequence[str],
    losses: Mapping[str, float] | None = None,
) -> Measured:
    """Measures detections, whatever made them.

    Args:
        dataset: `keras_det.data.Dataset`.
        indices: of the images that the detections are of.
        detections: of each image: `boxes` xyxy in pixels of the original image, `scores`, `labels`.
        class_names: of the labels.
        losses: as of `Measured`; None for none.
    """
    names = list(class_names)
    arrays = columns(dataset.ground_truth(indices), detections, names)
    matches = match(*arrays, IOUS[:1])
    thresholds = thresholds_of(matches, names)
    sizes = [dataset[index].original_size for index in indices]
    facts = score_facts(detections, sizes, per_class(thresholds, DEFAULT_THRESHOLD))
    if not facts.learned:
        facts = score_facts(detections, sizes, DEFAULT_THRESHOLD)
    evaluation = evaluate_arrays(*arrays, len(names))
    seen = Seen(list(indices), matches, evaluation, names)
    metrics = metrics_of(evaluation, names)
    return Measured(metrics, thresholds, facts, dict(losses or {}), seen)


@takes_settings(ALL_SETTINGS, "detect_settings")
def evaluate(
    model: Any,
    dataset: Dataset,
    batch_size: int = 8,
    on_batch: Callable[[int, int], None] | None = None,
    losses: bool = False,
    **settings: Unpack[DecoderSettings],
) -> dict[str, Any]:
    """Computes COCO's twelve metrics, the AP of each class, thresholds and facts about the scores.

    Args:
        model, dataset, batch_size, on_batch, losses, **settings: as for `measure`.

    Returns:
        dict of
        "AP", "AP50", "AP75", …: 0..1, NaN where undefined;
        "AP_per_class": AP by class name;
        "highest_score": the highest in any image, 0..1;
        "detections_above": number of detections above the threshold of their class;
        "learned": False for a model that has learned too little, see
        `keras_det.metrics.score_facts`;
        "thresholds": by class name the score threshold with the best F1 at an IoU of 0.5, its
        precision, recall and F1, and the number of objects;
        with `losses` also "loss" and its parts: means over the images.

    Raises:
        ValueError: the data set does not have the model's classes, in the model's order.
    """
    return measure(model, dataset, batch_size, on_batch, losses, **settings).as_metrics()


def per_class(thresholds: Mapping[str, ClassThreshold], unknown: float) -> list[float]:
    """Thresholds in the order of the classes; the common one for rare or hardly found classes.

    Args:
        thresholds: as `thresholds_of` returns them.
        unknown: the common threshold where the classes together are hardly found.
    """
    together = thresholds[""]
    common = together.threshold if together.f1 >= LEAST_F1 else unknown
    return [
        row.threshold if row.objects >= FEWEST_OBJECTS and row.f1 >= LEAST_F1 else common
        for name, row in thresholds.items()
        if name
    ]
