"""The tasks of Label Studio's JSON, in its full and its short form (JSON-MIN)."""

import re
import urllib.parse
from collections.abc import Iterator
from typing import Any, NamedTuple

from keras_det.data.formats.tool_shapes import (
    BOX,
    POLYGON,
    Box,
    ShapeError,
    around,
    around_ellipse,
    around_rotated,
    side,
)
from keras_det.data.image import IMAGE_SUFFIXES

# Names that a labelling setup often gives the image.
IMAGE_KEYS = ("image", "img", "picture", "photo", "$undefined$", "url")
# Results that say something about a region or an image, but draw nothing.
NO_SHAPES = (
    *("relation", "choices", "textarea", "rating", "number", "taxonomy", "datetime"),
    *("pairwise", "ranker"),
)
# What has no box: the key of its value that tells it, and its name.
NO_BOX = {
    "rle": "brush mask",
    "vertices": "line",
    "sequence": "video region",
    "start": "span of text or time",
}


class Task(NamedTuple):
    """One image and all annotations of it.

    Attributes:
        number: its id, else its place in the file.
        data: what the task was made of.
        annotations: one entry per annotator; None where the record has no list of them.
        predictions: number of predictions.
        upload: name of the uploaded file, or "".
    """

    number: int | str
    data: dict[str, Any]
    annotations: list[dict[str, Any]] | None
    predictions: int
    upload: str


class Region(NamedTuple):
    """One region that was drawn.

    Attributes:
        result: the record with its coordinates.
        place: its place in the list of results.
        labels: its classes.
    """

    result: dict[str, Any]
    place: int
    labels: list[str]


def tasks_of(records: list[Any]) -> list[tuple[int, Task | None]]:
    """The place of each task and the task; None for a record that is none."""
    tasks: list[tuple[int, Task | None]] = []
    short: dict[int | str, list[dict[str, Any]]] = {}
    for k, record in enumerate(records):
        if not isinstance(record, dict):
            tasks.append((k, None))
            continue
        task = record.get("task")
        if "result" in record and isinstance(task, dict):  # one annotation, as storages hold it
            record = {**task, "annotations": [record]}
        if isinstance(record.get("data"), dict):
            tasks.append((k, _task(record, k)))
            continue
        number = record.get("id")
        number = number if isinstance(number, int | str) else f"at {k}"
        if number not in short:  # else: another annotator of a task in short form
            short[number] = []
            data = {key: value for key, value in record.items() if isinstance(value, str)}
            tasks.append((k, Task(number, data, short[number], 0, "")))
        short[number].append({"result": list(_results(record))})
    return tasks


def _task(record: dict[str, Any], place: int) -> Task:
    annotations = record.get("annotations", record.get("completions"))
    if isinstance(annotations, list):
        annotations = [each for each in annotations if isinstance(each, dict)]
    else:
        annotations = None
    predictions = record.get("predictions")
    number, upload = record.get("id"), record.get("file_upload")
    return Task(
        number if isinstance(number, int | str) else place,
        record["data"],
        annotations,
        len(predictions) if isinstance(predictions, list) else 0,
        upload if isinstance(upload, str) else "",
    )


def _results(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The regions of the short form as those of the full form."""
    for key, regions in record.items():
        for region in regions if isinstance(regions, list) else ():
            if isinstance(region, dict):
                sizes = {name: region.get(name) for name in ("original_width", "original_height")}
                yield {"value": region, "from_name": key, **sizes}


def image_name(task: Task) -> str | None:
    """The path or URL of the image; None where the task names none."""
    texts = {key: value for key, value in task.data.items() if isinstance(value, str) and value}
    targets = [
        each.get("to_name")
        for annotation in task.annotations or ()
        for each in _list(annotation.get("result"))[:1]
        if isinstance(each, dict)
    ]
    for key in (*targets, *IMAGE_KEYS):
        if isinstance(key, str) and key in texts:
            return texts[key]
    return next((text for text in texts.values() if _is_image(text)), None)


def _is_image(text: str) -> bool:
    path = text.partition("?d=")[2] or text.partition("?")[0]
    return path.lower().endswith(IMAGE_SUFFIXES) or text.startswith("/data/")


def base_name(name: str) -> str:
    """The file name in a path or URL: "/data/local-files/?d=a%20b/c.jpg" -> "c.jpg"."""
    served = re.search(r"[?&]d=([^&]+)", name)
    path = served[1] if served else name.partition("?")[0]
    return urllib.parse.unquote(path).replace("\\", "/").rpartition("/")[2]


def regions_of(results: list[Any]) -> Iterator[Region]:
    """The regions of one annotation. Records with one id are one region and its classes."""
    regions: dict[Any, Region] = {}
    for k, result in enumerate(results):
        if not isinstance(result, dict):
            yield Region({"value": result}, k, [])
            continue
        value = result.get("value")
        if result.get("type") in NO_SHAPES and not _is_drawn(value):
            continue
        labels = _labels(value) if isinstance(value, dict) else []
        number = result.get("id")
        # Scripts that write predictions give one id to several boxes: their places differ.
        key = (number, _place(value)) if isinstance(number, str) else k
        if key in regions:
            known = regions[key].labels
            known += [label for label in labels if label not in known]
        else:
            regions[key] = Region(result, k, labels)
    yield from regions.values()


def _place(value: Any) -> str:
    """Where a shape is, without its classes; the same text for the same place."""
    keys = ("x", "y", "width", "height", "points")
    return repr([value.get(key) for key in keys] if isinstance(value, dict) else value)


def _is_drawn(value: Any) -> bool:
    return isinstance(value, dict) and ("x" in value or "points" in value)


def _labels(value: dict[str, Any]) -> list[str]:
    """The classes of a region: its lists whose name ends in "labels"."""
    found = [each for key in value if key.endswith("labels") for each in _list(value[key])]
    return list(dict.fromkeys(label for label in found if isinstance(label, str)))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def size_of(results: list[Any]) -> tuple[int, int]:
    """(height, width) of the image as the first region gives it; 0 where not given."""
    for result in results:
        if isinstance(result, dict) and "original_width" in result:
            return side(result.get("original_height")), side(result["original_width"])
    return 0, 0


def without_box(result: dict[str, Any]) -> str | None:
    """The name of a kind of region that has no box; None where it has one, or should have."""
    value = result.get("value")
    if not isinstance(value, dict):
        return None
    if "x" in value and "height" not in value and "radiusX" not in value:
        return "key point"
    return next((name for key, name in NO_BOX.items() if key in value), None)


def box_of(result: dict[str, Any]) -> tuple[Box, str]:
    """The box of a region, x1, y1, x2, y2 in normalised coordinates, and how it was drawn.

    Label Studio writes percent of width and height. It turns a rectangle about its first corner,
    an ellipse about its centre, clockwise in pixels.
    """
    value = result.get("value")
    if not isinstance(value, dict):
        raise ShapeError(f"`value` must be an object. Received: {value!r:.40}")
    if "points" in value:
        points = value["points"]
        if not isinstance(points, list) or len(points) < 3:
            raise ShapeError(f"`points` must be 3 or more points. Received: {points!r:.40}")
        return _shares(around([_point(point) for point in points]), 100, 100), POLYGON
    degrees = _number(value, "rotation", 0)
    width, height = side(result.get("original_width")), side(result.get("original_height"))
    if degrees and not (width and height):
        raise ShapeError(
            "a rotated region must have `original_width` and `original_height`. Received: "
            f"{result.get('original_width')!r:.20}, {result.get('original_height')!r:.20}"
        )
    width, height = width or 100, height or 100
    scale_x, scale_y = width / 100, height / 100
    x, y = _number(value, "x") * scale_x, _number(value, "y") * scale_y
    if "radiusX" in value:
        radii = _number(value, "radiusX") * scale_x, _number(value, "radiusY") * scale_y
        return _shares(around_ellipse((x, y), radii, degrees), width, height), "ellipse"
    right, low = x + _number(value, "width") * scale_x, y + _number(value, "height") * scale_y
    if not degrees:
        return _shares((x, y, right, low), width, height), BOX
    turned = around_rotated((x, y, right, low), degrees, (x, y))
    return _shares(turned, width, height), "rotated box"


def _shares(box: Box, width: float, height: float) -> Box:
    return box[0] / width, box[1] / height, box[2] / width, box[3] / height


def _number(value: dict[str, Any], key: str, default: float | None = None) -> float:
    number: Any = value.get(key, default)
    if type(number) in (int, float) and -1e9 < number < 1e9:
        return float(number)
    raise ShapeError(f"`{key}` must be a number, in percent. Received: {number!r:.40}")


def _point(value: Any) -> tuple[float, float]:
    good = isinstance(value, list) and len(value) == 2
    if not good or not all(type(v) in (int, float) and abs(v) < 1e9 for v in value):
        raise ShapeError(f"`points` must hold [x, y] in percent. Received: {value!r:.40}")
    return value[0], value[1]
