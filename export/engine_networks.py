"""Networks for the engines of `keras_det.runtime`: converted, and checked against the detector."""

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
    """The content of a file that gives the raw outputs of a detector.

    Args:
        detector: any of this package; it is converted in float32.
        engine: "litert" or "onnx".

    Raises:
        DataError: the engine's raw outputs are outside the budget of float32 exports.
    """
    model, _ = exportable(detector)
    content = convert(model, engine)
    check(model, content, engine)
    return content


def convert(model: Detector, engine: str) -> bytes:
    """A float32 file of the network alone; arguments as of `network_for`."""
    return to_tflite(model) if engine == "litert" else to_onnx(model).SerializeToString()


def check(model: Detector, content: bytes, engine: str) -> None:
    """Raises DataError where an engine disagrees with Keras; arguments as of `network_for`."""
    budget, errors, run = BUDGETS["float32"], RawErrors(), network_runner(engine, content)
    network = compiled(model, lambda raw: raw)
    for image in drawn_images(NUM_IMAGES, model.image_size, seed=0):
        errors.add(to_numpy(network(image[None])), run(image[None]))
    _, largest, _ = errors.relative(budget)
    if not errors.finite or max(largest.values()) > budget.raw_largest:
        raise DataError(
            f"An engine must agree with Keras within {budget.raw_largest:g} standard deviations. "
            f"Received: {engine}, which differs by {max(largest.values()):.3g}. Use the engine "
            "keras, and report it with the versions of the packages."
        )
