"""Applies the steps of an augmentation in order: from the number of an image to one input.

An input depends only on (number, seed). Each image that is part of it has its own seed, derived
from that of the input.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from keras_det.data.augmenting import pixels
from keras_det.data.augmenting.canvas import (
    LARGEST_PASTED,
    PLACES,
    Picture,
    blended,
    joined,
    padded,
    pasted,
    patch_plan,
    quarters,
)
from keras_det.data.augmenting.plans import stays
from keras_det.data.augmenting.step import Step
from keras_det.data.augmenting.steps import (
    STEPS,
    Blur,
    CopyPaste,
    Cutout,
    JPEGNoise,
    MixUp,
    Mosaic,
    Photometric,
)
from keras_det.data.augmenting.views import (
    View,
    draw_view,
    fold,
    render,
    view_back,
    view_boxes,
)
from keras_det.data.resize import resized_size, tf_blank, tf_resize_pixels
from keras_det.types import Size, TFTensor

if TYPE_CHECKING:
    from keras_det.data.augment import Augment

# Seeds of the parts of a step, beside 0, 1, 2 … of its images.
OWN = 2001


class Source(Protocol):
    """Where images come from: the files of a data set, or samples in memory."""

    # Whether numbers of images may be tensors. Then parts of the graph are shared.
    graph: bool

    def decode(
        self, index: TFTensor, make_plan: Callable[[TFTensor, TFTensor], View], whole: bool
    ) -> tuple[TFTensor, View]:
        """The window of an image that its plan keeps, and the plan; see `decode_planned`."""

    def rows(self, index: TFTensor) -> tuple[TFTensor, TFTensor]:
        """Boxes `(n, 4)` xyxy in pixels of the image and labels `(n,)`."""

    def weight(self, index: TFTensor) -> TFTensor:
        """Weight of an image in the losses, a float32 scalar."""

    def partner(self, seed: TFTensor, number: int) -> TFTensor:
        """Another image, for place `number` of a mosaic (1, 2, 3) or for mixup (1)."""

    def donor(self, seed: TFTensor) -> tuple[TFTensor, TFTensor, TFTensor]:
        """An object to paste: number of its image, box `(4,)`, label."""


class Engine:
    """Makes inputs.

    Args:
        augment: `Augment`.
        size: `(height, width)` of the network's input in pixels.
        mode: "letterbox", "stretch" or "mediapipe".
        fill: colour of padding.
        source: `Source`.
    """

    def __init__(
        self,
        augment: "Augment",
        size: Size,
        mode: str,
        fill: float | Sequence[float],
        source: Source,
    ) -> None:
        import tensorflow as tf

        self.augment, self.size, self.mode, self.fill = augment, size, mode, fill
        self.source = source
        self._shared: dict[str, Callable] = {}
        self._numbers: Callable[..., list[TFTensor]] | None = None
        with tf.init_scope(), tf.device("CPU"):  # one tensor for all graphs
            self._blank = tf_blank(size, fill)

    def input(self, index: TFTensor, seed: TFTensor) -> Picture:
        """One input: a `Picture` of the input's size, its objects not yet padded.

        Args:
            index: number of the image.
            seed: int64 `(2,)`.
        """
        return padded(self._after(index, seed, len(self.augment.steps)), self._blank)

    def images_of(self, index: int, seed: TFTensor) -> list[int]:
        """Numbers of all images that may take part in an input, the own one first; eagerly."""
        import tensorflow as tf

        if self._numbers is None:  # many small operations: one function is much faster
            signature = [tf.TensorSpec((), tf.int64), tf.TensorSpec((2,), tf.int64)]
            self._numbers = tf.function(self._images_of, signature, autograph=False)
        return [int(number) for number in self._numbers(tf.cast(index, tf.int64), seed)]

    def _images_of(
        self, index: TFTensor, seed: TFTensor, count: int | None = None
    ) -> list[TFTensor]:
        found = [index]
        for place, step in enumerate(self.augment.steps[:count]):
            own = fold(seed, place)
            if isinstance(step, Mosaic):
                found += [self.source.partner(fold(own, k), k) for k in (1, 2, 3)]
            elif isinstance(step, MixUp):
                other = self.source.partner(fold(own, 1), 1)
                found += self._images_of(other, fold(own, 1), place)
            elif isinstance(step, CopyPaste):
                found += [self.source.donor(fold(own, k))[0] for k in range(step.count)]
        return found

    def _after(self, index: TFTensor, seed: TFTensor, count: int) -> Picture:
        """The picture after the first `count` steps."""
        mixup = [place for place in range(count) if isinstance(self.augment.steps[place], MixUp)]
        if not mixup:
            return self._unmixed(index, seed, count)
        return self._changed(self._before(index, seed, mixup[0]), seed, mixup[0], count)

    def _before(self, index: TFTensor, seed: TFTensor, place: int) -> Picture:
        """One of the two pictures of a mixup, which is step number `place`."""

        def make(index: TFTensor, seed: TFTensor) -> Picture:
            return _as_tensors(self._unmixed(index, seed, place))

        return self._share("before", make, index, seed)

    def _unmixed(self, index: TFTensor, seed: TFTensor, count: int) -> Picture:
        """The picture after the first `count` steps, none of which is a mixup."""
        mosaic = self.augment.mosaic
        start = 0 if mosaic is None else self.augment.steps.index(mosaic) + 1
        if mosaic is None or count < start:
            return self._changed(self._single(index, seed), seed, 0, count)
        picture = self._mosaic(mosaic, index, seed, start - 1)
        return self._changed(picture, seed, start, count)

    def _single(self, index: TFTensor, seed: TFTensor, room: TFTensor | None = None) -> Picture:
        """One image: decoded, in its window, turned, resized and flipped, with its objects."""
        import tensorflow as tf

        augment = self.augment
        if room is not None and augment.mosaic is not None:
            augment = replace(augment, scale=augment.mosaic.scale, zoom_out=None, crop=None)
        boxes, labels = self.source.rows(index)
        windowed = augment.windowed or room is not None
        window, view = self.source.decode(
            index,
            lambda shape, ratio: draw_view(
                shape, self.size, self.mode, augment, seed, ratio, boxes, room
            ),
            not windowed,
        )
        image = render(window, view, bool(augment.flip), self.mode != "mediapipe")
        boxes, visible = view_boxes(boxes, view)
        if windowed:
            keep = stays(boxes, visible, augment)
            boxes, labels = tf.boolean_mask(boxes, keep), tf.boolean_mask(labels, keep)
        back, weight = view_back(view), self.source.weight(index)
        return Picture(image, boxes, labels, view.y, view.x, back, weight)

    def _changed(self, picture: Picture, seed: TFTensor, start: int, stop: int) -> Picture:
        """The picture after the steps from `start` to `stop`, none of which is a mosaic."""
        for place in range(start, stop):
            step, own = self.augment.steps[place], fold(seed, place)
            if isinstance(step, MixUp):
                picture = self._mixed(step, picture, own, place)
            elif isinstance(step, CopyPaste):
                picture = self._pasted(step, picture, own)
            else:
                picture = self._recoloured(step, picture, own)
        return picture

    def _recoloured(self, step: Step, picture: Picture, seed: TFTensor) -> Picture:
        image = picture.image
        if isinstance(step, Photometric):
            return picture._replace(image=pixels.photometric(step, image, seed))
        if isinstance(step, Blur):
            return picture._replace(image=pixels.blurred(step, image, seed))
        if isinstance(step, JPEGNoise):
            return picture._replace(image=pixels.jpeg_noise(step, image, seed))
        if isinstance(step, Cutout):
            found = pixels.cutout(step, image, picture.boxes, picture.labels, seed, self.fill)
            return picture._replace(image=found[0], boxes=found[1], labels=found[2])
        raise TypeError(
            f"A step must be one of {', '.join(each.__name__ for each in STEPS)}. Received: {step}."
            " Use these steps."
        )

    def _mosaic(self, step: Mosaic, index: TFTensor, seed: TFTensor, place: int) -> Picture:
        """Four images in one, or one image, each after the steps before the mosaic."""
        import tensorflow as tf

        own = fold(seed, place)
        draws = tf.random.stateless_uniform((3,), fold(own, OWN))

        def four() -> Picture:
            share = step.centre + (1 - 2 * step.centre) * draws[1:]
            centre = tf.cast(tf.round(share * tf.constant(self.size, tf.float32)), tf.int32)
            centre = tf.clip_by_value(centre, 1, tf.constant(self.size) - 1)
            rooms = quarters(centre, self.size)
            numbers = [index, *(self.source.partner(fold(own, k), k) for k in (1, 2, 3))]
            parts = [
                self._part(number, fold(own, k), rooms[k][2:], place)
                for k, number in enumerate(numbers)
            ]
            return joined(parts, rooms, self._blank)

        def one() -> Picture:
            return _as_tensors(self._changed(self._single(index, seed), seed, 0, place))

        return tf.cond(draws[0] < step.probability, four, one)

    def _part(self, index: TFTensor, seed: TFTensor, room: TFTensor, count: int) -> Picture:
        """One of the four images of a mosaic."""

        def make(index: TFTensor, seed: TFTensor, room: TFTensor) -> Picture:
            return _as_tensors(self._changed(self._single(index, seed, room), seed, 0, count))

        return self._share("part", make, index, seed, room)

    def _mixed(self, step: MixUp, picture: Picture, seed: TFTensor, place: int) -> Picture:
        import tensorflow as tf

        draw = tf.random.stateless_uniform((), fold(seed, OWN))

        def both() -> Picture:
            other = self.source.partner(fold(seed, 1), 1)
            second = self._before(other, fold(seed, 1), place)
            gamma = tf.random.stateless_gamma((2,), fold(seed, OWN + 1), step.alpha)
            share = gamma[0] / tf.reduce_sum(gamma)
            return blended(padded(picture, self._blank), padded(second, self._blank), share)

        return tf.cond(draw < step.probability, both, lambda: _as_tensors(picture))

    def _pasted(self, step: CopyPaste, picture: Picture, seed: TFTensor) -> Picture:
        import tensorflow as tf

        draw = tf.random.stateless_uniform((), fold(seed, OWN))

        def more() -> Picture:
            found = picture
            for k in range(step.count):
                found = self._paste_one(step, found, fold(seed, k))
            return _as_tensors(found)

        return tf.cond(draw < step.probability, more, lambda: _as_tensors(picture))

    def _paste_one(self, step: CopyPaste, picture: Picture, seed: TFTensor) -> Picture:
        import tensorflow as tf

        index, box, label = self.source.donor(seed)
        draws = tf.random.stateless_uniform((2 * PLACES + 1,), fold(seed, OWN))
        low, high = step.scale
        factor = low + (high - low) * draws[0]
        whole = tf.cast(tf.shape(picture.image)[:2], tf.float32)
        limit = tf.maximum(tf.cast(whole * LARGEST_PASTED, tf.int32), 1)

        def make_plan(shape: TFTensor, max_ratio: TFTensor) -> View:
            shape = tf.cast(shape, tf.int32)
            sides = tf.cast(shape, tf.int64)
            usual = tf.stack(resized_size(sides[0], sides[1], self.size, self.mode))
            scale = factor * tf.cast(usual, tf.float32) / tf.cast(shape, tf.float32)
            plan = patch_plan(shape, box, scale, limit, max_ratio)
            return View(*plan[:5], plan)

        window, view = self.source.decode(index, make_plan, False)
        half_pixel = self.mode != "mediapipe"
        patch = tf_resize_pixels(window, view.plan.height, view.plan.width, half_pixel)
        places = tf.reshape(draws[1:], (PLACES, 2))
        weight = self.source.weight(index)
        return pasted(_as_tensors(picture), patch, label, weight, places, step.max_hidden)

    def _share(self, name: str, make: Callable[..., Picture], *arguments: TFTensor) -> Picture:
        """Calls `make`, as one function of the graph where it is needed several times.

        TensorFlow must not insert it where it is called: the graph would grow fourfold.
        """
        import tensorflow as tf

        if not self.source.graph:
            return make(*arguments)
        if name not in self._shared:
            shapes = [((), tf.int64), ((2,), tf.int64), ((2,), tf.int32)][: len(arguments)]
            self._shared[name] = tf.function(
                make,
                input_signature=[tf.TensorSpec(*each) for each in shapes],
                autograph=False,
                experimental_attributes={"_noinline": True},
            )
        return self._shared[name](*arguments)


def _as_tensors(picture: Picture) -> Picture:
    """With y and x as tensors, so that the branches of a condition agree."""
    import tensorflow as tf

    y, x = (tf.convert_to_tensor(each, tf.int32) for each in (picture.y, picture.x))
    return picture._replace(y=y, x=x)
