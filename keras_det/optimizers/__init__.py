"""Optimizers and schedules that the published detectors were trained with."""

from keras_det.optimizers.adamw import AdamW as AdamW
from keras_det.optimizers.batch_scaling import rate_for_batch as rate_for_batch
from keras_det.optimizers.sgd import SGD as SGD
from keras_det.optimizers.warmup_cosine import warmup_cosine as warmup_cosine
from keras_det.optimizers.warmup_then_drops import WarmupThenDrops as WarmupThenDrops
