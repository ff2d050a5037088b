"""The operators of a TFLite file, and whether a plain runtime supports them."""

from keras_det.export.check.report import ExportError
from keras_det.export.tflite_file.schema import kind_names, name_of, read

# A file with one of these has references to variables instead of weights, and returns NaN.
VARIABLE_OPERATORS = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE")


def operator_counts(content: bytes) -> dict[str, int]:
    """Returns how often each operator occurs. A custom operator counts under its own name."""
    model = read(content)
    counts: dict[str, int] = {}
    for graph in model.subgraphs:
        for operator in graph.operators:
            name = name_of(model, operator)
            counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items()))


def check_operators(content: bytes, custom: str | None = None) -> dict[str, int]:
    """Returns `operator_counts`, and refuses operators that a plain TFLite runtime lacks.

    Args:
        content: a TFLite file.
        custom: name of a custom operator of the runtime, which the file must contain exactly once.

    Raises:
        ExportError: the file has an operator that needs TensorFlow ("Flex"), another custom
            operator or a variable; or `custom` does not occur exactly once.
    """
    counts, builtin = operator_counts(content), set(kind_names().values())
    lost = [name for name in counts if name in VARIABLE_OPERATORS]
    foreign = [name for name in counts if name not in builtin and name != custom]
    if lost or foreign:
        raise ExportError(
            "A TFLite file must contain its weights and only builtin operators. Received: "
            f"{', '.join(lost + foreign)}. Nothing was kept. Replace layers of the model that "
            "TFLite does not support, or export to a SavedModel."
        )
    if custom is not None and counts.get(custom) != 1:
        raise ExportError(
            f"The TFLite file must contain the operator {custom} exactly once. Received: "
            f"{counts.get(custom, 0)} of them. Nothing was kept. Export with "
            'postprocess="builtin", and report this with the version of TensorFlow, whose '
            "converter writes the operator."
        )
    return counts
