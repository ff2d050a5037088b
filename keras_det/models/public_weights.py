"""Public weights that a detector starts from, by name: ImageNet's, or the best available."""

import dataclasses
from typing import Any, NamedTuple

import keras

from keras_det.errors import DataError, install_hint
from keras_det.weights import LoadReport, load_backbone
from keras_det.weights.catalogue import CATALOGUE
from keras_det.weights.common.fetch import Unreachable
from keras_det.weights.download import IMAGENET, Found, obtain, on_this_computer

# Measured once each with EfficientDet-Lite0 at 256 pixels and the default recipe.
GAIN = (
    "EfficientDet-Lite0 on 160 images of one class: AP 0.51 from ImageNet weights after 500 steps, "
    "0.36 from random weights after 1,960"
)


class Start(NamedTuple):
    """What a detector was started from.

    Attributes:
        kind: "coco", "imagenet" or "random".
        found: the file; None for random weights.
        report: what was loaded; None for random weights.
        sentence: one line: which weights are used, which better ones are missing and why, and the
            command that gets them.
    """

    kind: str
    found: Found | None
    report: LoadReport | None
    sentence: str


class _Attempt(NamedTuple):
    """The outcome of loading one entry of the catalogue: a file and a report, or why not."""

    found: Found | None = None
    report: LoadReport | None = None
    reason: str = ""
    network: bool = True


def imagenet_name(backbone: keras.Model) -> str | None:
    """The catalogue's name of a backbone's ImageNet weights; None where there are none."""
    name = f"{IMAGENET}{getattr(backbone, 'name', '')}"
    return name if name in CATALOGUE else None


def start_from_imagenet(model: keras.Model) -> LoadReport:
    """Fills a detector's backbone with ImageNet weights.

    Raises:
        DataError: there are none for this backbone, or they cannot be downloaded.
    """
    name = imagenet_name(model.backbone)
    if name is None:
        known = [each.removeprefix(IMAGENET) for each in CATALOGUE if each.startswith(IMAGENET)]
        raise DataError(
            f"ImageNet weights exist for the backbones {', '.join(known)}. Received: "
            f"weights='imagenet' for {model.name} with the backbone {model.backbone.name!r}. Give "
            "this backbone its weights when you build it, or choose a backbone from the list."
        )
    found = obtain(name)
    return _with_source(load_backbone(model.backbone, found.path), found)


def _with_source(report: LoadReport, found: Found) -> LoadReport:
    notes = [*report.notes, *([found.note] if found.note else [])]
    return dataclasses.replace(report, source=str(found.file), notes=notes)


def _attempt(model: Any, name: str, network: bool) -> _Attempt:
    """Loads an entry of the catalogue, or says why it cannot."""
    if not network and not on_this_computer(CATALOGUE[name]):
        return _Attempt(reason="the network does not answer", network=False)
    try:
        found = obtain(name)
        if name.startswith(IMAGENET):
            report = load_backbone(model.backbone, found.path)
        else:
            report = type(model)._load_public(model, found.path)
    except Unreachable as error:
        return _Attempt(reason=error.reason, network=not error.silent)
    except DataError as error:
        return _Attempt(reason=str(error).split(". ")[0])
    return _Attempt(found, _with_source(report, found))


def _named(found: Found) -> str:
    note = f", {found.note}" if found.note else ""
    return f"{found.file.name} ({found.place}, SHA-256 {found.sha256[:8]}{note})"


def start_from_best(model: Any) -> Start:
    """Fills a detector with the best public weights available.

    COCO weights for the whole detector, else ImageNet weights for its backbone, else none: the
    weights stay random. Weights are taken from an installed package, else from the cache, else from
    the network. If the network does not answer once, it is not tried again.

    Args:
        model: a detector.

    Returns:
        `Start`.
    """
    coco, imagenet = model.public_names()
    best = _attempt(model, coco, network=True) if coco else _Attempt()
    if best.found and best.report:
        sentence = f"COCO (whole detector), from {_named(best.found)}"
        return Start("coco", best.found, best.report, sentence)
    fetch = "keras-det weights fetch"
    missing = (
        f". COCO weights for the whole detector are missing ({best.reason}). To get them: "
        f"{fetch} {coco}"
    )
    second = _attempt(model, imagenet, best.network) if imagenet else _Attempt()
    if second.found and second.report:
        sentence = f"ImageNet (backbone only), from {_named(second.found)}"
        return Start("imagenet", second.found, second.report, sentence + (missing if coco else ""))
    if imagenet is None:
        sentence = f"random. No public weights for {model.name} can be downloaded by name"
        return Start("random", None, None, sentence)
    package = CATALOGUE[imagenet].package
    command = install_hint("pretrained") if package else f"{fetch} {imagenet}"
    sentence = (
        f"random. ImageNet weights are missing ({second.reason}). {GAIN}. To get them: {command}"
    )
    return Start("random", None, None, sentence)
