"""Necks: feature pyramid to feature pyramid."""

from keras_det.necks.bifpn import BiFPN as BiFPN
from keras_det.necks.fpn import FPN as FPN
from keras_det.necks.make import NECKS as NECKS
from keras_det.necks.make import make_neck as make_neck
from keras_det.necks.nas_fpn import NASFPN as NASFPN
from keras_det.necks.pafpn import PAFPN as PAFPN
