"""Warm-up requests, which TensorFlow Serving runs before it reports a model as ready.

The first request of a signature and batch size takes several times as long as later ones: memory
is planned and kernels are prepared. With warm-up requests, no client waits for that.
"""

import importlib.util
import pathlib
from typing import Any

from keras_det.data.shapes import drawn_images
from keras_det.errors import DataError, install_hint
from keras_det.models import Detector

# The server looks for this file in the SavedModel.
WARMUP_FILE = pathlib.PurePosixPath("assets.extra", "tf_serving_warmup_requests")
# Any value works: only the shapes of the requests matter.
GREY = 128


def check_warmup(largest: int) -> int:
    """Returns the largest batch size of the requests, 0 for none.

    Raises:
        ValueError: it is not an int of at least 0.
        DataError: the package that writes the requests is missing.
    """
    if isinstance(largest, bool) or not isinstance(largest, int) or largest < 0:
        raise ValueError(
            "`warmup` must be the largest batch size of the server, or 0 for no warm-up requests. "
            f"Received: {largest!r}. Give max_batch_size of the server's batching parameters, or 1 "
            "if it does not batch."
        )
    if largest and importlib.util.find_spec("tensorflow_serving") is None:
        raise DataError(
            "Warm-up requests need the package tensorflow-serving-api. Received: "
            f"warmup={largest}, without that package. Install it with {install_hint('serving')}."
        )
    return largest


def write_warmup(model: Detector, folder: pathlib.Path, largest: int) -> None:
    """Writes requests for every signature, of one and of `largest` images, into a SavedModel."""
    import tensorflow as tf

    path = folder / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as file:
        for size in sorted({1, largest}):
            for signature, inputs in _inputs(model, size).items():
                file.write(_record(signature, inputs).SerializeToString())


def read_warmup(folder: pathlib.Path) -> list[tuple[str, dict]]:
    """Returns pairs (signature name, arrays by input name) of the requests in a SavedModel."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    requests = []
    for record in tf.data.TFRecordDataset(str(folder / WARMUP_FILE)).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        request = log.predict_log.request
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        requests.append((request.model_spec.signature_name, inputs))
    return requests


def replay(folder: pathlib.Path, signatures: dict[str, Any]) -> None:
    """Runs the requests like the server. If one fails, the server would not load the model."""
    import tensorflow as tf

    for name, inputs in read_warmup(folder):
        signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})


def _inputs(model: Detector, size: int) -> dict:
    """Returns, by signature, TensorProtos by input name for requests of `size` images."""
    import tensorflow as tf

    image = drawn_images(1, size=max(model.image_size) * 5 // 4, seed=0)[0]
    encoded = tf.io.encode_jpeg(image).numpy()
    # One value for all pixels: the server repeats it, and the file stays small.
    pixels = tf.make_tensor_proto(GREY, tf.uint8, (size, *model.image_size, 3))
    return {
        "serving_default": {"image_bytes": tf.make_tensor_proto([encoded] * size)},
        "images": {"images": pixels},
        "raw": {"images": pixels},
    }


def _record(signature: str, inputs: dict) -> Any:
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(value)
    log = prediction_log_pb2.PredictLog(request=request)
    return prediction_log_pb2.PredictionLog(predict_log=log)
