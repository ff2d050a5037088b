"""Which engine computes the network in `keras-det predict`: Keras, LiteRT or ONNX Runtime."""

import datetime
import importlib.metadata
import importlib.util
import json
import pathlib
import platform
import time

import click
import numpy as np

from keras_det import __version__
from keras_det.cli.exported import cores, litert_interpreter, onnx_session
from keras_det.cli.files import find_model
from keras_det.errors import DataError
from keras_det.files import write_json, write_whole

# What an engine runs needs, and what converting to it needs beside TensorFlow.
NEEDS = {"litert": ("ai_edge_litert",), "onnx": ("onnxruntime", "onnx", "tf2onnx")}
FILES = {"litert": "network.tflite", "onnx": "network.onnx"}
PACKAGES = ("keras", "tensorflow", "ai-edge-litert", "onnxruntime")
# Lite0 at 320: converting to both engines and checking takes 25 s of processor time, an image 65 ms
# by Keras and 38 ms by LiteRT.
MIN_IMAGES = 1000
CALLS = 5


def with_engine(path: str, detector, engine: str, num_images: int):
    """What detects as `detector` does, by an engine, and a sentence on which one it is and why.

    Args:
        path: MODEL, from which the detector was loaded; converted networks go to a folder
            `<file>.engines/` beside the file that it means.
        detector: a Keras model of this package, or one of `keras_det.cli.exported`.
        engine: one of `keras_det.cli.files.ENGINES`.
        num_images: how many images there are to go through.
    """
    own = getattr(detector, "engine", None)
    if own is not None:
        if engine not in ("auto", own):
            raise DataError(
                f"An exported file has an engine already. Received: --engine {engine} for {path}, "
                f"which {own} runs. Leave --engine out, or give the .keras file."
            )
        return detector, f"Engine: {own}, the file's own"
    path = find_model(path)
    if engine == "auto":
        reason = _reason_for_keras(path, num_images)
        if reason:
            return detector, f"Engine: keras ({reason})"
        return _fastest(path, detector)
    if engine == "keras":
        return detector, "Engine: keras"
    cache = Cache(path)
    return _detector(cache, detector, engine), f"Engine: {engine}{cache.note}"


def _reason_for_keras(path, num_images) -> str | None:
    """Why Keras is the right engine without measuring; None where it should be measured."""
    import keras

    if keras.backend.backend() != "tensorflow":
        return "others are converted to with KERAS_BACKEND=tensorflow"
    import tensorflow as tf

    if tf.config.list_logical_devices("GPU"):
        return "it has a GPU, the others run on the processor"
    if not installed():
        return 'no other is installed: pip install "keras-det[edge]"'
    if num_images < MIN_IMAGES and not Cache(path).milliseconds:
        return (
            f"converting to another pays from {MIN_IMAGES} images on; --engine "
            f"{installed()[0]} does it now"
        )
    return None


def installed() -> list[str]:
    """The engines beside Keras whose packages are there."""
    found = importlib.util.find_spec
    return [name for name, needs in NEEDS.items() if all(found(each) for each in needs)]


def _fastest(path, detector):
    """The engine that was, or is now, measured as the fastest one on this computer."""
    cache = Cache(path)
    made = {"keras": detector}
    if not cache.milliseconds:
        for engine in installed():
            try:
                made[engine] = _detector(cache, detector, engine)
            except DataError as error:
                click.echo(f"Note: {error}", err=True)
        cache.remember({name: milliseconds(each) for name, each in made.items()})
    times = sorted(cache.milliseconds.items(), key=lambda item: item[1])
    best = times[0][0]
    chosen = made.get(best) or _detector(cache, detector, best)
    beside = ", ".join(f"{name} {value:.0f}" for name, value in times[1:])
    when = f"measured {cache.content['date']}{cache.note}"
    return chosen, f"Engine: {best} ({times[0][1]:.0f} ms per image here, {beside}; {when})"


def milliseconds(detector) -> float:
    """Median time of one drawn image, after two that do not count."""
    from keras_det.data import drawn_images

    (image,) = drawn_images(1, 512, seed=0)
    times = []
    for _ in range(CALLS + 2):
        start = time.perf_counter()
        detector.detect(image, score_threshold=0.3)
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times[2:]))


class Cache:
    """Converted networks and measured times of one model, in a folder beside it.

    They hold for this file, these versions and this computer; where one differs they are made
    again. A folder that cannot be written is not needed: then nothing is remembered.

    Args:
        path: of the model.
    """

    def __init__(self, path: pathlib.Path):
        from keras_det.export.writing import sha256

        self.folder = path.with_name(f"{path.name}.engines")
        self.state, self.note = self.folder / "engines.json", ""
        valid_for = {
            "model_sha256": sha256(path),
            "versions": {"keras_det": __version__, **_versions()},
            "computer": [platform.node(), platform.machine(), cores()],
        }
        try:
            self.content = json.loads(self.state.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self.content = {}
        if self.content.get("valid_for") != valid_for:
            self.content = {"valid_for": valid_for, "networks": {}, "milliseconds": {}}

    @property
    def milliseconds(self) -> dict[str, float]:
        """Times per image by engine, of those that are installed; empty where not measured."""
        known = ("keras", *installed())
        return {k: v for k, v in self.content["milliseconds"].items() if k in known}

    def network(self, engine: str) -> bytes | None:
        """A converted network, None where there is none or the file was changed."""
        import hashlib

        try:
            content = (self.folder / FILES[engine]).read_bytes()
        except OSError:
            return None
        digest = hashlib.sha256(content).hexdigest()
        return content if self.content["networks"].get(engine) == digest else None

    def add(self, engine: str, content: bytes) -> None:
        """Keeps a converted network."""
        import hashlib

        self.content["networks"][engine] = hashlib.sha256(content).hexdigest()
        self._write(FILES[engine], content)

    def remember(self, times: dict[str, float]) -> None:
        """Keeps measured times."""
        self.content["milliseconds"] = {name: round(value, 1) for name, value in times.items()}
        self.content["date"] = datetime.date.today().isoformat()
        self._write()

    def _write(self, name=None, content=b""):
        try:
            self.folder.mkdir(exist_ok=True)
            if name:
                write_whole(self.folder / name, content)
            write_json(self.state, self.content)
        except OSError as error:
            self.note = f", not kept: {error.strerror}: {self.folder}"


def _versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _detector(cache, detector, engine):
    """`EngineDetector` of a Keras model; a network that was converted before is taken as it is."""
    from keras_det.export.graph import exportable

    if engine not in installed():
        extra = {"litert": "edge", "onnx": "onnx"}[engine]
        raise DataError(
            f"--engine {engine} needs the packages {', '.join(NEEDS[engine])}. Received: an "
            f'environment without them all. Install them with pip install "keras-det[{extra}]".'
        )
    model, _ = exportable(detector)
    content = cache.network(engine)
    if content is None:
        content = _convert(model, engine)
        made = EngineDetector(model, _runner(engine, content))
        check(made, engine)
        cache.add(engine, content)
        return made
    return EngineDetector(model, _runner(engine, content))


def _convert(model, engine) -> bytes:
    if engine == "litert":
        from keras_det.export.conversion import convert

        return convert(model, "float32")
    from keras_det.export.onnx_graph import convert as to_onnx

    return to_onnx(model).SerializeToString()


def _runner(engine, content):
    """Function from uint8 `(1, height, width, 3)` to the raw outputs."""
    if engine == "litert":
        interpreter = litert_interpreter("a network")(model_content=content, num_threads=cores())
        run = interpreter.get_signature_runner()
        run.keep = interpreter  # the runner is only valid while its interpreter lives
        return lambda pixels: run(images=pixels)
    session = onnx_session(content)
    names = [output.name for output in session.get_outputs()]
    return lambda pixels: dict(zip(names, session.run(names, {"images": pixels}), strict=True))


class EngineDetector:
    """A detector whose network an engine computes; its own decoder makes detections of it.

    Args:
        model: the detector in Keras, in float32.
        network: function from uint8 `(1, height, width, 3)` to the raw outputs.
    """

    def __init__(self, model, network):
        self.model, self.network = model, network
        self.class_names = model.class_names
        self.decoders = {}

    def detect(self, image: np.ndarray, score_threshold: float) -> dict:
        """As `Detector.detect` for one uint8 image."""
        from keras_det.data.resize import resize_image

        fill = self.model.normalization.fill_color
        pixels, transform = resize_image(image, self.model.resize_policy, fill)
        found = self._decode(self.network(pixels[None]), score_threshold)
        found = {name: np.asarray(value) for name, value in found.items()}
        return self.model.to_original(0, found, transform.inverse(), image.shape)

    def _decode(self, raw, score_threshold):
        import tensorflow as tf

        if score_threshold not in self.decoders:
            decoder = self.model.decoder(score_threshold=score_threshold)
            self.decoders[score_threshold] = tf.function(
                lambda raw: self.model.decode(raw, decoder)
            )
        return self.decoders[score_threshold](raw)


def check(made: EngineDetector, engine: str) -> None:
    """Raises DataError where an engine's raw outputs are outside the budget of float32 exports."""
    from keras_det.data import drawn_images
    from keras_det.export.budget import BUDGETS
    from keras_det.export.verify import RawErrors
    from keras_det.models.compiled import compiled

    budget, errors = BUDGETS["float32"], RawErrors()
    network = compiled(made.model, lambda raw: raw)
    for image in drawn_images(2, made.model.image_size, seed=0):
        raw = {name: np.asarray(value) for name, value in network(image[None]).items()}
        errors.add(raw, made.network(image[None]))
    _, largest, _ = errors.relative(budget)
    if not errors.finite or max(largest.values()) > budget.raw_largest:
        raise DataError(
            f"An engine must agree with Keras within {budget.raw_largest:g} standard deviations. "
            f"Received: {engine}, which differs by {max(largest.values()):.3g}. Use --engine "
            "keras, and report it with the versions of the packages."
        )
