"""Folds batch normalisation and the scaling of pixels into kernels, in a graph of constants."""

from collections.abc import Iterable
from typing import Any

import numpy as np

CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")
# Operators between a constant and its reader that change at most the shape.
SAME_VALUES = ("Identity", "Reshape", "Squeeze", "ExpandDims")


def fold(graph_def: Any, outputs: Iterable[str]) -> None:
    """Changes a frozen graph in place. It computes the same with fewer passes over the maps.

    A batch normalisation after a convolution is folded into the kernel and bias of the
    convolution. The division that normalises pixels is folded into the first kernel. TensorFlow
    does not fold a batch normalisation after a depthwise convolution or after a bias, and every
    converter misses other cases. IdentityN nodes, which name the gradient of silu, are removed:
    they prevent the fusion of the operators around them.

    Levels may share a kernel but have their own batch statistics. Then each level gets its own
    copy of the kernel: 29 of 340 MB in the heads of D7x.

    Args:
        graph_def: `GraphDef` without variables.
        outputs: names of nodes that keep their names and values.
    """
    for node in graph_def.node:
        # Control inputs of reading variables, which are constants now. They would keep the old
        # kernels in the graph.
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
    """A graph with its nodes by name, and the nodes that read each of them."""

    def __init__(self, graph_def: Any, outputs: Iterable[str]):
        self.graph_def, self.outputs = graph_def, set(outputs)
        self.nodes = {node.name: node for node in graph_def.node}
        self.readers: dict[str, list] = {}
        for node in graph_def.node:
            for name in node.input:
                self.readers.setdefault(_name(name), []).append(node)

    def skip(self, kind: str) -> None:
        """Bypasses all nodes of a kind: their readers read the inputs of these nodes."""
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
        """Returns the node that computes an input, skipping identities."""
        found = self.nodes[_name(node.input[place])]
        while found.op == "Identity":
            found = self.nodes[_name(found.input[0])]
        return found

    def constant(self, node: Any, place: int) -> np.ndarray | None:
        """Returns the values of a constant input, in the constant's shape; None if not constant."""
        import tensorflow as tf

        found = self.nodes[_name(node.input[place])]
        while found.op in SAME_VALUES:
            found = self.nodes[_name(found.input[0])]
        return tf.make_ndarray(found.attr["value"].tensor) if found.op == "Const" else None

    def feeds_only(self, node: Any, reader: Any) -> bool:
        """Whether `reader` is the only reader of a node, directly or through identities."""
        while node.name not in self.outputs and len(self.readers[node.name]) == 1:
            (only,) = self.readers[node.name]
            if only.name == reader.name:
                return True
            if only.op != "Identity":
                return False
            node = only
        return False

    def add_constant(self, name: str, values: Any) -> str:
        """Adds a float32 constant, and returns its new name."""
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
    # Converters name a fused operator after its last part. It must be the name of the convolution,
    # not of the level's normalisation.
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
    # The result must be the image input of the convolution, divided channel by channel.
    if kernel is None or _name(convolution.input[0]) != division.name:
        return
    if kernel.shape[2] != len(scale) or division.name in graph.outputs:
        return
    scaled = kernel.astype(np.float64) / scale.astype(np.float64)[:, None]
    convolution.input[1] = graph.add_constant(convolution.name, scaled)
    convolution.input[0] = division.input[0]


def _name(reference: str) -> str:
    """Returns the node's name in a reference: `node:1` is the second output of `node`."""
    return reference.split(":")[0]


def _index(reference: str) -> int:
    _, _, index = reference.partition(":")
    return int(index or 0)
