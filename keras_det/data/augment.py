"""Random changes of training images: by a name, by numbers, or by a list of steps.

`Augment` holds the changes that are drawn before an image is decoded, and the steps that follow.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from keras_det.data.augmenting.plans import (
    JPEG_RATIOS as JPEG_RATIOS,
)
from keras_det.data.augmenting.plans import (
    MIN_VISIBLE as MIN_VISIBLE,
)
from keras_det.data.augmenting.plans import (
    MIN_VISIBLE_SIDE as MIN_VISIBLE_SIDE,
)
from keras_det.data.augmenting.plans import (
    Plan as Plan,
)
from keras_det.data.augmenting.plans import (
    crop_window as crop_window,
)
from keras_det.data.augmenting.plans import (
    draw_plan as draw_plan,
)
from keras_det.data.augmenting.plans import (
    keep_largest as keep_largest,
)
from keras_det.data.augmenting.plans import (
    move_boxes as move_boxes,
)
from keras_det.data.augmenting.plans import (
    stays as stays,
)
from keras_det.data.augmenting.plans import (
    way_back as way_back,
)
from keras_det.data.augmenting.step import Step
from keras_det.data.augmenting.steps import (
    STEPS,
    Blur,
    CopyPaste,
    Flip,
    IoUCrop,
    JPEGNoise,
    MixUp,
    Mosaic,
    Photometric,
    Rotate90,
    ScaleJitter,
    TileCrop,
    ZoomOut,
)
from keras_det.errors import suggest


@dataclass(frozen=True)
class Augment:
    """The random changes of a training image.

    Args:
        flip: float in [0, 1], probability of a left-right flip.
        scale: `(low, high)` with 0 < low <= high, range of the uniform scale factor on the resized
            image. Above 1, a random window of the input's size is kept. Below 1, the image is
            padded at the right and the bottom. EfficientDet section 5.1
            (https://arxiv.org/abs/1911.09070) and "Simple Copy-Paste" section 3
            (https://arxiv.org/abs/2012.07177): SSJ 0.8-1.25, LSJ 0.1-2.0.
        min_visible: float in [0, 1]. If a window is drawn, an object is dropped when less than this
            share of its box is inside, or when a side of the visible part is below one pixel of
            the input.
        flip_vertical: float in [0, 1], probability of an upside-down flip.
        rotate: float in [0, 1], probability of a turn by 90, 180 or 270 degrees.
        zoom_out: `ZoomOut` or None.
        crop: `IoUCrop` or None. `crop` and `zoom_out` are used instead of `scale`.
        tile: `TileCrop` or None, used instead of all three, with its own `min_visible`.
        steps: the steps that follow, in their order: see `composed`.

    Raises:
        ValueError: a value is out of its range.
    """

    flip: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    min_visible: float = MIN_VISIBLE
    flip_vertical: float = 0.0
    rotate: float = 0.0
    zoom_out: ZoomOut | None = None
    crop: IoUCrop | None = None
    tile: TileCrop | None = None
    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        low, high = self.scale
        if not 0 < low <= high:
            raise ValueError(
                f"`scale` must be (low, high) with 0 < low <= high. Received: {self.scale}. Use "
                "(1.0, 1.0) for no jitter."
            )
        for field in ("flip", "min_visible", "flip_vertical", "rotate"):
            if not 0 <= getattr(self, field) <= 1:
                raise ValueError(
                    f"`{field}` must lie in [0, 1]. Received: {getattr(self, field)}. Give a "
                    "fraction, such as 0.5 for half."
                )
        if self.jitters and (self.zoom_out or self.crop):
            raise ValueError(
                "ScaleJitter and ZoomOut or IoUCrop must not be used together: both choose the "
                f"window. Received: scale={self.scale}. Leave out one of them."
            )
        self._check_tile()
        _check_steps(self.steps)

    def _check_tile(self) -> None:
        """Raises a ValueError for steps that do not go with tiles."""
        if self.tile and (self.jitters or self.zoom_out or self.crop):
            raise ValueError(
                "TileCrop must not be used together with ScaleJitter, ZoomOut or IoUCrop: each "
                f"chooses the window. Received: {self.tile} and another one. Leave out one of them."
            )
        if self.tile and (self.mosaic or self.pastes):
            raise ValueError(
                "TileCrop must not be used together with Mosaic or CopyPaste: these show whole "
                "images, at another scale. Received: "
                f"{', '.join(type(step).__name__ for step in self.steps)} after TileCrop. Leave "
                "them out, or leave out TileCrop."
            )

    @property
    def jitters(self) -> bool:
        """Whether the scale varies by scale jitter."""
        return tuple(self.scale) != (1.0, 1.0)

    @property
    def windowed(self) -> bool:
        """Whether a part of the image may be left out."""
        return self.jitters or any(
            each is not None for each in (self.zoom_out, self.crop, self.tile)
        )

    @property
    def mosaic(self) -> Mosaic | None:
        """The step with four images, or None."""
        return next((step for step in self.steps if isinstance(step, Mosaic)), None)

    @property
    def pastes(self) -> bool:
        """Whether objects of other images are pasted."""
        return any(isinstance(step, CopyPaste) for step in self.steps)

    @property
    def mixes(self) -> bool:
        """Whether several images can be in one input."""
        return any(step.kind == "images" for step in self.steps)

    @property
    def strong(self) -> bool:
        """Whether it has steps that `without_strong` leaves out."""
        return any(step.strong for step in self.steps)

    def without_strong(self) -> "Augment":
        """The same without mosaic, mixup, copy-paste and cutout."""
        return replace(self, steps=tuple(step for step in self.steps if not step.strong))

    @property
    def scales(self) -> list[tuple[float, float, float]]:
        """Factors on the resized image: `(probability, low, high)`, uniform between the two.

        The crop, which only enlarges, and the tile are left out. The factor of zooming out is
        1 / uniform; it is taken in 16 parts.
        """
        parts = [(1.0, *self.scale)]
        if self.zoom_out:
            share, (low, high) = self.zoom_out.probability, self.zoom_out.scale
            edges = [low + (high - low) * k / 16 for k in range(17)]
            zoomed = [
                (share / 16, 1 / far, 1 / near)
                for near, far in zip(edges[:-1], edges[1:], strict=True)
            ]
            parts = [(1 - share, 1.0, 1.0), *zoomed]
        if self.mosaic:
            share = self.mosaic.probability
            parts = [(p * (1 - share), low, high) for p, low, high in parts]
            parts.append((share, *self.mosaic.scale))
        return [part for part in parts if part[0] > 0]

    @property
    def scale_range(self) -> tuple[float, float]:
        """The smallest and the largest factor on the resized image."""
        return min(low for _, low, _ in self.scales), max(high for _, _, high in self.scales)


def _check_steps(steps: Sequence[Any]) -> None:
    """Raises a ValueError for members that are not allowed there, or a wrong order."""
    several = False
    for step in steps:
        _check_step(step)
        if step.kind == "geometry":
            raise ValueError(
                "Steps that change the geometry must come first: they decide which part of the "
                f"image is decoded. Received: {step} after {steps[0]}. Move {type(step).__name__} "
                "to the front of the list."
            )
        if isinstance(step, Mosaic) and several:
            raise ValueError(
                "Mosaic must come before CopyPaste and MixUp. Received: "
                f"{', '.join(type(each).__name__ for each in steps)}. Move Mosaic forward."
            )
        several = several or step.kind == "images"
    _check_once(steps)


def _check_step(step: Any) -> None:
    """Raises a ValueError if a member of the list is not a step."""
    if isinstance(step, Step):
        return
    names = [each.__name__ for each in STEPS]
    if isinstance(step, type) and issubclass(step, Step):
        advice = f" Write {step.__name__}()."
    else:
        near = {name.lower(): name for name in names}
        found = suggest(step, near)
        for low, name in near.items():
            found = found.replace(repr(low), f"{name}()")
        advice = f"{found} Import them from keras_det.data."
    raise ValueError(
        f"The list `augment` must hold steps: {', '.join(names)}. Received: {step!r}.{advice}"
    )


def _check_once(steps: Sequence[Step]) -> None:
    kinds = [type(step) for step in steps]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise ValueError(
                f"Each step must occur only once in the list `augment`. Received: {kind.__name__} "
                f"{kinds.count(kind)} times. Leave out all but one."
            )


def composed(steps: Sequence[Step]) -> Augment:
    """Makes an `Augment` of a plain list.

    Geometric steps come first: `Flip`, `Rotate90`, and one of `ScaleJitter`, `TileCrop`, or
    `ZoomOut` and `IoUCrop`. Together they become one window, which is drawn before the image is
    decoded. The other steps follow in the order of the list; `Mosaic` must come before `CopyPaste`
    and `MixUp`.

    Args:
        steps: list of steps, each kind at most once. An empty list changes nothing.

    Raises:
        ValueError: a member is not a step, a kind occurs twice, or the order is wrong.
    """
    steps = tuple(steps)
    for step in steps:
        _check_step(step)
    _check_once(steps)
    count = next((i for i, step in enumerate(steps) if step.kind != "geometry"), len(steps))
    found: dict[str, Any] = {}
    for step in steps[:count]:
        if isinstance(step, Flip):
            found |= {"flip": step.probability, "flip_vertical": step.vertical}
        elif isinstance(step, Rotate90):
            found["rotate"] = step.probability
        elif isinstance(step, ScaleJitter):
            found["scale"] = (step.low, step.high)
        elif isinstance(step, ZoomOut):
            found["zoom_out"] = step
        elif isinstance(step, IoUCrop):
            found["crop"] = step
        elif isinstance(step, TileCrop):
            found["tile"] = step
    return Augment(**found, steps=steps[count:])


AUGMENTS = {
    "none": Augment(),
    # Flips, small-scale jitter and slightly other colours: for most photos.
    "light": composed(
        [Flip(), ScaleJitter(), Photometric(0.15, 0.15, 0.2, 0.01, grey=0.0, probability=0.5)]
    ),
    # The model's `published_augment`, as in its paper; without a model, that of EfficientDet.
    "published": Augment(flip=0.5, scale=(0.8, 1.25)),
    # Many changes, for long trainings. On BCCD, 1,500 steps, it was no better than "ssj".
    "strong": composed(
        [
            *(Flip(), ScaleJitter(0.5, 1.5), Photometric(), Blur(), JPEGNoise()),
            *(Mosaic(0.5), MixUp(0.1)),
        ]
    ),
    "flip": Augment(flip=0.5),
    "ssj": Augment(flip=0.5, scale=(0.8, 1.25)),
    "lsj": Augment(flip=0.5, scale=(0.1, 2.0)),
    # For detection in tiles: flips, and windows of the network's input size.
    "tiles": composed([Flip(), TileCrop()]),
}


def get_augment(augment: Any, model: Any = None) -> Augment:
    """Returns the `Augment` of a name or a list, or the given one. None means "none".

    Args:
        augment: a name of `AUGMENTS`, a list of steps, an `Augment` or None.
        model: the detector, whose `published_augment` says what "published" means for it.

    Raises:
        ValueError: there is no such name, or the list is wrong.
    """
    if isinstance(augment, Augment):
        return augment
    if augment is None:
        return AUGMENTS["none"]
    if isinstance(augment, (list, tuple)):
        return composed(augment)
    if isinstance(augment, Step):
        raise ValueError(
            f"`augment` must be a list of steps. Received: {augment}. Write [{augment}]."
        )
    if augment not in AUGMENTS:
        raise ValueError(
            f"`augment` must be an Augment, a list of steps or one of {', '.join(AUGMENTS)}. "
            f"Received: {augment!r}.{suggest(augment, AUGMENTS)} Give one of these names."
        )
    if augment == "published":
        own = getattr(model, "published_augment", "ssj")
        return composed(own) if isinstance(own, (list, tuple)) else AUGMENTS[own]
    return AUGMENTS[augment]
