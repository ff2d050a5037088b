"""What all steps of an augmentation share."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, ClassVar

from keras_det.names import IMAGENET_MEAN
from keras_det.types import TFTensor


class Step:
    """What all steps share.

    Attributes:
        kind: "geometry" (drawn before the image is decoded), "images" (several images) or "pixels".
        strong: bool. `Pipeline(plain_after=…)` leaves it out in the last part of a training.
        others: number of other images that it needs.
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
        """Returns one changed sample; works eagerly and inside `tf.data`.

        Args:
            sample: dict of `image` uint8 `(height, width, 3)`, `boxes` float32 `(slots, 4)` xyxy
                pixels and `labels` int32 `(slots,)`, -1 in empty slots.
            seed: one int or two. The same arguments give the same result.
            others: other samples of any size, at least as many as the attribute `others` says.
            fill: colour where there is no image, 0..255, one value or three.

        Returns:
            A dict like `sample`, with an image of the same size. It has as many slots as all
            samples together; objects come first.

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
