"""Necks: feature pyramid to feature pyramid."""

from keras_det.necks.bifpn import BiFPN as BiFPN
from keras_det.necks.fpn import FPN as FPN
