"""The schedule of the original EfficientDet, and of training on one's own data."""

import keras


def warmup_cosine(
    learning_rate: float, steps: int, warmup_steps: int, start: float = 0.0
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Linear warm-up to `learning_rate`, then half a cosine down to 0 at the last step.

    The original EfficientDet does not shift its cosine by the warm-up: it reaches 0 one warm-up
    early and rises again at the end. This one does not.

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
