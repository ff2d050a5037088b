"""The steps from which an augmentation is composed, with their arguments.

A step is a pure function: `step(sample, seed)` changes one sample. A pipeline strings the same code
together, see `keras_det.data.augmenting.engine`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from keras_det.names import IMAGENET_MEAN
from keras_det.types import TFTensor


class Step:
    """What all steps share.

    Attributes:
        kind: "geometry" (drawn before the image is decoded), "images" (several images) or "pixels".
        strong: bool. The last part of a training can go without it, see `Pipeline`.
        others: number of further images that it needs.
    """

    kind: ClassVar[str] = "pixels"
    strong: ClassVar[bool] = False
    others: ClassVar[int] = 0

    def __call__(
        self,
        sample: Mapping[str, Any],
        seed: int | Sequence[int] | TFTensor,
        others: Sequence[Mapping[str, Any]] = (),
        fill: float | Sequence[float] = IMAGENET_MEAN,
    ) -> dict[str, TFTensor]:
        """Changes one sample; eagerly and inside `tf.data`.

        Args:
            sample: dict of `image` uint8 `(height, width, 3)`, `boxes` float32 `(slots, 4)` xyxy
                pixels and `labels` int32 `(slots,)`, -1 in empty slots.
            seed: int, or two. The result depends on nothing else.
            others: further samples, as many as `others` says; any sizes.
            fill: colour where there is no image, 0..255, one value or three.

        Returns:
            The same dict, the image in the size of `image`. It has as many slots as all samples
            together; objects come first.

        Raises:
            ValueError: the number of other samples is wrong.
        """
        from keras_det.data.augmenting.alone import change

        return change(self, sample, seed, others, fill)

    def _check_shares(self, *names: str) -> None:
        """Raises a ValueError where an argument is outside 0..1."""
        for name in names:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"`{name}` of {type(self).__name__} must lie in [0, 1]. Received: "
                    f"{getattr(self, name)}. Give a fraction, such as 0.5 for half."
                )

    def _check_range(self, name: str, least: float, most: float, example: str) -> None:
        """Raises a ValueError where an argument is not `(low, high)` within the limits."""
        value = getattr(self, name)
        try:
            low, high = value
            right = least <= low <= high <= most
        except (TypeError, ValueError):
            right = False
        if not right:
            raise ValueError(
                f"`{name}` of {type(self).__name__} must be (low, high) with {least:g} <= low <= "
                f"high <= {most:g}. Received: {value!r}. Give two numbers, such as {example}."
            )

    def _check_finite(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            values = value if isinstance(value, (tuple, list)) else (value,)
            if any(isinstance(each, float) and each != each for each in values):
                raise ValueError(
                    f"`{field.name}` of {type(self).__name__} must be a number. Received: {value}. "
                    "Give a finite number."
                )


@dataclass(frozen=True)
class Flip(Step):
    """Mirrors the image.

    Args:
        probability: float in [0, 1], of left-right.
        vertical: float in [0, 1], of upside down; for images without a fixed "up", such as those
            of a microscope or from the air.
    """

    probability: float = 0.5
    vertical: float = 0.0
    kind: ClassVar[str] = "geometry"

    def __post_init__(self) -> None:
        self._check_shares("probability", "vertical")


@dataclass(frozen=True)
class Rotate90(Step):
    """Turns the image by 90, 180 or 270 degrees, each equally likely.

    The turned image is resized to the input as any other: 480x640 becomes 640x480 first.

    Args:
        probability: float in [0, 1], that it is turned at all.
    """

    probability: float = 0.75
    kind: ClassVar[str] = "geometry"

    def __post_init__(self) -> None:
        self._check_shares("probability")


@dataclass(frozen=True)
class ScaleJitter(Step):
    """Enlarges the image and keeps a random window, or makes it smaller and pads it.

    EfficientDet section 5.1 (https://arxiv.org/abs/1911.09070) and "Simple Copy-Paste" section 3
    (https://arxiv.org/abs/2012.07177): SSJ 0.8-1.25, LSJ 0.1-2.0.

    Args:
        low, high: floats with 0 < low <= high. The factor on the resized image is uniform.
    """

    low: float = 0.8
    high: float = 1.25
    kind: ClassVar[str] = "geometry"

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high:
            raise ValueError(
                "`low` and `high` of ScaleJitter must satisfy 0 < low <= high. Received: "
                f"{self.low}, {self.high}. Give two factors, such as 0.8 and 1.25."
            )


@dataclass(frozen=True)
class IoUCrop(Step):
    """Keeps a random window that overlaps an object enough, as SSD does.

    SSD section 2.2 (https://arxiv.org/abs/1512.02325): one minimum is drawn, then windows, until
    the IoU of one with an object reaches the minimum and the centre of that object is inside. After
    `tries` windows the whole image is used.

    Args:
        probability: float in [0, 1].
        min_ious: floats in [0, 1], from which the minimum is drawn; 0 asks only for the centre.
        scale: `(low, high)` in (0, 1], sides of the window as a share of the image's.
        tries: int, windows that are tried.
    """

    probability: float = 0.85
    min_ious: tuple[float, ...] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
    scale: tuple[float, float] = (0.3, 1.0)
    tries: int = 50
    kind: ClassVar[str] = "geometry"

    def __post_init__(self) -> None:
        self._check_shares("probability")
        self._check_range("scale", 0.01, 1.0, "(0.3, 1.0)")
        if not self.min_ious or not all(0 <= each <= 1 for each in self.min_ious):
            raise ValueError(
                "`min_ious` of IoUCrop must hold numbers in [0, 1]. Received: "
                f"{self.min_ious!r}. Give some, such as (0.1, 0.5, 0.9)."
            )
        if self.tries < 1:
            raise ValueError(
                f"`tries` of IoUCrop must be at least 1. Received: {self.tries}. Use 50."
            )


@dataclass(frozen=True)
class ZoomOut(Step):
    """Puts the image somewhere on a larger canvas, so that its objects become smaller.

    "Expand" of SSD section 3.6 (https://arxiv.org/abs/1512.02325).

    Args:
        probability: float in [0, 1].
        scale: `(low, high)` of at least 1, sides of the canvas as a multiple of the image's.
    """

    probability: float = 0.5
    scale: tuple[float, float] = (1.0, 4.0)
    kind: ClassVar[str] = "geometry"

    def __post_init__(self) -> None:
        self._check_shares("probability")
        self._check_range("scale", 1.0, 20.0, "(1.0, 4.0)")


@dataclass(frozen=True)
class Photometric(Step):
    """Changes brightness, contrast, saturation and hue, each by its own random amount.

    All are one 3x3 matrix and one offset, so they cost one pass over the pixels. Padding keeps its
    colour where the step comes before those with several images.

    Args:
        brightness: float in [0, 1]. Values are multiplied by 1 - b to 1 + b.
        contrast: float in [0, 1]. Distances to the mean colour of the image, by 1 - c to 1 + c.
        saturation: float in [0, 1]. Distances to the grey value of the pixel, by 1 - s to 1 + s.
        hue: float in [0, 0.5]. Colours turn about the grey axis by -h to h of a full circle.
        grey: float in [0, 1], probability that all colour goes.
        probability: float in [0, 1], that anything is changed.
    """

    brightness: float = 0.3
    contrast: float = 0.3
    saturation: float = 0.4
    hue: float = 0.02
    grey: float = 0.05
    probability: float = 0.5

    def __post_init__(self) -> None:
        self._check_finite()
        self._check_shares("brightness", "contrast", "saturation", "grey", "probability")
        if not 0 <= self.hue <= 0.5:
            raise ValueError(
                f"`hue` of Photometric must lie in [0, 0.5]. Received: {self.hue}. It is a share "
                "of a full circle: 0.02 is little, 0.5 gives any colour."
            )
        if not any((self.brightness, self.contrast, self.saturation, self.hue, self.grey)):
            raise ValueError(
                "Photometric must change something. Received: 0 for brightness, contrast, "
                "saturation, hue and grey. Raise one, or leave the step out."
            )


@dataclass(frozen=True)
class Blur(Step):
    """Blurs with a Gaussian.

    Args:
        probability: float in [0, 1].
        sigma: `(low, high)` in pixels, at most 2: the kernel has 5 pixels.
    """

    probability: float = 0.05
    sigma: tuple[float, float] = (0.4, 1.5)

    def __post_init__(self) -> None:
        self._check_shares("probability")
        self._check_range("sigma", 0.1, 2.0, "(0.4, 1.5)")


@dataclass(frozen=True)
class JPEGNoise(Step):
    """Stores the image as a JPEG of lower quality.

    Args:
        probability: float in [0, 1].
        quality: `(low, high)` integers in 1..100.
    """

    probability: float = 0.05
    quality: tuple[int, int] = (25, 90)

    def __post_init__(self) -> None:
        self._check_shares("probability")
        self._check_range("quality", 1, 100, "(25, 90)")


@dataclass(frozen=True)
class Cutout(Step):
    """Covers rectangles with the padding colour (https://arxiv.org/abs/1708.04552).

    An object is dropped when more than `max_hidden` of its box is covered, measured at 8 x 8 points
    of the box; else its box stays as it is.

    Args:
        probability: float in [0, 1].
        count: int, rectangles.
        scale: `(low, high)` in (0, 1], sides as a share of the image's sides.
        max_hidden: float in [0, 1].
    """

    probability: float = 0.5
    count: int = 3
    scale: tuple[float, float] = (0.05, 0.25)
    max_hidden: float = 0.7
    strong: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._check_shares("probability", "max_hidden")
        self._check_range("scale", 0.001, 1.0, "(0.05, 0.25)")
        _check_count(self, 10)


@dataclass(frozen=True)
class Mosaic(Step):
    """Four images in one, around a random centre, as in YOLOv4 (https://arxiv.org/abs/2004.10934).

    Each image is resized by its own factor on its usual size, flipped and turned as the list says,
    and cut to its quarter at a random place; a smaller one touches the centre. `scale` replaces
    `ScaleJitter`, `IoUCrop` and `ZoomOut`. Steps before the mosaic change each of the four images,
    later ones the whole.

    Args:
        probability: float in [0, 1].
        scale: `(low, high)`, factor on the resized image.
        centre: float in [0, 0.5). The centre lies between this share of the sides and 1 minus it.
    """

    probability: float = 0.5
    scale: tuple[float, float] = (0.4, 1.0)
    centre: float = 0.3
    kind: ClassVar[str] = "images"
    strong: ClassVar[bool] = True
    others: ClassVar[int] = 3

    def __post_init__(self) -> None:
        self._check_shares("probability")
        self._check_range("scale", 0.01, 10.0, "(0.4, 1.0)")
        if not 0.05 <= self.centre <= 0.5:
            raise ValueError(
                f"`centre` of Mosaic must lie in [0.05, 0.5]. Received: {self.centre}. Use 0.5 for "
                "four equal quarters."
            )


@dataclass(frozen=True)
class MixUp(Step):
    """Blends two images and keeps the objects of both (https://arxiv.org/abs/1902.04103).

    Args:
        probability: float in [0, 1].
        alpha: float > 0. The share of the first image is drawn from Beta(alpha, alpha): the larger,
            the nearer to a half.
    """

    probability: float = 0.15
    alpha: float = 8.0
    kind: ClassVar[str] = "images"
    strong: ClassVar[bool] = True
    others: ClassVar[int] = 1

    def __post_init__(self) -> None:
        self._check_shares("probability")
        if not 0 < self.alpha < 1e4:
            raise ValueError(
                f"`alpha` of MixUp must be a positive number. Received: {self.alpha}. Use 8."
            )


@dataclass(frozen=True)
class CopyPaste(Step):
    """Pastes the boxes of objects of other images, rare classes more often.

    A class is drawn with a probability of 1 / sqrt(number of its objects), then one of its objects.
    Its box is cut out, resized by a factor on its usual size and pasted at the first of 16 random
    places where it covers at most `max_hidden` of every object; if there is none, it is left out.
    Objects with a side below 8 pixels in their own image are not taken.

    Args:
        probability: float in [0, 1].
        count: int, objects to paste.
        scale: `(low, high)`, factor on the object.
        max_hidden: float in [0, 1].
    """

    probability: float = 0.5
    count: int = 2
    scale: tuple[float, float] = (0.7, 1.4)
    max_hidden: float = 0.2
    kind: ClassVar[str] = "images"
    strong: ClassVar[bool] = True
    others: ClassVar[int] = 1

    def __post_init__(self) -> None:
        self._check_shares("probability", "max_hidden")
        self._check_range("scale", 0.01, 10.0, "(0.7, 1.4)")
        _check_count(self, 20)


def _check_count(step: Any, most: int) -> None:
    if not isinstance(step.count, int) or not 1 <= step.count <= most:
        raise ValueError(
            f"`count` of {type(step).__name__} must be a whole number in 1..{most}. Received: "
            f"{step.count!r}. Use {type(step).count}."
        )


STEPS: tuple[type[Step], ...] = (
    *(Flip, Rotate90, ScaleJitter, IoUCrop, ZoomOut),
    *(Photometric, Blur, JPEGNoise, Cutout),
    *(Mosaic, CopyPaste, MixUp),
)
