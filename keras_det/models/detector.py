"""What every detector does: names its classes, takes pipelines, decodes, detects."""

import contextlib
import warnings

import keras
import numpy as np

from keras_det.boxes import check_ground_truth
from keras_det.data.image import as_image
from keras_det.data.resize import RESIZE_MODES, Transform, resize_image
from keras_det.layers.replicas import num_replicas
from keras_det.models.compiled import compiled
from keras_det.models.fine_tuning import freeze_parts, is_own, load_own
from keras_det.models.optimizers import AdamW
from keras_det.models.parts import deserialized, serialized, with_policy
from keras_det.models.presets import from_preset, save_to_preset
from keras_det.models.quantization import add_rounding
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


class Detector(keras.Model):
    """A functional model from images to raw outputs that knows how to train and to detect.

    Subclasses build the network, set `self.normalization`, keep their arguments
    (`_keep_arguments`), name the parts of their loss (`LOSSES`), and define `losses_of`,
    `decoder`, `decode`, `class_variables` and `_load_public`.
    Raw outputs come from calling the model, detections from `predict` (pixels of the network input)
    and `detect` (pixels of the original image).
    """

    # What `losses_of` returns beside `positives_per_image`: their sum is trained on.
    LOSSES = ()

    def _describe(self, class_names, image_size, resize_mode):
        """Keeps what a saved model must know beside its weights."""
        if resize_mode not in RESIZE_MODES:
            raise ValueError(
                f"`resize_mode` must be one of {RESIZE_MODES}. Received: {resize_mode!r}. "
                "Letterbox keeps the aspect ratio; stretch is what MediaPipe does on a phone."
            )
        self.class_names = list(class_names)
        self.num_classes = len(self.class_names)
        self.resize_policy = {"mode": resize_mode, "size": tuple(image_size)}
        self._compiled_detect = {}
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
        self._arguments["freeze"] = parts

    def _check_compiled(self):
        optimizer = getattr(self, "optimizer", None)
        if optimizer is None or not optimizer.built:
            return
        known = len(optimizer._trainable_variables)
        if known != len(self.trainable_variables):
            raise ValueError(
                "The model must be compiled for the variables that train. Received: an optimizer "
                f"of {known} variables, {len(self.trainable_variables)} trainable ones. Call "
                "model.compile(…) after model.freeze(…)."
            )

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the network's input in pixels."""
        return self.resize_policy["size"]

    @property
    def quantization_aware(self) -> bool:
        """Whether it rounds to 8 bits while it computes: made by `models.quantize_aware`."""
        return bool(getattr(self, "roundings", ()))

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

    def decoder(self, exported: bool = False, **settings):
        """What turns raw outputs into detections; see the subclass.

        Args:
            exported: True for the one whose operators TFLite and TF Serving have built in; False
                for the fastest one here.
            **settings: `method`, `iou_threshold`, `sigma`, `score_threshold`, `pre_nms_top_k`,
                `max_detections`, `class_agnostic` and the subclass' own.
        """
        raise TypeError(f"{type(self).__name__} does not define `decoder`. Override it.")

    def decode(self, raw, decoder=None, **settings):
        """Turns raw outputs into detections; see the subclass."""
        raise TypeError(f"{type(self).__name__} does not define `decode`. Override it.")

    def class_variables(self) -> list:
        """Variables whose last axis holds an output for each class, perhaps several times over."""
        raise TypeError(f"{type(self).__name__} does not define `class_variables`. Override it.")

    def predict_step(self, data):
        images, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self.decode(self(images, training=False))

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

    def detect(self, images, batch_size: int = 8, **settings) -> dict | list[dict]:
        """Finds objects in images of any size.

        Args:
            images: one image or a list: uint8 array `(height, width, 3)` RGB, a path, or the
                encoded bytes of a JPEG, PNG, BMP or WebP.
            batch_size: images that go through the network together.
            **settings: `method`, `iou_threshold`, `sigma`, `score_threshold`, `pre_nms_top_k`,
                `max_detections`, `class_agnostic`, `candidates` of the decoder.

        Returns:
            dict (a list of dicts for a list) with `boxes` float32 `(n, 4)` xyxy in pixels of the
            original image, `scores` float32 `(n,)` from high to low, `labels` int32 `(n,)`,
            `num_detections` n, and `class_names`: the name of each detection.
        """
        single = not isinstance(images, (list, tuple))
        images = [images] if single else images
        results = []
        for start in range(0, len(images), batch_size):
            results += self._detect_batch(images[start : start + batch_size], settings)
        return results[0] if single else results

    def _detect_batch(self, images, settings):
        images = [as_image(image) for image in images]
        fill = self.normalization.fill_color
        resized, transforms = zip(
            *(resize_image(image, self.resize_policy, fill) for image in images), strict=True
        )
        found = self.detect_function(**settings)(np.stack(resized))
        detections = {key: keras.ops.convert_to_numpy(value) for key, value in found.items()}
        return [
            self.to_original(i, detections, transform.inverse(), image.shape)
            for i, (image, transform) in enumerate(zip(images, transforms, strict=True))
        ]

    def detect_function(self, **settings):
        """Images of the network's size to detections, compiled once per set of decoder settings."""
        key = repr(sorted(settings.items()))
        if key not in self._compiled_detect:
            self._compiled_detect[key] = self._compiled_detection(**settings)
        return self._compiled_detect[key]

    def _compiled_detection(self, **settings):
        decoder = self.decoder(**settings)
        return compiled(self, lambda raw: self.decode(raw, decoder))

    def to_original(self, i, detections, transform, shape):
        """Image i of a batch of detections, trimmed and in pixels of the original image.

        Args:
            i: index into the batch.
            detections: dict of numpy arrays as `predict` gives them.
            transform: (scale x, scale y, offset x, offset y): original = input * scale + offset.
            shape: (height, width, …) of the original image; boxes are clipped to it.
        """
        count = int(detections["num_detections"][i])
        boxes = Transform(*transform).apply(detections["boxes"][i, :count].astype("float32"))
        limits = np.array([shape[1], shape[0]] * 2, "float32")
        labels = detections["labels"][i, :count].astype("int32")
        return {
            "boxes": np.clip(boxes, 0, limits),
            "scores": detections["scores"][i, :count].astype("float32"),
            "labels": labels,
            "num_detections": count,
            "class_names": [self.class_names[label] for label in labels],
        }

    def with_changes(self, **changes) -> "Detector":
        """A copy with the same weights and other constructor arguments.

        Args:
            **changes: arguments of the constructor that do not change the shape of a weight, e.g.
                `image_size=(320, 416)` or `dtype="float32"` for an export after mixed precision.
        """
        config = self.get_config()
        if "dtype" in changes:
            config = with_policy(config, config["dtype"], changes["dtype"])
        copy = type(self).from_config({**config, **changes})
        copy.set_weights(self.get_weights())
        return copy

    def with_image_size(self, image_size) -> "Detector":
        """A copy with the same weights for another input size, an int or (height, width)."""
        return self.with_changes(image_size=image_size)

    def save_to_preset(self, preset_dir, *, source=None, license=None, metrics=None) -> None:
        """Writes the model as a folder to publish, in the form KerasHub's presets have.

        The folder holds `config.json` (the constructor's arguments: class names, image size,
        resizing, parts …), `model.weights.h5`, `metadata.json` and the model card `README.md`. The
        optimizer's state is not in it; `model.save("x.keras")` keeps that.

        Args:
            preset_dir: a folder that does not exist yet, or an empty one. Interrupted, nothing is
                left there.
            source: str or None. Where the weights come from: an address, the data they were
                trained on.
            license: str or None. Licence of the weights, e.g. "apache-2.0".
            metrics: what was measured: dict from `keras_det.training.evaluate`, or the path of a
                `metrics.json`. None: the card says "not measured".

        Raises:
            DataError: there is something at `preset_dir`, or `metrics` cannot be read.
        """
        save_to_preset(self, preset_dir, source=source, license=license, metrics=metrics)

    @classmethod
    def from_preset(cls, preset) -> "Detector":
        """Loads what `save_to_preset` wrote: a model of this class, `Detector` for any.

        For another input size or precision see `with_changes`.

        Args:
            preset: the folder, or "hf://owner/name" on Hugging Face, for which the package
                huggingface_hub must be installed.

        Raises:
            DataError: a file is missing or damaged (SHA-256), the preset holds a model of another
                class, or it cannot be fetched.
        """
        return from_preset(cls, preset)

    def _keep_arguments(self, **arguments):
        """Keeps the constructor's arguments for `get_config`, parts as configs."""
        # Past Keras' own attributes, which would take the parts for layers of the model once more.
        self.__dict__["_arguments"] = serialized(arguments)

    def get_config(self):
        rounding = {"quantization_aware": True} if self.quantization_aware else {}
        return {**self._arguments, **rounding}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        rounding = config.pop("quantization_aware", False)
        model = cls(**deserialized(config, custom_objects))
        if rounding:
            add_rounding(model)
        return model
