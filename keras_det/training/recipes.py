"""Training recipes: an optimizer with its schedule, for `model.compile`."""

from collections.abc import Callable
from typing import Any

import keras

from keras_det.keras_private import OptimizerStep
from keras_det.models.detector import Detector
from keras_det.models.parts import is_whole
from keras_det.optimizers import AdamW, rate_for_batch, warmup_cosine
from keras_det.words import counted


def average_momentum(steps: int, longest: float = 0.9998) -> float:
    """Decay of the moving average of the weights: a window of a twentieth of the training.

    The published 0.9998 averages over 5,000 steps. In a training run of 2,000 steps such an average
    would still contain the initial random weights.

    Args:
        steps: optimizer steps of the whole training.
        longest: largest decay.
    """
    return min(longest, 1.0 - 20.0 / max(steps, 40))


def adamw(
    model: Detector | None,
    batch_size: int,
    steps: int,
    learning_rate: float | None = None,
    weight_decay: float = 0.02,
    averaged: bool = True,
    warmup_steps: int | None = None,
    average: float | None = None,
    backbone_rate: float = 1.0,
    accumulate: int = 1,
) -> keras.optimizers.Optimizer:
    """The recipe for your own data, from tens to thousands of images.

    AdamW with warm-up over the first twentieth of the steps, cosine decay to 0, gradients clipped
    to a global norm of 10, and a moving average of the weights (swapped in for evaluation and at
    the end of `fit`).

    Args:
        model: the detector; its losses are the published ones.
        batch_size: images per step.
        steps: steps of the whole training, as `fit` counts them.
        learning_rate: peak rate. Default: 2e-3 at 8 images per update, scaled with the square root
            of the images per update.
        weight_decay: decoupled decay, multiplied by the rate.
        averaged: bool. False keeps no moving average.
        warmup_steps: updates of the warm-up. Default: the first twentieth.
        average: decay of the moving average, below 1. Default: `average_momentum(steps)`.
        backbone_rate: factor >= 0 of the learning rate for the backbone, such as 0.3 if it has
            trained weights. Needs `model`; freeze its layers first.
        accumulate: steps per update, at least 1. An update uses the mean gradient of its steps,
            that is, of `accumulate * batch_size` images.

    Raises:
        ValueError: `backbone_rate` is given, but `model` has no backbone; or `accumulate` is not a
            whole number from 1 to `steps`.
    """
    steps = updates_of(steps, accumulate)
    rate = peak_rate(batch_size * accumulate) if learning_rate is None else learning_rate
    return AdamW(
        warmup_cosine(rate, steps, steps // 20 if warmup_steps is None else warmup_steps),
        weight_decay=weight_decay,
        global_clipnorm=10.0,
        use_ema=averaged,
        ema_momentum=average_momentum(steps) if average is None else average,
        ema_overwrite_frequency=None,
        rate_factors=None if backbone_rate == 1 else rate_factors(model, backbone_rate),
        gradient_accumulation_steps=accumulate if accumulate > 1 else None,
    )


def updates_of(steps: int, accumulate: int) -> int:
    """Number of updates of the weights in `steps` steps, with one for every `accumulate` steps.

    Raises:
        ValueError: `accumulate` is not a whole number from 1 to `steps`.
    """
    if accumulate != 1 and not (is_whole(accumulate) and 1 <= accumulate <= steps):
        raise ValueError(
            "`accumulate` must be a whole number, from 1 to the number of steps of the training. "
            f"Received: accumulate={accumulate!r} for {counted(steps, 'step')}. Choose a smaller "
            "number, or train for longer."
        )
    return steps // accumulate


def peak_rate(batch_size: int, at_8: float = 2e-3) -> float:
    """Peak learning rate of AdamW: `at_8` at 8 images per update; see `rate_for_batch`."""
    return rate_for_batch(at_8, 8, batch_size, adaptive=True)


def rate_factors(model: Any, backbone: float) -> list[float]:
    """Factors of the learning rate, one per trainable variable, for `keras_det.optimizers.AdamW`.

    Args:
        model: the detector; freeze its layers first.
        backbone: factor >= 0 for the variables of the backbone; the others get 1.

    Raises:
        ValueError: the model has no backbone.
    """
    part = getattr(model, "backbone", None)
    if part is None:
        raise ValueError(
            "A learning rate for the backbone needs a model with a backbone. Received: "
            f"backbone_rate={backbone} for {getattr(model, 'name', model)}. Leave it out."
        )
    own = {id(variable) for variable in part.trainable_variables}
    return [backbone if id(each) in own else 1.0 for each in model.trainable_variables]


def published(
    model: Detector,
    batch_size: int,
    steps: int,
    warmup_steps: int | None = None,
    accumulate: int = 1,
) -> keras.optimizers.Optimizer:
    """The optimizer of the model's paper, for long training from ImageNet weights.

    Each model declares its own: `published_optimizer` of `EfficientDet`, `RetinaNet` and
    `CornerNet` describes it and says where it differs from the original code. A model class of your
    own may define one.

    The squares of the kernels are part of the optimizer's step (`kernel_l2` of
    `keras_det.optimizers.SGD`). So the gradient is the published one, while `loss` in the logs is
    class loss + box loss.

    With few images, or from random weights, use `adamw`.

    Args:
        model: the detector; its losses are the published ones.
        batch_size: images per step.
        steps: steps of the whole training, as `fit` counts them.
        warmup_steps: updates of the warm-up. Default: the model's own.
        accumulate: as in `adamw`. The model is asked for an optimizer for `accumulate` times the
            batch size, and for the number of updates instead of steps.

    Raises:
        TypeError: the model has no published training, or `accumulate` is above 1 and its optimizer
            is not one of `keras_det.optimizers`.
        ValueError: as in `adamw`.
    """
    updates = updates_of(steps, accumulate)
    optimizer = model.published_optimizer(batch_size * accumulate, updates, warmup_steps)
    if accumulate > 1:
        if not isinstance(optimizer, OptimizerStep):
            raise TypeError(
                "To accumulate gradients, `published_optimizer` must return an optimizer of "
                f"keras_det.optimizers: Keras' own count steps instead of updates. Received: "
                f"{type(optimizer).__name__} from {getattr(model, 'name', model)}. Return AdamW or "
                "SGD of keras_det.optimizers, or leave out `accumulate`."
            )
        optimizer.gradient_accumulation_steps = int(accumulate)
    return optimizer


# Optimizers by the recipes' names; `recipe="auto"` takes adamw with numbers of its own.
RECIPES: dict[str, Callable[..., keras.optimizers.Optimizer]] = {
    "adamw": adamw,
    "published": published,
}
