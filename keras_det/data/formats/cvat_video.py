"""The tracks of "CVAT for video": boxes of frames, whose images are frame_000000.png and so on."""

import itertools
import os
import pathlib
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator

from keras_det.data.formats.cvat_shapes import add_shape
from keras_det.data.formats.tool_shapes import Shapes, side
from keras_det.data.image import IMAGE_SUFFIXES
from keras_det.data.listing import is_folder
from keras_det.data.notes import Note
from keras_det.errors import DataError
from keras_det.words import counted

FRAME = "frame_{:06d}"
# More frames than any video that is annotated by hand has.
MAX_FRAMES = 10**6


class Video:
    """The tracks and frames of one file.

    Args:
        file: for messages.
    """

    def __init__(self, file: pathlib.Path) -> None:
        self.file = file
        # Each track, and whether it belongs to the split that is read.
        self.tracks: list[tuple[ElementTree.Element, bool]] = []
        self._size = (0, 0)
        self._number = 0
        self._tasks: set[str] = set()

    def read_meta(self, meta: ElementTree.Element) -> None:
        """Takes the size of the frames and their number from the head of the file."""
        size = meta.find(".//original_size")
        if size is not None:
            self._size = side(size.findtext("height")), side(size.findtext("width"))
        task = meta.find("task") if meta.find("task") is not None else meta.find("job")
        self._number = side(task.findtext("size")) if task is not None else 0

    def add_track(self, element: ElementTree.Element, wanted: bool) -> None:
        """Keeps a track until all are known."""
        self._tasks.add(element.get("task_id") or "")
        self.tracks.append((element, wanted))

    def add_frames(
        self, prefix: str, folders: list[pathlib.Path], shapes: tuple[Shapes, Shapes]
    ) -> None:
        """Adds every frame and its boxes.

        Args:
            prefix: folder of the frames, or "".
            folders: where the frames may lie.
            shapes: gets those of the split that is read, and those of the other splits.

        Raises:
            DataError: there are no images of frames.
        """
        self._check(folders)
        every = range(min(self._number, MAX_FRAMES))
        for wanted, mine in zip((True, False), shapes, strict=True):
            tracks = [element for element, own in self.tracks if own is wanted]
            frames = sorted({*every, *_frames(tracks)}) if tracks else []
            names = [os.path.join(prefix, FRAME.format(frame)) for frame in frames]
            pairs = zip(names, frames, strict=True)
            index = {frame: mine.add_image(name, "", frame, self._size) for name, frame in pairs}
            for number, track in enumerate(tracks):
                self._add_track(track, number, index, mine)
            self._note_gaps(tracks, mine)

    def _check(self, folders: list[pathlib.Path]) -> None:
        if len(self._tasks) > 1:
            raise DataError(
                "The frames of a video must be those of one task. Received: tracks of "
                f"{len(self._tasks)} tasks in {self.file}. Export each task by itself, or the "
                "project as CVAT for images 1.1 with images."
            )
        if not any(_has_frames(folder) for folder in folders):
            raise DataError(
                "The frames of a video must be images named frame_000000.png and so on. Received: "
                f"{self.file} with {counted(len(self.tracks), 'track')} (CVAT for video), and no "
                f"such image in {', '.join(map(str, folders[:3]))}. Export the task as CVAT for "
                "images 1.1 with images, or give the folder of the frames as image_dir= "
                "(--image-dir)."
            )

    def _add_track(
        self, track: ElementTree.Element, number: int, index: dict[int, int], shapes: Shapes
    ) -> None:
        at = f"{self.file}, track {track.get('id', number)}, shapes"
        for k, shape in enumerate(track):
            frame = _frame(shape)
            if shape.get("outside") == "1" or shape.tag == "attribute":
                continue
            if frame is None:
                given = shape.get("frame")
                shapes.bad.add(
                    f"{at}[{k}]", f"`frame` must be a number from 0. Received: {given!r:.40}"
                )
            else:
                add_shape(shape, track.get("label"), index[frame], (at, k), shapes)

    def _note_gaps(self, tracks: list[ElementTree.Element], shapes: Shapes) -> None:
        """Notes frames between two boxes of a track. CVAT itself writes the boxes between, too."""
        steps, gaps = [], []
        for number, track in enumerate(tracks):
            gone = {_frame(shape) for shape in track if shape.get("outside") == "1"}
            for before, after in itertools.pairwise(sorted(set(_frames([track])))):
                steps.append(after - before)
                if before not in gone:
                    place = f"track {track.get('id', number)}, frames {before} to {after}"
                    gaps.append((after - before, place))
        step = min(steps, default=1)
        gaps = [(gap, place) for gap, place in gaps if gap > step]
        lost = sum(gap // step - 1 for gap, _ in gaps)
        if lost:
            text = (
                f"Frames between two boxes of a track without a box of their own: {lost}. The "
                "object is not read in these frames"
            )
            first, more = f"{self.file}, {gaps[0][1]}", "Export them from CVAT again."
            shapes.notes.append(Note("frames-without-box", text, lost, first=first, more=more))


def _frames(tracks: Iterable[ElementTree.Element]) -> Iterator[int]:
    """The frames that tracks have shapes in."""
    for track in tracks:
        for shape in track:
            if (frame := _frame(shape)) is not None:
                yield frame


def _frame(shape: ElementTree.Element) -> int | None:
    text = (shape.get("frame") or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _has_frames(folder: pathlib.Path) -> bool:
    """Whether images of frames lie in a folder or in one of its folders."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return False
    for entry in entries:
        if _is_frame(entry.name):
            return True
        if is_folder(entry) and any(_is_frame(name) for name in os.listdir(entry.path)):
            return True
    return False


def _is_frame(name: str) -> bool:
    return name.lower().startswith("frame_") and name.lower().endswith(IMAGE_SUFFIXES)
