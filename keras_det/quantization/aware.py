"""Quantisation-aware training: a detector that rounds as its int8 file will."""

from typing import TypeVar

import keras

from keras_det.quantization.rounding import add_rounding

# A class of detectors. `keras_det.models` stands on this module, not the other way round.
Model = TypeVar("Model", bound=keras.Model)


def quantize_aware(model: Model) -> Model:
    """A copy of a detector that computes with numbers rounded to 8 bits, to be trained further.

    For a model that loses too much in int8: some epochs with a tenth of the learning rate let the
    weights make up for the rounding. The kernels of all convolutions are rounded per channel, and
    their inputs, the summands of residual connections and feature fusions, and the predictions per
    tensor; heads that are shared over levels keep a range for each. Batch normalisation is frozen:
    with the statistics of each batch it would undo the scale that the rounding depends on, and the
    file holds the frozen ones, folded into the kernels.

    Train it with `compile` and `fit` like any detector, save and load it like any; exports write
    the network without the rounding, and `export.tflite(…, quantize="int8")` rounds it for good.

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
    """A copy of a detector of `quantize_aware` that computes as before; others as they are."""
    if not model.quantization_aware:
        return model
    config = {**model.get_config()}
    del config["quantization_aware"]
    copy = type(model).from_config(config)
    mine = {id(weight) for layer in model.roundings for weight in layer.weights}
    copy.set_weights([weight.numpy() for weight in model.weights if id(weight) not in mine])
    return copy
