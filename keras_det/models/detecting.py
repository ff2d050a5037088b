"""The part of a detector that detects: decoding, and boxes in pixels of the original image."""

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, ClassVar, Unpack, overload

import keras
import numpy as np

from keras_det.data.image import rgb_pixels
from keras_det.data.resize import Transform, resize_image
from keras_det.decode.settings import ANCHOR_SETTINGS, DecoderSettings, takes_settings
from keras_det.last_used import MOST_FUNCTIONS, MOST_SETTINGS, LastUsed
from keras_det.models.compiled import compiled
from keras_det.models.saving import SavedDetector
from keras_det.names import RESIZE_MODES
from keras_det.types import Detections, Image, Images, OneImage, Size, Tensor
from keras_det.video.seen import remember
from keras_det.video.sources import OneSource
from keras_det.video.stream import stream, thresholds_for


class DetectingModel(SavedDetector):
    """A functional model from images to raw outputs that can turn them into detections.

    Calling the model gives raw outputs. `predict` gives detections in pixels of the network input,
    `detect` in pixels of the original image.
    """

    # Names and defaults of the settings: the first of `decoder`, `decode` and `predict`, the second
    # of `detect` and `detect_function`.
    decoder_settings: ClassVar[dict[str, Any]] = ANCHOR_SETTINGS
    detect_settings: ClassVar[dict[str, Any]] = ANCHOR_SETTINGS

    def describe(self, class_names: Sequence[str], image_size: Size, resize_mode: str) -> None:
        """Sets what a model must know besides its weights. Constructors call it after `super()`.

        Args:
            class_names: one name per class.
            image_size: (height, width) of the network's input in pixels.
            resize_mode: "letterbox", "stretch" or "mediapipe".
        """
        if resize_mode not in RESIZE_MODES:
            raise ValueError(
                f"`resize_mode` must be one of {RESIZE_MODES}. Received: {resize_mode!r}. "
                "Letterbox keeps the aspect ratio, stretch does not; mediapipe stretches and "
                "samples as MediaPipe does."
            )
        self.class_names = list(class_names)
        self.num_classes = len(self.class_names)
        self.resize_policy: dict[str, Any] = {"mode": resize_mode, "size": tuple(image_size)}
        self._keep(
            class_names=self.class_names,
            image_size=self.image_size,
            dtype=self.dtype_policy.name,
            name=self.name,
        )
        # What `detect_function` returns for each set of settings, and the compiled functions.
        self._functions: LastUsed[Callable[[Tensor], dict[str, Tensor]]] = LastUsed(MOST_SETTINGS)
        self._programs: LastUsed[Callable[..., Any]] = LastUsed(MOST_FUNCTIONS)
        # The settings of the last `predict`, as text, and the decoder made from them.
        self._predicting: tuple[str, Any] = ("", None)

    @property
    def image_size(self) -> Size:
        """(height, width) of the network's input in pixels."""
        return self.resize_policy["size"]

    def decoder(self, exported: bool = False, *args: Any, **settings: Any) -> Any:
        """Returns an object that turns raw outputs into detections; see the subclass.

        Args:
            exported: True gives a decoder of operators that TFLite and TF Serving have built in;
                False the fastest one on this machine.
            *args: further arguments of the subclass.
            **settings: `method`, `iou_threshold`, `sigma`, `score_threshold`, `pre_nms_top_k`,
                `max_detections`, `class_agnostic` and those of the subclass.
        """
        raise TypeError(f"{type(self).__name__} does not define `decoder`. Override it.")

    def decode(
        self, raw: dict[str, Any], decoder: Any = None, *args: Any, **settings: Any
    ) -> dict[str, Tensor]:
        """Turns raw outputs into detections; see the subclass."""
        raise TypeError(f"{type(self).__name__} does not define `decode`. Override it.")

    def one_decoder(self, decoder: Any, settings: Mapping[str, Any]) -> Any:
        """Returns the given decoder, or one with these settings; ValueError if both are given."""
        if decoder is not None and settings:
            raise ValueError(
                "A decoder has its own settings: give `decoder` or settings, not both. Received: "
                f"{', '.join(settings)} together with a decoder. Give the settings to "
                "`model.decoder(…)`."
            )
        return decoder or self.decoder(**settings)

    def predict_step(self, *inputs: Any) -> Any:
        decoder, found = self._predicting[1], super().predict_step(*inputs)
        if keras.backend.backend() == "jax":  # JAX returns the model's state too.
            return self.decode(found[0], decoder), found[1]
        return self.decode(found, decoder)

    def _predict_with(self, settings: Mapping[str, Any]) -> None:
        """Sets the settings with which the next `predict` decodes."""
        key = repr(sorted(settings.items()))
        if key != self._predicting[0]:
            self._predicting = (key, self.decoder(**settings))
            self.predict_function = None

    @takes_settings(ANCHOR_SETTINGS, "decoder_settings")
    def predict_on_batch(self, x: Tensor, **settings: Unpack[DecoderSettings]) -> dict[str, Any]:
        """Keras' `predict_on_batch`: the detections of one batch, with settings of its own.

        Args:
            x: images of the network's size, `(batch, height, width, 3)`.
            **settings: settings of the decoder, as in `decode`. Those of earlier calls do not
                count.

        Returns:
            dict of NumPy arrays, with the keys and shapes that `decode` returns.
        """
        self._predict_with(settings)
        return super().predict_on_batch(x)

    @overload
    def detect(
        self, images: OneImage, batch_size: int = 8, **settings: Unpack[DecoderSettings]
    ) -> Detections: ...
    @overload
    def detect(
        self, images: Images, batch_size: int = 8, **settings: Unpack[DecoderSettings]
    ) -> list[Detections]: ...
    @overload
    def detect(
        self, images: np.ndarray, batch_size: int = 8, **settings: Unpack[DecoderSettings]
    ) -> Any: ...
    @takes_settings(ANCHOR_SETTINGS, "detect_settings")
    def detect(
        self,
        images: Image | Images,
        batch_size: int = 8,
        **settings: Unpack[DecoderSettings],
    ) -> Detections | list[Detections]:
        """Finds objects in images of any size.

        Args:
            images: one image or a list: uint8 array `(height, width, 3)` RGB, a path, or the
                encoded bytes of a JPEG, PNG, BMP or WebP; or an array of a batch,
                `(images, height, width, 3)`.
            batch_size: images that go through the network together.
            **settings: settings of the decoder: `method`, `iou_threshold`, `sigma`,
                `score_threshold`, `pre_nms_top_k`, `max_detections`, `class_agnostic`,
                `candidates`. The first call compiles the network, which takes seconds. So does the
                first call with a new number of images in a batch, or with new settings other than
                thresholds and `sigma`. What was compiled for the last four sets of settings is
                kept.

        Returns:
            `keras_det.types.Detections`, a dict with `boxes` float32 `(n, 4)` xyxy in pixels of the
            original image, `scores` float32 `(n,)` from high to low, `labels` int32 `(n,)`,
            `num_detections` n, and `class_names`, the class of each detection. A list or a batch of
            images gives a list of such dicts. Type checkers do not see whether a plain
            `np.ndarray` is one image or a batch: annotate the result there.

        Raises:
            TypeError: a setting does not exist or has the wrong type.
            ValueError: a setting is out of its range, or an array is not an RGB image.
        """
        return self._detect(images, batch_size, settings)

    def _detect(self, images: Any, batch_size: int, settings: Mapping[str, Any]) -> Any:
        """What `detect` does, with all settings in one mapping."""
        if isinstance(batch_size, bool) or not batch_size >= 1:
            raise ValueError(
                f"`batch_size` must be at least 1. Received: {batch_size!r}. The default is 8."
            )
        if isinstance(images, np.ndarray) and images.ndim == 4:
            images = list(images)
        single = not isinstance(images, (list, tuple))
        images = [images] if single else images
        results: list[Detections] = []
        for start in range(0, len(images), batch_size):
            rows = images[start : start + batch_size]
            # The last batch is filled up: for another batch size the model is compiled again.
            size = batch_size if start else len(rows)
            results += self._detect_batch(rows, settings, size)
        for image, found in zip(images, results, strict=True):
            remember(found, image, self.score_thresholds)
        return results[0] if single else results

    @takes_settings(ANCHOR_SETTINGS, "detect_settings")
    def stream(
        self,
        source: OneSource | Sequence[OneSource],
        batch_size: int = 8,
        every: int = 1,
        track: bool = False,
        **settings: Unpack[DecoderSettings],
    ) -> Generator[Detections, None, None]:
        """Finds objects in images, videos or a camera, one after another.

            for found in model.stream("clip.mp4", score_threshold=0.3):
                print(found["frame"], found["time"], found["class_names"])

        Memory does not grow with the length of a video: the frames of one batch are held, and as
        many are read ahead in a thread. Videos, cameras and tracking need the extra `video`.

        Args:
            source: a file, a folder, a pattern such as "photos/*.jpg", the index of a camera, or a
                list of these. A folder is searched with its subfolders, in sorted order.
            batch_size: frames that go through the network together. Those of a camera go one by
                one.
            every: of a video, take frames 0, `every`, 2 * `every` and so on.
            track: bool. True tracks objects: each keeps its ID through a video (ByteTrack).
            **settings: settings of the decoder, as in `detect`.

        Returns:
            A generator of `keras_det.types.Detections`, in the order of the source: the keys of
            `detect`, and `image` uint8 RGB, `path`, `frame` (index, from 0) and `time` (seconds);
            the last two are None for an image. With `track`, also `track_ids` int32 `(n,)`: the
            track ID of each detection, -1 for none. What cannot be read is left out, with a
            warning. Closing the generator closes the file.

        Raises:
            DataError: a source does not exist, nothing can be read, a package is missing, or
                `track` is set and there is no video.
            TypeError, ValueError: a setting is wrong, as in `detect`.
        """
        return self._stream(source, batch_size, every, track, settings)

    def _stream(
        self,
        source: OneSource | Sequence[OneSource],
        batch_size: int,
        every: int,
        track: bool,
        settings: Mapping[str, Any],
    ) -> Generator[Detections, None, None]:
        """What `stream` does, with all settings in one mapping."""
        of_decoder = {name: settings[name] for name in settings if name != "original_size"}
        self.detect_function(**of_decoder)  # a wrong setting is an error at once
        detect, lowest = self.in_batches(batch_size, settings), settings.get("score_threshold")
        thresholds = thresholds_for(lowest, self.score_thresholds, self.num_classes)
        return stream(detect, source, batch_size, every, track, thresholds)

    def in_batches(
        self, batch_size: int, settings: Mapping[str, Any]
    ) -> Callable[[list[np.ndarray]], list[Detections]]:
        """A function that detects in lists of images, for which the network is compiled once.

        Args:
            batch_size: number of images in a list; the last list may be shorter.
            settings: of `detect`.
        """
        started = False

        def detect(images: list[np.ndarray]) -> list[Detections]:
            nonlocal started
            size, started = batch_size if started else len(images), True
            return self._detect_batch(images, settings, size)

        return detect

    def _detect_batch(
        self, images: Sequence[Image], settings: Mapping[str, Any], size: int
    ) -> list[Detections]:
        """The detections of images that go through the network together, in a batch of `size`."""
        function = self.detect_function(**settings)
        pixels = [rgb_pixels(image) for image in images]
        fill = self.normalization.fill_color
        resized, transforms = zip(
            *(resize_image(image, self.resize_policy, fill) for image in pixels), strict=True
        )
        padding = [np.zeros_like(resized[0])] * (size - len(resized))
        found = function(np.stack([*resized, *padding]))
        detections = {key: keras.ops.convert_to_numpy(value) for key, value in found.items()}
        return [
            self.to_original(i, detections, transform.inverse(), image.shape)
            for i, (image, transform) in enumerate(zip(pixels, transforms, strict=True))
        ]

    @takes_settings(ANCHOR_SETTINGS, "detect_settings")
    def detect_function(
        self, **settings: Unpack[DecoderSettings]
    ) -> Callable[[Tensor], dict[str, Tensor]]:
        """Returns a compiled function from images of the network's size to detections.

        It is compiled once for all values of `iou_threshold`, `sigma`, `score_threshold` and
        CornerNet's `embedding_threshold`, and once for each set of the other settings; the last
        four of them are kept.

        Args:
            **settings: as in `detect`.

        Returns:
            Function of images `(batch, height, width, 3)` of the network's size, uint8 or float in
            0..255. It returns the same dict as `decode`.
        """
        key = repr(sorted(settings.items()))
        return self._functions.get(key, lambda: self._compiled_detection(**settings))

    def _compiled_detection(
        self, more: Callable[..., Any] | None = None, **settings: Any
    ) -> Callable[..., Any]:
        """The function that `detect_function` returns; `more` is as of `_with_numbers`."""
        decoder = self.decoder(**settings)
        return self._with_numbers(decoder, lambda raw, own: self.decode(raw, own), more)

    def _with_numbers(
        self,
        decoder: Any,
        decode: Callable[[Any, Any], dict[str, Tensor]],
        more: Callable[..., Any] | None = None,
        **prepare: Callable[[Tensor], Tensor],
    ) -> Callable[..., Any]:
        """A function of images, of a compiled one that the decoder's numbers are arguments of.

        Args:
            decoder: with its settings.
            decode: function of raw outputs and a decoder.
            more: function of raw outputs and of further arrays by name, always the same one. The
                result is then a pair: the detections, and what it returns.
            **prepare: as of `compiled`.
        """
        key = (decoder.key(), more is not None, *prepare)
        numbers = {name: np.float32(value) for name, value in decoder.values().items()}

        def finish(raw: Any, **values: Tensor) -> Any:
            own = {name: values.pop(name) for name in numbers}
            found = decode(raw, decoder.with_values(own))
            return found if more is None else (found, more(raw, **values))

        def make() -> Callable[..., Any]:
            return compiled(self, finish, **prepare)

        return lambda images, **arrays: self._programs.get(key, make)(images, **arrays, **numbers)

    def to_original(
        self,
        i: int,
        detections: Mapping[str, np.ndarray],
        transform: Sequence[float] | np.ndarray,
        shape: Sequence[int],
    ) -> Detections:
        """The detections of one image, without empty slots, in pixels of the original image.

        Args:
            i: index of the image in the batch.
            detections: dict of NumPy arrays, as `predict` returns it.
            transform: (scale x, scale y, offset x, offset y): original = input * scale + offset.
            shape: (height, width, …) of the original image; boxes are clipped to it.

        Returns:
            The dict of one image, as in `detect`.
        """
        count = int(detections["num_detections"][i])
        boxes = Transform(*transform).apply(detections["boxes"][i, :count].astype("float32"))
        limits = np.array([shape[1], shape[0]] * 2, "float32")
        labels = detections["labels"][i, :count].astype("int32")
        return Detections(
            boxes=np.clip(boxes, 0, limits),
            scores=detections["scores"][i, :count].astype("float32"),
            labels=labels,
            num_detections=count,
            class_names=[self.class_names[label] for label in labels],
        )
