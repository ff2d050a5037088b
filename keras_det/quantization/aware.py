"""Quantisation-aware training: a detector that rounds like its int8 export."""

from typing import TypeVar

import keras

from keras_det.quantization.rounding import add_rounding

# A detector. `keras_det.models` imports this module, so its classes cannot be named here.
Model = TypeVar("Model", bound=keras.Model)


def quantize_aware(model: Model) -> Model:
    """A copy of a detector that computes with numbers rounded to 8 bits, for further training.

    Use it for a model that loses too much accuracy in int8: a few epochs with a tenth of the
    learning rate adapt the weights to the rounding.

    The kernels of all convolutions are rounded per channel. Their inputs, the summands of residual
    connections and feature fusions, and the predictions are rounded per tensor; heads that are
    shared over levels keep one range per level. Batch normalisation is frozen. With the statistics
    of each batch it would undo the scale that the rounding depends on, and the exported file holds
    the frozen statistics, folded into the kernels.

    Compile, train, save and load the copy like any detector. Exports write the network without the
    rounding layers; `export.tflite(…, quantize="int8")` then quantises it.

    Args:
        model: a detector.

    Returns:
        A detector of the same class with `quantization_aware` True.
    """
    if model.quantization_aware:
        return model.with_changes()
    copy = model.with_changes()
    copy.roundings = add_rounding(copy)
    return copy


def without_rounding(model: Model) -> Model:
    """A copy without rounding of a detector from `quantize_aware`; other detectors as they are."""
    if not model.quantization_aware:
        return model
    config = {**model.get_config()}
    del config["quantization_aware"]
    copy = type(model).from_config(config)
    mine = {id(weight) for layer in model.roundings for weight in layer.weights}
    copy.set_weights([weight.numpy() for weight in model.weights if id(weight) not in mine])
    return copy
