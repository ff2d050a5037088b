"""How a detector learns: its losses, Keras' training methods, the weights to start from."""

import contextlib
import warnings

import keras
import numpy as np

from keras_det.boxes import check_ground_truth
from keras_det.keras_private import optimized_variables
from keras_det.layers.replicas import num_replicas
from keras_det.models.detecting import DetectingModel
from keras_det.models.fine_tuning import freeze_parts, is_own, load_own
from keras_det.optimizers import AdamW
from keras_det.weights import LoadReport


@contextlib.contextmanager
def _own_errors(*pipelines):
    """Raises what a pipeline found wrong with its data, which TensorFlow wraps in its own error."""
    try:
        with warnings.catch_warnings():
            if pipelines:
                # Keras says so at the end of every pass whose number of batches it cannot know:
                # images that do not decode are left out.
                warnings.filterwarnings("ignore", message="Your input ran out of data")
            yield
    except Exception:
        for pipeline in pipelines:
            pipeline.check()
        raise


class Detector(DetectingModel):
    """A functional model from images to raw outputs that knows how to train and to detect.

    Subclasses build the network, call `_describe`, set `self.normalization`, name the parts of
    their loss (`LOSSES`), and define `losses_of`, `decoder`, `decode`, `class_variables` and
    `_load_public`.
    Raw outputs come from calling the model, detections from `predict` (pixels of the network input)
    and `detect` (pixels of the original image).
    """

    # What `losses_of` returns beside `positives_per_image`: their sum is trained on.
    LOSSES: tuple[str, ...] = ()

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

    def _check_compiled(self):
        optimizer = getattr(self, "optimizer", None)
        if optimizer is None or not optimizer.built:
            return
        known = len(optimized_variables(optimizer))
        if known != len(self.trainable_variables):
            raise ValueError(
                "The model must be compiled for the variables that train. Received: an optimizer "
                f"of {known} variables, {len(self.trainable_variables)} trainable ones. Call "
                "model.compile(…) after model.freeze(…)."
            )

    @property
    def metrics(self):
        return [*super().metrics, *self._trackers.values()]

    def compile(self, optimizer="auto", **kwargs):
        """Keras' `compile`; without arguments AdamW with a clipped gradient.

        The losses are the model's own (the published ones), so `loss` stays None. XLA is off: on a
        CPU it runs depthwise convolutions a hundred times slower, and every new shape recompiles.

        Args:
            optimizer: any Keras optimizer or name. "auto" is AdamW with a rate of 1e-3, weight
                decay 4e-5 and a global gradient norm of at most 10: its steps do not depend on the
                batch size. `keras_det.training.recipes` has schedules and the published optimizer.
            **kwargs: as in Keras.
        """
        if optimizer == "auto":
            optimizer = AdamW(1e-3, weight_decay=4e-5, global_clipnorm=10.0)
        if keras.backend.backend() == "tensorflow":
            kwargs.setdefault("jit_compile", False)
        super().compile(optimizer=optimizer, **kwargs)
        # Built inside the first step, the optimizer would make TensorFlow trace that step twice.
        self.optimizer.build(self.trainable_variables)

    def compile_from_config(self, config):
        # Keras restores no optimizer where `compile` is overridden, unless told how.
        self.compile(**keras.saving.deserialize_keras_object(config))

    def losses_of(self, targets, raw) -> dict:
        """The parts of the loss of a batch; see the subclass."""
        raise TypeError(f"{type(self).__name__} does not define `losses_of`. Override it.")

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if not isinstance(y, dict) or not {"boxes", "labels"} <= set(y):
            raise ValueError(
                "The targets of a batch must be a dict with `boxes` (batch, max_boxes, 4) and "
                f"`labels` (batch, max_boxes). Received: {type(y).__name__} "
                f"{sorted(y) if isinstance(y, dict) else ''}. Train on "
                "keras_det.data.Pipeline(dataset, model, batch_size), or yield (images, targets)."
            )
        parts, replicas = self.losses_of(y, y_pred), num_replicas()
        for name, tracker in self._trackers.items():
            # Each device holds its share of the losses; the logs average over the devices.
            shares = replicas if name in self.LOSSES else 1
            tracker.update_state(parts[name] * shares)
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

    # Plain `fit`, `evaluate` and `predict` that also take a `keras_det.data.Pipeline`.

    def fit(self, x=None, y=None, *, validation_data=None, **kwargs):
        """Keras' `fit`; `x` and `validation_data` may be a `keras_det.data.Pipeline`.

        A training pipeline is an endless stream: `steps_per_epoch` comes from it, and with
        `initial_epoch` it goes on where that epoch begins.
        """
        self._check_compiled()
        pipelines = [p for p in (x, validation_data) if hasattr(p, "as_tf_dataset")]
        if hasattr(x, "as_tf_dataset"):
            self.check_dataset(x.dataset)
            kwargs.setdefault("steps_per_epoch", x.steps_per_epoch)
            kwargs.setdefault("shuffle", False)
            x.start(kwargs.get("initial_epoch", 0))
            x = x.as_tf_dataset()
        elif isinstance(y, dict):
            self._check_arrays(y)
        if hasattr(validation_data, "as_tf_dataset"):
            self.check_dataset(validation_data.dataset)
            validation_data = validation_data.as_tf_dataset()
        with _own_errors(*pipelines):
            return super().fit(x, y, validation_data=validation_data, **kwargs)

    def evaluate(self, x=None, y=None, **kwargs):
        """Keras' `evaluate`: the losses. `keras_det.training.evaluate` gives average precision."""
        pipelines = [x] if hasattr(x, "as_tf_dataset") else []
        if pipelines:
            self.check_dataset(x.dataset)
            x = x.as_tf_dataset()
        elif isinstance(y, dict):
            self._check_arrays(y)
        with _own_errors(*pipelines):
            return super().evaluate(x, y, **kwargs)

    def predict(self, x, **kwargs):
        """Keras' `predict`: detections in pixels of the network input, whole batches as arrays."""
        pipelines = [x] if hasattr(x, "as_tf_dataset") else []
        x = x.as_tf_dataset() if pipelines else x
        with _own_errors(*pipelines):
            return super().predict(x, **kwargs)

    def check_dataset(self, dataset):
        """Raises ValueError where a data set's classes are not the model's, in the same order."""
        if list(dataset.class_names) != self.class_names:
            raise ValueError(
                "The data set must have the model's classes in the model's order. Received: data "
                f"set {list(dataset.class_names)}, model {self.class_names}. Build the model with "
                "class_names=dataset.class_names, or load the data with "
                "class_names=model.class_names."
            )

    def _check_arrays(self, targets):
        labels = targets["labels"]
        if not isinstance(labels, np.ndarray):
            return
        for i, (boxes, row) in enumerate(zip(targets["boxes"], labels, strict=True)):
            try:
                check_ground_truth(boxes, row, self.num_classes)
            except ValueError as error:
                raise ValueError(f"Ground truth of image {i}: {error}") from None
