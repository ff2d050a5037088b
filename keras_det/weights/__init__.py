"""Importers of public checkpoints; each takes the model as an argument."""

from keras_det.weights.cornernet import load_cornernet as load_cornernet
from keras_det.weights.efficientdet import CheckpointInfo as CheckpointInfo
from keras_det.weights.efficientdet import checkpoint_info as checkpoint_info
from keras_det.weights.efficientdet import load_efficientdet as load_efficientdet
from keras_det.weights.model_garden import load_model_garden as load_model_garden
from keras_det.weights.model_garden import model_garden_arguments as model_garden_arguments
from keras_det.weights.report import LoadReport as LoadReport
from keras_det.weights.resnet import load_resnet as load_resnet
from keras_det.weights.torch_file import read_torch_file as read_torch_file
from keras_det.weights.torchvision import load_torchvision_retinanet as load_torchvision_retinanet
from keras_det.weights.torchvision import torchvision_arguments as torchvision_arguments
