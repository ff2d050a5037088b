"""A detector's network as a TensorFlow function whose weights are constants."""

import os
from collections.abc import Callable
from typing import Any

import keras

from keras_det.export.network.folding import fold
from keras_det.models import Detector
from keras_det.quantization import without_rounding
from keras_det.types import TFTensor


def exportable(
    model: Detector, image_size: int | tuple[int, int] | None = None
) -> tuple[Detector, list[str]]:
    """Returns the float32 model that is exported, and notes on how it differs from the given one.

    Args:
        model: a detector of any precision.
        image_size: of the exported network; None keeps the model's.

    Raises:
        ValueError: the Keras backend is not TensorFlow.
        TypeError: `model` is not a detector.
    """
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise ValueError(
            f"Exports need the TensorFlow backend. Received: KERAS_BACKEND={backend}. Save the "
            "model as .keras, and export it in a process with KERAS_BACKEND=tensorflow."
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
        notes.append("the model had quantisation-aware training; compared without its rounding")
    policy = model.get_config().get("dtype", "float32")
    if policy != "float32":
        changes["dtype"] = "float32"
        notes.append(f"the model computes in {policy}; exported and compared in float32")
    if image_size is not None:
        changes["image_size"] = image_size
    return (model.with_changes(**changes) if changes else model), notes


def frozen_network(
    model: Detector, batch_size: int | None = None, dtype: str = "uint8"
) -> Callable[[Any], dict[str, Any]]:
    """Returns the network with constant weights, a function `images -> dict of raw outputs`.

    With constants TensorFlow can fold operators (Lite0 at 320 on a CPU: about a fifth faster than
    with variables), and a converter cannot lose weights. A TFLite file that is converted from a
    Keras model with untracked variables returns NaN without an error.

    Args:
        model: the detector.
        batch_size: int, or None for any.
        dtype: of the images.

    Returns:
        Function of images `(batch_size, height, width, 3)`. All signatures that call it share one
        copy of the network.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    def network(images: TFTensor) -> dict[str, TFTensor]:
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
    # Freezing returns the outputs as a flat list, in the order of their names.
    names = sorted(traced.structured_outputs)
    return lambda images: dict(zip(names, pruned(images), strict=True))


def save(module: Any, folder: str | os.PathLike, signatures: dict[str, Any]) -> None:
    """Writes a SavedModel.

    Args:
        module: `tf.Module` that holds its assets.
        folder: of the SavedModel.
        signatures: TensorFlow functions by name, made with a `frozen_network`.
    """
    import tensorflow as tf

    # The custom gradient of TensorFlow's silu refers to nodes that freezing removed.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, str(folder), signatures=signatures, options=options)
