"""Writes the metadata of MediaPipe Tasks into a TFLite file.

The schema is MediaPipe's `metadata_schema.fbs`. MediaPipe's writers cannot be imported in mediapipe
1.2.2, and this package should not need mediapipe. So the few tables are written here with
`flatbuffers`, which comes with TensorFlow.
"""

import io
import zipfile
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from keras_det.export.check.publishing import labels_text
from keras_det.export.tflite_file.schema import read, schema, write

BUFFER_NAME = "TFLITE_METADATA"
IDENTIFIER = b"M001"
PARSER_VERSION = "1.0.0"
LABELS_FILE = "labels.txt"
# Fields of the tables in the order of the schema. A union has two fields: `…_type` and the value.
FIELDS = {
    "ModelMetadata": "name description version subgraph_metadata author license associated_files "
    "min_parser_version",
    "SubGraphMetadata": "name description input_tensor_metadata output_tensor_metadata "
    "associated_files input_process_units output_process_units input_tensor_groups "
    "output_tensor_groups custom_metadata",
    "TensorMetadata": "name description dimension_names content process_units stats "
    "associated_files",
    "Content": "content_properties_type content_properties range",
    "FeatureProperties": "",
    "ImageProperties": "color_space default_size",
    "BoundingBoxProperties": "index type coordinate_type",
    "ValueRange": "min max",
    "ProcessUnit": "options_type options",
    "NormalizationOptions": "mean std",
    "ScoreThresholdingOptions": "global_score_threshold",
    "Stats": "max min",
    "AssociatedFile": "name description type locale version",
    "TensorGroup": "name tensor_names",
}
# Enumerations. Those of unions start at 1.
FEATURE, IMAGE, BOUNDING_BOX = np.uint8(1), np.uint8(2), np.uint8(3)
NORMALIZATION, RGB, BOUNDARIES, RATIO, VALUE_LABELS = (np.uint8(n) for n in (1, 1, 1, 0, 3))
SCORE_THRESHOLDING = np.uint8(3)

# Values by the number of their field.
Table: TypeAlias = dict[int, Any]


def with_metadata(
    content: bytes,
    *,
    name: str,
    class_names: Sequence[str],
    score_thresholds: Sequence[float] | None = None,
) -> bytes:
    """Returns the same TFLite file with MediaPipe's metadata and the class names.

    Operators and weights do not change. The class names are in a zip archive after the end of the
    file, which TFLite does not read.

    Args:
        content: a file with uint8 pixels as its input and the outputs of
            `keras_det.runtime.detections.OPERATOR_OUTPUTS`, in this order.
        name: of the model.
        class_names: index k means `class_names[k]`.
        score_thresholds: of the model, one per class. MediaPipe takes one for all classes: the
            lowest is written. None: no threshold is written.
    """
    model = read(content)
    buffer, entry = schema().BufferT(), schema().MetadataT()
    lowest = None if score_thresholds is None else min(score_thresholds)
    buffer.data = np.frombuffer(detector_metadata(name, lowest), np.uint8)
    model.buffers.append(buffer)
    entry.name, entry.buffer = BUFFER_NAME, len(model.buffers) - 1
    model.metadata = [*(model.metadata or []), entry]
    file = io.BytesIO(write(model))
    with zipfile.ZipFile(file, "a") as archive:
        # `ZipInfo` has a fixed date, so that the same model gives the same file.
        archive.writestr(zipfile.ZipInfo(LABELS_FILE), labels_text(class_names))
    return file.getvalue()


def detector_metadata(name: str, score_threshold: float | None = None) -> bytes:
    """Returns the flatbuffer ModelMetadata of a detector. Only name and threshold vary.

    The mean is 0 and the standard deviation 1, because the file normalises the pixels. MediaPipe
    does not change the pixels of a uint8 input.

    Args:
        name: of the model.
        score_threshold: MediaPipe leaves out detections with a lower score, unless its options hold
            another threshold. None: all are kept.
    """
    import flatbuffers

    image = _table(
        "TensorMetadata",
        name="image",
        description="RGB pixels 0..255 of the image, stretched to the input's size.",
        content=_content(IMAGE, _table("ImageProperties", color_space=RGB)),
        process_units=[
            _table(
                "ProcessUnit",
                options_type=NORMALIZATION,
                options=_table("NormalizationOptions", mean=_floats(0), std=_floats(1)),
            )
        ],
        stats=_table("Stats", max=_floats(255), min=_floats(0)),
    )
    outputs = _outputs(score_threshold)
    group = [output[0] for output in outputs[:3]]
    graph = _table(
        "SubGraphMetadata",
        input_tensor_metadata=[image],
        output_tensor_metadata=outputs,
        output_tensor_groups=[_table("TensorGroup", name="detection_result", tensor_names=group)],
    )
    model = _table(
        "ModelMetadata",
        name=name,
        description="Finds objects in an image: boxes, classes and scores.",
        subgraph_metadata=[graph],
        min_parser_version=PARSER_VERSION,
    )
    builder = flatbuffers.Builder(1024)
    builder.Finish(_write(builder, model), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def _outputs(score_threshold: float | None) -> list[Table]:
    """Returns TensorMetadata of the operator's outputs, with the names that MediaPipe expects."""
    two = _table("ValueRange", min=np.int32(2), max=np.int32(2))
    sides = _table(
        "BoundingBoxProperties",
        index=np.array([1, 0, 3, 2], np.uint32),
        type=BOUNDARIES,
        coordinate_type=RATIO,
    )
    labels = _table("AssociatedFile", name=LABELS_FILE, type=VALUE_LABELS)
    feature = _table("FeatureProperties")
    rows = [
        ("location", "Top, left, bottom, right of each box in 0..1.", BOUNDING_BOX, sides),
        ("category", "Class of each box: a line of the labels, from 0.", FEATURE, feature),
        ("score", "Score of each box in 0..1, highest first.", FEATURE, feature),
        ("number of detections", "How many boxes there are.", FEATURE, feature),
    ]
    made = []
    for name, description, kind, properties in rows:
        of_boxes = name != "number of detections"
        files = {"associated_files": [labels]} if name == "category" else {}
        content = _content(kind, properties, **({"range": two} if of_boxes else {}))
        units: dict[str, Any] = {}
        if name == "score" and score_threshold is not None:
            lowest = np.float32(score_threshold)
            options = _table("ScoreThresholdingOptions", global_score_threshold=lowest)
            unit = _table("ProcessUnit", options_type=SCORE_THRESHOLDING, options=options)
            units = {"process_units": [unit]}
        made.append(
            _table(
                "TensorMetadata",
                name=name,
                description=description,
                content=content,
                **units,
                **files,
            )
        )
    return made


def _content(kind: np.uint8, properties: Table, **more: Table) -> Table:
    return _table("Content", content_properties_type=kind, content_properties=properties, **more)


def _floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def _table(kind: str, **fields: Any) -> Table:
    slots = FIELDS[kind].split()
    return {slots.index(name): value for name, value in fields.items()}


def _write(builder: Any, value: str | np.ndarray | list | Table) -> int:
    """Writes a string, an array of numbers, a list, or a table.

    Returns:
        Its offset in the buffer.
    """
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, np.ndarray):
        return builder.CreateNumpyVector(value)
    if isinstance(value, list):
        offsets = [_write(builder, item) for item in value]
        builder.StartVector(4, len(offsets), 4)
        for place in reversed(offsets):
            builder.PrependUOffsetTRelative(place)
        return builder.EndVector()
    # The values of a table must be complete before the table begins.
    numbers = {slot: item for slot, item in value.items() if isinstance(item, np.generic)}
    places = {slot: _write(builder, value[slot]) for slot in value if slot not in numbers}
    builder.StartObject(max(value, default=-1) + 1)
    for slot, item in numbers.items():
        if isinstance(item, np.float32):
            builder.PrependFloat32Slot(slot, float(item), 0.0)
            continue
        wide = isinstance(item, np.int32)
        add = builder.PrependInt32Slot if wide else builder.PrependUint8Slot
        add(slot, int(item), 0)
    for slot, place in places.items():
        builder.PrependUOffsetTRelativeSlot(slot, place, 0)
    return builder.EndObject()
