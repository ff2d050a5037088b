"""Makes a backbone of any Keras model by naming the layers that end its pyramid levels."""

import keras

from keras_det.types import Tensor

LEVEL_NAMES = tuple(f"P{level}" for level in range(1, 9))


def feature_pyramid(model: keras.Model, layers: dict[str, str] | None = None) -> keras.Model:
    """Turns a Keras model into a backbone: images to a dict of pyramid levels.

    A model that names its levels needs no `layers`: one whose output is a dict of levels, a
    keras-hub backbone (`pyramid_outputs`) or a keras-cv backbone (`pyramid_level_inputs`). For any
    other model, such as those of `keras.applications`, name the layer that ends each level:

        application = keras.applications.MobileNetV2(include_top=False, weights="imagenet")
        backbone = feature_pyramid(
            application, {"P3": "block_5_add", "P4": "block_12_add", "P5": "out_relu"}
        )
        RetinaNet(backbone, num_classes=3, normalization="tf")

    `normalization` is the pixel range that the model was trained on ("tf" here: -1 .. 1).

    Args:
        model: functional `keras.Model` with one input `(batch, height, width, 3)`.
        layers: dict from "P3", "P4" … to the name of the layer whose output is that level: the last
            one with stride 2**level. None takes the levels that the model names itself.

    Returns:
        `keras.Model` from the same input to a dict "P3" … of maps, finest level first. It shares
        its layers with `model`.

    Raises:
        ValueError: a layer does not exist, or the levels cannot be found.
    """
    if layers is not None:
        outputs = {level: _layer_output(model, level, name) for level, name in layers.items()}
    elif isinstance(getattr(model, "pyramid_outputs", None), dict):
        outputs = dict(model.pyramid_outputs)
    elif isinstance(getattr(model, "pyramid_level_inputs", None), dict):
        names = model.pyramid_level_inputs
        outputs = {level: _layer_output(model, level, name) for level, name in names.items()}
    elif isinstance(model.output, dict):
        outputs = dict(model.output)
    else:
        outputs = {}
    if not outputs or not set(outputs) <= set(LEVEL_NAMES):
        raise ValueError(
            'A backbone must name its pyramid levels "P1" … "P8". Received: '
            f"{model.name!r} with {sorted(outputs) or 'one output and no `pyramid_outputs`'}. Name "
            'the last layer of each level: feature_pyramid(model, {"P3": "name of a layer", '
            '"P4": …, "P5": …}).'
        )
    outputs = dict(sorted(outputs.items()))
    if isinstance(model.output, dict) and list(model.output) == list(outputs):
        model.pyramid_outputs = outputs
        return model
    backbone = keras.Model(model.input, outputs, name=f"{model.name}_pyramid")
    backbone.pyramid_outputs = outputs
    return backbone


def _layer_output(model: keras.Model, level: str, name: str) -> Tensor:
    try:
        return model.get_layer(name).output
    except ValueError:
        known = [layer.name for layer in model.layers]
        raise ValueError(
            f"`layers[{level!r}]` must be the name of a layer of {model.name!r}. Received: "
            f"{name!r}. Choose one of its {len(known)} layers; the last ones are "
            f"{known[-5:]}. model.summary() lists all of them."
        ) from None
