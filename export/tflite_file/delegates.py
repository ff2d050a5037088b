"""Which operators of a TFLite file a delegate runs, by the published lists of the delegates.

A delegate leaves unsupported operators to the processor, and each change between the two costs a
copy. The lists come from the sources or manuals of the delegates, with the limits that can be
checked in a file. A driver may still refuse a listed operator. TensorFlow's analyzer does not
help: it reports every file as compatible with GPUs (2.21, even a file of a single TOPK_V2).
"""

import dataclasses
from typing import Any

from keras_det.export.tflite_file.schema import name_of, read, type_names
from keras_det.words import counted

FLOAT, INT8 = ("FLOAT32", "FLOAT16"), ("INT8", "UINT8", "INT32")


@dataclasses.dataclass(frozen=True)
class Delegate:
    """The operators that a delegate supports.

    Args:
        name: of the delegate.
        source: of the list.
        date: on which the list was read, or of its version, ISO 8601.
        operators: names of TFLite's builtin operators.
        types: names of the tensor types between operators.
        widest_depthwise: widest depthwise kernel, in pixels; None for any.
        fused_pooling: whether pooling and concatenation may have a fused activation.
    """

    name: str
    source: str
    date: str
    operators: frozenset[str]
    types: tuple[str, ...]
    widest_depthwise: int | None = None
    fused_pooling: bool = True


DELEGATES = (
    Delegate(
        "gpu",
        "tensorflow/lite/tools/versioning/gpu_compatibility.cc, commit 03a5e4e19a9c",
        "2026-11-21",
        frozenset(
            "ABS ADD ADD_N AVERAGE_POOL_2D BATCH_MATMUL CEIL CONCATENATION CONV_2D COS CUMSUM "
            "DENSIFY DEPTH_TO_SPACE DEPTHWISE_CONV_2D DEQUANTIZE DIV ELU EQUAL EXP FLOOR "
            "FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GELU GREATER GREATER_EQUAL HARD_SWISH "
            "LEAKY_RELU LESS LESS_EQUAL LOG LOGICAL_AND LOGISTIC MAX_POOL_2D MAXIMUM MEAN MINIMUM "
            "MIRROR_PAD MUL NEG NOT_EQUAL PACK PAD PADV2 POW PRELU QUANTIZE REDUCE_MAX REDUCE_MIN "
            "REDUCE_PROD RELU RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR "
            "RSQRT SELECT SELECT_V2 SIGN SIN SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SPLIT_V SQRT "
            "SQUARE SQUARED_DIFFERENCE STRIDED_SLICE SUB SUM TANH TILE TRANSPOSE "
            "TRANSPOSE_CONV".split()
        ),
        # 8-bit files run too. They are dequantised while they are loaded.
        (*FLOAT, *INT8),
    ),
    Delegate(
        "hexagon_npu",
        "tensorflow/lite/delegates/hexagon/README.md, commit 0406598a59a7",
        "2026-11-21",
        frozenset(
            "ADD ARG_MAX ARG_MIN AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTH_TO_SPACE "
            "DEPTHWISE_CONV_2D FULLY_CONNECTED HARD_SWISH L2_NORMALIZATION LOGISTIC MAX_POOL_2D "
            "MAXIMUM MEAN MINIMUM MIRROR_PAD MUL NEG PACK PAD QUANTIZE RELU RELU6 RESHAPE "
            "RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR SLICE SOFTMAX SPACE_TO_DEPTH SPLIT "
            "STRIDED_SLICE SUB TANH TRANSPOSE TRANSPOSE_CONV".split()
        ),
        INT8,
        widest_depthwise=3,
        fused_pooling=False,
    ),
    Delegate(
        "edge_tpu",
        "Coral's table of supported operations, as developer.axis.com (ARTPEC-7) repeats it",
        "2026-11-21",
        frozenset(
            "ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D EXPAND_DIMS "
            "FULLY_CONNECTED L2_NORMALIZATION LOGISTIC LSTM MAX_POOL_2D MAXIMUM MEAN MINIMUM MUL "
            "PACK PAD PRELU QUANTIZE REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_N1_TO_1 RESHAPE "
            "RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SQUEEZE "
            "STRIDED_SLICE SUB SUM TANH TRANSPOSE TRANSPOSE_CONV".split()
        ),
        INT8,
        fused_pooling=False,
    ),
)


def delegate_report(content: bytes) -> dict[str, dict]:
    """Returns the operators that each delegate leaves to the processor.

    Args:
        content: a TFLite file.

    Returns:
        By name of the delegate: `operators`, the number of operators in the file; `refused`, the
        number of operators that it does not support by reason, such as "GATHER" or
        "CAST (UINT8)", with "on FLOAT32" for all float operators of a delegate for 8-bit files;
        `source` and `date` of its list.
    """
    model = read(content)
    operators = [_Operator(model, graph, op) for graph in model.subgraphs for op in graph.operators]
    report = {}
    for delegate in DELEGATES:
        refused: dict[str, int] = {}
        for operator in operators:
            reason = operator.refused_by(delegate)
            if reason:
                refused[reason] = refused.get(reason, 0) + 1
        report[delegate.name] = {
            "operators": len(operators),
            "refused": dict(sorted(refused.items())),
            "source": delegate.source,
            "date": delegate.date,
        }
    return report


def describe_delegates(report: dict) -> list[str]:
    """Returns one line of text for each delegate of a `delegate_report`."""
    lines = []
    for name, found in report.items():
        refused = ", ".join(f"{count} {reason}" for reason, count in found["refused"].items())
        taken = found["operators"] - sum(found["refused"].values())
        left = f"; on the processor: {refused}" if refused else ""
        listed = f"{taken} of {counted(found['operators'], 'operator')}"
        lines.append(f"delegate {name} supports {listed} by its published list{left}")
    return lines


class _Operator:
    """The properties of an operator that decide whether a delegate supports it."""

    def __init__(self, model: Any, graph: Any, operator: Any):
        types = type_names()
        self.name = name_of(model, operator)
        tensors = [graph.tensors[i] for i in (*operator.inputs, *operator.outputs) if i >= 0]
        flowing = [t for t in tensors if model.buffers[t.buffer].data is None]
        self.types = [types[tensor.type] for tensor in flowing]
        self.is_static = all(
            t.shapeSignature is None or min(t.shapeSignature) >= 0 for t in flowing
        )
        self.width = max(tensors[1].shape[1:3]) if self.name == "DEPTHWISE_CONV_2D" else 0
        self.fused = getattr(operator.builtinOptions, "fusedActivationFunction", 0)

    def refused_by(self, delegate: Delegate) -> str:
        """Returns why a delegate does not support the operator; empty if it does."""
        if self.name not in delegate.operators:
            return f"{self.name} ({self.types[0]})" if self.name == "CAST" else self.name
        foreign = [kind for kind in self.types if kind not in delegate.types]
        # QUANTIZE connects floats and integers, so one side of it is always a float.
        if foreign and self.name != "QUANTIZE":
            return f"{self.name} ({foreign[0]})" if foreign[0] not in FLOAT else "on " + foreign[0]
        if not self.is_static:
            return f"{self.name} (dynamic size)"
        if delegate.widest_depthwise is not None and self.width > delegate.widest_depthwise:
            return f"{self.name} ({self.width} wide)"
        if self.fused and not delegate.fused_pooling and self.name in POOLING:
            return f"{self.name} (with an activation)"
        return ""


POOLING = ("AVERAGE_POOL_2D", "MAX_POOL_2D", "CONCATENATION")
