"""The base class of detectors: losses, and the weights to start from."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import keras

from keras_det.keras_private import all_layers
from keras_det.last_used import MOST_SETTINGS, LastUsed
from keras_det.layers.replicas import num_replicas, sum_over_replicas
from keras_det.models.arguments_of_fit import check_targets, weights_of_batch
from keras_det.models.fine_tuning import freeze_parts, is_own, load_own
from keras_det.models.fitting import FittingModel
from keras_det.models.public_weights import start_from_best
from keras_det.types import Size, Tensor
from keras_det.weights import LoadReport


class Detector(FittingModel):
    """A functional model from images to raw outputs that can be trained and can detect.

    Calling the model gives raw outputs. `predict` gives detections in pixels of the network input,
    `detect` in pixels of the original image.

    A subclass builds the network in its constructor, calls `describe`, sets `self.normalization`,
    names the parts of its loss in `LOSSES`, and defines `losses_of`, `decoder` and `decode`. Then
    it is trained, evaluated, saved and exported like the others. For other features, define
    `class_variables` to start from a model with other classes, `published_optimizer` for the recipe
    "published", and `_load_public` for public weights. Set `backbone` and `neck` for `freeze`.
    """

    # Names of the losses in the dict of `losses_of`. Training minimises their sum.
    LOSSES: ClassVar[tuple[str, ...]] = ()
    # Peak learning rate of the recipe auto, at 8 images per step.
    auto_rate: ClassVar[float] = 2e-3
    # Side of the published square input in pixels, by variant.
    image_sizes: ClassVar[Mapping[str, int]] = {}

    def describe(self, class_names: Sequence[str], image_size: Size, resize_mode: str) -> None:
        super().describe(class_names, image_size, resize_mode)
        self.load_report: LoadReport | None = None
        self._trackers = {
            name: keras.metrics.Mean(name=name) for name in (*self.LOSSES, "positives_per_image")
        }
        # What `measuring_function` returns for each set of settings.
        self._measuring: LastUsed[Callable[..., Any]] = LastUsed(MOST_SETTINGS)
        # Not by `setattr`: files of models without regularisers shall hold no such metric.
        self.__dict__["_penalty"] = keras.metrics.Mean(name="regularization_loss")
        # Whether layers add losses of their own: known when a loss is computed, not before.
        self.__dict__["_adds_losses"] = False

    def _report(self, report: LoadReport) -> None:
        # Not by `setattr`: Keras would track its lists as lists of layers.
        self.__dict__["load_report"] = report

    def start_from(self, weights: Any, **options: Any) -> LoadReport:
        """Fills the model with weights. `model.load_report` is the returned report.

        Args:
            weights: as in the constructor, or "auto": COCO weights if available, else ImageNet
                weights for the backbone, else none; `notes` of the report say which. For an
                EfficientDet also a mapping from official names to arrays.
            **options: options for a public checkpoint. EfficientDet and CornerNet: `partial=True`
                accepts a checkpoint that does not hold every variable.

        Returns:
            `LoadReport`: which variables were loaded, which were skipped and why, which are
            missing.

        Raises:
            DataError: the weights do not fit, or could not be downloaded. Then nothing is changed.
        """
        if isinstance(weights, str) and weights == "auto":
            if options:
                raise TypeError(
                    'Options are for one public checkpoint, not for weights="auto". Received: '
                    f"{options}. Leave them out, or name the weights."
                )
            start = start_from_best(self)
            report = start.report or LoadReport([], {}, [each.path for each in self.weights])
            report = dataclasses.replace(report, notes=[*report.notes, start.sentence])
        elif is_own(weights):
            report = load_own(self, weights, **options)
        else:
            report = type(self)._load_public(self, weights, **options)
        self._report(report)
        return report

    def public_names(self) -> tuple[str | None, str | None]:
        """Catalogue names of public weights: COCO's for all parts, ImageNet's for the backbone."""
        return None, None

    def _load_public(self, *args: Any, **options: Any) -> LoadReport:
        """Loads a public checkpoint; the subclass says from what and with which options."""
        raise TypeError(f"{type(self).__name__} does not define `_load_public`. Override it.")

    def freeze(self, parts: str) -> None:
        """Freezes parts of the network: training does not change them.

        Their batch-norm statistics are frozen too. Call `compile` again afterwards. The choice is
        saved with the model.

        Args:
            parts: "none"; "norm" (the batch normalisation of the backbone); "early" (the layers of
                the backbone up to stride 4: a step takes less time, and the edges and colours that
                they detect are much the same in all photos); "backbone"; "neck" (backbone and neck,
                so that only the heads learn).

        Raises:
            ValueError: there is no such choice, or the model has no such part.
        """
        freeze_parts(self, parts)
        self._keep(freeze=parts)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        known = super().metrics  # Keras finds some of the others by itself.
        own = (*self._trackers.values(), self._penalty)
        return [*known, *(each for each in own if each not in known)]

    def get_metrics_result(self) -> dict[str, Any]:
        # Without a penalty the logs hold none.
        results = super().get_metrics_result()
        if not (self._adds_losses or self._is_regularized()):
            results.pop(self._penalty.name)
        return results

    def _is_regularized(self) -> bool:
        """Whether a trainable variable, or the output of a layer, has a regulariser."""
        return any(variable.regularizer is not None for variable in self.trainable_weights) or any(
            getattr(layer, "activity_regularizer", None) is not None for layer in all_layers(self)
        )

    def losses_of(
        self, targets: dict[str, Tensor], raw: dict[str, Any], sample_weight: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The parts of the loss of a batch; see the subclass.

        Args:
            targets: dict with `boxes` `(batch, max_boxes, 4)` xyxy pixels of the network's input
                and `labels` `(batch, max_boxes)`, -1 in empty slots.
            raw: the model's outputs.
            sample_weight: `(batch,)`, at least 0, or None. It is passed only if weights were
                given.

        Returns:
            dict of scalars: the parts named in `LOSSES`, whose sum is minimised, and
            `positives_per_image`, which is logged.
        """
        raise TypeError(f"{type(self).__name__} does not define `losses_of`. Override it.")

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        check_targets(y)
        if sample_weight is None:
            parts = self.losses_of(y, y_pred)
        else:
            self._check_takes_weights()
            sample_weight = weights_of_batch(sample_weight, y["labels"])
            parts = self.losses_of(y, y_pred, sample_weight)
        self._check_parts(parts)
        images = keras.ops.cast(keras.ops.shape(y["labels"])[0], "float32")
        replicas = num_replicas()
        # Each device holds its share of the losses, and the logs average over the images of the
        # devices. Of the last batch of a pass, some devices may have fewer images than others.
        share = keras.ops.divide_no_nan(sum_over_replicas(images), images)
        for name, tracker in self._trackers.items():
            if name in self.LOSSES:
                # Keras logs the loss with each batch weighted by its images; so do these.
                tracker.update_state(parts[name] * share, sample_weight=images)
            else:
                counted = images if sample_weight is None else keras.ops.sum(sample_weight)
                tracker.update_state(parts[name], sample_weight=counted)
        total = sum(parts[name] for name in self.LOSSES)
        if not training and replicas > 1:  # Keras logs it, times the number of devices
            total = total * share / replicas
        if not self.losses:
            return total
        if not self._is_regularized():
            self.__dict__["_adds_losses"] = True
        penalty = sum(keras.ops.cast(value, total.dtype) for value in self.losses)
        self._penalty.update_state(penalty, sample_weight=images)
        return total + penalty / replicas

    def measuring_function(
        self, **settings: Any
    ) -> Callable[..., tuple[dict[str, Tensor], dict[str, Tensor]]]:
        """Returns a compiled function that gives the detections and the losses of a batch.

        The network runs once for both, and not in training mode. It is compiled as
        `detect_function` is.

        Args:
            **settings: as in `detect_function`.

        Returns:
            Function of images `(batch, height, width, 3)`, `boxes` `(batch, max_boxes, 4)`,
            `labels` `(batch, max_boxes)` and `sample_weight` `(batch,)`, as in `fit`. It returns
            the dict of `decode` and a dict of scalars, the losses named in `LOSSES`.

        Raises:
            ValueError: `losses_of` takes no weights.
        """
        self._check_takes_weights()
        key = repr(sorted(settings.items()))
        return self._measuring.get(
            key, lambda: self._compiled_detection(self._losses_of_batch, **settings)
        )

    def _losses_of_batch(self, raw: dict[str, Any], **batch: Any) -> dict[str, Tensor]:
        """The losses named in `LOSSES`; `batch` is as of `measuring_function`."""
        batch = {name: keras.ops.convert_to_tensor(value) for name, value in batch.items()}
        parts = self.losses_of(batch, raw, batch.pop("sample_weight"))
        return {name: parts[name] for name in self.LOSSES}

    def takes_weights(self) -> bool:
        """Whether `losses_of` takes the weights of the images."""
        return len(inspect.signature(self.losses_of).parameters) >= 3

    def _check_takes_weights(self) -> None:
        if not self.takes_weights():
            raise ValueError(
                "`sample_weight` needs a model whose `losses_of` takes it. Received: sample_weight "
                f"for {type(self).__name__}. Give its losses_of(targets, raw, sample_weight=None) "
                "a third argument, or leave out the weights."
            )

    def _check_parts(self, parts: dict[str, Tensor]) -> None:
        """Raises a ValueError if `losses_of` returned other parts than the class names."""
        expected = {*self.LOSSES, "positives_per_image"}
        if not self.LOSSES or set(parts) != expected:
            raise ValueError(
                "`losses_of` must return the parts that `LOSSES` names, and `positives_per_image`. "
                f"Received: {sorted(parts)}, but {type(self).__name__}.LOSSES = {self.LOSSES}. "
                "Name every part in LOSSES: others would not be minimised."
            )

    def class_variables(self) -> list[keras.Variable]:
        """Variables whose last axis has an output per class, or one per anchor and class."""
        raise TypeError(f"{type(self).__name__} does not define `class_variables`. Override it.")

    def published_optimizer(
        self, batch_size: int, steps: int, warmup_steps: int | None = None
    ) -> keras.optimizers.Optimizer:
        """The optimizer of the model's paper; see the subclass."""
        raise TypeError(
            f"{type(self).__name__} has no published training. Train with "
            "keras_det.training.recipes.adamw, or define `published_optimizer`."
        )
