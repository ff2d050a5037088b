"""How to tell which EfficientNet a file or a model holds: names do not always say it."""

import keras

from keras_det.errors import DataError

# From (number of blocks, channels after the last one, squeeze-and-excitation) to the variant.
EFFICIENTNETS_BY_SHAPE = {
    (16, 320, True): "b0",
    (23, 320, True): "b1",
    (23, 352, True): "b2",
    (26, 384, True): "b3",
    (32, 448, True): "b4",
    (39, 512, True): "b5",
    (45, 576, True): "b6",
    (55, 640, True): "b7",
    (16, 320, False): "lite0",
    (21, 320, False): "lite1",
    (21, 352, False): "lite2",
    (24, 384, False): "lite3",
    (30, 448, False): "lite4",
}


def backbone_variant(backbone: keras.Model) -> str:
    """The variant of one of our EfficientNets, "b0" … "lite4".

    Raises:
        DataError: it is no EfficientNet.
    """
    layers = {layer.name: layer for layer in getattr(backbone, "layers", ())}
    blocks = sum(name.endswith("_depthwise") for name in layers)
    last = getattr(layers.get(f"block{blocks - 1}_project"), "filters", 0)
    shape = (blocks, last, "block0_se_reduce" in layers)
    if shape not in EFFICIENTNETS_BY_SHAPE:
        raise DataError(
            "EfficientNet weights fill an EfficientNet. Received: the backbone "
            f"{getattr(backbone, 'name', backbone)!r}. Build it with "
            "keras_det.backbones.efficientnet(…)."
        )
    return EFFICIENTNETS_BY_SHAPE[shape]
