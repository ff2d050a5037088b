"""The schedule of the original RetinaNet."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_det.types import Tensor


@keras.saving.register_keras_serializable(package="keras_det")
class WarmupThenDrops(keras.optimizers.schedules.LearningRateSchedule):
    """A linear warm-up, then a constant rate that is divided by ten at given steps.

    RetinaNet section 4.1 (https://arxiv.org/abs/1708.02002): a rate of 0.01, divided by 10 at 60k
    and at 80k of 90k steps. The warm-up is detectron2's and starts at a thousandth of the rate.

    Args:
        learning_rate: rate between the warm-up and the first drop.
        drops: steps at which the rate is divided by ten, ascending.
        warmup_steps: steps of the warm-up.
    """

    def __init__(self, learning_rate: float, drops: Sequence[int], warmup_steps: int) -> None:
        self.learning_rate = learning_rate
        self.drops = list(drops)
        self.warmup_steps = warmup_steps

    def __call__(self, step: Tensor) -> Tensor:
        step = ops.cast(step, "float32")
        rate = ops.convert_to_tensor(self.learning_rate, "float32")
        for drop in self.drops:
            rate = ops.where(step >= drop, rate / 10.0, rate)
        if not self.warmup_steps:
            return rate
        done = ops.minimum(step / self.warmup_steps, 1.0)
        return rate * (0.001 + 0.999 * done)

    def get_config(self) -> dict[str, Any]:
        return {
            "learning_rate": self.learning_rate,
            "drops": self.drops,
            "warmup_steps": self.warmup_steps,
        }
