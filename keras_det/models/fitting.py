"""The part of a detector that has Keras' `compile`, `fit`, `evaluate` and `predict`."""

from collections.abc import Callable
from typing import Any, Unpack

import keras
import numpy as np

from keras_det.data.dataset import Dataset
from keras_det.data.pipeline import Pipeline
from keras_det.decode.settings import ANCHOR_SETTINGS, DecoderSettings, takes_settings
from keras_det.keras_private import StepFunctions, optimized_variables
from keras_det.models.arguments_of_fit import (
    CLASS_WEIGHT,
    NOT_COMPILED,
    check_compile,
    check_data,
    check_length,
    check_stream,
    with_open_batch,
    with_whole_epochs,
)
from keras_det.models.callbacks_of_fit import warn_of_own_weights
from keras_det.models.detecting import DetectingModel
from keras_det.models.inputs_of_fit import (
    alone,
    as_array,
    can_shuffle,
    check_batch,
    check_compiling,
    check_images,
    check_numbers,
    check_validating,
    start,
)
from keras_det.models.shared_stream import (
    check_optimizer,
    logs_of_step,
    one_pass,
    scope_of,
    training_stream,
)
from keras_det.models.streams import checked_stream, own_errors
from keras_det.optimizers import AdamW
from keras_det.types import Config, Tensor
from keras_det.words import counted


class FittingModel(StepFunctions, DetectingModel):
    """A detector whose `fit`, `evaluate` and `predict` also take a `keras_det.data.Pipeline`.

    Every argument that Keras has either works or is refused with a message.
    """

    def _check_compiled(self) -> None:
        """Raises a ValueError if the optimizer was built for other variables."""
        optimizer = getattr(self, "optimizer", None)
        if optimizer is None or not optimizer.built:
            return
        known = {id(variable) for variable in optimized_variables(optimizer)}
        own = {id(variable) for variable in self.trainable_variables}
        if known != own:
            other = "" if len(known) != len(own) else "other "
            raise ValueError(
                "The model must be compiled for its trainable variables. Received: an optimizer "
                f"for {counted(len(known), 'variable')}, but "
                f"{counted(len(own), f'{other}trainable variable')}. Call model.compile(…) again "
                "after freezing or unfreezing layers."
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
        """Keras' `compile`. Without arguments it uses AdamW with a clipped gradient.

        Args:
            optimizer: any Keras optimizer or name. "auto" is AdamW with a rate of 1e-3, weight
                decay 4e-5 and a global gradient norm of at most 10: its steps do not depend on the
                batch size. `keras_det.training.recipes` has schedules and the published optimizer.
            loss, loss_weights: must be None. Losses and their weights are arguments of the
                constructor (`class_loss`, `box_loss`, `box_loss_weight` …).
            metrics, weighted_metrics: must be None. See `keras_det.training.evaluate` and
                `keras_det.training.EvaluateAP`.
            run_eagerly, steps_per_execution, auto_scale_loss: as in Keras.
            jit_compile: as in Keras. None means False under TensorFlow and "auto" elsewhere: on a
                CPU, XLA runs depthwise convolutions a hundred times slower, and it compiles again
                for every new shape.

        Raises:
            TypeError: the optimizer is None, or `steps_per_execution` is not whole.
            ValueError: a loss or metrics are given, and the message says where to give them;
                `steps_per_execution` is below 1; or several devices cannot share the optimizer.
        """
        given = {"loss": loss, "loss_weights": loss_weights, "metrics": metrics}
        check_compile({**given, "weighted_metrics": weighted_metrics})
        check_compiling(optimizer, steps_per_execution)
        scaled = auto_scale_loss and self.dtype_policy.name == "mixed_float16"
        check_optimizer(optimizer, self, scaled)
        if jit_compile is None:
            jit_compile = False if keras.backend.backend() == "tensorflow" else "auto"
        with scope_of(self):
            if isinstance(optimizer, str) and optimizer == "auto":
                optimizer = AdamW(1e-3, weight_decay=4e-5, global_clipnorm=10.0)
            super().compile(
                optimizer=optimizer,
                run_eagerly=run_eagerly,
                steps_per_execution=steps_per_execution,
                jit_compile=jit_compile,
                auto_scale_loss=auto_scale_loss,
            )
            # Else the first step would build the optimizer, and TensorFlow would trace it twice.
            self.optimizer.build(self.trainable_variables)

    def compile_from_config(self, config: Config) -> None:
        # Keras calls this when it loads a compiled model whose `compile` is overridden. Losses and
        # metrics are dropped: earlier versions accepted and saved them, but did not use them.
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

        From a pipeline `x`, `fit` takes the training stream: endless, with a new order in every
        epoch. The pipeline sets `steps_per_epoch`. With `initial_epoch` the stream starts where
        that epoch begins. From a pipeline `validation_data`, it takes one pass in order.

        Args:
            x, y: a pipeline; or images and a dict of targets; or a stream of `(images, targets)` or
                `(images, targets, sample_weight)`. Labels and weights are checked, also in every
                batch of a `tf.data.Dataset`, a generator and a PyDataset.
            sample_weight: `(images,)`, at least 0, for arrays. An image of weight w counts like w
                copies of it, both in the losses and in the number of positives that they are
                divided by. Weight 0 ignores an image.
            class_weight: must be None. Use `class_loss=SparseSigmoidFocalLoss(class_weights=…)` in
                the constructor.
            batch_size, shuffle, validation_split, validation_batch_size: for arrays only.
            initial_epoch, steps_per_epoch: as in Keras; see above for a pipeline.
            epochs, verbose, callbacks, validation_steps, validation_freq: as in Keras.

        Raises:
            TypeError: a number of images, batches or epochs is not whole.
            ValueError: an argument does not fit the data or would be ignored, images have another
                size than the network's input, the batches have another form, a label or a weight
                is out of its range, or the stream ends too early.
            DataError: too many images of a pipeline cannot be read.
        """
        self._check_compiled()
        x = alone(x)
        check_numbers(epochs=epochs, initial_epoch=initial_epoch, steps_per_epoch=steps_per_epoch)
        for_arrays = {"y": y, "batch_size": batch_size, "shuffle": shuffle}
        for_arrays |= {"sample_weight": sample_weight, "validation_split": validation_split or None}
        self._check_data("fit", x, y, sample_weight, class_weight, for_arrays)
        sizes = {"validation_steps": validation_steps}
        sizes |= {"validation_batch_size": validation_batch_size}
        check_validating(validation_split, validation_data, validation_freq, **sizes)
        self._check_validation(validation_data, validation_batch_size)
        pipelines = [each for each in (x, validation_data) if isinstance(each, Pipeline)]
        x = checked_stream(x, self.num_classes)
        validation_data = checked_stream(validation_data, self.num_classes)
        if isinstance(x, Pipeline):
            steps_per_epoch = steps_per_epoch or x.steps_per_epoch
            start(x, initial_epoch, steps_per_epoch, self.steps_per_execution)
            x = training_stream(x, self)
        if isinstance(validation_data, Pipeline):
            validation_steps = validation_steps or validation_data.batches_per_pass
            validation_data = one_pass(validation_data, self)
        check_length(x, steps_per_epoch, epochs - initial_epoch)
        warn_of_own_weights(callbacks, getattr(self, "optimizer", None))
        with own_errors(*pipelines):
            return super().fit(
                x,
                y,
                batch_size=batch_size,
                epochs=epochs,
                verbose=verbose,
                callbacks=with_whole_epochs(callbacks, self),
                validation_split=validation_split or 0.0,
                validation_data=validation_data,
                # A stream has its own order; Keras warns if `shuffle` is True there.
                shuffle=can_shuffle(x) if shuffle is None else shuffle,
                sample_weight=as_array(sample_weight),
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
        """Keras' `evaluate`: the losses. For average precision see `keras_det.training.evaluate`.

        Each loss is the mean over the batches, weighted by their number of images, as Keras
        computes `loss`. The parts add up to `loss`; one of them is `regularization_loss` where the
        model has regularisers, or a layer that calls `add_loss`. `positives_per_image` is the mean
        over the images.

        Args:
            x, y, sample_weight: as in `fit`. A pipeline gives one pass, in order.
            batch_size: for arrays only.
            verbose, steps, callbacks, return_dict: as in Keras.
            **kwargs: Keras' own, when `fit` calls it for validation.

        Returns:
            As in Keras: a list of numbers, or a dict with `return_dict=True`.

        Raises:
            TypeError: a number of images or batches is not whole.
            ValueError: an argument does not fit the data, images have another size, the batches
                have another form, a label or a weight is out of its range, or there are none.
            DataError: too many images of a pipeline cannot be read.
        """
        pipelines = [x] if isinstance(x, Pipeline) else []
        if not kwargs:  # `fit` checks before Keras calls this for validation.
            x, callbacks = alone(x), with_whole_epochs(callbacks, self)
            check_numbers(steps=steps)
            for_arrays = {"y": y, "batch_size": batch_size, "sample_weight": sample_weight}
            self._check_data("evaluate", x, y, sample_weight, None, for_arrays)
            x = checked_stream(x, self.num_classes)
        if pipelines:
            steps = steps or x.batches_per_pass
            x = one_pass(x, self)
        with own_errors(*pipelines):
            return super().evaluate(
                x,
                y,
                batch_size=batch_size,
                verbose=verbose,
                sample_weight=as_array(sample_weight),
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
    ) -> dict[str, np.ndarray]:
        """Keras' `predict`: detections in pixels of the network input, as arrays.

        Args:
            x: images of the network's size, a stream of batches of them, or a pipeline for one
                pass, in order.
            batch_size: for arrays only.
            verbose, steps, callbacks: as in Keras.
            **settings: settings of the decoder, as in `decode`.

        Returns:
            dict of NumPy arrays, with the keys and shapes that `decode` returns.

        Raises:
            TypeError: a number of images or batches is not whole.
            ValueError: images have another size than the network's input, or there are none.
        """
        check_numbers(batch_size=batch_size, steps=steps)
        check_stream("predict", x, {"batch_size": batch_size})
        check_images("x", x, self)
        callbacks = with_whole_epochs(callbacks, self)
        self._predict_with(settings)
        pipelines = [x] if isinstance(x, Pipeline) else []
        if pipelines:
            steps = steps or x.batches_per_pass
            x = one_pass(x, self)
        with own_errors(*pipelines):
            return super().predict(
                x, batch_size=batch_size, verbose=verbose, steps=steps, callbacks=callbacks
            )

    def train_step(self, *inputs: Any) -> Any:
        return self._logs(super().train_step, inputs)

    def test_step(self, *inputs: Any) -> Any:
        return self._logs(super().test_step, inputs)

    def _logs(self, step: Callable[..., Any], inputs: tuple[Any, ...]) -> Any:
        """The logs of a step of Keras."""
        check_batch("x", inputs[-1], self)
        logs = step(*(inputs if self.one_function() else with_open_batch(inputs)))
        return logs if keras.backend.backend() != "tensorflow" else logs_of_step(logs, self)

    def predict_step(self, *inputs: Any) -> Any:
        check_batch("x", inputs[-1], self)
        return super().predict_step(*inputs)

    def train_on_batch(
        self,
        x: Tensor,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: None = None,
        return_dict: bool = False,
    ) -> Any:
        """Keras' `train_on_batch`; `sample_weight` as in `fit`, `class_weight` must be None."""
        self._check_data("train_on_batch", x, y, sample_weight, class_weight, {})
        return super().train_on_batch(x, y, as_array(sample_weight), return_dict=return_dict)

    def test_on_batch(
        self, x: Tensor, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Keras' `test_on_batch`; `sample_weight` as in `fit`."""
        self._check_data("test_on_batch", x, y, sample_weight, None, {})
        return super().test_on_batch(x, y, as_array(sample_weight), return_dict=return_dict)

    def _check_data(
        self,
        function: str,
        x: Any,
        y: Any,
        sample_weight: Any,
        class_weight: Any,
        for_arrays: dict[str, Any],
    ) -> None:
        if class_weight is not None:
            raise ValueError(CLASS_WEIGHT.format(value=class_weight))
        if isinstance(x, Pipeline):
            self.check_dataset(x.dataset)
        check_numbers(batch_size=for_arrays.get("batch_size"))
        check_stream(function, x, for_arrays)
        check_data("x", alone(x), y, sample_weight, self.num_classes)
        check_images("x", alone(x), self)

    def _check_validation(self, data: Any, batch_size: int | None) -> None:
        if isinstance(data, Pipeline):
            self.check_dataset(data.dataset)
        check_stream("fit", data, {"validation_batch_size": batch_size})
        x, y, weights = (
            (*data, None, None)[:3] if isinstance(data, (tuple, list)) else (data, None, None)
        )
        x = alone(x)
        check_data("validation_data", x, y, weights, self.num_classes)
        check_images("validation_data", x, self)

    def check_dataset(self, dataset: Dataset) -> None:
        """Raises a ValueError unless a data set has the model's classes, in the same order.

        Raises:
            TypeError: `dataset` is not a `keras_det.data.Dataset`.
        """
        if not isinstance(dataset, Dataset):
            raise TypeError(
                "The data set must be a keras_det.data.Dataset. Received: "
                f"{type(dataset).__name__}. Load it with keras_det.data.load(path, split=…)."
            )
        if list(dataset.class_names) != self.class_names:
            raise ValueError(
                "The data set must have the model's classes in the model's order. Received: data "
                f"set {list(dataset.class_names)}, model {self.class_names}. Build the model with "
                "class_names=dataset.class_names, or load the data with "
                "class_names=model.class_names."
            )
