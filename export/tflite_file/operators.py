"""Which operators a TFLite file holds, and whether every runtime has them."""

from keras_det.export.check.report import ExportError
from keras_det.export.tflite_file.schema import kind_names, name_of, read

# A file with one of these holds references to variables instead of weights and returns NaN.
VARIABLE_OPERATORS = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE")


def operator_counts(content: bytes) -> dict[str, int]:
    """How often each operator occurs; a custom operator by its own name."""
    model = read(content)
    counts: dict[str, int] = {}
    for graph in model.subgraphs:
        for operator in graph.operators:
            name = name_of(model, operator)
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
    counts, builtin = operator_counts(content), set(kind_names().values())
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
