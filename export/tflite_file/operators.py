"""Looks into a TFLite file: which operators it holds, and which outputs it shows."""

import struct

from keras_det.export.report import ExportError

# A file with one of these holds references to variables instead of weights and returns NaN.
VARIABLE_OPERATORS = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE")
# Vtable slots of `outputs`, in the schema's table SubGraph and in its table SignatureDef.
SUBGRAPH_OUTPUTS, SIGNATURE_OUTPUTS = 8, 6


def _schema():
    from tensorflow.lite.python import schema_py_generated

    return schema_py_generated


def kind_of(model, operator) -> int:
    """Number of an operator's builtin kind, in the object form of a file.

    Args:
        model: `ModelT`.
        operator: `OperatorT` of one of its graphs.
    """
    code = model.operatorCodes[operator.opcodeIndex]
    # Files of old converters only fill the 8-bit field.
    return max(code.builtinCode, code.deprecatedBuiltinCode)


def operator_counts(content: bytes) -> dict[str, int]:
    """How often each operator occurs; a custom operator by its own name."""
    schema = _schema()
    names = {number: name for name, number in vars(schema.BuiltinOperator).items()}
    model, counts = schema.Model.GetRootAsModel(content, 0), {}
    for i in range(model.SubgraphsLength()):
        graph = model.Subgraphs(i)
        for j in range(graph.OperatorsLength()):
            code = model.OperatorCodes(graph.Operators(j).OpcodeIndex())
            # Files of old converters only fill the 8-bit field.
            name = names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
            name = code.CustomCode().decode() if name == "CUSTOM" else name
            counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items()))


def check_operators(content: bytes, custom: str | None = None) -> dict[str, int]:
    """`operator_counts`, refusing what a plain TFLite runtime cannot run.

    Args:
        content: a TFLite file.
        custom: the name of one custom operator that the runtime has, and the file must hold once.

    Raises:
        ExportError: an operator that needs TensorFlow ("Flex"), another custom one, a variable, or
            `custom` is missing or there twice.
    """
    schema, counts = _schema(), operator_counts(content)
    builtin = vars(schema.BuiltinOperator)
    lost = [name for name in counts if name in VARIABLE_OPERATORS]
    foreign = [name for name in counts if name not in builtin and name != custom]
    if lost or foreign:
        raise ExportError(
            "A TFLite file must hold its weights and only builtin operators. Received: "
            f"{', '.join(lost + foreign)}. Nothing was kept; use layers that TFLite knows."
        )
    if custom is not None and counts.get(custom) != 1:
        raise ExportError(
            f"The TFLite file must hold the operator {custom} once. Received: "
            f"{counts.get(custom, 0)} of them. Nothing was kept; TensorFlow's converter did not "
            "put it there: report it with TensorFlow's version."
        )
    return counts


def hide_outputs(content: bytes, hidden, order=()) -> bytes:
    """The same file with some outputs of its one signature no longer shown.

    Works in place: operators, weights and their alignment stay as they are, so what was measured
    on the file with all outputs holds for this one.

    Args:
        content: a TFLite file with one subgraph and one signature.
        hidden: names of outputs.
        order: names of all others, in the order in which they are to stand. Default: as they are.
    """
    content = bytearray(content)
    model = _schema().Model.GetRootAsModel(content, 0)
    graph, signature = model.Subgraphs(0), model.SignatureDefs(0)
    outputs = [signature.Outputs(i) for i in range(signature.OutputsLength())]
    by_name = {x.Name().decode(): x for x in outputs}
    gone = {by_name[name].TensorIndex() for name in hidden}
    tensors = [int(x) for x in graph.OutputsAsNumpy() if x not in gone]
    if order:
        tensors = [by_name[name].TensorIndex() for name in order]
    _shorten(content, graph, SUBGRAPH_OUTPUTS, lambda position: tensors)
    shown = [x for x in outputs if x.TensorIndex() not in gone]
    # Offsets of tables count from the place where they stand.
    _shorten(
        content,
        signature,
        SIGNATURE_OUTPUTS,
        lambda position: [x._tab.Pos - position - 4 * i for i, x in enumerate(shown)],
    )
    return bytes(content)


def _shorten(content, table, slot, values_at):
    """Overwrites a vector of 32-bit numbers with fewer of them, which `values_at(start)` gives."""
    start = table._tab.Vector(table._tab.Offset(slot))
    values = values_at(start)
    struct.pack_into(f"<I{len(values)}i", content, start - 4, len(values), *values)
