"""A TFLite file in two: a body for an accelerator, and a tail that decodes on the processor."""

import pathlib
import tempfile

import numpy as np

from keras_det.export.graph import save

TAIL_SUFFIX = ".tail.tflite"
SIGNATURE = "serving_default"


def tail_of(body: pathlib.Path) -> pathlib.Path:
    """Where the tail of a body lies: beside it, under its name and ".tail.tflite"."""
    return body.with_name(body.name + TAIL_SUFFIX)


def convert_tail(model, decoder, scales: dict) -> bytes:
    """The tail: raw outputs of the body in, detections out.

    Args:
        model: the detector.
        decoder: what it decodes by.
        scales: of `quantized_outputs`: for each raw output that is int8, its scale and zero point.

    Returns:
        TFLite file. Its inputs have the names and types of the body's outputs.
    """
    import tensorflow as tf

    signature = {
        name: tf.TensorSpec((1, *value.shape[1:]), tf.int8 if name in scales else tf.float32, name)
        for name, value in model.output.items()
    }

    @tf.function(input_signature=[signature])
    def function(raw):
        raw = dict(raw)
        for name, (scale, zero) in scales.items():
            raw[name] = (tf.cast(raw[name], tf.float32) - float(zero)) * scale
        return model.decode(raw, decoder)

    with tempfile.TemporaryDirectory() as folder:
        save(tf.Module(), folder, {SIGNATURE: function})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        return converter.convert()


def quantized_outputs(content: bytes) -> tuple[bytes, dict[str, tuple[float, int]]]:
    """The same file with outputs as its last 8-bit operators leave them.

    A full int8 file ends in one DEQUANTIZE per output, which accelerators do not take.

    Args:
        content: a TFLite file with one subgraph and one signature.

    Returns:
        `(file, scales)`: by output name scale and zero point, value = scale * (number - zero);
        empty, and the file as it was, where nothing is quantized.
    """
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    graph, scales = model.subgraphs[0], {}
    for output in model.signatureDefs[0].outputs:
        last = [op for op in graph.operators if output.tensorIndex in op.outputs]
        if len(last) != 1:
            continue
        code = model.operatorCodes[last[0].opcodeIndex]
        source = graph.tensors[last[0].inputs[0]]
        is_last = max(code.builtinCode, code.deprecatedBuiltinCode) == (
            schema.BuiltinOperator.DEQUANTIZE
        )
        if not is_last or source.type != schema.TensorType.INT8:
            continue
        old, new = output.tensorIndex, int(last[0].inputs[0])
        graph.outputs = np.array([new if i == old else i for i in graph.outputs], "i4")
        graph.operators = [op for op in graph.operators if op is not last[0]]
        output.tensorIndex = new
        parameters = source.quantization
        scales[output.name.decode()] = float(parameters.scale[0]), int(parameters.zeroPoint[0])
    if not scales:
        return content, {}
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model)), scales


def dequantized(raw: dict, scales: dict) -> dict:
    """Raw outputs as floats.

    Args:
        raw: arrays by name, as the body gives them.
        scales: of `quantized_outputs`.
    """
    return {
        name: (value.astype(np.float32) - scales[name][1]) * np.float32(scales[name][0])
        if name in scales
        else value
        for name, value in raw.items()
    }


def scales_of(runner) -> dict[str, tuple[float, int]]:
    """Scale and zero point of the int8 outputs of a loaded body.

    Args:
        runner: signature runner of LiteRT.
    """
    details = runner.get_output_details()
    return {
        name: tuple(detail["quantization"])
        for name, detail in details.items()
        if detail["dtype"] == np.int8
    }
