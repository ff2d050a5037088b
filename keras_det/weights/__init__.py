"""Importers of public checkpoints. Each fills a model that is passed as an argument."""

from keras_det.weights import download
from keras_det.weights.backbones.any_file import load_backbone
from keras_det.weights.backbones.efficientnet import load_efficientnet
from keras_det.weights.backbones.keras_applications import load_keras_applications
from keras_det.weights.backbones.resnet import load_resnet
from keras_det.weights.common.report import LoadReport
from keras_det.weights.common.torch_file import read_torch_file
from keras_det.weights.cornernet.load import load_cornernet
from keras_det.weights.efficientdet.load import CheckpointInfo, checkpoint_info, load_efficientdet
from keras_det.weights.retinanet.arguments import RetinaNetArguments
from keras_det.weights.retinanet.model_garden import load_model_garden
from keras_det.weights.retinanet.model_garden_file import model_garden_arguments
from keras_det.weights.retinanet.torchvision import (
    load_torchvision_retinanet,
    torchvision_arguments,
)

__all__ = [
    "CheckpointInfo",
    "LoadReport",
    "RetinaNetArguments",
    "checkpoint_info",
    "download",
    "load_backbone",
    "load_cornernet",
    "load_efficientdet",
    "load_efficientnet",
    "load_keras_applications",
    "load_model_garden",
    "load_resnet",
    "load_torchvision_retinanet",
    "model_garden_arguments",
    "read_torch_file",
    "torchvision_arguments",
]
