"""A detector's network as a TensorFlow function whose weights are constants."""

import os
from collections.abc import Callable
from typing import Any

import keras

from keras_det.export.network.folding import fold
from keras_det.models import Detector
from keras_det.quantization import without_rounding


def exportable(
    model: Detector, image_size: int | tuple[int, int] | None = None
) -> tuple[Detector, list[str]]:
    """The float32 model that is exported, and notes on how it differs from the one given.

    Raises:
        ValueError: not under TensorFlow.
        TypeError: not a detector.
    """
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise ValueError(
            "Exports need the TensorFlow backend. Received: KERAS_BACKEND="
            f"{backend}. Save the model as .keras, and export it in a process that runs with "
            "KERAS_BACKEND=tensorflow."
        )
    if not isinstance(model, Detector):
        raise TypeError(
            f"`model` must be a detector of keras_det. Received: {type(model).__name__}. Load one "
            "with keras_det.load_model."
        )
    notes: list[str] = []
    changes: dict[str, Any] = {}
    if model.quantization_aware:
        model = without_rounding(model)
        notes.append("the model was trained to be rounded; it was compared without the rounding")
    policy = model.get_config().get("dtype", "float32")
    if policy != "float32":
        changes["dtype"] = "float32"
        notes.append(f"the model computes in {policy}; it was exported and compared in float32")
    if image_size is not None:
        changes["image_size"] = image_size
    return (model.with_changes(**changes) if changes else model), notes


def frozen_network(
    model: Detector, batch_size: int | None = None, dtype: str = "uint8"
) -> Callable[[Any], dict[str, Any]]:
    """The network with its weights as constants: `images -> dict of raw outputs`.

    Constants let TensorFlow fold (Lite0 at 320 on a CPU: about a fifth faster than with variables)
    and leave nothing for a converter to lose: a TFLite file converted from a Keras model whose
    variables nobody tracks returns NaN without a word.

    Args:
        model: the detector.
        batch_size: int, or None for any.
        dtype: of the images.

    Returns:
        Function of images `(batch_size, height, width, 3)`; its signatures share one copy of it.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    def network(images):
        return dict(model(images, training=False))

    signature = tf.TensorSpec((batch_size, *model.image_size, 3), dtype, name="images")
    traced = tf.function(network, input_signature=[signature]).get_concrete_function()
    frozen = convert_variables_to_constants_v2(traced)
    graph_def = frozen.graph.as_graph_def()
    outputs = [tensor.name for tensor in frozen.outputs]
    fold(graph_def, [name.split(":")[0] for name in outputs])
    wrapped = tf.compat.v1.wrap_function(
        lambda: tf.graph_util.import_graph_def(graph_def, name=""), []
    )
    graph = wrapped.graph
    pruned = wrapped.prune(
        graph.as_graph_element(frozen.inputs[0].name),
        [graph.as_graph_element(name) for name in outputs],
    )
    # Freezing flattens the outputs, in the order of their names.
    names = sorted(traced.structured_outputs)
    return lambda images: dict(zip(names, pruned(images), strict=True))


def save(module: Any, folder: str | os.PathLike, signatures: dict[str, Any]) -> None:
    """Writes a SavedModel of functions around a `frozen_network`."""
    import tensorflow as tf

    # TensorFlow's silu has a gradient of its own, which refers to what freezing removed.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, str(folder), signatures=signatures, options=options)
