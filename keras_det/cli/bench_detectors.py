"""The parts of a detector that `keras-det bench` times: of a Keras model, a file or a folder."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_det.profiling.bench_detection import FINISH, NETWORK, PREPARE, Parts

if TYPE_CHECKING:
    from keras_det.models import Detector
    from keras_det.runtime.exported import FileDetector, FolderDetector


def parts_of(detector: Any) -> Parts:
    """The parts of what `load_any_model` returns."""
    from keras_det.runtime.exported import FileDetector, FolderDetector

    if isinstance(detector, FileDetector):
        return _of_file(detector)
    return _of_folder(detector) if isinstance(detector, FolderDetector) else _of_keras(detector)


def _of_keras(model: "Detector") -> Parts:
    import keras

    from keras_det.data.resize import resize_image
    from keras_det.models.compiled import compiled
    from keras_det.profiling import multiply_adds

    fill, network = model.normalization.fill_color, compiled(model, lambda raw: raw)
    decode = _compiled_decoder(model)

    def arrays(tensors: dict[str, Any]) -> dict[str, np.ndarray]:
        return {name: keras.ops.convert_to_numpy(value) for name, value in tensors.items()}

    def finish(image: np.ndarray, given: Any, raw: dict[str, np.ndarray]) -> Any:
        return model.to_original(0, arrays(decode(raw)), given[1].inverse(), image.shape)

    return Parts(
        whole=model.detect,
        prepare=lambda image: resize_image(image, model.resize_policy, fill),
        network=lambda given: arrays(network(given[0][None])),
        finish=finish,
        timed=(PREPARE, NETWORK, FINISH),
        batch=lambda images: model.detect(list(images), batch_size=len(images)),
        multiply_adds=multiply_adds(model),
        engine=f"keras, {keras.backend.backend()}",
        image_size=model.image_size,
    )


def _compiled_decoder(model: "Detector") -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Raw outputs to detections, compiled by the backend as in `detect`."""
    import keras

    decoder = model.decoder()
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(lambda raw: model.decode(raw, decoder))
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(lambda raw: model.decode(raw, decoder))
    return lambda raw: model.decode(
        {name: keras.ops.convert_to_tensor(value) for name, value in raw.items()}, decoder
    )


def _of_file(detector: "FileDetector") -> Parts:
    """Of a TFLite or ONNX file. Only the two files of a split export decode separately."""
    from keras_det.runtime.lite_model import LiteModel

    runner: Any = detector.runner
    split = isinstance(runner, LiteModel) and len(runner.runners) > 1

    def finish(image: np.ndarray, given: Any, outputs: dict[str, np.ndarray]) -> Any:
        if split:
            outputs = runner.converted(runner.tail(outputs))
        return detector.finish(outputs, given[1], image.shape)

    run = runner.body if split else runner.run

    def batch(images: Sequence[np.ndarray]) -> Any:
        given = [detector.prepare(image) for image in images]
        outputs = runner.run(np.stack([pixels for pixels, _ in given]))
        for i, (image, (_, transform)) in enumerate(zip(images, given, strict=True)):
            own = {name: value[i : i + 1] for name, value in outputs.items()}
            detector.finish(own, transform, image.shape)

    return Parts(
        whole=detector.detect,
        prepare=detector.prepare,
        network=lambda given: run(given[0][None]),
        finish=finish,
        timed=(PREPARE, NETWORK, FINISH) if split else (PREPARE, NETWORK),
        batch=batch if getattr(runner, "any_batch", False) else None,
        multiply_adds=None,
        engine=detector.engine,
        image_size=detector.image_size,
    )


def _of_folder(detector: "FolderDetector") -> Parts:
    """Of a SavedModel, which resizes and decodes by itself: its network alone is a signature."""
    height, width = detector.image_size
    blank = np.zeros((1, height, width, 3), np.uint8)

    def batch(images: Sequence[np.ndarray]) -> Any:
        return detector.model.run("images", images=np.stack(images))

    return Parts(
        whole=detector.detect,
        prepare=lambda image: blank,
        network=lambda pixels: detector.model.run("raw", images=pixels),
        finish=lambda image, pixels, outputs: None,
        timed=(NETWORK,),
        batch=batch,
        multiply_adds=None,
        engine=detector.engine,
        image_size=detector.image_size,
    )
