"""Test-time augmentation: detection in flipped and scaled views of an image, and their fusion."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_det.data.image import rgb_pixels
from keras_det.errors import suggest
from keras_det.names import (
    FLIP_CHOICES,
    FUSION_CHOICES,
    MAX_IMAGE_SIZE,
    MAX_VIEW_SCALE,
    MIN_IMAGE_SIZE,
    MIN_VIEW_SCALE,
)
from keras_det.runtime.fusion import FUSED_IOU, SUPPRESSED_IOU, suppressed, weighted_box_fusion
from keras_det.runtime.running import named
from keras_det.runtime.tiled import TiledDetector
from keras_det.runtime.wrapped import WrappedDetector
from keras_det.types import Detections, FlipName, FusionName, Image, Images, Size
from keras_det.video.seen import remember, unremembered

STEP = 32  # sides of the inputs at other scales are multiples of this
FEWEST_SLOTS = 100  # that an exported file may fill, as far as is known
# Whether x and y are mirrored, for each view.
FLIPS: dict[str, tuple[tuple[bool, bool], ...]] = {
    "none": ((False, False),),
    "horizontal": ((False, False), (True, False)),
    "vertical": ((False, False), (False, True)),
    "both": ((False, False), (True, False), (False, True), (True, True)),
}


class AugmentedDetector(WrappedDetector):
    """Detects in several views of each image, and fuses what it finds: test-time augmentation.

    Each view is the image, mirrored or not, at one of the scales. The time grows with the number of
    views. Boxes are mapped back to the image. Then the boxes of one object are fused.

    All other attributes are those of the detector.

    Args:
        detector: a Keras detector, or what `load_exported` returns.
        flip: "none", "horizontal" (two views), "vertical" (two) or "both" (four: also mirrored both
            ways). Choose flips that were used in training.
        scales: factors on the sides of the network's input, from 0.25 to 4. Each factor other than
            1 makes a copy of the Keras model with the same weights and another input size, rounded
            to multiples of 32 pixels. Leave them out for an exported file, which has one size.
        fusion: "wbf" averages boxes, and lowers the score of what only few views find; see
            `weighted_box_fusion`. Before it, boxes of one view that overlap more than `fusion_iou`
            are reduced to the best one: soft-NMS leaves such boxes, with low scores. "nms" keeps
            the box with the highest score, and does not change scores.
        fusion_iou: boxes with a higher IoU belong to one object. Default: 0.55 for "wbf", 0.5 for
            "nms".

    Raises:
        ValueError: an argument is out of its range, the image itself is the only view, or two
            scales give the same input size.
        TypeError: scales for a detector that is no Keras detector, or a `TiledDetector`: write
            `TiledDetector(AugmentedDetector(detector))`, which augments each tile.
    """

    def __init__(
        self,
        detector: Any,
        flip: FlipName | str = "horizontal",
        scales: Sequence[float] = (1.0,),
        fusion: FusionName | str = "wbf",
        fusion_iou: float | None = None,
    ) -> None:
        if isinstance(detector, TiledDetector | AugmentedDetector):
            raise TypeError(
                "`detector` must be a Keras detector or an exported file. Received: "
                f"{type(detector).__name__}. To augment each tile, write "
                "TiledDetector(AugmentedDetector(detector))."
            )
        _check_choice("flip", flip, FLIP_CHOICES)
        _check_choice("fusion", fusion, FUSION_CHOICES)
        usual = FUSED_IOU if fusion == "wbf" else SUPPRESSED_IOU
        fusion_iou = usual if fusion_iou is None else fusion_iou
        if not 0 <= fusion_iou < 1:
            raise ValueError(
                f"`fusion_iou` must be at least 0 and below 1. Received: {fusion_iou!r}. Leave it "
                f"out for {usual:g}."
            )
        self.flip, self.scales = flip, _checked_scales(scales)
        self.fusion, self.fusion_iou = fusion, float(fusion_iou)
        if flip == "none" and self.scales == (1.0,):
            raise ValueError(
                "There must be another view than the image itself. Received: flip='none' and "
                f"scales={scales!r}. Give a flip or another scale, or use the detector itself."
            )
        super().__init__(detector)
        self._networks = _at_scales(detector, self.scales)

    def detect(
        self, images: Image | Images, batch_size: int = 8, **settings: Any
    ) -> Detections | list[Detections]:
        """Finds objects in images of any size; takes and returns what the detector's `detect` does.

        Args:
            images: one image or several, as for the detector.
            batch_size: views that go through the network of a Keras detector together.
            **settings: of the detector's `detect`. `score_threshold` and `max_detections` apply to
                the fused detections. In the views, the detector's lowest threshold applies.
        """
        if hasattr(self.detector, "check_threshold"):
            self.detector.check_threshold(settings.get("score_threshold"))
        if isinstance(images, np.ndarray) and images.ndim == 4:
            images = list(images)
        if not isinstance(images, list | tuple):
            return self._remembered([images], batch_size, settings)[0]
        # As many images as fill a batch: one at a time for a file, which takes no more.
        count = 1 if self._is_file else max(1, batch_size // len(FLIPS[self.flip]))
        found: list[Detections] = []
        for start in range(0, len(images), count):
            own = list(images[start : start + count])
            missing = count - len(own) if start else 0  # another batch would be compiled again
            found += self._remembered(own, batch_size, settings, missing)
        return found

    def _remembered(
        self, images: list[Any], batch_size: int, settings: dict[str, Any], missing: int = 0
    ) -> list[Detections]:
        """The detections of images, which a notebook shows; `missing` images fill up the batch."""
        pixels = [rgb_pixels(image) for image in images]
        found = self._together([*pixels, *pixels[-1:] * missing], batch_size, settings)
        thresholds = getattr(self.detector, "score_thresholds", None)
        for one, image in zip(found, images, strict=False):
            remember(one, image, thresholds)
        return found[: len(images)]

    @property
    def _is_file(self) -> bool:
        return hasattr(self.detector, "engine")

    def _together(
        self, pixels: list[np.ndarray], batch_size: int, settings: dict[str, Any]
    ) -> list[Detections]:
        """The detections of images whose views go through the network together."""
        flips, known = FLIPS[self.flip], _known_settings(self.detector)
        given = _of_views(settings, known)
        if not self._is_file:
            given["batch_size"] = batch_size
        views = [_mirrored(image, *flip) for image in pixels for flip in flips]
        parts: list[list[Any]] = [[] for _ in pixels]
        for network in self._networks:
            with unremembered():
                found = network.detect(views, **given)
            for i, image in enumerate(pixels):
                own = found[i * len(flips) : (i + 1) * len(flips)]
                parts[i] += map(_back, own, flips, [image.shape] * len(flips))
        return [self._fused(part, settings, known) for part in parts]

    def _fused(
        self, found: list[Any], settings: Mapping[str, Any], known: Mapping[str, Any]
    ) -> Detections:
        """One set of detections of an image from those of its views, in its pixels."""
        slots = max([FEWEST_SLOTS, *(len(each["scores"]) for each in found)])
        agnostic = bool(settings.get("class_agnostic", known.get("class_agnostic", False)))
        if self.fusion == "wbf":
            found = [suppressed([each], self.fusion_iou, agnostic) for each in found]
            fused = weighted_box_fusion(found, self.fusion_iou, agnostic)
        else:
            fused = suppressed(found, self.fusion_iou, agnostic)
        lowest = settings.get("score_threshold")
        if lowest is None:
            lowest = known.get("score_threshold", getattr(self.detector, "score_threshold", None))
        most = settings.get("max_detections", known.get("max_detections", slots))
        kept = named(fused, self.class_names, lowest)
        cut: Any = {key: kept[key][:most] for key in ("boxes", "scores", "labels")}
        return named(cut, self.class_names)


def _check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(
            f"`{name}` must be one of {', '.join(choices)}. Received: {value!r}."
            f"{suggest(str(value), choices)}"
        )


def _checked_scales(scales: Sequence[float]) -> tuple[float, ...]:
    """The scales as a tuple of floats; ValueError where they are wrong."""
    try:
        found = tuple(float(scale) for scale in scales)
    except (TypeError, ValueError):
        found = ()
    if not found or not all(MIN_VIEW_SCALE <= scale <= MAX_VIEW_SCALE for scale in found):
        raise ValueError(
            f"`scales` must hold factors from {MIN_VIEW_SCALE:g} to {MAX_VIEW_SCALE:g}. Received: "
            f"{scales!r}. "
            "Give some, such as (1.0, 1.25)."
        )
    return found


def _at_scales(detector: Any, scales: Sequence[float]) -> list[Any]:
    """The detector for each scale: itself for 1, else a copy for another input size."""
    if scales == (1.0,):
        return [detector]
    if not hasattr(detector, "with_image_size"):
        raise TypeError(
            "`scales` needs a Keras detector: the network of an exported file has one input size. "
            f"Received: {scales} for {detector!r}. Leave out the scales, or give the .keras model."
        )
    sizes = [_scaled(detector.image_size, scale) for scale in scales]
    if len(set(sizes)) < len(sizes):
        raise ValueError(
            f"Each of `scales` must give another input size. Received: {scales}, which give "
            f"{', '.join(f'{height}x{width}' for height, width in sizes)} (height x width, "
            f"multiples of {STEP}). Leave one out."
        )
    return [
        detector if size == detector.image_size else detector.with_image_size(size)
        for size in sizes
    ]


def _scaled(size: Size, scale: float) -> Size:
    """The input size at a scale, in multiples of `STEP`; at 1 the size itself."""
    if scale == 1.0:
        return size[0], size[1]
    most = MAX_IMAGE_SIZE // STEP
    height, width = (
        STEP * min(max(int(side * scale / STEP + 0.5), MIN_IMAGE_SIZE // STEP), most)
        for side in size
    )
    return height, width


def _known_settings(detector: Any) -> Mapping[str, Any]:
    """Names and defaults of the settings of a detector's decoder; {} for those of a file."""
    model = getattr(detector, "model", detector)  # an `EngineDetector` has a model
    found: Mapping[str, Any] = getattr(model, "detect_settings", {})
    return found


def _of_views(settings: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """The settings for the views: a box with a low score in one view may be fused with others."""
    given = dict(settings)
    threshold = given.pop("score_threshold", None)
    if known and threshold is not None:
        given["score_threshold"] = min(threshold, known["score_threshold"])
    return given


def _mirrored(pixels: np.ndarray, x: bool, y: bool) -> np.ndarray:
    return np.ascontiguousarray(pixels[:: -1 if y else 1, :: -1 if x else 1])


def _back(found: Mapping[str, Any], flip: tuple[bool, bool], shape: Sequence[int]) -> Any:
    """Detections of a mirrored image in pixels of the image, of `shape` (height, width, …)."""
    boxes = np.reshape(found["boxes"], (-1, 4)).astype("float32")
    for axis, length in enumerate((shape[1], shape[0])):
        if flip[axis]:
            boxes[:, [axis, axis + 2]] = length - boxes[:, [axis + 2, axis]]
    return {"boxes": boxes, "scores": found["scores"], "labels": found["labels"]}
