"""`export.onnx`: ONNX files for ONNX Runtime and others, from uint8 images to detections."""

import json
import os
from typing import Any

from keras_det.errors import suggest
from keras_det.export.check.artefact import FileArtefact
from keras_det.export.check.budget import Budget, check_budget
from keras_det.export.check.certificate import certify
from keras_det.export.check.evidence import check_images
from keras_det.export.check.publishing import exporting, labels_text, publish
from keras_det.export.check.report import ExportReport
from keras_det.export.network.graph import exportable
from keras_det.export.to_onnx.conversion import convert, onnx_libraries
from keras_det.export.to_onnx.graph_edits import without_outputs
from keras_det.files import write_staged
from keras_det.models import Detector
from keras_det.names import ONNX_POSTPROCESS
from keras_det.runtime.onnx_model import OnnxModel

SETTINGS = {"method": "hard"}


def onnx(
    model: Detector,
    path: str | os.PathLike,
    *,
    postprocess: str = "nms",
    image_size: int | tuple[int, int] | None = None,
    images: Any = None,
    budget: Budget | None = None,
) -> ExportReport:
    """Writes an ONNX file and checks it in ONNX Runtime.

    Input `images`: uint8 `[batch, height, width, 3]` RGB, resized as in training, any batch size.
    Outputs: `boxes` `[batch, 100, 4]` xyxy in pixels of the network's input, `scores`
    `[batch, 100]`, `labels` int32 `[batch, 100]`, `num_detections` int32 `[batch]`. Unused slots
    hold box 0, score 0, label -1. The file includes hard NMS per class, like
    `detect(method="hard")`: ONNX has no operator for soft-NMS. The metadata properties
    `class_names`, `preprocessing`, `decoding` and `score_thresholds` hold JSON. `<path>.labels.txt`
    holds the class names, one per line.

    Args:
        model: a detector. One of mixed precision is exported in float32.
        path: a file that does not exist yet.
        postprocess: "nms", or "none" for the raw outputs of the model: `class_logits` and
            `box_deltas` of an anchor detector, the six kinds of maps of a CornerNet.
        image_size: int or (height, width) of the network's input. Default: the model's.
        images: images for the check: a labelled `Dataset`, on which the average precision of both
            is measured, or uint8 arrays, paths or bytes. Default: synthetic images.
        budget: the allowed differences from the model. Default: 0.5 pixels of the network's input
            and 1e-3 in score.

    Returns:
        The report of the check, also written to `<path>.certificate.json`.

    Raises:
        ExportError: the file is outside the budget. Nothing is kept.
        DataError: `path` exists, or a package of the extra `onnx` is missing.
        ValueError: an unknown `postprocess`.
        TypeError: `model` is not a detector, or `budget` is not a `Budget`.
    """
    check_postprocess(postprocess)
    onnx_libraries()
    budget = check_budget(budget, "float32")
    model, notes = exportable(model, image_size)
    pictures = check_images(images, model)
    decoder = model.decoder(exported=True, **SETTINGS) if postprocess == "nms" else None
    with exporting(path) as (final, artefact):
        opened = convert(model, decoder)
        describe(opened, model, decoder)
        content = without_outputs(opened, model.output if decoder else ())
        write_staged(artefact, content.SerializeToString(), path)
        running = artefact_of(model, content, opened, decoder)
        report = certify(
            model,
            artefact,
            running,
            images=pictures,
            budget=budget,
            format="onnx",
            settings={"postprocess": postprocess, "operators": operator_counts(content)},
            decoding=running.decoding,
            notes=notes,
        )
        beside: dict[str, str | bytes] = {
            ".labels.txt": labels_text(model.class_names),
            ".certificate.json": report.to_json(),
        }
        publish(artefact, final, beside)
    return report


def check_postprocess(postprocess: str) -> None:
    """ValueError for an ending that neither ONNX nor OpenVINO files can have."""
    if postprocess not in ONNX_POSTPROCESS:
        raise ValueError(
            f"`postprocess` must be one of {', '.join(ONNX_POSTPROCESS)}. Received: "
            f"{postprocess!r}.{suggest(postprocess, ONNX_POSTPROCESS)} For soft-NMS, export to "
            "TFLite or to a SavedModel."
        )


def artefact_of(model: Detector, content: Any, opened: Any, decoder: Any) -> FileArtefact:
    """Opens an ONNX file for its check.

    Args:
        model: the detector.
        content: `ModelProto` of the file.
        opened: `ModelProto` of the same file with visible raw outputs.
        decoder: the decoder in the file; None for raw outputs.
    """
    _, onnxruntime, _ = onnx_libraries()
    return FileArtefact(
        model,
        OnnxModel(content.SerializeToString()),
        OnnxModel(opened.SerializeToString()).run,
        {"interpreter": f"onnxruntime {onnxruntime.__version__}"},
        decoder.get_config() if decoder else {},
        SETTINGS if decoder else {},
    )


def describe(proto: Any, model: Detector, decoder: Any) -> None:
    """Writes what a program must know beside the network into the metadata of an ONNX model.

    Args:
        proto: `ModelProto`.
        model: the detector.
        decoder: the decoder in the file; None for raw outputs.
    """
    import onnx

    proto.producer_name, proto.doc_string = "keras_det", f"Object detector {model.name}."
    properties = properties_of(model, decoder)
    onnx.helper.set_model_props(
        proto, {name: json.dumps(value) for name, value in properties.items()}
    )


def properties_of(model: Detector, decoder: Any) -> dict[str, Any]:
    """What a program must know beside the network; each value is written as JSON.

    Args:
        model: the detector.
        decoder: the decoder in the file; None for raw outputs.
    """
    layer = model.normalization
    return {
        "class_names": list(model.class_names),
        "preprocessing": {
            "resize_mode": model.resize_policy["mode"],
            "image_size": list(model.image_size),
            "fill_color": list(layer.fill_color),
            "channel_order": "rgb",
            "normalization": "inside the file",
        },
        "decoding": decoder.get_config() if decoder else {},
        "score_thresholds": model.score_thresholds,
    }


def operator_counts(proto: Any) -> dict[str, int]:
    """Returns how often each operator occurs in an ONNX model."""
    counts: dict[str, int] = {}
    for node in proto.graph.node:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return dict(sorted(counts.items()))
