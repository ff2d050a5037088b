"""Reads TensorFlow 2 checkpoints, which store variables by the objects that hold them."""

import os
import pathlib
import re
from collections.abc import Iterator

import numpy as np

from keras_det.errors import DataError

GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
VARIABLE_VALUE = "VARIABLE_VALUE"
ROOT = 0
# A Keras graph holds every layer twice: among all layers, and among those with weights.
ALIAS = re.compile(r"layer-\d+")


def checkpoint_prefix(path: str | os.PathLike) -> str:
    """The prefix of the checkpoint at a path: a prefix, an .index file, or a folder's newest."""
    import tensorflow as tf

    path = pathlib.Path(path)
    if path.is_dir():
        indices = list(path.glob("*.index"))
        only = str(indices[0].with_suffix("")) if len(indices) == 1 else None
        newest = tf.train.latest_checkpoint(str(path))
        if newest is not None and pathlib.Path(newest).resolve().parent != path.resolve():
            raise DataError(
                "The file `checkpoint` in a folder must name a checkpoint in this folder. "
                f"Received: {path}, where it names {newest}. Give the path of the .index file."
            )
        return newest or only or str(path)
    return str(path.with_suffix("") if path.suffix == ".index" else path)


class ObjectCheckpoint:
    """The objects of a checkpoint: numbered nodes with named children. Needs TensorFlow.

    Variables are found by the attributes that hold them, whichever path the file's writer took to
    the same object.

    Args:
        path: prefix of the checkpoint (the path without .index), its .index file, or a folder,
            of which the newest checkpoint is read.

    Attributes:
        keys: names under which the file stores arrays.

    Raises:
        DataError: there is no such checkpoint, or TensorFlow 1 wrote it.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        import tensorflow as tf
        from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

        try:
            self._reader = tf.train.load_checkpoint(checkpoint_prefix(path))
        except (ValueError, tf.errors.OpError) as error:
            raise DataError(
                "A TensorFlow checkpoint is named by its prefix, the path without .index. "
                f"Received: {path} ({error}). Give the path of the file that ends in .index."
            ) from error
        keys = set(self._reader.get_variable_to_shape_map())
        if GRAPH not in keys:
            raise DataError(
                "The checkpoint must be one of TensorFlow 2, which describes its objects. "
                f"Received: {path}, without a description of objects. For a checkpoint of the "
                "original EfficientDet call keras_det.weights.load_efficientdet."
            )
        self.keys = sorted(keys - {GRAPH})
        graph = TrackableObjectGraph()
        graph.ParseFromString(self._reader.get_tensor(GRAPH))
        self._nodes = graph.nodes

    def children(self, node: int) -> dict[str, int]:
        """The objects that a node holds, by the names of its attributes."""
        return {child.local_name: child.node_id for child in self._nodes[node].children}

    def child(self, node: int, name: str) -> int | None:
        """The object that `node` holds as `name`, or None."""
        return self.children(node).get(name)

    def variables(
        self, node: int, path: str, seen: set[int] | None = None
    ) -> Iterator[tuple[str, str]]:
        """Yields (path, key in the file) of every variable below a node, each object once."""
        seen = {node} if seen is None else seen
        for attribute in self._nodes[node].attributes:
            if attribute.name == VARIABLE_VALUE:
                yield path, attribute.checkpoint_key
        for name, child in self.children(node).items():
            if child not in seen and not ALIAS.fullmatch(name):
                seen.add(child)
                yield from self.variables(child, f"{path}/{name}", seen)

    def value(self, key: str) -> np.ndarray:
        """The array stored under a key."""
        return self._reader.get_tensor(key)
