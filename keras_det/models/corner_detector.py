"""The base class of detectors with corners: decoding, mirror images, images without resizing."""

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Unpack, overload

import numpy as np
from keras import ops

from keras_det.data.image import rgb_pixels
from keras_det.decode import CornerDecoder, TFCornerDecoder, inference_decoder, takes_settings
from keras_det.decode.settings import CORNER_SETTINGS, CornerSettings
from keras_det.layers.center_padding import padded_size
from keras_det.models.compiled import compiled
from keras_det.models.detector import Detector
from keras_det.models.parts import check_bools
from keras_det.types import Detections, Image, Images, OneImage, Size, Tensor
from keras_det.video.sources import OneSource

DETECT_SETTINGS = {**CORNER_SETTINGS, "flip": False}


class CornerDetector(Detector):
    """A detector that finds the corners of objects and joins them in pairs.

    Subclasses set `self.padding`, the `CenterPadding` before the network, which takes images of any
    size. For the raw outputs see `CornerNet`.
    """

    decoder_settings = CORNER_SETTINGS
    detect_settings = DETECT_SETTINGS

    def describe(self, class_names: Sequence[str], image_size: Size, resize_mode: str) -> None:
        super().describe(class_names, image_size, resize_mode)
        # From padded images of any size to raw outputs, compiled when it is first needed.
        self._padded_network: Callable[[Tensor], dict[str, Tensor]] | None = None

    @takes_settings(CORNER_SETTINGS)
    def decoder(
        self,
        exported: bool = False,
        image_size: Size | None = None,
        **settings: Unpack[CornerSettings],
    ) -> Any:
        """Returns a `CornerDecoder`.

        Args:
            exported: True gives a decoder of operators that TFLite and TF Serving have built in;
                False the fastest one on this machine.
            image_size: (height, width) of the images. Default: the model's.
            **settings: as in `decode`.
        """
        image_size = self.image_size if image_size is None else image_size
        padded = padded_size(image_size, self.padding.divisor)
        if exported:
            return TFCornerDecoder(image_size, padded, **settings)
        return inference_decoder(image_size, decoder=CornerDecoder, padded_size=padded, **settings)

    @takes_settings(CORNER_SETTINGS)
    def decode(
        self, raw: dict[str, Any], decoder: Any = None, **settings: Unpack[CornerSettings]
    ) -> dict[str, Tensor]:
        """Turns raw outputs into detections: finds corners, joins them in pairs, suppresses.

        Args:
            raw: dict of maps, the network's outputs.
            decoder: a decoder that `decoder` returned, with its settings. None: one with the
                settings given here.
            **settings: `method`, `iou_threshold`, `sigma`, `score_threshold`, `pre_nms_top_k`,
                `max_detections`, `class_agnostic`, `corner_top_k`, `embedding_threshold`,
                `peak_window`: see `keras_det.decode.CornerDecoder`.

        Returns:
            dict `boxes` `(batch, max_detections, 4)` xyxy in pixels of the network input, clipped
            to it, `scores`, `labels`, `num_detections`.
        """
        return self.one_decoder(decoder, settings)(raw)

    detect_function = takes_settings(DETECT_SETTINGS)(Detector.detect_function)
    predict = takes_settings(CORNER_SETTINGS)(Detector.predict)
    predict_on_batch = takes_settings(CORNER_SETTINGS)(Detector.predict_on_batch)

    # Each detector has the settings of its own decoder: this one has no `candidates`.
    @overload  # type: ignore[override]
    def detect(
        self,
        images: OneImage,
        batch_size: int = 8,
        flip: bool = False,
        original_size: bool = False,
        **settings: Unpack[CornerSettings],
    ) -> Detections: ...
    @overload
    def detect(
        self,
        images: Images,
        batch_size: int = 8,
        flip: bool = False,
        original_size: bool = False,
        **settings: Unpack[CornerSettings],
    ) -> list[Detections]: ...
    @overload
    def detect(
        self,
        images: np.ndarray,
        batch_size: int = 8,
        flip: bool = False,
        original_size: bool = False,
        **settings: Unpack[CornerSettings],
    ) -> Any: ...
    @takes_settings(CORNER_SETTINGS)
    def detect(
        self,
        images: Image | Images,
        batch_size: int = 8,
        flip: bool = False,
        original_size: bool = False,
        **settings: Unpack[CornerSettings],
    ) -> Detections | list[Detections]:
        """Finds objects in images of any size.

        Args:
            images: one image or a list: uint8 array `(height, width, 3)` RGB, a path, or the
                encoded bytes of a JPEG, PNG, BMP or WebP; or an array of a batch.
            batch_size: images that go through the network together.
            flip: bool. True uses each image and its mirror image, as the published results do. It
                takes twice the time.
            original_size: bool. True does not resize images, as the published results do not.
                Images go through the network one by one, padded to `side | 127` pixels, and the
                network is compiled once for each padded size; the last eight are kept.
            **settings: settings of the decoder: `method`, `iou_threshold`, `sigma`,
                `score_threshold`, `pre_nms_top_k`, `max_detections`, `class_agnostic`,
                `corner_top_k`, `embedding_threshold`, `peak_window`. The first call compiles
                the network, which takes seconds. So does the first call with a new number of images
                in a batch, or with new settings other than thresholds and `sigma`.

        Returns:
            As for the other detectors: a dict, or a list of dicts, in pixels of the original image.

        Raises:
            TypeError: a setting does not exist or has the wrong type.
            ValueError: a setting is out of its range, or an array is not an RGB image in uint8.
        """
        check_bools(flip=flip, original_size=original_size)
        chosen = {"flip": flip, "original_size": original_size}
        chosen = {name: True for name, value in chosen.items() if value}
        return self._detect(images, batch_size, {**settings, **chosen})

    @takes_settings(CORNER_SETTINGS)
    def stream(  # type: ignore[override]
        self,
        source: OneSource | Sequence[OneSource],
        batch_size: int = 8,
        every: int = 1,
        track: bool = False,
        flip: bool = False,
        original_size: bool = False,
        **settings: Unpack[CornerSettings],
    ) -> Generator[Detections, None, None]:
        """Finds objects in images, videos or a camera, one after another.

        Args:
            source, batch_size, every, track: as for the other detectors.
            flip, original_size, **settings: as in `detect`.

        Returns:
            As for the other detectors, a generator of results.
        """
        check_bools(flip=flip, original_size=original_size)
        chosen = {"flip": flip, "original_size": original_size}
        chosen = {name: True for name, value in chosen.items() if value}
        return self._stream(source, batch_size, every, track, {**settings, **chosen})

    def _detect_batch(
        self, images: Sequence[Image], settings: Mapping[str, Any], size: int
    ) -> list[Detections]:
        if "original_size" not in settings:
            return super()._detect_batch(images, settings, size)
        settings = {name: settings[name] for name in settings if name != "original_size"}
        return [self._detect_unresized(image, **settings) for image in images]

    def _detect_unresized(self, image: Image, flip: bool = False, **settings: Any) -> Detections:
        """The detections of one image that is padded but not resized."""
        pixels = rgb_pixels(image)
        size = (pixels.shape[0], pixels.shape[1])
        views = np.stack([pixels, pixels[:, ::-1]] if flip else [pixels])
        if self._padded_network is None:
            self._padded_network = compiled(self, lambda raw: raw)
        raw = self._padded_network(self.padding.padded(views))
        # Decoded outside the compiled function: many image sizes share few padded sizes.
        decoder = self.decoder(image_size=size, **settings)
        found = _decode_views(raw, decoder) if flip else decoder(raw)
        found = {key: ops.convert_to_numpy(value) for key, value in found.items()}
        return self.to_original(0, found, (1.0, 1.0, 0.0, 0.0), pixels.shape)

    def _compiled_detection(
        self, more: Callable[..., Any] | None = None, flip: bool = False, **settings: Any
    ) -> Callable[..., Any]:
        check_bools(flip=flip)
        if not flip:
            return super()._compiled_detection(more, **settings)

        def both(images: Tensor) -> Tensor:
            return ops.concatenate([images, ops.flip(images, axis=2)])

        def of_images(raw: Mapping[str, Tensor], **arrays: Tensor) -> Any:
            return more and more(_views(raw)[0], **arrays)

        decoder, also = self.decoder(**settings), of_images if more else None
        return self._with_numbers(decoder, _decode_views, also, prepare=both)


def _views(raw: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The raw outputs of images and of their mirror images, which follow them in the batch."""
    halves = {name: ops.split(value, 2) for name, value in raw.items()}
    images, mirrored = ({name: half[i] for name, half in halves.items()} for i in (0, 1))
    return images, mirrored


def _decode_views(raw: Mapping[str, Tensor], decoder: CornerDecoder) -> dict[str, Tensor]:
    """Detections from the raw outputs of a batch of images followed by their mirror images."""
    return decoder.with_flipped(*_views(raw))
