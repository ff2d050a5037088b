"""Importers of public checkpoints. Each fills a model that is passed as an argument.

The catalogue and the cache need neither Keras nor TensorFlow, so the importers are imported on
first use.
"""

from typing import TYPE_CHECKING

from keras_det.lazy_names import importer
from keras_det.weights import download

if TYPE_CHECKING:
    from keras_det.weights.backbones.any_file import load_backbone as load_backbone
    from keras_det.weights.backbones.efficientnet import load_efficientnet as load_efficientnet
    from keras_det.weights.backbones.keras_applications import (
        load_keras_applications as load_keras_applications,
    )
    from keras_det.weights.backbones.resnet import load_resnet as load_resnet
    from keras_det.weights.common.report import LoadReport as LoadReport
    from keras_det.weights.common.torch_file import read_torch_file as read_torch_file
    from keras_det.weights.cornernet.load import load_cornernet as load_cornernet
    from keras_det.weights.efficientdet.load import CheckpointInfo as CheckpointInfo
    from keras_det.weights.efficientdet.load import checkpoint_info as checkpoint_info
    from keras_det.weights.efficientdet.load import load_efficientdet as load_efficientdet
    from keras_det.weights.retinanet.arguments import RetinaNetArguments as RetinaNetArguments
    from keras_det.weights.retinanet.model_garden import load_model_garden as load_model_garden
    from keras_det.weights.retinanet.model_garden_file import (
        model_garden_arguments as model_garden_arguments,
    )
    from keras_det.weights.retinanet.torchvision import (
        load_torchvision_retinanet as load_torchvision_retinanet,
    )
    from keras_det.weights.retinanet.torchvision import (
        torchvision_arguments as torchvision_arguments,
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
# The module of this folder in which a name lives.
_HOMES = {
    "CheckpointInfo": "efficientdet.load",
    "LoadReport": "common.report",
    "RetinaNetArguments": "retinanet.arguments",
    "checkpoint_info": "efficientdet.load",
    "load_backbone": "backbones.any_file",
    "load_cornernet": "cornernet.load",
    "load_efficientdet": "efficientdet.load",
    "load_efficientnet": "backbones.efficientnet",
    "load_keras_applications": "backbones.keras_applications",
    "load_model_garden": "retinanet.model_garden",
    "load_resnet": "backbones.resnet",
    "load_torchvision_retinanet": "retinanet.torchvision",
    "model_garden_arguments": "retinanet.model_garden_file",
    "read_torch_file": "common.torch_file",
    "torchvision_arguments": "retinanet.torchvision",
}

if not TYPE_CHECKING:  # else checkers would accept every name
    __getattr__ = importer(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
