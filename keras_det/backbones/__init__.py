"""Backbones: image to feature pyramid."""

from keras_det.backbones.efficientnet import EFFICIENTNETS as EFFICIENTNETS
from keras_det.backbones.efficientnet import efficientnet as efficientnet
