"""Folds what a trained network multiplies by into its kernels, in a graph of constants."""

from collections.abc import Iterable
from typing import Any

import numpy as np

CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")
# Around constants: operators that change at most the shape of what they get.
SAME_VALUES = ("Identity", "Reshape", "Squeeze", "ExpandDims")


def fold(graph_def: Any, outputs: Iterable[str]) -> None:
    """Changes a frozen graph in place; it computes the same with fewer passes over the maps.

    A batch normalisation behind a convolution becomes a part of its kernel and its bias, the
    division that normalises pixels a part of the first kernel. TensorFlow itself folds neither one
    behind a depthwise convolution nor one behind a bias, and every converter has gaps of its own.
    Gradients' names (IdentityN around silu) go, which stand between operators that are fused
    otherwise.

    Where levels share a kernel and have statistics of their own, each gets its own copy: 29 of 340
    MB in the heads of D7x.

    Args:
        graph_def: `GraphDef` without variables.
        outputs: names of nodes that must keep their names and what they compute.
    """
    for node in graph_def.node:
        # Of reading variables, which are constants now: they would keep what was folded.
        kept = [name for name in node.input if not name.startswith("^")]
        del node.input[:]
        node.input.extend(kept)
    graph = _Graph(graph_def, outputs)
    graph.skip("IdentityN")
    for node in graph_def.node:
        if node.op == "FusedBatchNormV3":
            _fold_batch_norm(graph, node)
    for node in list(graph_def.node):
        if node.op == "RealDiv":
            _fold_division(graph, node)


class _Graph:
    """A graph with its nodes by name and who reads them."""

    def __init__(self, graph_def: Any, outputs: Iterable[str]):
        self.graph_def, self.outputs = graph_def, set(outputs)
        self.nodes = {node.name: node for node in graph_def.node}
        self.readers: dict[str, list] = {}
        for node in graph_def.node:
            for name in node.input:
                self.readers.setdefault(_name(name), []).append(node)

    def skip(self, kind: str) -> None:
        """Lets the readers of all nodes of a kind read what these nodes read."""
        for node in self.graph_def.node:
            for i, name in enumerate(node.input):
                source = self.nodes[_name(name)]
                while source.op == kind:
                    name = source.input[_index(name)]
                    self.readers[source.name].remove(node)
                    source = self.nodes[_name(name)]
                    self.readers[source.name].append(node)
                node.input[i] = name
        for node in self.graph_def.node:
            unread = node.name not in self.outputs and not self.readers.get(node.name)
            if node.op == kind and unread:
                for name in node.input:
                    self.readers[_name(name)].remove(node)

    def source(self, node: Any, place: int = 0) -> Any:
        """The node that computes an input, behind identities."""
        found = self.nodes[_name(node.input[place])]
        while found.op == "Identity":
            found = self.nodes[_name(found.input[0])]
        return found

    def constant(self, node: Any, place: int) -> np.ndarray | None:
        """The values of an input, in their own shape; None where they are computed."""
        import tensorflow as tf

        found = self.nodes[_name(node.input[place])]
        while found.op in SAME_VALUES:
            found = self.nodes[_name(found.input[0])]
        return tf.make_ndarray(found.attr["value"].tensor) if found.op == "Const" else None

    def feeds_only(self, node: Any, reader: Any) -> bool:
        """Whether nothing else reads a node, or what lies behind its identities."""
        while node.name not in self.outputs and len(self.readers[node.name]) == 1:
            (only,) = self.readers[node.name]
            if only.name == reader.name:
                return True
            if only.op != "Identity":
                return False
            node = only
        return False

    def add_constant(self, name: str, values: Any) -> str:
        """Adds a float32 constant under a new name, which it returns."""
        import tensorflow as tf

        name = f"{name}/folded"
        while name in self.nodes:
            name += "_"
        values = np.asarray(values, np.float32)
        node = self.graph_def.node.add(op="Const", name=name)
        node.attr["dtype"].type = tf.float32.as_datatype_enum
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values))
        self.nodes[name] = node
        return name


def _fold_batch_norm(graph: _Graph, norm: Any) -> None:
    """conv(x) -> gamma * (conv(x) + bias - mean) / sqrt(variance + epsilon) + beta."""
    statistics: list[Any] = [graph.constant(norm, place) for place in range(1, 5)]
    before = graph.source(norm)
    bias: Any = graph.constant(before, 1) if before.op == "BiasAdd" else 0.0
    convolution = graph.source(before) if before.op == "BiasAdd" else before
    kernel: Any = graph.constant(convolution, 1) if convolution.op in CONVOLUTIONS else None
    if (
        any(value is None for value in (kernel, bias, *statistics))
        or norm.attr["is_training"].b
        or norm.attr["data_format"].s not in (b"", b"NHWC")
        or not graph.feeds_only(before, norm)
        or (before is not convolution and not graph.feeds_only(convolution, before))
    ):
        return
    gamma, beta, mean, variance = (value.astype(np.float64) for value in statistics)
    factor = gamma / np.sqrt(variance + norm.attr["epsilon"].f)
    shift = beta + (np.reshape(bias, -1) - mean) * factor
    if convolution.op == "DepthwiseConv2dNative":
        factor = factor.reshape(kernel.shape[2:])
    convolution.input[1] = graph.add_constant(convolution.name, kernel * factor)
    kind = convolution.attr["T"].type
    del norm.input[:]
    # Converters name a fused operator after its last part: the convolution, not the level's norm.
    bias_name = graph.add_constant(f"{convolution.name}/bias", shift)
    norm.input.extend([convolution.name, bias_name])
    norm.op = "BiasAdd"
    norm.attr.clear()
    norm.attr["T"].type = kind


def _fold_division(graph: _Graph, division: Any) -> None:
    """conv(x / scale) = (conv of the kernel / scale)(x); padding with zeros stays zeros."""
    scale, readers = graph.constant(division, 1), graph.readers.get(division.name, [])
    if scale is None or scale.ndim != 1 or len(readers) != 1 or readers[0].op != "Conv2D":
        return
    (convolution,) = readers
    kernel = graph.constant(convolution, 1)
    # Only as the image of the convolution, and channel by channel.
    if kernel is None or _name(convolution.input[0]) != division.name:
        return
    if kernel.shape[2] != len(scale) or division.name in graph.outputs:
        return
    scaled = kernel.astype(np.float64) / scale.astype(np.float64)[:, None]
    convolution.input[1] = graph.add_constant(convolution.name, scaled)
    convolution.input[0] = division.input[0]


def _name(reference: str) -> str:
    """The node of an input: `node:1` is its second output."""
    return reference.split(":")[0]


def _index(reference: str) -> int:
    _, _, index = reference.partition(":")
    return int(index or 0)
