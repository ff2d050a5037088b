"""Rounds the kernels of a TFLite file to float16, and nothing else."""

from typing import Any

import numpy as np

from keras_det.export.tflite_file.schema import add_operator_code, kind_of, read, schema, write

LARGEST = float(np.finfo(np.float16).max)


def with_float16_kernels(content: bytes) -> bytes:
    """Returns the same TFLite file with the kernels of its convolutions rounded to float16.

    TensorFlow's converter rounds every constant. But a bias contains the mean of a folded batch
    normalisation. If this mean is many standard deviations, rounding it shifts a whole channel. The
    error is several times that of rounding the kernels, which are nearly all of the file's size
    (box regression of a trained RetinaNet-18 at P3: 0.013 standard deviations against 0.002). The
    converter also lets runtimes compute in half precision. Here the arithmetic stays float32,
    unless an application asks for less.

    Every rounded kernel becomes a float16 constant and a DEQUANTIZE, which runtimes evaluate once,
    when they load the file. Kernels beyond the range of float16 stay as they are.

    Args:
        content: a float32 TFLite file.
    """
    model = read(content)
    halves: dict[int, int] = {}
    rounded = [(graph, _round(model, graph, halves)) for graph in model.subgraphs]
    if halves:
        # Version 3 is the first that supports float16.
        code = add_operator_code(model, schema().BuiltinOperator.DEQUANTIZE, version=3)
        for graph, pairs in rounded:
            added = [_operator(code, source, kernel) for source, kernel in pairs]
            graph.operators = added + list(graph.operators)
    in_use = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    for buffer in set(halves) - in_use:
        model.buffers[buffer].data = None
    return write(model)


def _round(model: Any, graph: Any, halves: dict[int, int]) -> list[tuple[int, int]]:
    """Adds a float16 copy of every kernel.

    Args:
        model: `ModelT`.
        graph: one of its `SubGraphT`.
        halves: index of the float16 buffer by that of the float32 one; new ones are added.

    Returns:
        Pairs of tensor indices (copy, kernel).
    """
    classes, pairs = schema(), []
    for index in _kernels(model, graph):
        tensor = graph.tensors[index]
        half = _half(model, tensor.buffer, halves)
        if half is None:
            continue
        source = classes.TensorT()
        source.name, source.shape, source.hasRank = tensor.name + b"_f16", tensor.shape, True
        source.type, source.buffer = classes.TensorType.FLOAT16, half
        source.quantization = classes.QuantizationParametersT()
        graph.tensors.append(source)
        tensor.buffer = 0  # the empty buffer: the tensor is computed now
        pairs.append((len(graph.tensors) - 1, index))
    return pairs


def _kernels(model: Any, graph: Any) -> list[int]:
    """Returns indices of the constant float32 tensors that are only used as kernels."""
    classes = schema()
    operators = classes.BuiltinOperator
    convolutions = (operators.CONV_2D, operators.DEPTHWISE_CONV_2D)
    kernels: dict[int, None] = {}
    others = set(graph.outputs)
    for operator in graph.operators:
        kind = kind_of(model, operator)
        for place, index in enumerate(operator.inputs):
            is_kernel = kind in convolutions and place == 1
            kernels.setdefault(int(index)) if is_kernel else others.add(int(index))
    return [
        index
        for index in kernels
        if index not in others
        and graph.tensors[index].type == classes.TensorType.FLOAT32
        and model.buffers[graph.tensors[index].buffer].data is not None
    ]


def _half(model: Any, buffer: int, halves: dict[int, int]) -> int | None:
    """Returns the index of the float16 copy of a buffer; None if a value is too large for it."""
    if buffer not in halves:
        values = np.frombuffer(bytes(model.buffers[buffer].data), "<f4")
        if not np.abs(values).max(initial=0.0) <= LARGEST:
            return None
        made = schema().BufferT()
        made.data = np.frombuffer(values.astype("<f2").tobytes(), np.uint8)
        model.buffers.append(made)
        halves[buffer] = len(model.buffers) - 1
    return halves[buffer]


def _operator(code: int, source: int, kernel: int) -> Any:
    operator = schema().OperatorT()
    operator.opcodeIndex = code
    operator.inputs, operator.outputs = np.array([source], "i4"), np.array([kernel], "i4")
    return operator
