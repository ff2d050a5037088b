"""The steps of an augmentation, with their arguments.

A step is a pure function: `step(sample, seed)` returns one changed sample. A pipeline runs the same
code; see `keras_det.data.augmenting.engine`.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from keras_det.data.augmenting.step import Step


@dataclass(frozen=True)
class Flip(Step):
    """Mirrors the image.

    Args:
        probability: float in [0, 1], of a left-right flip.
        vertical: float in [0, 1], probability of an upside-down flip; for images that have no
            fixed "up", such as microscope or aerial images.
    """

    probability: float = 0.5
    vertical: float = 0.0
    kind: ClassVar[str] = "geometry"

    def __post_init__(self) -> None:
        self._check_shares("probability", "vertical")


@dataclass(frozen=True)
class Rotate90(Step):
    """Turns the image by 90, 180 or 270 degrees, each equally likely.

    The image is turned before it is resized to the input: 480x640 may become 640x480.

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

    SSD section 2.2 (https://arxiv.org/abs/1512.02325): one minimum IoU is drawn, then windows,
    until a window reaches this IoU with an object and contains the centre of that object. If none
    of `tries` windows does, the whole image is used.

    Args:
        probability: float in [0, 1].
        min_ious: floats in [0, 1], from which the minimum is drawn; 0 requires only the centre.
        scale: `(low, high)` in (0, 1], sides of the window as a share of the image's sides.
        tries: int, number of windows that are tried.
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
        scale: `(low, high)` of at least 1, sides of the canvas as a multiple of the image's sides.
    """

    probability: float = 0.5
    scale: tuple[float, float] = (1.0, 4.0)
    kind: ClassVar[str] = "geometry"

    def __post_init__(self) -> None:
        self._check_shares("probability")
        self._check_range("scale", 1.0, 20.0, "(1.0, 4.0)")


@dataclass(frozen=True)
class TileCrop(Step):
    """Crops a random window of the image at full resolution, for detection in tiles.

    Small objects of a large image keep their detail. The window is resized to the input as
    `TiledDetector` resizes a tile. It is never larger than the image. Objects are clipped to the
    window. Not every window shows an object.

    Args:
        probability: float in [0, 1] of a window. The other inputs show the whole image, in which
            `TiledDetector` detects too.
        tile: side of the window in pixels of the image, or (height, width). Default: the size of
            the network's input, so that nothing is scaled down.
        scale: `(low, high)` in [0.1, 10], range of the uniform factor on the sides of the window.
        on_object: float in [0, 1], share of the windows that contain the centre of a random object;
            the others lie anywhere. Most places in a large image are empty.
        min_visible: float in [0, 1]. An object is dropped when less than this share of its box is
            inside the window.
    """

    probability: float = 0.9
    tile: int | tuple[int, int] | None = None
    scale: tuple[float, float] = (0.8, 1.25)
    on_object: float = 0.5
    min_visible: float = 0.25
    kind: ClassVar[str] = "geometry"

    def __post_init__(self) -> None:
        self._check_shares("probability", "on_object", "min_visible")
        self._check_range("scale", 0.1, 10.0, "(0.8, 1.25)")
        sides = self.tile if isinstance(self.tile, tuple | list) else (self.tile, self.tile)
        whole = all(isinstance(side, int) and side >= 1 for side in sides)
        if self.tile is not None and not (len(sides) == 2 and whole):
            raise ValueError(
                "`tile` of TileCrop must be a whole number of at least 1 pixel, or (height, "
                f"width). Received: {self.tile!r}. Leave it out to use the size of the network's "
                "input."
            )

    def sides(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the window in pixels of the image, before the random factor.

        Args:
            size: (height, width) of the network's input.
        """
        if self.tile is None:
            return size[0], size[1]
        if isinstance(self.tile, int):
            return self.tile, self.tile
        return self.tile[0], self.tile[1]


@dataclass(frozen=True)
class Photometric(Step):
    """Changes brightness, contrast, saturation and hue, each by its own random amount.

    All changes together are one 3x3 matrix and one offset, so they take one pass over the pixels.
    The colour of padding does not change if this step comes before those with several images.

    Args:
        brightness: float in [0, 1]. Values are multiplied by 1 - b to 1 + b.
        contrast: float in [0, 1]. Differences from the mean colour of the image are multiplied by
            1 - c to 1 + c.
        saturation: float in [0, 1]. Differences from the grey value of the pixel are multiplied by
            1 - s to 1 + s.
        hue: float in [0, 0.5]. Colours turn about the grey axis by -h to h of a full circle.
        grey: float in [0, 1], probability of a grey image.
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
                "saturation, hue and grey. Raise one, or leave out the step."
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
    """Adds the compression noise of a JPEG of lower quality.

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

    An object is dropped if more than `max_hidden` of its box is covered, measured at 8 x 8 points
    of the box. Otherwise its box does not change.

    Args:
        probability: float in [0, 1].
        count: int, number of rectangles.
        scale: `(low, high)` in (0, 1], sides as a share of the image's sides.
        max_hidden: float in [0, 1], largest covered share of an object that is kept.
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

    Each image is scaled by its own random factor, flipped and turned as the other steps say, and
    cropped to its quarter at a random place. An image smaller than its quarter touches the centre.
    `scale` replaces `ScaleJitter`, `IoUCrop` and `ZoomOut`. Steps before the mosaic change each of
    the four images, later steps the combined image.

    Args:
        probability: float in [0, 1].
        scale: `(low, high)`, factor on the resized image.
        centre: float in [0.05, 0.5]. The centre lies between this share of the sides and 1 minus
            it.
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
        alpha: float > 0. The share of the first image is drawn from Beta(alpha, alpha). A larger
            alpha gives shares nearer to 0.5.
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
    """Pastes objects of other images, with their whole box; rare classes more often.

    A class is drawn with a probability proportional to 1 / sqrt(number of its objects), then one of
    its objects. The content of its box is scaled by a random factor and pasted at the first of 16
    random places where it covers at most `max_hidden` of every object. If there is no such place,
    it is not pasted. Objects with a side below 8 pixels in their own image are not used.

    Args:
        probability: float in [0, 1].
        count: int, number of objects to paste.
        scale: `(low, high)`, factor on the resized object.
        max_hidden: float in [0, 1], largest share of an object that may be covered.
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
    *(Flip, Rotate90, ScaleJitter, IoUCrop, ZoomOut, TileCrop),
    *(Photometric, Blur, JPEGNoise, Cutout),
    *(Mosaic, CopyPaste, MixUp),
)
