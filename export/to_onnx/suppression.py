"""Hard NMS at the end of an ONNX graph: the operator of ONNX, then a fixed number of slots."""

from types import ModuleType
from typing import Any

import numpy as np

from keras_det.export.to_onnx.graph_edits import keep
from keras_det.layers.nms import default_iou_threshold

BATCH = "batch"
# Prefix of the outputs that are replaced by detections.
CANDIDATE = "candidate_"
DETECTIONS = ("boxes", "scores", "labels", "num_detections")
EMPTY = {"boxes": 0.0, "scores": 0.0, "labels": -1}


def append_suppression(onnx: ModuleType, graph: Any, decoder: Any) -> None:
    """Replaces the outputs `candidate_…` of a graph by detections.

    Args:
        onnx: the library.
        graph: `GraphProto` with the candidates as outputs: `boxes`, `scores`, `labels`, and
            `tiles`, the boxes on which overlaps are measured.
        decoder: gives the settings of NMS.
    """
    slots = decoder.nms_settings()["max_detections"]
    build = _Builder(onnx, graph)
    batch = build("Shape", "candidate_scores", start=0, end=1)
    places, sources, counts = _chosen(onnx, build, batch, decoder.nms_settings())
    for name, empty in EMPTY.items():
        kind = np.int32 if name == "labels" else np.float32
        tail = [slots, 4] if name == "boxes" else [slots]
        shape = build("Concat", batch, build.constant(tail, np.int64), axis=0)
        value = onnx.numpy_helper.from_array(np.array([empty], kind))
        slots_of = build("ConstantOfShape", shape, value=value)
        found = build("GatherND", f"{CANDIDATE}{name}", sources)
        build("ScatterND", slots_of, places, found, output=name)
    build("Cast", counts, to=onnx.TensorProto.INT32, output="num_detections")
    keep(graph.output, lambda output: not output.name.startswith(CANDIDATE))
    for name in DETECTIONS:
        integer = name in ("labels", "num_detections")
        kind = onnx.TensorProto.INT32 if integer else onnx.TensorProto.FLOAT
        tail = {"boxes": [slots, 4], "num_detections": []}.get(name, [slots])
        graph.output.append(onnx.helper.make_tensor_value_info(name, kind, [BATCH, *tail]))


def _chosen(
    onnx: ModuleType, build: "_Builder", batch: str, settings: dict
) -> tuple[str, str, str]:
    """Appends ONNX's operator for NMS, and assigns its results to slots.

    The operator returns rows (image, 0, candidate), image by image and best first. The slot of a
    row is its distance from the first row of its image.

    Returns:
        Names of three tensors: `places`, rows (image, slot); `sources`, rows (image, candidate);
        and the number of rows of each image.
    """
    slots, overlap = settings["max_detections"], settings["iou_threshold"]
    overlap = default_iou_threshold("hard") if overlap is None else overlap
    zero, one, last = (build.constant([x], np.int64) for x in (0, 1, 2))
    score_threshold = build.constant([settings["score_threshold"]], np.float32)
    limits = [build.constant([slots], np.int64), build.constant([overlap], np.float32)]
    by_class = build("Unsqueeze", "candidate_scores", one)
    chosen = build("NonMaxSuppression", "candidate_tiles", by_class, *limits, score_threshold)
    image, candidate = (build("Gather", chosen, column, axis=1) for column in (zero, last))
    scalars = [build.constant(value, np.int64) for value in (0, 1)]
    images = build("Range", scalars[0], build("Squeeze", batch, zero), scalars[1])
    own = build("Equal", build("Unsqueeze", images, one), build("Squeeze", image, one))
    counts = build("ReduceSum", build("Cast", own, to=onnx.TensorProto.INT64), one, keepdims=0)
    firsts = build("CumSum", counts, scalars[0], exclusive=1)
    rows = build("Range", scalars[0], build("Squeeze", build("Shape", chosen, end=1)), scalars[1])
    slot = build("Sub", build("Unsqueeze", rows, one), build("Gather", firsts, image))
    places = build("Concat", image, slot, axis=1)
    sources = build("Concat", image, candidate, axis=1)
    return places, sources, counts


class _Builder:
    """Appends nodes with unique names to a graph. Call it with an operator and its inputs."""

    def __init__(self, onnx: ModuleType, graph: Any):
        self.onnx, self.graph, self.count = onnx, graph, 0

    def _name(self) -> str:
        self.count += 1
        return f"suppression_{self.count}"

    def constant(self, values: Any, kind: type) -> str:
        name = self._name()
        tensor = self.onnx.numpy_helper.from_array(np.array(values, kind), name)
        self.graph.initializer.append(tensor)
        return name

    def __call__(
        self, operator: str, *inputs: str, output: str | None = None, **attributes: Any
    ) -> str:
        name = output or self._name()
        node = self.onnx.helper.make_node(operator, inputs, [name], name=name, **attributes)
        self.graph.node.append(node)
        return name
