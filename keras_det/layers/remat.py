"""Gradient checkpointing: saves memory by recomputing activations in the backward pass."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_det.keras_private import all_layers, kept_nodes, replace_call
from keras_det.types import Tensor


def rematerialize_blocks(model: keras.Model, ends: Sequence[Tensor]) -> None:
    """Makes a functional model recompute its blocks in the backward pass of a training step.

    Layers, weights and outputs stay the same; so does everything outside training.

    Args:
        model: functional model of one input, whose outputs are a dict of some of `ends`.
        ends: symbolic outputs of its blocks, in order. Each block uses the output of the one before
            and nothing else.
    """
    starts, whole, outputs = [model.inputs[0], *ends[:-1]], model.call, dict(model.output)
    with kept_nodes(all_layers(model)):
        blocks = [keras.Model(start, end) for start, end in zip(starts, ends, strict=True)]

    def call(inputs: Tensor, training: bool | None = None, mask: Any = None) -> dict[str, Tensor]:
        if not training:
            return whole(inputs, training=training, mask=mask)
        found, x = {}, inputs
        for block, end in zip(blocks, ends, strict=True):
            x = rematerialized(functools.partial(block, training=True), [block], x)
            found[id(end)] = x
        return {name: found[id(output)] for name, output in outputs.items()}

    replace_call(model, call)


def rematerialized(
    function: Callable[[Any], Any], layers: Sequence[keras.layers.Layer], inputs: Any
) -> Any:
    """Computes `function(inputs)` without storing its activations for the gradient.

    Training with sublinear memory (https://arxiv.org/abs/1604.06174): costs one more forward pass
    and saves the memory of all activations between `inputs` and the result. The statistics of batch
    normalisation are updated once, in the first pass. Under TensorFlow, Keras' own `RematScope`
    updates them in both passes.

    Args:
        function: maps a tensor, or a list of tensors, to another, using only `layers` and
            `keras.ops`.
        layers: built layers whose variables `function` uses.
        inputs: tensor or list of tensors.

    Returns:
        The result of `function`.
    """
    trainable = [v for layer in layers for v in layer.trainable_variables]
    fixed = [v for layer in layers for v in layer.non_trainable_variables]

    # Copies, because TensorFlow would count the gradient of a variable twice.
    values, constant = ([keras.ops.copy(v) for v in group] for group in (trainable, fixed))

    def run(inputs: Any, values: list[Tensor]) -> tuple[Any, list[Tensor]]:
        mapping = [*zip(trainable, values, strict=True), *zip(fixed, constant, strict=True)]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            outputs = function(inputs)
        return outputs, [scope.get_current_value(variable) for variable in fixed]

    outputs, updates = keras.remat(run)(inputs, values)
    for variable, before, update in zip(fixed, constant, updates, strict=True):
        if update is not before:
            variable.assign(update)
    return outputs
