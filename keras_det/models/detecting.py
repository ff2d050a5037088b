"""A detector that finds objects: decoding, and the way back to the original image."""

import keras
import numpy as np

from keras_det.data.image import as_image
from keras_det.data.resize import RESIZE_MODES, Transform, resize_image
from keras_det.models.compiled import compiled
from keras_det.models.saving import SavedDetector


class DetectingModel(SavedDetector):
    """A functional model from images to raw outputs that knows its classes, and detects.

    Raw outputs come from calling the model, detections from `predict` (pixels of the network input)
    and `detect` (pixels of the original image).
    """

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

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the network's input in pixels."""
        return self.resize_policy["size"]

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

    def predict_step(self, data):
        images, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self.decode(self(images, training=False))

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
