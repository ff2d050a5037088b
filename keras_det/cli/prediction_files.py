"""The files that `keras-det predict` writes, one class for each format."""

import csv
import dataclasses
import io
import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from keras_det.files import plain, reason_of, room_for, write_whole

if TYPE_CHECKING:
    import numpy as np

    from keras_det.video.frames import Frame
    from keras_det.video.sources import Source

# Bytes of a picture's name without its suffix. File systems allow 255, `write_whole` adds to it.
LONGEST_STEM = 200
CSV_COLUMNS = (
    *("image_id", "file_name", "frame", "time", "track_id"),
    *("x1", "y1", "x2", "y2", "score", "label", "class_name"),
)


class Unwritten(Exception):
    """A picture, video or file of labels that could not be written. The others can be."""


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What was found in one image or frame.

    Attributes:
        image_id: number of the image or frame, from 0.
        frame: the image or frame.
        found: all detections.
        kept: bool `(n,)`, which of them score above the thresholds.
        stem: name of the files about the source, without a suffix.
        class_names: of the detector.
        thresholds: the score threshold of each class.
        every: which frames of a video are taken: every first, second and so on.
    """

    image_id: int
    frame: "Frame"
    found: Any
    kept: "np.ndarray"
    stem: str
    class_names: Sequence[str]
    thresholds: Sequence[float]
    every: int

    @property
    def own_stem(self) -> str:
        """`stem`, of a frame with its number."""
        number = self.frame.number
        return self.stem if number is None else f"{self.stem}_{number:06d}"

    def rows(self) -> Iterator[dict[str, Any]]:
        """The detections above the thresholds in COCO's format for results, with names."""
        from keras_det.results import to_coco

        names = self.found["class_names"]
        rows = to_coco(self.found, self.image_id)
        for row, name, keep in zip(rows, names, self.kept.tolist(), strict=True):
            if keep:
                yield {**row, "file_name": self.frame.source.path, "category_name": name}


class Writer:
    """Writes what was found, image by image.

    Args:
        folder: to write to.
        class_names: of the detector.
    """

    def __init__(self, folder: pathlib.Path, class_names: Sequence[str]) -> None:
        self.folder, self.class_names = folder, list(class_names)

    def add(self, one: Prediction) -> None:
        """Takes the next image or frame."""

    def close(self) -> None:
        """Completes the files. Called once, also after Ctrl-C."""


class Pictures(Writer):
    """A picture for each image, and a video for each video."""

    video: Any = None
    source: Any = None

    def add(self, one: Prediction) -> None:
        from keras_det.report.draw import draw_detections

        still = one.frame.number is None
        picture = draw_detections(
            *(one.frame.pixels, one.found, one.class_names, one.thresholds), show_best=still
        )
        if still:
            self._add_picture(one, picture)
        else:
            self._add_frame(one, picture)

    def _add_picture(self, one: Prediction, picture: "np.ndarray") -> None:
        from keras_det.data.image import JPEG_SUFFIXES

        is_jpeg = pathlib.Path(one.frame.source.path).suffix.lower() in JPEG_SUFFIXES
        path = self.folder / f"{one.stem}{'.jpg' if is_jpeg else '.png'}"
        try:
            write_whole(path, encoded(picture, path.name))
        except OSError as error:
            raise Unwritten(f"{path} ({reason_of(error)})") from error

    def _add_frame(self, one: Prediction, picture: "np.ndarray") -> None:
        from keras_det.video.writing import VideoWriter

        if one.frame.source is not self.source:
            self.close()
            self.source = one.frame.source
            rate = (one.frame.rate or 1) / one.every
            self.video = VideoWriter(self.folder / f"{one.stem}.mp4", rate)
        if self.video is None:  # an earlier frame could not be written
            return
        try:
            self.video.add(picture, one.frame.time)
        except BaseException as error:
            video, self.video = self.video, None
            if not isinstance(error, Exception):
                video.close()
                raise
            video.discard()
            raise Unwritten(f"{video.path} ({reason_of(error)})") from error

    def close(self) -> None:
        video, self.video = self.video, None
        if video is None:
            return
        try:
            video.close()
        except Exception as error:  # PyAV's, and those of the system
            raise Unwritten(f"{video.path} ({reason_of(error)})") from error


class GrowingFile:
    """Text that is written bit by bit, beside its place until it is complete.

    Args:
        path: of the file.
    """

    def __init__(self, path: pathlib.Path) -> None:
        from keras_det.video.hidden import HiddenFile

        self.path, self.hidden = path, HiddenFile(path)
        # File names may hold bytes that are not UTF-8; they become \\udc80 and so on.
        self.file: TextIO = open(
            self.hidden.name, "w", encoding="utf-8", errors="backslashreplace", newline=""
        )

    def write(self, text: str) -> None:
        with room_for(self.path, len(text)):
            self.file.write(text)

    def publish(self) -> None:
        """Completes the file."""
        try:
            with room_for(self.path, 0):
                self.file.close()
            self.hidden.publish()
        finally:
            self.hidden.remove()  # of what could not be completed


class JsonArray(GrowingFile):
    """A JSON array that is written element by element, as `write_json` would.

    Args:
        path: of the file.
        inside: int, how far the array is indented.
        before: what comes before the array.
    """

    def __init__(self, path: pathlib.Path, inside: int = 0, before: str = "") -> None:
        super().__init__(path)
        self.indent, self.count = " " * inside, 0
        self.write(f"{before}[")

    def add(self, element: dict[str, Any]) -> None:
        text = json.dumps(plain(element), indent=2, ensure_ascii=False, allow_nan=False)
        start = f"{',' * bool(self.count)}\n{self.indent}  "
        self.write(start + text.replace("\n", f"\n{self.indent}  "))
        self.count += 1

    def end(self, after: str = "\n") -> None:
        self.write(f"\n{self.indent}]{after}" if self.count else f"]{after}")


class Results(Writer):
    """`detections.json`: COCO's format for results."""

    array: JsonArray | None = None

    def add(self, one: Prediction) -> None:
        if self.array is None:
            self.array = JsonArray(self.folder / "detections.json")
        for row in one.rows():
            self.array.add(row)

    def close(self) -> None:
        if self.array is not None:
            try:
                self.array.end()
                self.array.publish()
            finally:
                self.array.hidden.remove()


class Table(Writer):
    """`detections.csv`: a row for each detection."""

    file: GrowingFile | None = None

    def add(self, one: Prediction) -> None:
        if self.file is None:
            self.file = GrowingFile(self.folder / "detections.csv")
            self._row(CSV_COLUMNS)
        for row in one.rows():
            x, y, width, height = row["bbox"]
            sides = (x, y, round(x + width, 2), round(y + height, 2))
            given = {
                **row,
                **dict(zip(("x1", "y1", "x2", "y2"), sides, strict=True)),
                "label": row["category_id"],
                "class_name": row["category_name"],
            }
            self._row([given.get(column, "") for column in CSV_COLUMNS])

    def _row(self, values: Sequence[object]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(values)
        if self.file is not None:
            self.file.write(text.getvalue())

    def close(self) -> None:
        if self.file is not None:
            self.file.publish()


class DataSet(Writer):
    """`coco.json`: a data set in COCO's format, with videos where there are some."""

    images: JsonArray | None = None

    def __init__(self, folder: pathlib.Path, class_names: Sequence[str]) -> None:
        super().__init__(folder, class_names)
        self.videos: dict[Any, int] = {}

    def add(self, one: Prediction) -> None:
        if self.images is None:
            self.images = JsonArray(self.folder / "coco.json", 2, '{\n  "images": ')
            # Images and annotations grow together: the second part waits in a file of its own.
            self.annotations = JsonArray(self.folder / "coco-annotations.json", 2)
        height, width = one.frame.pixels.shape[:2]
        image: dict[str, Any] = {"id": one.image_id, "file_name": one.frame.source.path}
        if one.frame.number is not None:
            video = self.videos.setdefault(one.frame.source, len(self.videos) + 1)
            image["file_name"] = f"{one.own_stem}.jpg"
            image |= {"video_id": video, "frame": one.frame.number}
            image["time"] = round(one.frame.time or 0.0, 3)
        self.images.add({**image, "width": width, "height": height})
        for row in one.rows():
            number, (_, _, wide, high) = self.annotations.count + 1, row["bbox"]
            row = {name: row[name] for name in row if name not in ("file_name", "category_name")}
            more = {"area": round(wide * high, 2), "iscrowd": 0}
            self.annotations.add({"id": number, **row, **more})

    def close(self) -> None:
        if self.images is None:
            return
        try:
            self.images.end("")
            self.images.write(',\n  "annotations": ')
            self.annotations.end("")
            self.annotations.file.close()
            with open(self.annotations.hidden.name, encoding="utf-8") as waiting:
                while block := waiting.read(1 << 20):
                    self.images.write(block)
            videos = [{"id": k, "file_name": source.path} for source, k in self.videos.items()]
            names = [{"id": k, "name": name} for k, name in enumerate(self.class_names)]
            parts = {"videos": videos} if videos else {}
            for key, value in {**parts, "categories": names}.items():
                self.images.write(f',\n  "{key}": {json.dumps(value, ensure_ascii=False)}')
            self.images.write("\n}\n")
            self.images.publish()
        finally:
            self.images.hidden.remove()
            self.annotations.hidden.remove()


class YoloLabels(Writer):
    """`labels/*.txt` and `classes.txt`: class, centre x and y, width, height, in shares."""

    def add(self, one: Prediction) -> None:
        from keras_det.data.convert.yolo import label_lines

        folder = self.folder / "labels"
        if not folder.exists():
            folder.mkdir()
            names = "".join(f"{' '.join(name.split())}\n" for name in self.class_names)
            write_whole(self.folder / "classes.txt", names.encode(errors="backslashreplace"))
        height, width = one.frame.pixels.shape[:2]
        shares = one.found["boxes"][one.kept] / [width, height, width, height]
        lines = label_lines(one.found["labels"][one.kept], shares)
        path = folder / f"{one.own_stem}.txt"
        try:
            write_whole(path, lines.encode())
        except OSError as error:
            raise Unwritten(f"{path} ({reason_of(error)})") from error


WRITERS: dict[str, type[Writer]] = {
    "pictures": Pictures,
    "json": Results,
    "csv": Table,
    "coco": DataSet,
    "yolo": YoloLabels,
}


def unique_stems(sources: "Sequence[Source]") -> list[str]:
    """Names for the files about each source: its own, with a number where two would be the same.

    Letters of both cases are the same to some file systems, and `a.jpg` and `a.png` have one file
    of labels.
    """
    stems: list[str] = []
    taken: set[str] = set()
    for source in sources:
        name = source.path.replace(" ", "-") if source.kind == "camera" else source.path
        stem = first = shortened(pathlib.Path(name).stem)
        number = 1
        while stem.casefold() in taken:
            number += 1
            stem = f"{first}-{number}"
        taken.add(stem.casefold())
        stems.append(stem)
    return stems


def shortened(stem: str) -> str:
    """The beginning of a name, no longer than a file system allows."""
    data = os.fsencode(stem)
    return stem if len(data) <= LONGEST_STEM else data[:LONGEST_STEM].decode(errors="ignore")


def encoded(picture: "np.ndarray", name: str) -> bytes:
    """The bytes of a uint8 RGB picture in the format that its name says."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG" if name.endswith(".jpg") else "PNG", quality=92)
    return file.getvalue()
