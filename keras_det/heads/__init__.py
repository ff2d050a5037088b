"""Heads: feature pyramid to raw outputs."""

from keras_det.heads.anchor_head import ConvHead as ConvHead
from keras_det.heads.anchor_head import SeparableHead as SeparableHead
from keras_det.heads.corner_head import CornerHead as CornerHead
