"""Converts a detector's network for the engines of `keras_det.runtime`, and checks it."""

from keras_det.data import drawn_images
from keras_det.errors import DataError
from keras_det.export.check.artefact import to_numpy
from keras_det.export.check.budget import BUDGETS
from keras_det.export.check.raw_errors import RawErrors
from keras_det.export.network.graph import exportable
from keras_det.export.to_onnx.conversion import convert as to_onnx
from keras_det.export.to_tflite.conversion import convert as to_tflite
from keras_det.models import Detector
from keras_det.models.compiled import compiled
from keras_det.runtime.engines import network_runner

NUM_IMAGES = 2


def network_for(detector: Detector, engine: str) -> bytes:
    """Returns the content of a file that computes the raw outputs of a detector.

    Args:
        detector: any detector of this package; it is converted in float32.
        engine: "litert", "onnx" or "openvino".

    Raises:
        DataError: the engine's raw outputs are outside the budget of float32 exports.
    """
    model, _ = exportable(detector)
    content = convert(model, engine)
    check(model, content, engine)
    return content


def convert(model: Detector, engine: str) -> bytes:
    """Converts the network alone to float32; for the arguments see `network_for`."""
    return to_tflite(model) if engine == "litert" else to_onnx(model).SerializeToString()


def check(model: Detector, content: bytes, engine: str) -> None:
    """Raises DataError if an engine disagrees with Keras.

    Args:
        model: the detector, in float32.
        content: of `convert`.
        engine: "litert", "onnx" or "openvino".
    """
    budget, errors, run = BUDGETS["float32"], RawErrors(), network_runner(engine, content)
    network = compiled(model, lambda raw: raw)
    for image in drawn_images(NUM_IMAGES, model.image_size, seed=0):
        errors.add(to_numpy(network(image[None])), run(image[None]))
    _, largest, _ = errors.relative(budget)
    allowed = budget.raw_largest or 0.0
    if not errors.finite or max(largest.values()) > allowed:
        raise DataError(
            f"An engine must agree with Keras within {allowed:g} standard deviations. Received: "
            f"{engine}, which differs by {max(largest.values()):.3g}. Use the Keras engine, and "
            "report the difference with the versions of the packages."
        )
