"""Optimizers with their schedules: how to train, as one object for `model.compile`."""

import keras

from keras_det.models import CornerNet, RetinaNet
from keras_det.models.optimizers import SGD, AdamW, WarmupThenDrops


def warmup_cosine(
    learning_rate: float, steps: int, warmup_steps: int, start: float = 0.0
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Linear warm-up to `learning_rate`, then half a cosine down to 0 at the last step.

    The original EfficientDet's cosine reaches 0 one warm-up early and rises again at the end
    (its step is not shifted); this one does not.

    Args:
        learning_rate: the peak.
        steps: optimizer steps of the whole training.
        warmup_steps: steps of the warm-up, fewer than `steps`.
        start: the rate of the first step.
    """
    warmup_steps = max(1, min(warmup_steps, steps - 1))
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=start,
        decay_steps=max(1, steps - warmup_steps),
        alpha=0.0,
        warmup_target=learning_rate,
        warmup_steps=warmup_steps,
    )


def average_momentum(steps: int, longest: float = 0.9998) -> float:
    """Decay of the moving average of the weights: a window of a twentieth of the training.

    The published 0.9998 averages over 5,000 steps; in a training of 2,000 that would still hold the
    random start.
    """
    return min(longest, 1.0 - 20.0 / max(steps, 40))


def adamw(
    model,
    batch_size: int,
    steps: int,
    learning_rate: float | None = None,
    weight_decay: float = 0.02,
    averaged: bool = True,
) -> keras.optimizers.Optimizer:
    """The recipe for one's own data, from tens to thousands of images.

    AdamW with warm-up over the first twentieth of the steps, cosine decay to 0, gradients clipped
    to a global norm of 10, and a moving average of the weights (swapped in for evaluation and at
    the end of `fit`).

    Args:
        model: the detector; its losses are the published ones.
        batch_size: images per step.
        steps: optimizer steps of the whole training.
        learning_rate: peak rate. Default: 2e-3 at 8 images per step, with the square root of the
            batch size.
        weight_decay: decoupled decay, multiplied with the rate.
        averaged: keep the moving average.
    """
    if learning_rate is None:
        learning_rate = 2e-3 * (batch_size / 8.0) ** 0.5
    return AdamW(
        warmup_cosine(learning_rate, steps, steps // 20),
        weight_decay=weight_decay,
        global_clipnorm=10.0,
        use_ema=averaged,
        ema_momentum=average_momentum(steps),
        ema_overwrite_frequency=None,
    )


def published(
    model, batch_size: int, steps: int, warmup_steps: int | None = None
) -> keras.optimizers.Optimizer:
    """The optimizer that the model's paper trained with, for long trainings from ImageNet weights.

    EfficientDet: SGD with momentum 0.9; rate 0.08 per 64 images of a batch, warmed up from 0.008
    over one epoch (a three-hundredth of the steps here); cosine decay; 4e-5 / 2 times the squares
    of all kernels as a term of the loss; gradients clipped to a norm of 10 each, then to a global
    norm of 10; weights averaged with min(0.9998, (1 + step) / (10 + step)). What differs from the
    original: no rise of the rate at the end (`warmup_cosine`); batches below 7 images warm up from
    their own rate, not from the higher 0.008; statistics of batch normalisation are not averaged
    once more.

    RetinaNet: SGD with momentum 0.9; rate 0.01 per 16 images, divided by 10 after two thirds and
    eight ninths of the steps, warmed up over 1,000 of 90,000 (a ninetieth); 1e-4 / 2 times the
    squares of all kernels as a term of the loss.

    CornerNet: Adam; rate 2.5e-4 for 49 images, here with the square root of the batch size; divided
    by 10 after nine tenths of the steps (450,000 of 500,000); no warm-up, no decay.

    The squares of kernels are part of the optimizer's step (`kernel_l2` of
    `keras_det.models.optimizers.SGD`): the gradient is the published one, while `loss` in the logs
    is class loss + box loss.

    With few images, or from random weights, use `adamw`.

    Args:
        model: the detector; its losses are the published ones.
        batch_size: images per step.
        steps: optimizer steps of the whole training.
        warmup_steps: steps of the warm-up. Default: as said above.
    """
    if isinstance(model, CornerNet):
        rate = 2.5e-4 * (batch_size / 49.0) ** 0.5
        schedule = WarmupThenDrops(rate, [steps * 9 // 10], warmup_steps or 0)
        return AdamW(schedule, weight_decay=0.0)
    if isinstance(model, RetinaNet):
        warmup_steps = steps // 90 if warmup_steps is None else warmup_steps
        drops = [steps * 2 // 3, steps * 8 // 9]
        schedule = WarmupThenDrops(0.01 * batch_size / 16.0, drops, warmup_steps)
        return SGD(schedule, momentum=0.9, kernel_l2=1e-4)
    rate = 0.08 * batch_size / 64.0
    warmup_steps = steps // 300 if warmup_steps is None else warmup_steps
    return SGD(
        warmup_cosine(rate, steps, warmup_steps, start=min(0.008, rate)),
        momentum=0.9,
        kernel_l2=4e-5,
        tensor_clipnorm=10.0,
        global_clipnorm=10.0,
        use_ema=True,
        ema_momentum=0.9998,
        ema_warmup=True,
        ema_overwrite_frequency=None,
    )


RECIPES = {"adamw": adamw, "published": published}
