"""Keras' `compile`, `fit`, `evaluate` and `predict` of a detector."""

import contextlib
from typing import Any, Unpack

import keras

from keras_det.data.pipeline import Pipeline
from keras_det.decode.settings import ANCHOR_SETTINGS, DecoderSettings, takes_settings
from keras_det.keras_private import optimized_variables
from keras_det.models.arguments_of_fit import (
    CLASS_WEIGHT,
    NOT_COMPILED,
    WEIGHTS,
    check_compile,
    check_data,
    check_length,
    check_stream,
    with_whole_epochs,
)
from keras_det.models.detecting import DetectingModel
from keras_det.optimizers import AdamW


class FittingModel(DetectingModel):
    """A detector whose `fit`, `evaluate` and `predict` also take a `keras_det.data.Pipeline`.

    Each argument of Keras' is obeyed or refused with a sentence.
    """

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

    def compile(
        self,
        optimizer: Any = "auto",
        loss: None = None,
        loss_weights: None = None,
        metrics: None = None,
        weighted_metrics: None = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str | None = None,
        auto_scale_loss: bool = True,
    ) -> None:
        """Keras' `compile`; without arguments AdamW with a clipped gradient.

        Args:
            optimizer: any Keras optimizer or name. "auto" is AdamW with a rate of 1e-3, weight
                decay 4e-5 and a global gradient norm of at most 10: its steps do not depend on the
                batch size. `keras_det.training.recipes` has schedules and the published optimizer.
            loss, loss_weights: left out: losses and their weights are arguments of the constructor
                (`class_loss`, `box_loss`, `box_loss_weight` …).
            metrics, weighted_metrics: left out: see `keras_det.training.evaluate` and
                `keras_det.training.EvaluateAP`.
            run_eagerly, steps_per_execution, auto_scale_loss: as in Keras.
            jit_compile: as in Keras. None is False under TensorFlow: on a CPU, XLA runs depthwise
                convolutions a hundred times slower, and every new shape recompiles. Elsewhere it
                is "auto".

        Raises:
            ValueError: a loss or metrics are given; the message says where they go.
        """
        given = {
            "loss": loss,
            "loss_weights": loss_weights,
            "metrics": metrics,
            "weighted_metrics": weighted_metrics,
        }
        check_compile(given)
        if isinstance(optimizer, str) and optimizer == "auto":
            optimizer = AdamW(1e-3, weight_decay=4e-5, global_clipnorm=10.0)
        if jit_compile is None:
            jit_compile = False if keras.backend.backend() == "tensorflow" else "auto"
        super().compile(
            optimizer=optimizer,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            auto_scale_loss=auto_scale_loss,
        )
        # Built inside the first step, the optimizer would make TensorFlow trace that step twice.
        self.optimizer.build(self.trainable_variables)

    def compile_from_config(self, config):
        # Keras restores no optimizer where `compile` is overridden, unless told how. Losses and
        # metrics, which earlier versions took and did not use, are left behind.
        config = {name: value for name, value in config.items() if name not in NOT_COMPILED}
        self.compile(**keras.saving.deserialize_keras_object(config))

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float | None = None,
        validation_data: Any = None,
        shuffle: bool | None = None,
        class_weight: None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | list[int] = 1,
    ) -> keras.callbacks.History:
        """Keras' `fit`; `x` and `validation_data` may be a `keras_det.data.Pipeline`.

        Of a pipeline `fit` asks the training stream, endless and in a new order every epoch:
        `steps_per_epoch` comes from it, and with `initial_epoch` it goes on where that epoch
        begins. `validation_data` is one pass in order.

        Args:
            x, y: a pipeline; images and a dict of targets; or a stream of `(images, targets)` or
                `(images, targets, sample_weight)`.
            sample_weight: `(images,)`, at least 0, beside arrays. An image of weight w counts as w
                copies of it would: 0 leaves it out. Losses and the number of positives that they
                are divided by both count it so.
            class_weight: left out: `SparseSigmoidFocalLoss(class_weights=…)` as `class_loss`.
            batch_size, shuffle, validation_split, validation_batch_size: of arrays alone.
            epochs, verbose, callbacks, validation_steps, validation_freq: as in Keras.

        Raises:
            ValueError: an argument cannot be obeyed, the batches have another form, or the stream
                ends before `epochs` do.
            DataError: images of a pipeline cannot be read.
        """
        self._check_compiled()
        of_arrays = {"y": y, "batch_size": batch_size, "shuffle": shuffle}
        of_arrays |= {"sample_weight": sample_weight, "validation_split": validation_split or None}
        self._check_data("fit", x, y, sample_weight, class_weight, of_arrays)
        self._check_validation(validation_data, validation_batch_size)
        pipelines = [each for each in (x, validation_data) if isinstance(each, Pipeline)]
        if isinstance(x, Pipeline):
            steps_per_epoch = steps_per_epoch or x.steps_per_epoch
            _start(x, initial_epoch, steps_per_epoch, self.steps_per_execution)
            x = x.as_tf_dataset(training=True)
        if isinstance(validation_data, Pipeline):
            validation_steps = validation_steps or validation_data.batches_per_pass
            validation_data = validation_data.as_tf_dataset(training=False)
        check_length(x, steps_per_epoch, epochs - initial_epoch)
        with _own_errors(*pipelines):
            return super().fit(
                x,
                y,
                batch_size=batch_size,
                epochs=epochs,
                verbose=verbose,
                callbacks=with_whole_epochs(callbacks, self),
                validation_split=validation_split or 0.0,
                validation_data=validation_data,
                # Streams bring their own order; Keras warns of True there.
                shuffle=_can_shuffle(x) if shuffle is None else shuffle,
                sample_weight=sample_weight,
                initial_epoch=initial_epoch,
                steps_per_epoch=steps_per_epoch,
                validation_steps=validation_steps,
                validation_batch_size=validation_batch_size,
                validation_freq=validation_freq,
            )

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Keras' `evaluate`: the losses. `keras_det.training.evaluate` gives average precision.

        The mean of the batches' losses, each by its number of images, as Keras computes `loss`: the
        parts add up to it. `positives_per_image` is the mean over the images.

        Args:
            x, y, sample_weight: as of `fit`; a pipeline is one pass, in order.
            batch_size: of arrays alone.
            verbose, steps, callbacks, return_dict: as in Keras.
        """
        pipelines = [x] if isinstance(x, Pipeline) else []
        if not kwargs:  # Keras' own call, inside `fit`, has been checked there
            of_arrays = {"y": y, "batch_size": batch_size, "sample_weight": sample_weight}
            self._check_data("evaluate", x, y, sample_weight, None, of_arrays)
        if pipelines:
            steps = steps or x.batches_per_pass
            x = x.as_tf_dataset(training=False)
        with _own_errors(*pipelines):
            return super().evaluate(
                x,
                y,
                batch_size=batch_size,
                verbose=verbose,
                sample_weight=sample_weight,
                steps=steps,
                callbacks=callbacks,
                return_dict=return_dict,
                **kwargs,
            )

    @takes_settings(ANCHOR_SETTINGS, "decoder_settings")
    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Any = None,
        **settings: Unpack[DecoderSettings],
    ) -> dict:
        """Keras' `predict`: detections in pixels of the network input, whole batches as arrays.

        Args:
            x: images of the network's size, a stream of them, or a pipeline: one pass, in order.
            batch_size: of arrays alone.
            verbose, steps, callbacks: as in Keras.
            **settings: as of `detect`.

        Returns:
            dict of arrays as `decode` returns them.
        """
        check_stream("predict", x, {"batch_size": batch_size})
        self._predict_with(settings)
        pipelines = [x] if isinstance(x, Pipeline) else []
        if pipelines:
            steps = steps or x.batches_per_pass
            x = x.as_tf_dataset(training=False)
        with _own_errors(*pipelines):
            return super().predict(
                x, batch_size=batch_size, verbose=verbose, steps=steps, callbacks=callbacks
            )

    def train_on_batch(self, x, y=None, sample_weight=None, class_weight=None, return_dict=False):
        """Keras' `train_on_batch`; `sample_weight` as of `fit`, `class_weight` is left out."""
        self._check_data("train_on_batch", x, y, sample_weight, class_weight, {})
        return super().train_on_batch(x, y, sample_weight, return_dict=return_dict)

    def test_on_batch(self, x, y=None, sample_weight=None, return_dict=False):
        """Keras' `test_on_batch`; `sample_weight` as of `fit`."""
        self._check_data("test_on_batch", x, y, sample_weight, None, {})
        return super().test_on_batch(x, y, sample_weight, return_dict=return_dict)

    def _check_data(self, function, x, y, sample_weight, class_weight, of_arrays):
        if class_weight is not None:
            raise ValueError(CLASS_WEIGHT.format(value=class_weight))
        if isinstance(x, Pipeline):
            self.check_dataset(x.dataset)
        check_stream(function, x, of_arrays)
        check_data("x", x, y, sample_weight, self.num_classes)

    def _check_validation(self, data, batch_size):
        if isinstance(data, Pipeline):
            self.check_dataset(data.dataset)
        check_stream("fit", data, {"validation_batch_size": batch_size})
        x, y, weights = (
            (*data, None, None)[:3] if isinstance(data, (tuple, list)) else (data, None, None)
        )
        check_data("validation_data", x, y, weights, self.num_classes)

    def check_dataset(self, dataset):
        """Raises ValueError where a data set's classes are not the model's, in the same order."""
        if list(dataset.class_names) != self.class_names:
            raise ValueError(
                "The data set must have the model's classes in the model's order. Received: data "
                f"set {list(dataset.class_names)}, model {self.class_names}. Build the model with "
                "class_names=dataset.class_names, or load the data with "
                "class_names=model.class_names."
            )


@contextlib.contextmanager
def _own_errors(*pipelines):
    """Raises what is wrong with the data itself, which TensorFlow wraps in its own error."""
    try:
        yield
    except Exception as error:
        for pipeline in pipelines:
            pipeline.check()
        if WEIGHTS in str(error) and not isinstance(error, ValueError):
            raise ValueError(f"{WEIGHTS}. Received: a negative one, or no number.") from error
        raise


def _can_shuffle(x) -> bool:
    """Whether Keras shuffles these data: arrays, and the batches of a finite PyDataset."""
    if isinstance(x, keras.utils.PyDataset):
        return x.num_batches is not None
    return hasattr(x, "shape")


def _start(pipeline, initial_epoch, steps_per_epoch, steps_per_execution):
    """Moves a training stream to where an epoch of these steps begins."""
    if steps_per_epoch % steps_per_execution:
        raise ValueError(
            "`steps_per_epoch` must be a multiple of compile's `steps_per_execution`: Keras would "
            f"take more batches than an epoch has. Received: steps_per_epoch={steps_per_epoch}, "
            f"steps_per_execution={steps_per_execution}. Give `fit` a steps_per_epoch that is one."
        )
    epoch, rest = divmod(initial_epoch * steps_per_epoch, pipeline.steps_per_epoch)
    if rest:
        raise ValueError(
            "A training that goes on must begin where an epoch of the pipeline does. Received: "
            f"initial_epoch={initial_epoch}, steps_per_epoch={steps_per_epoch}, and a pipeline of "
            f"{pipeline.steps_per_epoch} steps. Leave out steps_per_epoch."
        )
    pipeline.start(epoch)
