"""`verify`: checks that an exported file still matches its certificate."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from keras_det.data.image import rgb_pixels
from keras_det.data.resize import check_policy, letterbox, stretch
from keras_det.data.shapes import drawn_images
from keras_det.errors import DataError
from keras_det.export.check.average_precision import AveragePrecision, exceeds
from keras_det.export.check.budget import Budget
from keras_det.export.check.evidence import NUM_SYNTHETIC, check_images
from keras_det.export.check.matching import SCORE_THRESHOLD, Matching, match
from keras_det.export.check.publishing import labels_text, weights_sha256
from keras_det.export.check.report import describe_precision
from keras_det.export.check.verify import FEWEST_MATCHES
from keras_det.export.network.graph import exportable
from keras_det.files import read_bytes, read_object, tree_digest
from keras_det.models import Detector
from keras_det.names import OPENVINO_FILE
from keras_det.runtime.exported import certificate_of, load_exported
from keras_det.runtime.libraries import cores, litert_interpreter
from keras_det.runtime.lite_model import LiteModel, tail_of
from keras_det.runtime.onnx_model import OnnxModel
from keras_det.runtime.openvino_model import OpenVinoModel
from keras_det.words import counted

# Share of the detections that may differ by more than the budget. Soft-NMS takes candidates in the
# order of their scores; two that are nearly equal may change places, and then end with others.
MOST_OUTSIDE = 0.01
CURE = "Give the certificate that was written with the file, or export the model again."


@dataclasses.dataclass(frozen=True)
class Finding:
    """One part of a verification.

    Attributes:
        name: what was checked, such as "file".
        passed: True, False, or None where it could not be judged.
        text: what was found, in one sentence.
    """

    name: str
    passed: bool | None
    text: str


@dataclasses.dataclass(frozen=True)
class Verification:
    """What `verify` found.

    Attributes:
        path: of the exported file.
        findings: one for each check.
    """

    path: pathlib.Path
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(each.passed is not False for each in self.findings)

    def __str__(self) -> str:
        words = {True: "ok", False: "FAILED", None: "not judged"}
        first = "matches" if self.passed else "does not match"
        lines = [f"{words[each.passed]:<10}  {each.name}: {each.text}" for each in self.findings]
        return "\n".join([f"{self.path} {first} its certificate.", *lines])


def verify(
    path: str | os.PathLike,
    model: Detector | None = None,
    images: Any = None,
    on_image: Callable[[int, int], object] | None = None,
) -> Verification:
    """Checks that an exported file matches its certificate, and agrees with its Keras model.

    The file must have the SHA-256, the outputs, the class names and the label file that the
    certificate states, and find finite boxes in images. With the model, its weights must be those
    that were exported, and `detect` of both must agree within the budget of the certificate. At
    most 1% of the detections may differ by more: soft-NMS may take nearly equal scores in another
    order. If the budget has no limits for detections, as that of int8, the file is judged by its
    average precision on labelled images.

    Args:
        path: of the `.tflite` or `.onnx` file, or of the folder of a SavedModel or of an export for
            OpenVINO. The certificate,
            `<name>.certificate.json`, must lie beside it.
        model: the Keras model that was exported; None checks the file alone.
        images: a labelled `keras_det.data.Dataset` with the model's classes; or uint8 arrays,
            paths or encoded bytes, one or a list. None: eight synthetic images.
        on_image: function called with the number of images done and the total number.

    Returns:
        `Verification`; its text has a line for each check.

    Raises:
        DataError: there is no certificate or no file, the certificate cannot be read, or no image
            decodes.
    """
    path = pathlib.Path(path)
    stated = _stated(path)
    findings = [_file(path, stated)]
    if not findings[0].passed:
        return Verification(path, tuple(findings))
    if not stated.get("decoding"):
        findings.append(_outputs(_runner(path).outputs(), stated))
        text = "the file returns raw outputs, which are compared at export only"
        return Verification(path, (*findings, Finding("detections", None, text)))
    detector: Any = load_exported(path)
    running = detector.runner if hasattr(detector, "runner") else detector.model
    findings += [_outputs(running.outputs(), stated), _names(detector, stated)]
    if model is None:
        findings.append(_runs(detector, images, on_image))
    else:
        findings.append(_weights(model, stated))
        findings.append(_agreement(detector, model, stated, images, on_image))
    return Verification(path, tuple(findings))


def _stated(path: pathlib.Path) -> dict[str, Any]:
    """The content of the certificate, with the keys that are needed here."""
    certificate = certificate_of(path)
    if not path.exists():
        load_exported(path)  # says that there is no such file, and what is near
    if not os.path.lexists(certificate):
        raise DataError(
            f"A file must have its certificate beside it. Received: {path}, without "
            f"{certificate.name}. Copy the certificate there, or export the model again."
        )
    stated = read_object(certificate, CURE)
    kinds = {"sha256": str, "signatures": dict, "class_names": list, "decoding": dict}
    kinds |= {"budget": dict, "settings": dict, "weights_sha256": str}
    for name, kind in kinds.items():
        if not isinstance(stated.get(name), kind):
            raise DataError(
                f"A certificate must state `{name}`. Received: {certificate}, where it is "
                f"{stated.get(name)!r:.40}. {CURE}"
            )
    return stated


def _file(path: pathlib.Path, stated: Mapping[str, Any]) -> Finding:
    """Whether the bytes are those that were certified."""
    parts = {path: stated["sha256"]}
    if "tail_sha256" in stated["settings"]:
        parts[tail_of(path)] = stated["settings"]["tail_sha256"]
    for part, expected in parts.items():
        digest = tree_digest(part)
        if digest != expected:
            text = f"{part.name} has the SHA-256 {digest[:12]}…, the certificate {expected[:12]}…"
            return Finding("file", False, text)
    return Finding("file", True, f"SHA-256 {stated['sha256'][:12]}…, as in the certificate")


def _runner(path: pathlib.Path) -> Any:
    """What runs a file with raw outputs."""
    if path.suffix == ".onnx":
        return OnnxModel(path, cores())
    if (path / OPENVINO_FILE).is_file():
        return OpenVinoModel(path, cores())
    return LiteModel(path, interpreter=litert_interpreter(path), threads=cores())


def _outputs(found: Mapping[str, Sequence[str]], stated: Mapping[str, Any]) -> Finding:
    expected = {name: list(names) for name, names in stated["signatures"].items()}
    listed = {name: list(names) for name, names in found.items()}
    names, wanted = (
        ", ".join(f"{name} ({', '.join(each)})" for name, each in kind.items())
        for kind in (listed, expected)
    )
    if listed != expected:
        return Finding("outputs", False, f"the file has {names}; the certificate {wanted}")
    return Finding("outputs", True, names)


def _names(detector: Any, stated: Mapping[str, Any]) -> Finding:
    """Whether file, certificate and label file name the same classes."""
    names, expected = list(detector.class_names), stated["class_names"]
    if names != expected:
        text = f"the file has {names[:5]}, the certificate {expected[:5]}"
        return Finding("class names", False, text)
    labels = detector.path.with_name(f"{detector.path.name}.labels.txt")
    if labels.is_file() and read_bytes(labels).decode(errors="replace") != labels_text(names):
        text = f"{labels.name} does not list the names of the file, one in each line"
        return Finding("class names", False, text)
    return Finding("class names", True, counted(len(names), "class", "classes"))


def _runs(detector: Any, images: Any, on_image: Callable[[int, int], object] | None) -> Finding:
    """Whether the file finds finite boxes inside the images."""
    listed, read = _pictures(detector, images)
    found = 0
    for done, image in enumerate(read, 1):
        one = detector.detect(image, score_threshold=None)
        limits = np.array([image.shape[1], image.shape[0]] * 2)
        inside = (one["boxes"] >= 0).all() and (one["boxes"] <= limits).all()
        if not (np.isfinite(one["scores"]).all() and inside):
            text = f"in image {done - 1}, a box is outside the image or a number is not finite"
            return Finding("detections", False, text)
        found += int((one["scores"] > SCORE_THRESHOLD).sum())
        if on_image is not None:
            on_image(done, listed)
    text = f"{counted(found, 'detection')} above {SCORE_THRESHOLD:g} in {counted(listed, 'image')}"
    return Finding("detections", True, f"{text}; give the Keras model to compare them")


def _pictures(detector: Any, images: Any) -> tuple[int, Iterator[np.ndarray]]:
    """The number of the images, and the images, read one at a time."""
    if images is None:
        size = max(detector.image_size) * 5 // 4
        return NUM_SYNTHETIC, iter(drawn_images(NUM_SYNTHETIC, size=size, seed=0))
    listed = list(getattr(images, "image_paths", images if isinstance(images, list) else [images]))
    return len(listed), map(rgb_pixels, listed)


def _weights(model: Detector, stated: Mapping[str, Any]) -> Finding:
    digest = weights_sha256(model)
    if digest == stated["weights_sha256"]:
        return Finding("weights", True, "the model has the weights that were exported")
    text = f"the model has other weights ({digest[:12]}…) than were exported"
    return Finding("weights", False, f"{text} ({stated['weights_sha256'][:12]}…)")


def _agreement(
    detector: Any,
    model: Detector,
    stated: Mapping[str, Any],
    images: Any,
    on_image: Callable[[int, int], object] | None,
) -> Finding:
    """Whether `detect` of the file and of the model agree."""
    budget = _budget(stated)
    channels = stated.get("preprocessing", {}).get("channels", 3)
    evidence = check_images(images, model, channels)
    reference = exportable(model, detector.image_size)[0]
    settings = {
        name: value
        for name, value in stated["decoding"].items()
        if name in model.detect_settings and value is not None
    }
    precision, matchings = AveragePrecision(model.class_names), list[Matching]()
    for image, truth in evidence:
        ours, theirs = reference.detect(image, **settings), detector.detect(image)
        scale = _scale(reference, image)
        slots = settings.get("max_detections")
        matchings.append(match(ours, theirs, budget, scale, slots))
        if truth is not None:
            precision.add(truth, ours, theirs)
        if on_image is not None:
            on_image(len(matchings), len(evidence))
    if not matchings:
        raise DataError(
            f"At least one image must be readable. Received: {evidence.unread[0]}. Check the "
            "images."
        )
    return _judged(matchings, budget, precision.result())


def _scale(model: Detector, image: np.ndarray) -> tuple[float, float]:
    """Pixels of the network's input for each pixel of the image, along x and y."""
    mode, size = check_policy(model.resize_policy)
    height, width = image.shape[:2]
    resized = letterbox if mode == "letterbox" else stretch
    transform = resized(height, width, size)
    return transform.scale_x, transform.scale_y


def _budget(stated: Mapping[str, Any]) -> Budget:
    try:
        return Budget(**stated["budget"])
    except (TypeError, ValueError) as error:
        raise DataError(
            "The budget of a certificate must have the fields of keras_det.export.Budget. "
            f"Received: {stated['budget']!r:.80} ({error}). {CURE}"
        ) from error


def _judged(
    matchings: Sequence[Matching], budget: Budget, precision: dict[str, Any] | None
) -> Finding:
    boxes = np.concatenate([each.box_errors for each in matchings])
    scores = np.concatenate([each.score_errors for each in matchings])
    lost = [sentence for each in matchings for sentence in each.lost]
    total = len(boxes) + len(lost)
    text = f"{len(boxes):,} of {counted(total, 'detection')} found by both"
    if len(boxes):
        text += f", boxes within {boxes.max():.2g} pixels, scores within {scores.max():.2g}"
    text += f" ({counted(len(matchings), 'image')})"
    if precision is not None:
        text += f"; AP {describe_precision(precision)}"
    if budget.ap_drop is not None and precision is not None:
        return Finding("detections", not exceeds(precision, budget.ap_drop), text)
    if not budget.judges_detections:
        return Finding("detections", None, f"{text}; give labelled images to judge them by AP")
    if total < FEWEST_MATCHES:
        text += f"; at least {FEWEST_MATCHES} are needed to judge: give images with objects"
        return Finding("detections", None, text)
    units = budget.units
    outside = len(lost) + int(((boxes > units[0]) | (scores > units[1])).sum())
    if outside:
        text += f"; {counted(outside, 'detection')} outside the budget"
        text += f" (boxes {units[0]:g} pixels, scores {units[1]:g})"
        text += f", such as: {lost[0]}" if lost else ""
    return Finding("detections", outside <= MOST_OUTSIDE * total, text)
