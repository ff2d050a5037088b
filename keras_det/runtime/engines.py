"""Chooses the engine for the network of a Keras detector: Keras, LiteRT, ONNX Runtime, OpenVINO."""

import importlib.util
import pathlib
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_det.errors import DataError, install_hint
from keras_det.last_used import MOST_FUNCTIONS, MOST_SETTINGS, LastUsed
from keras_det.runtime.engine_cache import EngineCache
from keras_det.runtime.exported import load_exported
from keras_det.runtime.libraries import cores, litert_interpreter
from keras_det.runtime.lite_model import LiteModel
from keras_det.runtime.onnx_model import OnnxModel
from keras_det.runtime.openvino_model import OpenVinoModel
from keras_det.runtime.running import RunningDetector, for_each
from keras_det.types import Detections, Image
from keras_det.video.sources import OneSource

if TYPE_CHECKING:
    from keras_det.models import Detector

# Packages that an engine and the conversion to it need, besides TensorFlow.
NEEDS = {
    "litert": ("ai_edge_litert",),
    "onnx": ("onnxruntime", "onnx", "tf2onnx"),
    "openvino": ("openvino", "onnxruntime", "onnx", "tf2onnx"),
}
EXTRAS = {"litert": "edge", "onnx": "onnx", "openvino": "openvino"}
# Lite0 at 320: converting to both engines and checking takes 25 s of processor time. An image takes
# 65 ms with Keras and 38 ms with LiteRT.
MIN_IMAGES = 1000
CALLS = 5

# Function from a detector and the name of an engine to the content of a file that returns the raw
# outputs, checked against the detector: `keras_det.export.engine_networks.network_for`. It is an
# argument, because this package must not import `keras_det.export`.
Convert = Callable[["Detector", str], bytes]


class EngineDetector(RunningDetector):
    """A Keras detector whose network another engine computes. The Keras model decodes.

    Args:
        model: the Keras detector.
        engine: "litert", "onnx" or "openvino".
        content: a file in the format of that engine, which returns the raw outputs.
    """

    def __init__(self, model: "Detector", engine: str, content: bytes):
        self.model, self.engine = model, engine
        self.class_names, self.image_size = model.class_names, model.image_size
        self.score_thresholds = model.score_thresholds
        self.network = network_runner(engine, content)
        # As of `Detector`: numbers of the decoder are arguments of one compiled function.
        self._decoders: LastUsed[Any] = LastUsed(MOST_SETTINGS)
        self._programs: LastUsed[Any] = LastUsed(MOST_FUNCTIONS)

    def detect(
        self,
        images: Image | Sequence[Image],
        *,
        score_threshold: float | None = None,
        **settings: Any,
    ) -> Any:
        """Finds objects in images of any size.

        Args:
            images, score_threshold: see `RunningDetector.detect`.
            **settings: of the model's decoder, as for `Detector.detect`.

        Raises:
            TypeError: the decoder has no such setting, or a setting is of the wrong type.
            DataError, ValueError: see `RunningDetector.detect`.
        """
        self._check_settings("detect", settings, score_threshold)
        if score_threshold is not None:
            settings["score_threshold"] = score_threshold
        own = self.score_thresholds
        return for_each(images, lambda image: self._detect_with(image, settings), own)

    def stream(
        self,
        source: OneSource | Sequence[OneSource],
        every: int = 1,
        track: bool = False,
        *,
        score_threshold: float | None = None,
        **settings: Any,
    ) -> Generator[Detections, None, None]:
        """As of `RunningDetector.stream`, with settings of the model's decoder."""
        self._check_settings("stream", settings, score_threshold)
        return self._stream(source, every, track, {**settings, "score_threshold": score_threshold})

    def _check_settings(
        self, function: str, settings: dict[str, Any], score_threshold: float | None
    ) -> None:
        from keras_det.decode.settings import check_names

        own = ("images", "source", "score_threshold")
        check_names(function, settings, self.model.decoder_settings, own)
        self.check_threshold(score_threshold)

    def _detect(self, image: np.ndarray, score_threshold: float | None) -> Detections:
        given = {} if score_threshold is None else {"score_threshold": score_threshold}
        return self._detect_with(image, given)

    def _detect_with(self, image: np.ndarray, settings: dict[str, Any]) -> Detections:
        from keras_det.data.resize import resize_image

        fill = self.model.normalization.fill_color
        pixels, transform = resize_image(image, self.model.resize_policy, fill)
        found = self._decode(self.network(pixels[None]), settings)
        found = {name: np.asarray(value) for name, value in found.items()}
        return self.model.to_original(0, found, transform.inverse(), image.shape)

    def _decode(self, raw: dict, settings: dict[str, Any]) -> dict:
        import tensorflow as tf

        key = repr(sorted(settings.items()))
        decoder = self._decoders.get(key, lambda: self.model.decoder(**settings))

        def decode(raw: dict, values: dict) -> dict:
            return self.model.decode(raw, decoder.with_values(values))

        program = self._programs.get(decoder.key(), lambda: tf.function(decode))
        values = {name: tf.constant(value, tf.float32) for name, value in decoder.values().items()}
        return program(raw, values)


def network_runner(engine: str, content: bytes) -> Callable[[np.ndarray], dict]:
    """Returns a function from uint8 `(1, height, width, 3)` to the raw outputs of a file.

    Args:
        engine: "litert", "onnx" or "openvino".
        content: of the file; OpenVINO reads ONNX.
    """
    if engine == "litert":
        interpreter = litert_interpreter("a network")
        return LiteModel(content, interpreter=interpreter, threads=cores()).run
    if engine == "openvino":
        return OpenVinoModel(content, cores()).run
    return OnnxModel(content, cores()).run


def installed() -> list[str]:
    """Returns the engines, without Keras, whose packages are installed."""
    found = importlib.util.find_spec
    return [name for name, needs in NEEDS.items() if all(found(each) for each in needs)]


def with_engine(
    detector: Any,
    engine: str,
    path: pathlib.Path,
    num_images: int,
    convert: Convert,
) -> "tuple[Detector | RunningDetector, str]":
    """Returns a detector that runs with an engine, and a sentence that names the engine and why.

    Args:
        detector: a Keras detector, or one of `load_exported`.
        engine: "auto", "keras", "litert", "onnx" or "openvino".
        path: the file of the detector. Converted networks are stored in the folder
            `<file>.engines/` beside it.
        num_images: number of images to detect in.
        convert: converts the network for an engine and checks it.

    Raises:
        DataError: the engine is not installed or disagrees with Keras; or `detector` is an exported
            file, and its format needs another engine.
    """
    own = getattr(detector, "engine", None)
    if own is not None:
        if engine == "openvino" and own == "onnx":
            return load_exported(path, engine=engine), f"Engine: {engine}"
        if engine not in ("auto", own):
            raise DataError(
                f"An exported file has a fixed engine; an ONNX file also runs with openvino. "
                f"Received: engine {engine} for {path}, which {own} runs. Leave the engine out, or "
                "give the .keras file."
            )
        return detector, f"Engine: {own}, the file's own"
    if engine == "auto":
        reason = _reason_for_keras(path, num_images)
        if reason:
            return detector, f"Engine: keras ({reason})"
        return _fastest(path, detector, convert)
    if engine == "keras":
        return detector, "Engine: keras"
    cache = EngineCache(path)
    return _detector(cache, detector, engine, convert), f"Engine: {engine}{cache.note}"


def _reason_for_keras(path: pathlib.Path, num_images: int) -> str | None:
    """Returns why Keras is the right engine without a measurement; None if engines are measured."""
    import keras

    if keras.backend.backend() != "tensorflow":
        return "conversion to other engines needs KERAS_BACKEND=tensorflow"
    import tensorflow as tf

    if tf.config.list_logical_devices("GPU"):
        return "Keras uses the GPU; the other engines run on the CPU"
    others = installed()
    if not others:
        return f"no other engine is installed: {install_hint('edge')}"
    if num_images < MIN_IMAGES and not EngineCache(path).milliseconds(others):
        return (
            f"converting to another engine saves time from {MIN_IMAGES} images on; to convert "
            f"now, use --engine {others[0]}"
        )
    return None


def _fastest(
    path: pathlib.Path, detector: "Detector", convert: Convert
) -> "tuple[Detector | RunningDetector, str]":
    """Returns a detector with the fastest engine on this computer, and a sentence with the times.

    The times are measured once and stored.
    """
    cache, known = EngineCache(path), ("keras", *installed())
    made: dict[str, Any] = {"keras": detector}
    if not cache.milliseconds(known):
        for engine in installed():
            try:
                made[engine] = _detector(cache, detector, engine, convert)
            except DataError as error:
                warnings.warn(str(error), UserWarning, stacklevel=3)
        cache.remember({name: milliseconds(each) for name, each in made.items()})
    times = sorted(cache.milliseconds(known).items(), key=lambda item: item[1])
    best = times[0][0]
    chosen = made.get(best) or _detector(cache, detector, best, convert)
    beside = ", ".join(f"{name} {value:.0f}" for name, value in times[1:])
    when = f"measured {cache.date}{cache.note}"
    return chosen, f"Engine: {best} ({times[0][1]:.0f} ms per image here, {beside}; {when})"


def milliseconds(detector: Any) -> float:
    """Returns the median time of one synthetic image, after two calls that do not count."""
    from keras_det.data import drawn_images

    (image,) = drawn_images(1, 512, seed=0)
    times = []
    for _ in range(CALLS + 2):
        start = time.perf_counter()
        detector.detect(image, score_threshold=0.3)
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times[2:]))


def _detector(
    cache: EngineCache, detector: "Detector", engine: str, convert: Convert
) -> EngineDetector:
    """Returns the `EngineDetector` of a Keras model, with a stored network if there is one."""
    if engine not in installed():
        hint = install_hint(EXTRAS[engine])
        raise DataError(
            f"The engine {engine} needs the packages {', '.join(NEEDS[engine])}. Received: an "
            f"environment without all of them. Install them with {hint}."
        )
    content = cache.network(engine)
    if content is None:
        content = convert(detector, engine)
        cache.add(engine, content)
    return EngineDetector(detector, engine, content)
