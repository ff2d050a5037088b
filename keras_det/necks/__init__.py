"""Necks: feature pyramid to feature pyramid."""

from keras_det.necks.bifpn import BiFPN as BiFPN
