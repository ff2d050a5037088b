"""Which operators of a TFLite file the delegates of phones and boards take over, by their lists.

A delegate hands back what it does not know to the processor, and each change costs a copy. The
lists are what the delegates' own sources or manuals say, with the limits that can be read off a
file; a driver may still refuse what its list admits. TensorFlow's own analyzer is no help: it calls
every file compatible with GPUs (2.21, also one of a single TOPK_V2).
"""

import dataclasses
from typing import Any

from keras_det.export.tflite_file.schema import name_of, read, type_names

FLOAT, INT8 = ("FLOAT32", "FLOAT16"), ("INT8", "UINT8", "INT32")


@dataclasses.dataclass(frozen=True)
class Delegate:
    """What one delegate takes.

    Args:
        name: of the delegate.
        source: where the list is from.
        date: of that version or of its reading, ISO.
        operators: names of TFLite's builtin operators.
        types: names of the tensor types between operators.
        widest_depthwise: widest depthwise kernel, in pixels; None for any.
        fused_pooling: whether a pooling or concatenation may hold an activation.
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
        # 8-bit files run too, dequantized while they load.
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
    """What each delegate would leave to the processor.

    Args:
        content: a TFLite file.

    Returns:
        By name of the delegate: `operators`, how many there are; `refused`, how many of each
        operator it does not take, with the reason in the key, as "GATHER" or "CAST (UINT8)", and
        "on FLOAT32" for all that a delegate for 8-bit files cannot take; `source` and `date` of its
        list.
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
    """One line for each delegate of a `delegate_report`."""
    lines = []
    for name, found in report.items():
        refused = ", ".join(f"{count} {reason}" for reason, count in found["refused"].items())
        taken = found["operators"] - sum(found["refused"].values())
        left = f"; left to the processor: {refused}" if refused else ""
        lines.append(f"{name}: {taken} of {found['operators']} operators by its list{left}")
    return lines


class _Operator:
    """What the lists judge an operator by."""

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
        """Why the delegate does not take it; empty where it does."""
        if self.name not in delegate.operators:
            return f"{self.name} ({self.types[0]})" if self.name == "CAST" else self.name
        foreign = [kind for kind in self.types if kind not in delegate.types]
        # Quantizing is the border: one side of it is a float.
        if foreign and self.name != "QUANTIZE":
            return f"{self.name} ({foreign[0]})" if foreign[0] not in FLOAT else "on " + foreign[0]
        if not self.is_static:
            return f"{self.name} (a size that changes)"
        if delegate.widest_depthwise is not None and self.width > delegate.widest_depthwise:
            return f"{self.name} ({self.width} wide)"
        if self.fused and not delegate.fused_pooling and self.name in POOLING:
            return f"{self.name} (with an activation)"
        return ""


POOLING = ("AVERAGE_POOL_2D", "MAX_POOL_2D", "CONCATENATION")
