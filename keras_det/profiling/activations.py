"""How many numbers a detector's layers output for one image: what a training step has to keep."""

import math
from collections.abc import Callable
from typing import Any

import keras

from keras_det.keras_private import all_layers, is_made_of_layers, kept_nodes, replaced_specs


def activation_elements(model: keras.Model) -> int:
    """How many numbers all layers of a detector output, in a forward pass of one image of its size.

    The backward pass needs most of them. Each call of a layer counts: a head that is shared over
    levels counts once per level. What is computed between layers, such as an activation inside a
    head, is not counted, and neither are the losses.

    Args:
        model: a detector.
    """
    total = 0

    def counting(infer: Callable) -> Callable:
        def run(*args: Any, **kwargs: Any) -> Any:
            nonlocal total
            outputs = infer(*args, **kwargs)
            total += sum(math.prod(each.shape) for each in keras.tree.flatten(outputs))
            return outputs

        return run

    layers, specs = all_layers(model), {}
    for layer in layers:
        if is_made_of_layers(layer):  # its `call` visits the layers that it is made of
            specs[layer] = layer.call
        elif not hasattr(layer, "operations"):
            specs[layer] = counting(layer.compute_output_spec)
    with kept_nodes(layers), replaced_specs(specs):
        model.compute_output_spec(keras.KerasTensor((1, *model.image_size, 3)))
    return total
