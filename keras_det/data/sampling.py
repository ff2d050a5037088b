"""How often the images of a data set come in an epoch: rare classes can come more often."""

import math
import warnings

import numpy as np

from keras_det.data.dataset import Dataset, image_of_objects
from keras_det.errors import suggest
from keras_det.names import SAMPLING_NAMES
from keras_det.types import TFTensor


def images_with(dataset: Dataset) -> np.ndarray:
    """Whether an image shows a class, without crowd: bool `(images, classes)`."""
    rows = np.flatnonzero(~dataset.crowd)
    image = image_of_objects(dataset)[rows]
    found = np.zeros((len(dataset), max(dataset.num_classes, 1)), bool)
    found[image, dataset.labels[rows]] = True
    return found


def repeat_factors(dataset: Dataset, threshold: float) -> np.ndarray:
    """How often each image should come.

    LVIS, appendix B (https://arxiv.org/abs/1908.03195), with f(c) the share of the images that
    show class c:

        r(c) = max(1, sqrt(threshold / f(c))),  r(image) = max of r(c) over its classes

    Args:
        dataset: `Dataset`.
        threshold: float in (0, 1].

    Returns:
        float64 `(images,)`, at least 1; 1 for an image without objects.
    """
    shown = images_with(dataset)
    share = shown.mean(axis=0)
    with np.errstate(divide="ignore"):
        factors = np.maximum(1.0, np.sqrt(threshold / share))
    return np.where(shown, factors, 1.0).max(axis=1)


def balanced_factors(dataset: Dataset) -> np.ndarray:
    """How often each image should come if classes are drawn equally often, then their images.

    Images without objects count as one more class.

    Returns:
        float64 `(images,)`, the mean is 1.
    """
    shown = images_with(dataset)
    empty = np.logical_not(shown.any(axis=1))
    shown = np.concatenate([shown, empty[:, None]], axis=1)
    counts = shown.sum(axis=0)
    shown, counts = shown[:, counts > 0], counts[counts > 0]
    return (shown / counts).sum(axis=1) * len(dataset) / len(counts)


class Sampler:
    """Which image comes at each place of a pass.

    A pass has `length` places. With factors r, image i comes at floor(r_i) or ceil(r_i) of them;
    the mean over passes is exactly r_i ("systematic sampling"): its part of the line from 0 to
    `length` has the length r_i, and the places are the points 0 + u, 1 + u, 2 + u …

    Args:
        dataset: `Dataset`.
        name: "uniform", "repeat_factor" or "class_balanced".
        threshold: float in (0, 1], as for `repeat_factors`.

    Raises:
        ValueError: an argument has a wrong value.
    """

    def __init__(self, dataset: Dataset, name: str, threshold: float) -> None:
        if name not in SAMPLING_NAMES:
            raise ValueError(
                f"`sampling` must be one of {', '.join(SAMPLING_NAMES)}. Received: {name!r}."
                f"{suggest(name, SAMPLING_NAMES)} Give one of these names."
            )
        if not 0 < threshold <= 1:
            raise ValueError(
                f"`repeat_threshold` must lie in (0, 1]. Received: {threshold}. Classes that are "
                "in a smaller share of the images count as rare; LVIS uses 0.001."
            )
        self.name, self.length = name, len(dataset)
        self._ends: np.ndarray | None = None
        self._tensor: TFTensor = None
        if name == "uniform" or not len(dataset):
            return
        if name == "repeat_factor":
            factors = repeat_factors(dataset, threshold)
            self.length = math.ceil(factors.sum() - 1e-9)
            if factors.max() == 1:
                _warn_of_nothing(dataset, threshold)
        else:
            factors = balanced_factors(dataset)
        ends = np.cumsum(factors)
        self._ends = ends * (self.length / ends[-1])
        self._ends[-1] = self.length

    def index(self, place: TFTensor, offset_seed: TFTensor) -> TFTensor:
        """Number of the image at a place, int64.

        Args:
            place: int64 in 0..length-1.
            offset_seed: int64 `(2,)`, the same for all places of a pass.
        """
        if self._ends is None:
            return place
        import tensorflow as tf

        point = tf.random.stateless_uniform((), offset_seed, dtype=tf.float64)
        point += tf.cast(place, tf.float64)
        if self._tensor is None:
            with tf.init_scope(), tf.device("CPU"):  # one tensor for all graphs
                self._tensor = tf.constant(self._ends)
        found = tf.searchsorted(self._tensor, point[None], side="right", out_type=tf.int64)[0]
        return tf.minimum(found, len(self._ends) - 1)


def _warn_of_nothing(dataset: Dataset, threshold: float) -> None:
    share = images_with(dataset).mean(axis=0)
    share = np.where(share > 0, share, 2.0)
    rarest = int(share.argmin())
    if share[rarest] > 1:
        return
    warnings.warn(
        'sampling="repeat_factor" repeats no image: the rarest class, '
        f"{dataset.class_names[rarest]}, is in {share[rarest]:.1%} of the images, and "
        f"repeat_threshold is {threshold:.1%}. Raise repeat_threshold above it.",
        stacklevel=4,
    )
