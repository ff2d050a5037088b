"""A detector that finds objects: decoding, and the way back to the original image."""

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

import keras
import numpy as np

from keras_det.data.image import as_image
from keras_det.data.resize import RESIZE_MODES, Transform, resize_image
from keras_det.decode.settings import ANCHOR_SETTINGS, DecoderSettings, takes_settings
from keras_det.models.compiled import compiled
from keras_det.models.saving import SavedDetector


class DetectingModel(SavedDetector):
    """A functional model from images to raw outputs that knows its classes, and detects.

    Raw outputs come from calling the model, detections from `predict` (pixels of the network input)
    and `detect` (pixels of the original image).
    """

    # Names and defaults of what `decoder`, `decode` and `predict` take, and `detect` and
    # `detect_function`.
    decoder_settings: ClassVar[dict[str, Any]] = ANCHOR_SETTINGS
    detect_settings: ClassVar[dict[str, Any]] = ANCHOR_SETTINGS

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
        self._keep(
            class_names=self.class_names,
            image_size=self.image_size,
            dtype=self.dtype_policy.name,
            name=self.name,
        )
        self._compiled_detect: dict[str, Any] = {}
        # Decoder of `predict`, and the settings it was made of.
        self._predicting: tuple[str, Any] = ("", None)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the network's input in pixels."""
        return self.resize_policy["size"]

    def decoder(self, exported: bool = False, **settings: Any) -> Any:
        """What turns raw outputs into detections; see the subclass.

        Args:
            exported: True for the one whose operators TFLite and TF Serving have built in; False
                for the fastest one here.
            **settings: `method`, `iou_threshold`, `sigma`, `score_threshold`, `pre_nms_top_k`,
                `max_detections`, `class_agnostic` and the subclass' own.
        """
        raise TypeError(f"{type(self).__name__} does not define `decoder`. Override it.")

    def decode(self, raw, decoder=None, **settings: Any) -> dict:
        """Turns raw outputs into detections; see the subclass."""
        raise TypeError(f"{type(self).__name__} does not define `decode`. Override it.")

    def one_decoder(self, decoder: Any, settings: Mapping[str, Any]) -> Any:
        """The decoder given, or one of these settings; ValueError where both are given."""
        if decoder is not None and settings:
            raise ValueError(
                "A decoder holds its settings: give `decoder` or settings, not both. Received: "
                f"{', '.join(settings)} beside a decoder. Give them to `model.decoder(…)`."
            )
        return decoder or self.decoder(**settings)

    def predict_step(self, *inputs):
        decoder, found = self._predicting[1], super().predict_step(*inputs)
        if keras.backend.backend() == "jax":  # which hands the model's state through
            return self.decode(found[0], decoder), found[1]
        return self.decode(found, decoder)

    def _predict_with(self, settings: Mapping[str, Any]) -> None:
        """Makes the next `predict` decode with these settings."""
        key = repr(sorted(settings.items()))
        if key != self._predicting[0]:
            self._predicting = (key, self.decoder(**settings))
            self.predict_function = None

    @takes_settings(ANCHOR_SETTINGS, "detect_settings")
    def detect(
        self, images, batch_size: int = 8, **settings: Unpack[DecoderSettings]
    ) -> dict | list[dict]:
        """Finds objects in images of any size.

        Args:
            images: one image or a list: uint8 array `(height, width, 3)` RGB, a path, or the
                encoded bytes of a JPEG, PNG, BMP or WebP; or an array of a batch,
                `(images, height, width, 3)`.
            batch_size: images that go through the network together.
            **settings: `method`, `iou_threshold`, `sigma`, `score_threshold`, `pre_nms_top_k`,
                `max_detections`, `class_agnostic`, `candidates` of the decoder.

        Returns:
            dict (a list of dicts for a list or a batch) with `boxes` float32 `(n, 4)` xyxy in
            pixels of the original image, `scores` float32 `(n,)` from high to low, `labels` int32
            `(n,)`, `num_detections` n, and `class_names`: the name of each detection.

        Raises:
            TypeError: a setting has no such name, or is of the wrong type.
            ValueError: a setting is out of its range, or an array is no RGB image.
        """
        return self._detect(images, batch_size, settings)

    def _detect(self, images, batch_size, settings):
        if isinstance(batch_size, bool) or not batch_size >= 1:
            raise ValueError(
                f"`batch_size` must be at least 1. Received: {batch_size!r}. The default is 8."
            )
        if isinstance(images, np.ndarray) and images.ndim == 4:
            images = list(images)
        single = not isinstance(images, (list, tuple))
        images = [images] if single else images
        results = []
        for start in range(0, len(images), batch_size):
            results += self._detect_batch(images[start : start + batch_size], settings)
        return results[0] if single else results

    def _detect_batch(self, images, settings):
        function = self.detect_function(**settings)
        images = [_rgb(image) for image in images]
        fill = self.normalization.fill_color
        resized, transforms = zip(
            *(resize_image(image, self.resize_policy, fill) for image in images), strict=True
        )
        found = function(np.stack(resized))
        detections = {key: keras.ops.convert_to_numpy(value) for key, value in found.items()}
        return [
            self.to_original(i, detections, transform.inverse(), image.shape)
            for i, (image, transform) in enumerate(zip(images, transforms, strict=True))
        ]

    @takes_settings(ANCHOR_SETTINGS, "detect_settings")
    def detect_function(self, **settings: Unpack[DecoderSettings]) -> Any:
        """Images of the network's size to detections, compiled once per set of decoder settings.

        Args:
            **settings: as of `detect`.

        Returns:
            Function of `(batch, height, width, 3)` images, uint8 or float in 0..255, of the
            network's size; returns what `decode` does.
        """
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


def _rgb(image) -> np.ndarray:
    """The pixels of an image; ValueError where an array has another form."""
    pixels = as_image(image)
    if pixels.ndim != 3 or pixels.shape[-1] != 3:
        raise ValueError(
            "An image as an array must have the shape (height, width, 3), RGB, a batch (images, "
            f"height, width, 3). Received: {pixels.shape}. Repeat a grey image over three channels."
        )
    return pixels
