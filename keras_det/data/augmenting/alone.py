"""Applies a step to samples in memory, with the code of the pipeline."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keras_det.data.augmenting.engine import Engine
from keras_det.data.augmenting.plans import crop_window
from keras_det.data.augmenting.views import View
from keras_det.names import PADDING_LABEL
from keras_det.types import TFTensor


class Memory:
    """`Source` of samples in memory: the first is changed, the others are the other images."""

    graph = False

    def __init__(self, samples: Sequence[Mapping[str, Any]]) -> None:
        import tensorflow as tf

        self._images = [tf.cast(sample["image"], tf.uint8) for sample in samples]
        self._rows = []
        for sample in samples:
            labels = tf.cast(sample["labels"], tf.int32)
            boxes = tf.reshape(tf.cast(sample["boxes"], tf.float32), (-1, 4))
            kept = labels != PADDING_LABEL
            self._rows.append((tf.boolean_mask(boxes, kept), tf.boolean_mask(labels, kept)))

    def decode(
        self, index: TFTensor, make_plan: Callable[[TFTensor, TFTensor], View], whole: bool
    ) -> tuple[TFTensor, View]:
        import tensorflow as tf

        def shape_of(k: int) -> Callable[[], TFTensor]:
            return lambda: tf.shape(self._images[k])[:2]

        def window_of(k: int) -> Callable[[], TFTensor]:
            return lambda: crop_window(self._images[k], view)

        places = range(len(self._images))
        if isinstance(index, int):
            view = make_plan(shape_of(index)(), 1)
            return window_of(index)(), view
        view = make_plan(tf.switch_case(index, [shape_of(k) for k in places]), 1)
        return tf.switch_case(index, [window_of(k) for k in places]), view

    def rows(self, index: TFTensor) -> tuple[TFTensor, TFTensor]:
        found: tuple[TFTensor, TFTensor] = self._rows[index]
        return found

    def weight(self, index: TFTensor) -> TFTensor:
        import tensorflow as tf

        return tf.constant(1.0)

    def partner(self, seed: TFTensor, number: int) -> TFTensor:
        return number

    def donor(self, seed: TFTensor) -> tuple[TFTensor, TFTensor, TFTensor]:
        """One of the objects of the other samples, each equally likely."""
        import tensorflow as tf

        others = self._rows[1:]
        boxes = tf.concat([boxes for boxes, _ in others], axis=0)
        labels = tf.concat([labels for _, labels in others], axis=0)
        counts = tf.stack([tf.size(labels) for _, labels in others])
        images = tf.repeat(tf.range(1, len(others) + 1), counts)
        # Where there is no object, an empty slot is drawn, which is not pasted.
        boxes, labels = (
            tf.pad(boxes, [[0, 1], [0, 0]]),
            tf.pad(labels, [[0, 1]], constant_values=PADDING_LABEL),
        )
        images = tf.pad(images, [[0, 1]], constant_values=1)
        count = tf.maximum(tf.size(labels) - 1, 1)
        row = tf.random.stateless_uniform((), seed, maxval=count, dtype=tf.int32)
        return images[row], boxes[row], labels[row]


def change(
    step: Any,
    sample: Mapping[str, Any],
    seed: Any,
    others: Sequence[Mapping[str, Any]],
    fill: float | Sequence[float],
) -> dict[str, TFTensor]:
    """Changes one sample; see `Step.__call__`."""
    import tensorflow as tf

    from keras_det.data.augment import composed

    needed = step.others
    if len(others) < needed or (not needed and others):
        raise ValueError(
            f"{type(step).__name__} needs {needed or 'no'} other sample"
            f"{'' if needed == 1 else 's'}. Received: {len(others)}. "
            f"{'Give' if needed else 'Leave out'} `others`."
        )
    seed = tf.cast(tf.convert_to_tensor(seed), tf.int64)
    seed = tf.stack([tf.constant(0, tf.int64), seed]) if seed.shape.rank == 0 else seed
    image = tf.cast(sample["image"], tf.uint8)
    size = tuple(image.shape[:2])
    if None in size:
        raise ValueError(
            f"`image` must have a known size. Received: {image.shape}. Set it with "
            "tf.ensure_shape, or use a Pipeline, which reads images of any size."
        )
    engine = Engine(composed([step]), size, "letterbox", fill, Memory([sample, *others]))
    # As in a pipeline: there is no `if` of tensors for AutoGraph to find.
    picture = tf.autograph.experimental.do_not_convert(engine.input)(0, seed)
    slots = sum(tf.shape(each["labels"])[0] for each in [sample, *others])
    if step.kind == "images" and hasattr(step, "count"):
        slots = tf.shape(sample["labels"])[0] + step.count
    empty = slots - tf.size(picture.labels)
    return {
        "image": picture.image,
        "boxes": tf.pad(picture.boxes, [[0, empty], [0, 0]]),
        "labels": tf.pad(picture.labels, [[0, empty]], constant_values=PADDING_LABEL),
    }
