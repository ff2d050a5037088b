"""`export.openvino`: models for OpenVINO, from uint8 images to detections."""

import json
import os
import pathlib
from typing import Any

from keras_det.errors import DataError, install_hint
from keras_det.export.check.artefact import FileArtefact
from keras_det.export.check.budget import Budget, check_budget
from keras_det.export.check.certificate import certify
from keras_det.export.check.evidence import check_images
from keras_det.export.check.publishing import exporting, labels_text, publish
from keras_det.export.check.report import ExportReport
from keras_det.export.network.graph import exportable
from keras_det.export.to_onnx.conversion import convert
from keras_det.export.to_onnx.onnx import SETTINGS, check_postprocess, properties_of
from keras_det.files import room_for
from keras_det.models import Detector
from keras_det.names import OPENVINO_FILE
from keras_det.runtime.openvino_model import SECTIONS, OpenVinoModel


def openvino(
    model: Detector,
    path: str | os.PathLike,
    *,
    postprocess: str = "nms",
    image_size: int | tuple[int, int] | None = None,
    images: Any = None,
    budget: Budget | None = None,
) -> ExportReport:
    """Writes a model for OpenVINO and checks it there.

    The folder holds `detector.xml`, the network; `detector.bin`, its weights; and `labels.txt`, the
    class names, one per line. Input and outputs are those of `keras_det.export.onnx`, with hard NMS
    per class inside. `detector.xml` has the same properties as an ONNX file, under `keras_det` of
    its runtime information.

    Args:
        model: a detector. One of mixed precision is exported in float32.
        path: a folder that does not exist yet.
        postprocess: "nms", or "none" for the raw outputs of the model, see `keras_det.export.onnx`.
        image_size: int or (height, width) of the network's input. Default: the model's.
        images: images for the check: a labelled `Dataset`, on which the average precision of both
            is measured, or uint8 arrays, paths or bytes. Default: synthetic images.
        budget: the allowed differences from the model. Default: 0.5 pixels of the network's input
            and 1e-3 in score.

    Returns:
        The report of the check, also written to `<path>.certificate.json`.

    Raises:
        ExportError: the model for OpenVINO is outside the budget. Nothing is kept.
        DataError: `path` exists, or a package of the extra `openvino` is missing.
        ValueError: an unknown `postprocess`.
        TypeError: `model` is not a detector, or `budget` is not a `Budget`.
    """
    check_postprocess(postprocess)
    check_installed()
    budget = check_budget(budget, "float32")
    model, notes = exportable(model, image_size)
    pictures = check_images(images, model)
    decoder = model.decoder(exported=True, **SETTINGS) if postprocess == "nms" else None
    with exporting(path) as (final, artefact):
        content = convert(model, decoder).SerializeToString()
        with room_for(path, 2 * len(content)):
            write(model, decoder, content, artefact)
        kept = OpenVinoModel(artefact)
        running = FileArtefact(
            model,
            kept,
            OpenVinoModel(content).run,
            {"interpreter": f"openvino {_version()}"},
            decoder.get_config() if decoder else {},
            SETTINGS if decoder else {},
        )
        report = certify(
            model,
            artefact,
            running,
            images=pictures,
            budget=budget,
            format="openvino",
            settings={"postprocess": postprocess, "operators": operator_counts(kept.network)},
            decoding=running.decoding,
            notes=notes,
        )
        publish(artefact, final, {".certificate.json": report.to_json()})
    return report


def check_installed() -> None:
    """DataError where openvino is missing."""
    try:
        import openvino as _  # noqa: F401
    except ImportError as error:
        raise DataError(
            "An export to OpenVINO needs the package openvino, and those of ONNX. Received: "
            f"{error}. Install them with {install_hint('openvino')}."
        ) from None


def _version() -> str:
    import openvino

    return str(openvino.__version__).split("-")[0]


def write(model: Detector, decoder: Any, content: bytes, folder: pathlib.Path) -> None:
    """Writes the files of an export into a new folder.

    Args:
        model: the detector.
        decoder: the decoder in the file; None for raw outputs.
        content: of the ONNX file with all outputs.
        folder: is created.
    """
    import openvino

    network = openvino.Core().read_model(content)
    if decoder is not None:
        kept = [each for each in network.outputs if each.get_any_name() not in model.output]
        network = openvino.Model(kept, network.get_parameters(), model.name)
    for name, value in properties_of(model, decoder).items():
        network.set_rt_info(json.dumps(value), [SECTIONS[0], name])
    folder.mkdir()
    openvino.save_model(network, folder / OPENVINO_FILE, compress_to_fp16=False)
    (folder / "labels.txt").write_text(labels_text(model.class_names), encoding="utf-8")


def operator_counts(network: Any) -> dict[str, int]:
    """Returns how often each operator occurs in a model of OpenVINO."""
    counts: dict[str, int] = {}
    for operator in network.get_ops():
        name = operator.get_type_name()
        counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items()))
