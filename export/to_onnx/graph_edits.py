"""Changes to an ONNX graph that make it faster or remove outputs."""

from collections.abc import Callable, Collection
from types import ModuleType
from typing import Any

import numpy as np

INPUT = "images"
TO_CHANNELS_FIRST = [0, 3, 1, 2]
BY_CHANNEL = ("Cast", "Sub", "Add", "Mul", "Div")


def without_outputs(proto: Any, hidden: Collection[str]) -> Any:
    """Returns a copy of a model without some outputs. Runtimes skip unused operators."""
    copied = type(proto)()
    copied.CopyFrom(proto)
    keep(copied.graph.output, lambda output: output.name not in hidden)
    return copied


def make_resizing_plain(onnx: ModuleType, graph: Any) -> None:
    """Replaces the resize mode of the converter, which is deprecated and slow, by an equal one.

    For whole factors s, floor((i + 0.5) / s) equals floor(i / s).
    """
    constants = _constants(onnx, graph)
    for node in graph.node:
        settings = {each.name: each for each in node.attribute}
        mode = settings.get("coordinate_transformation_mode")
        if node.op_type != "Resize" or mode is None or mode.s != b"tf_half_pixel_for_nn":
            continue
        scales = constants.get(node.input[2]) if len(node.input) == 3 else None
        if scales is not None and np.array_equal(scales, np.rint(scales)):
            mode.s = b"asymmetric"


def transpose_pixels_first(onnx: ModuleType, graph: Any) -> None:
    """Moves the transposition of the pixels before their normalisation.

    images -> Cast -> Sub -> Transpose becomes images -> Transpose -> Cast -> Sub. The transposition
    moves bytes instead of floats, and the normalisation works on planes, four times as fast.
    """
    constants = _constants(onnx, graph)
    for transpose in [node for node in graph.node if node.op_type == "Transpose"]:
        chain = _from_pixels(graph, constants, transpose.input[0])
        if chain and list(transpose.attribute[0].ints) == TO_CHANNELS_FIRST:
            break
    else:
        return
    operands = {each for node in chain for each in node.input[1:]}
    for tensor in graph.initializer:
        if tensor.name in operands and constants[tensor.name].size > 1:
            values = constants[tensor.name].reshape(-1, 1, 1)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    (old,), (result,) = transpose.output, chain[-1].output
    for reader in _readers(graph, old):
        reader.input[:] = [result if name == old else name for name in reader.input]
    transpose.input[0], chain[0].input[0] = INPUT, old
    # Nodes must come after the nodes that they read.
    moved = type(transpose)()
    moved.CopyFrom(transpose)
    graph.node.remove(transpose)
    graph.node.insert(0, moved)
    stale = {old, *(node.output[0] for node in chain)}
    keep(graph.value_info, lambda value: value.name not in stale)


def _from_pixels(graph: Any, constants: dict[str, np.ndarray], name: str) -> list:
    """Returns the operators from the input to `name`.

    The list is empty if one of them does not work channel by channel, or has another reader.
    """
    makers = {output: node for node in graph.node for output in node.output}
    chain: list = []
    while name != INPUT:
        node = makers.get(name)
        if node is None or node.op_type not in BY_CHANNEL or len(_readers(graph, name)) != 1:
            return []
        for operand in node.input[1:]:
            shared = len(_readers(graph, operand)) != 1
            if shared or operand not in constants or constants[operand].ndim > 1:
                return []
        chain.insert(0, node)
        name = node.input[0]
    return chain


def keep(values: Any, condition: Callable[[Any], bool]) -> None:
    """Removes the values of a repeated field that do not meet a condition."""
    kept = [value for value in values if condition(value)]
    del values[:]
    values.extend(kept)


def _constants(onnx: ModuleType, graph: Any) -> dict[str, np.ndarray]:
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}


def _readers(graph: Any, name: str) -> list:
    return [node for node in graph.node if name in node.input]
