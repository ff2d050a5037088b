"""How a detector learns: its losses, and the weights to start from."""

from typing import ClassVar

import keras

from keras_det.layers.replicas import num_replicas
from keras_det.models.arguments_of_fit import check_targets, weights_of_batch
from keras_det.models.fine_tuning import freeze_parts, is_own, load_own
from keras_det.models.fitting import FittingModel
from keras_det.weights import LoadReport


class Detector(FittingModel):
    """A functional model from images to raw outputs that knows how to train and to detect.

    Subclasses build the network, call `_describe`, set `self.normalization`, name the parts of
    their loss (`LOSSES`), and define `losses_of`, `decoder`, `decode`, `class_variables` and
    `_load_public`.
    Raw outputs come from calling the model, detections from `predict` (pixels of the network input)
    and `detect` (pixels of the original image).
    """

    # What `losses_of` returns beside `positives_per_image`: their sum is trained on.
    LOSSES: ClassVar[tuple[str, ...]] = ()

    def _describe(self, class_names, image_size, resize_mode):
        super()._describe(class_names, image_size, resize_mode)
        self.load_report = None
        self._trackers = {
            name: keras.metrics.Mean(name=name) for name in (*self.LOSSES, "positives_per_image")
        }

    def _report(self, report):
        # Past Keras' own attributes, which would turn its lists into lists of layers.
        self.__dict__["load_report"] = report

    def start_from(self, weights, **options) -> LoadReport:
        """Fills the model with weights to start from; `load_report` keeps what it says.

        Args:
            weights: as in the constructor; of an EfficientDet also a mapping from official names to
                arrays.
            **options: of a public checkpoint. EfficientDet: `partial=True` accepts one that does
                not hold every variable.

        Returns:
            `LoadReport`: what was loaded, skipped and why, and missing.

        Raises:
            DataError: the weights do not fit, or could not be fetched; nothing is changed then.
        """
        load = load_own if is_own(weights) else type(self)._load_public
        report = load(self, weights, **options)
        self._report(report)
        return report

    def _load_public(self, weights, **options):
        raise TypeError(f"{type(self).__name__} does not define `_load_public`. Override it.")

    def freeze(self, parts: str) -> None:
        """Keeps parts of the network as they are in training, batch-norm statistics included.

        Call `compile` again afterwards. The choice is saved with the model.

        Args:
            parts: "backbone", "neck" (backbone and neck: only the heads learn), or "none".
        """
        freeze_parts(self, parts)
        self._keep(freeze=parts)

    @property
    def metrics(self):
        return [*super().metrics, *self._trackers.values()]

    def losses_of(self, targets, raw, sample_weight=None) -> dict:
        """The parts of the loss of a batch; see the subclass."""
        raise TypeError(f"{type(self).__name__} does not define `losses_of`. Override it.")

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        check_targets(y)
        if sample_weight is None:
            parts = self.losses_of(y, y_pred)
        else:
            sample_weight = weights_of_batch(sample_weight)
            parts = self.losses_of(y, y_pred, sample_weight)
        images, replicas = _count_images(y["labels"]), num_replicas()
        for name, tracker in self._trackers.items():
            if name in self.LOSSES:
                # As Keras logs the loss: batches by their images. Each device holds its share of
                # the losses, and the logs average over the devices.
                tracker.update_state(parts[name] * replicas, sample_weight=images)
            else:
                counted = images if sample_weight is None else keras.ops.sum(sample_weight)
                tracker.update_state(parts[name], sample_weight=counted)
        total = sum(parts[name] for name in self.LOSSES)
        for regularizer in self.losses:
            total = total + keras.ops.cast(regularizer, total.dtype) / replicas
        return total

    def class_variables(self) -> list:
        """Variables whose last axis holds an output for each class, perhaps several times over."""
        raise TypeError(f"{type(self).__name__} does not define `class_variables`. Override it.")

    def published_optimizer(
        self, batch_size: int, steps: int, warmup_steps: int | None = None
    ) -> keras.optimizers.Optimizer:
        """The optimizer of the model's paper; see the subclass."""
        raise TypeError(
            f"{type(self).__name__} has no published training. Train with "
            "keras_det.training.recipes.adamw, or define `published_optimizer`."
        )


def _count_images(labels):
    """Images of a batch, which waits for its data.

    TensorFlow knows a fixed batch size before: at the end of a stream of unknown length it would
    count a batch that never came.
    """
    images = keras.ops.cast(keras.ops.shape(labels)[0], "float32")
    return images + 0.0 * keras.ops.sum(keras.ops.cast(labels, "float32"))
