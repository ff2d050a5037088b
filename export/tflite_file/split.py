"""A TFLite file in two: a body for an accelerator, and a tail that decodes on the processor."""

import dataclasses
import pathlib
import tempfile

import numpy as np

from keras_det.export.flatbuffer import kind_of
from keras_det.export.graph import save

TAIL_SUFFIX = ".tail.tflite"
SIGNATURE = "serving_default"
# What only puts predictions together: the tail does it.
JOINING = ("RESHAPE", "CONCATENATION", "DEQUANTIZE")


@dataclasses.dataclass(frozen=True)
class Joint:
    """One output of a body, as a part of a raw output.

    Args:
        name: of the body's output.
        shape: of it.
        scale, zero: value = scale * (number - zero) for an int8 output; None for floats.
    """

    name: str
    shape: tuple[int, ...]
    scale: float | None = None
    zero: int | None = None


def tail_of(body: pathlib.Path) -> pathlib.Path:
    """Where the tail of a body lies."""
    return body.with_name(f"{body.name}{TAIL_SUFFIX}")


def cut(content: bytes) -> tuple[bytes, dict[str, list[Joint]]]:
    """Ends a file where its predictions are computed, before they are put together.

    Accelerators take no DEQUANTIZE at the end of an int8 file, and some no large RESHAPE or
    CONCATENATION: the tail does these.

    Args:
        content: a TFLite file with one subgraph and one signature, whose outputs are raw ones.

    Returns:
        `(body, joints)`: the file, with outputs `<raw output>_0`, `_1`, … or the raw output's own
        name where it has one part; and by raw output its parts in their order.
    """
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    names = {number: name for name, number in vars(schema.BuiltinOperator).items()}
    producers = {int(tensor): op for op in graph.operators for tensor in op.outputs}

    def kind(operator):
        return names[kind_of(model, operator)]

    def parts(tensor):
        operator = producers.get(tensor)
        if operator is None or kind(operator) not in JOINING:
            return [tensor]
        given = operator.inputs if kind(operator) == "CONCATENATION" else operator.inputs[:1]
        return [part for each in given for part in parts(int(each))]

    joints, outputs = {}, []
    for output in signature.outputs:
        raw = output.name.decode()
        found = parts(int(output.tensorIndex))
        labels = [raw] if len(found) == 1 else [f"{raw}_{i}" for i in range(len(found))]
        joints[raw] = [
            _joint(graph.tensors[tensor], label, schema)
            for tensor, label in zip(found, labels, strict=True)
        ]
        outputs += zip(found, labels, strict=True)
    graph.outputs = np.array([tensor for tensor, _ in outputs], "i4")
    signature.outputs = [_named(schema, *output) for output in outputs]
    graph.operators = _needed(graph)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model)), joints


def _joint(tensor, name, schema):
    shape = tuple(int(side) for side in tensor.shape)
    if tensor.type != schema.TensorType.INT8:
        return Joint(name, shape)
    parameters = tensor.quantization
    return Joint(name, shape, float(parameters.scale[0]), int(parameters.zeroPoint[0]))


def _named(schema, tensor, name):
    output = schema.TensorMapT()
    output.name, output.tensorIndex = name, tensor
    return output


def _needed(graph):
    """The operators that the outputs come from, in their order."""
    producers = {int(x): i for i, each in enumerate(graph.operators) for x in each.outputs}
    needed, waiting = set(), [int(tensor) for tensor in graph.outputs]
    while waiting:
        i = producers.get(waiting.pop())
        if i is not None and i not in needed:
            needed.add(i)
            waiting += [int(tensor) for tensor in graph.operators[i].inputs]
    return [graph.operators[i] for i in sorted(needed)]


def convert_tail(model, decoder, joints: dict[str, list[Joint]]) -> bytes:
    """The tail: outputs of the body in, under their names, detections out.

    Args:
        model: the detector.
        decoder: what it decodes by.
        joints: of `cut`.
    """
    import tensorflow as tf

    parts = [joint for each in joints.values() for joint in each]
    signature = {
        joint.name: tf.TensorSpec(
            joint.shape, tf.float32 if joint.scale is None else tf.int8, joint.name
        )
        for joint in parts
    }

    @tf.function(input_signature=[signature])
    def function(found):
        raw = {}
        for name, each in joints.items():
            values = [_value(joint, tf.cast(found[joint.name], tf.float32)) for joint in each]
            shape = (1, *model.output[name].shape[1:])
            raw[name] = tf.concat([tf.reshape(x, (1, -1, *shape[2:])) for x in values], axis=1)
            raw[name] = tf.ensure_shape(tf.reshape(raw[name], shape), shape)
        return model.decode(raw, decoder)

    with tempfile.TemporaryDirectory() as folder:
        save(tf.Module(), folder, {SIGNATURE: function})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        return converter.convert()


def _value(joint, number):
    return number if joint.scale is None else (number - float(joint.zero)) * joint.scale


def joined(found: dict, joints: dict[str, list[Joint]], shapes: dict) -> dict:
    """Raw outputs as floats from a body's outputs.

    Args:
        found: arrays by name, as the body gives them.
        joints: of `cut`.
        shapes: of the raw outputs, without the batch.
    """
    raw = {}
    for name, each in joints.items():
        values = [_value(joint, found[joint.name].astype(np.float32)) for joint in each]
        raw[name] = np.concatenate([x.reshape(1, -1, *shapes[name][1:]) for x in values], axis=1)
        raw[name] = raw[name].reshape(1, *shapes[name])
    return raw
