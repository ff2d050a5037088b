"""A detector as an ONNX graph: converted, mended where that costs time, ended by hard NMS."""

import copy

import numpy as np

from keras_det.decode.tf_nms import tiled
from keras_det.errors import DataError
from keras_det.export.graph import frozen_network
from keras_det.layers.nms import default_iou_threshold

# The first with everything that is used here; runtimes from 2023 on read it.
OPSET = 18
INPUT, BATCH = "images", "batch"
DETECTIONS = ("boxes", "scores", "labels", "num_detections")
EMPTY = {"boxes": 0.0, "scores": 0.0, "labels": -1}
TO_CHANNELS_FIRST = [0, 3, 1, 2]
BY_CHANNEL = ("Cast", "Sub", "Add", "Mul", "Div")


def onnx_libraries():
    """The modules `onnx`, `onnxruntime` and `tf2onnx`; DataError where one is missing."""
    try:
        import onnx
        import onnxruntime
        import tf2onnx
    except ImportError as error:
        raise DataError(
            "An export to ONNX needs the packages onnx, onnxruntime and tf2onnx. Received: "
            f'{error}. Install them with pip install "keras-det[onnx]".'
        ) from None
    return onnx, onnxruntime, tf2onnx


def convert(model, decoder=None):
    """The ONNX model of a detector, any batch; with a decoder for hard NMS it shows detections too.

    Args:
        model: the detector.
        decoder: one of `model.decoder(exported=True, method="hard")`; None for raw outputs only.

    Returns:
        `onnx.ModelProto` with the raw outputs and, with a decoder, `DETECTIONS`.
    """
    import tensorflow as tf

    onnx, _, tf2onnx = onnx_libraries()
    network = frozen_network(model)
    signature = tf.TensorSpec((None, *model.image_size, 3), tf.uint8, name=INPUT)

    def function(images):
        raw = network(images)
        return {**raw, **_candidates(model, raw, decoder)} if decoder else raw

    proto, _ = tf2onnx.convert.from_function(
        tf.function(function, input_signature=[signature]), [signature], opset=OPSET
    )
    _make_resizing_plain(onnx, proto.graph)
    _transpose_pixels_first(onnx, proto.graph)
    if decoder:
        _append_suppression(onnx, proto.graph, decoder)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    onnx.checker.check_model(proto)
    return proto


def _candidates(model, raw, decoder) -> dict:
    """What enters NMS: the decoder's own candidates, `tiles` for overlaps and `boxes` to return."""

    def stop_before(boxes, scores, labels):
        separate = not decoder.nms.class_agnostic
        tiles = tiled(boxes, labels, decoder.image_size) if separate else boxes
        found = {"tiles": tiles, "boxes": boxes, "scores": scores, "labels": labels}
        return {f"candidate_{name}": value for name, value in found.items()}

    stopping = copy.copy(decoder)
    stopping.suppress = stop_before
    return model.decode(raw, stopping)


def without_outputs(proto, hidden):
    """A copy of a model that does not show some outputs; runtimes drop what only they need."""
    copied = type(proto)()
    copied.CopyFrom(proto)
    _keep(copied.graph.output, lambda output: output.name not in hidden)
    return copied


def _make_resizing_plain(onnx, graph):
    """Repeating pixels twice: the converter's mode for it is deprecated and outside fast paths.

    At whole factors s, floor((i + 0.5) / s) is floor(i / s).
    """
    constants = _constants(onnx, graph)
    for node in graph.node:
        settings = {each.name: each for each in node.attribute}
        mode = settings.get("coordinate_transformation_mode")
        if node.op_type != "Resize" or mode is None or mode.s != b"tf_half_pixel_for_nn":
            continue
        scales = constants.get(node.input[2]) if len(node.input) == 3 else None
        if scales is not None and np.array_equal(scales, np.rint(scales)):
            mode.s = b"asymmetric"


def _transpose_pixels_first(onnx, graph):
    """Lets the normalisation of pixels work on planes, four times as fast, and moves bytes.

    images -> Cast -> Sub -> Transpose becomes images -> Transpose -> Cast -> Sub.
    """
    constants = _constants(onnx, graph)
    for transpose in [node for node in graph.node if node.op_type == "Transpose"]:
        chain = _from_pixels(graph, constants, transpose.input[0])
        if chain and list(transpose.attribute[0].ints) == TO_CHANNELS_FIRST:
            break
    else:
        return
    operands = {each for node in chain for each in node.input[1:]}
    for tensor in graph.initializer:
        if tensor.name in operands and constants[tensor.name].size > 1:
            values = constants[tensor.name].reshape(-1, 1, 1)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    (old,), (result,) = transpose.output, chain[-1].output
    for reader in _readers(graph, old):
        reader.input[:] = [result if name == old else name for name in reader.input]
    transpose.input[0], chain[0].input[0] = INPUT, old
    # Nodes must stand after what they read.
    moved = type(transpose)()
    moved.CopyFrom(transpose)
    graph.node.remove(transpose)
    graph.node.insert(0, moved)
    stale = {old, *(node.output[0] for node in chain)}
    _keep(graph.value_info, lambda value: value.name not in stale)


def _from_pixels(graph, constants, name) -> list:
    """The operators from the input to `name`; none where one is not by channel, or read by more."""
    makers, chain = {output: node for node in graph.node for output in node.output}, []
    while name != INPUT:
        node = makers.get(name)
        if node is None or node.op_type not in BY_CHANNEL or len(_readers(graph, name)) != 1:
            return []
        for operand in node.input[1:]:
            shared = len(_readers(graph, operand)) != 1
            if shared or operand not in constants or constants[operand].ndim > 1:
                return []
        chain.insert(0, node)
        name = node.input[0]
    return chain


def _append_suppression(onnx, graph, decoder):
    """Replaces the outputs `candidate_…` by detections: ONNX' own operator, then fixed slots.

    The operator returns rows (image, 0, candidate), image by image and best first; a row's slot is
    its place behind the first one of its image.
    """
    settings = decoder.nms_settings()
    slots, overlap = settings["max_detections"], settings["iou_threshold"]
    overlap = default_iou_threshold("hard") if overlap is None else overlap
    build = _Builder(onnx, graph)
    zero, one, last = (build.constant([x], np.int64) for x in (0, 1, 2))
    score_threshold = build.constant([settings["score_threshold"]], np.float32)
    limits = [build.constant([slots], np.int64), build.constant([overlap], np.float32)]
    by_class = build("Unsqueeze", "candidate_scores", one)
    chosen = build("NonMaxSuppression", "candidate_tiles", by_class, *limits, score_threshold)
    image, candidate = (build("Gather", chosen, column, axis=1) for column in (zero, last))
    batch = build("Shape", "candidate_scores", start=0, end=1)
    scalars = [build.constant(value, np.int64) for value in (0, 1)]
    images = build("Range", scalars[0], build("Squeeze", batch, zero), scalars[1])
    own = build("Equal", build("Unsqueeze", images, one), build("Squeeze", image, one))
    counts = build("ReduceSum", build("Cast", own, to=onnx.TensorProto.INT64), one, keepdims=0)
    firsts = build("CumSum", counts, scalars[0], exclusive=1)
    rows = build("Range", scalars[0], build("Squeeze", build("Shape", chosen, end=1)), scalars[1])
    slot = build("Sub", build("Unsqueeze", rows, one), build("Gather", firsts, image))
    places = build("Concat", image, slot, axis=1)
    sources = build("Concat", image, candidate, axis=1)
    for name, empty in EMPTY.items():
        kind = np.int32 if name == "labels" else np.float32
        tail = [slots, 4] if name == "boxes" else [slots]
        shape = build("Concat", batch, build.constant(tail, np.int64), axis=0)
        value = onnx.numpy_helper.from_array(np.array([empty], kind))
        slots_of = build("ConstantOfShape", shape, value=value)
        found = build("GatherND", f"candidate_{name}", sources)
        build("ScatterND", slots_of, places, found, output=name)
    build("Cast", counts, to=onnx.TensorProto.INT32, output="num_detections")
    _keep(graph.output, lambda output: not output.name.startswith("candidate_"))
    for name in DETECTIONS:
        integer = name in ("labels", "num_detections")
        kind = onnx.TensorProto.INT32 if integer else onnx.TensorProto.FLOAT
        tail = {"boxes": [slots, 4], "num_detections": []}.get(name, [slots])
        graph.output.append(onnx.helper.make_tensor_value_info(name, kind, [BATCH, *tail]))


class _Builder:
    """Appends nodes to a graph under names of their own: call it with operator and inputs."""

    def __init__(self, onnx, graph):
        self.onnx, self.graph, self.count = onnx, graph, 0

    def _name(self):
        self.count += 1
        return f"suppression_{self.count}"

    def constant(self, values, kind) -> str:
        name = self._name()
        tensor = self.onnx.numpy_helper.from_array(np.array(values, kind), name)
        self.graph.initializer.append(tensor)
        return name

    def __call__(self, operator, *inputs, output=None, **attributes) -> str:
        name = output or self._name()
        node = self.onnx.helper.make_node(operator, inputs, [name], name=name, **attributes)
        self.graph.node.append(node)
        return name


def _constants(onnx, graph) -> dict:
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}


def _readers(graph, name) -> list:
    return [node for node in graph.node if name in node.input]


def _keep(values, condition) -> None:
    """Drops what does not meet a condition from a repeated field."""
    kept = [value for value in values if condition(value)]
    del values[:]
    values.extend(kept)
