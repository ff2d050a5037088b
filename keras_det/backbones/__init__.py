"""Backbones: image to feature pyramid."""

from keras_det.backbones.efficientnet import EFFICIENTNETS as EFFICIENTNETS
from keras_det.backbones.efficientnet import efficientnet as efficientnet
from keras_det.backbones.hourglass import HOURGLASSES as HOURGLASSES
from keras_det.backbones.hourglass import Hourglass as Hourglass
from keras_det.backbones.hourglass import hourglass as hourglass
from keras_det.backbones.pyramid import feature_pyramid as feature_pyramid
from keras_det.backbones.resnet import RESNETS as RESNETS
from keras_det.backbones.resnet import resnet as resnet
