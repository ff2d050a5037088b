"""What `detect` returns, and its forms for other tools: COCO, pandas, supervision, FiftyOne."""

import base64
import html
import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, overload

import numpy as np

from keras_det.errors import DataError, install_hint
from keras_det.words import counted, printable

COLUMNS = ("x1", "y1", "x2", "y2", "score", "label", "class_name")
MOST_ROWS = 10  # of the table in a notebook
ROW = "<tr><td>{name}</td><td>{score:.2f}</td><td>{box}</td></tr>"
HEAD = "<tr><th>class</th><th>score</th><th>box: x1, y1, x2, y2</th></tr>"


class SeenImage(Protocol):
    """What a result remembers of its image; see `keras_det.video.seen`."""

    name: str

    def jpeg(self, found: "Detections") -> bytes | None: ...


class Detections(dict[str, Any]):
    """The objects found in one image: what `detect` returns. It has no empty slots.

    A dict with methods for other tools. A notebook shows the image with the boxes.

    Keys:
        boxes: float32 `(n, 4)`, xyxy in pixels of the original image.
        scores: float32 `(n,)` in 0..1, from high to low.
        labels: int32 `(n,)`, 0-based.
        num_detections: n.
        class_names: list of the class name of each detection.

    Results of `stream` have more keys:
        image: uint8 `(height, width, 3)`, RGB.
        path: of the image or the video; "camera 0" for a camera.
        frame: index of the frame in the video, from 0; None for an image.
        time: seconds from the first frame of the video; None for an image.
        track_ids: int32 `(n,)`, with `track=True`: the track ID of each detection; -1 for none.
    """

    seen: SeenImage | None = None  # the image, for a notebook

    if TYPE_CHECKING:  # so that checkers know the keys; at run time it is a plain dict

        @overload  # type: ignore[override]
        def __getitem__(
            self, key: Literal["boxes", "scores", "labels", "image", "track_ids"]
        ) -> np.ndarray: ...
        @overload
        def __getitem__(self, key: Literal["num_detections"]) -> int: ...
        @overload
        def __getitem__(self, key: Literal["class_names"]) -> list[str]: ...
        @overload
        def __getitem__(self, key: Literal["path"]) -> str: ...
        @overload
        def __getitem__(self, key: Literal["frame"]) -> int | None: ...
        @overload
        def __getitem__(self, key: Literal["time"]) -> float | None: ...
        def __getitem__(self, key: str) -> Any: ...

    def to_coco(
        self, image_id: int | str, category_ids: Sequence[int] | None = None
    ) -> list[dict[str, Any]]:
        """Rows of COCO's format for results; see `keras_det.runtime.to_coco`."""
        return to_coco(self, image_id, category_ids)

    def to_dataframe(self) -> Any:
        """A `pandas.DataFrame`; see `keras_det.runtime.to_dataframe`."""
        return to_dataframe(self)

    def to_supervision(self) -> Any:
        """`supervision.Detections`; see `keras_det.runtime.to_supervision`."""
        return to_supervision(self)

    def to_fiftyone(self, image_size: tuple[int, int]) -> Any:
        """`fiftyone.Detections`; see `keras_det.runtime.to_fiftyone`."""
        return to_fiftyone(self, image_size)

    def _repr_html_(self) -> str:
        """The image with the boxes, and a table of the highest scores, for a notebook."""
        seen = self.seen
        picture = seen.jpeg(self) if seen else None
        name = printable(seen.name) if seen else ""
        found = counted(len(self["scores"]), "detection")
        parts = [f"<div>{html.escape(f'{name}: {found}' if name else found)}</div>"]
        if picture:
            data = base64.b64encode(picture).decode()
            parts.append(f'<img src="data:image/jpeg;base64,{data}" alt="{html.escape(found)}">')
        rows: list[Any] = list(zip(self["class_names"], self["scores"], self["boxes"], strict=True))
        lines = [
            ROW.format(
                name=html.escape(printable(str(name))),
                score=float(score),
                box=", ".join(f"{side:.0f}" for side in np.asarray(box).tolist()),
            )
            for name, score, box in rows[:MOST_ROWS]
        ]
        if lines:
            parts.append(f"<table>{HEAD}{''.join(lines)}</table>")
        if len(rows) > MOST_ROWS:
            parts.append(f"<div>and {len(rows) - MOST_ROWS:,} more with lower scores</div>")
        return "".join(parts)


def to_coco(
    found: Mapping[str, Any], image_id: int | str, category_ids: Sequence[int] | None = None
) -> list[dict[str, Any]]:
    """Rows of COCO's format for results (https://cocodataset.org/#format-results).

    Args:
        found: the detections of one image.
        image_id: the id of the image in the annotation file.
        category_ids: the category id of each class. Default: the labels, from 0.

    Returns:
        One dict for each detection: `image_id`, `category_id`, `bbox` as x, y, width and height in
        pixels with two decimals, and `score` with five. For a frame of a video also `frame`, `time`
        and, after tracking, `track_id`.
    """
    more, tracks = _of_frame(found), found.get("track_ids")
    rows: list[dict[str, Any]] = []
    for (x1, y1, x2, y2), score, label in zip(
        *(found[name].tolist() for name in ("boxes", "scores", "labels")), strict=True
    ):
        category = label if category_ids is None else int(category_ids[label])
        bbox = [round(side, 2) for side in (x1, y1, x2 - x1, y2 - y1)]
        row: dict[str, Any] = {"image_id": image_id, "category_id": category, "bbox": bbox}
        row |= {"score": round(score, 5), **more}
        if tracks is not None:
            row["track_id"] = int(tracks[len(rows)])
        rows.append(row)
    return rows


def _of_frame(found: Mapping[str, Any]) -> dict[str, Any]:
    """`frame` and `time`, rounded to milliseconds, of a result of a video; else {}."""
    if found.get("frame") is None:
        return {}
    return {"frame": found["frame"], "time": round(found["time"], 3)}


def to_dataframe(
    found: Mapping[str, Any] | Sequence[Mapping[str, Any]], images: Sequence[str] = ()
) -> Any:
    """A `pandas.DataFrame` with a row for each detection.

    Args:
        found: the detections of one image, or of several.
        images: a name for each image. They become the first column, `image`.

    Returns:
        Columns `x1`, `y1`, `x2`, `y2` in pixels, `score`, `label` and `class_name`. For frames of a
        video also `frame`, `time` and, after tracking, `track_id`.

    Raises:
        DataError: pandas is not installed.
        ValueError: the number of names is not that of the images.
    """
    pandas = _needed("pandas", "pip install pandas")
    several: Any = [found] if isinstance(found, Mapping) else list(found)
    if images and len(images) != len(several):
        raise ValueError(
            f"`images` must hold one name for each image. Received: {len(images)} for "
            f"{len(several)}. Leave it out for no names."
        )
    parts = []
    for place, each in enumerate(several):
        columns: dict[str, Any] = {"image": images[place]} if images else {}
        columns |= dict(zip(COLUMNS, np.reshape(each["boxes"], (-1, 4)).T, strict=False))
        columns |= {"score": each["scores"], "label": each["labels"]}
        columns |= {"class_name": each["class_names"], **_of_frame(each)}
        if "track_ids" in each:
            columns["track_id"] = each["track_ids"]
        parts.append(pandas.DataFrame(columns))
    names = (["image"] if images else []) + list(COLUMNS)
    return pandas.concat(parts, ignore_index=True) if parts else pandas.DataFrame(columns=names)


def to_supervision(found: Mapping[str, Any]) -> Any:
    """The detections of one image as `supervision.Detections`, for trackers and its annotators.

    Args:
        found: the detections of one image. `track_ids`, if it has them, become `tracker_id`.

    Raises:
        DataError: supervision is not installed (extra `video`).
    """
    supervision, tracks = _needed("supervision", install_hint("video")), found.get("track_ids")
    return supervision.Detections(
        xyxy=np.reshape(found["boxes"], (-1, 4)).astype("float32"),
        confidence=found["scores"].astype("float32"),
        class_id=found["labels"].astype(int),
        tracker_id=None if tracks is None else tracks.astype(int),
        data={"class_name": np.array(found["class_names"], dtype=str)},
    )


def to_fiftyone(found: Mapping[str, Any], image_size: tuple[int, int]) -> Any:
    """The detections of one image as `fiftyone.Detections`, a field of a sample.

    Args:
        found: the detections of one image.
        image_size: (height, width) of the image in pixels. FiftyOne's boxes are shares of it.

    Raises:
        DataError: FiftyOne is not installed.
    """
    fiftyone = _needed("fiftyone", "pip install fiftyone")
    height, width = image_size
    rows = []
    for (x1, y1, x2, y2), score, name in zip(
        found["boxes"].tolist(), found["scores"].tolist(), found["class_names"], strict=True
    ):
        box = [x1 / width, y1 / height, (x2 - x1) / width, (y2 - y1) / height]
        rows.append(fiftyone.Detection(label=name, bounding_box=box, confidence=score))
    return fiftyone.Detections(detections=rows)


def _needed(package: str, install: str) -> Any:
    """The package; a DataError with the command that installs it, if it is missing."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise DataError(
            f"This conversion needs the package {package}. Received: a Python without that "
            f"package. Install it with {install}."
        ) from error
