"""Reads images, videos and cameras frame by frame, in memory that does not grow."""

import contextlib
import itertools
import struct
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from keras_det.data.image import read_image
from keras_det.data.pixel_limit import pixel_limit
from keras_det.errors import DataError
from keras_det.files import reason_of
from keras_det.video.libraries import needed
from keras_det.video.sources import Source
from keras_det.words import counted

USUAL_RATE = Fraction(25)  # frames per second, of a video that does not say
WHOLE = "Copy it again, or convert it, for example with ffmpeg."

Note = Callable[[str], object]


class Frame(NamedTuple):
    """An image, or a frame of a video.

    `pixels`: uint8 `(height, width, 3)` RGB, upright. `number`: index in the video, from 0. `time`:
    seconds from the first frame. `rate`: frames per second of the video. The last three are None
    for an image.
    """

    pixels: np.ndarray
    source: Source
    number: int | None = None
    time: float | None = None
    rate: Fraction | None = None


def frames(sources: Sequence[Source], every: int, note: Note) -> Generator[Frame, None, None]:
    """The images and the frames of the videos, one after another.

    Args:
        sources: as `find_sources` returns them.
        every: of each video, frames 0, `every`, 2 * `every` and so on. Images are all read.
        note: called with a sentence for what cannot be read. It is left out.

    Raises:
        DataError: a package is missing.
    """
    for source in sources:
        if source.kind == "camera":
            read = camera_frames(source, every)
        elif source.kind == "video":
            needed("av")  # a missing package is no damaged file
            read = video_frames(source, every, note)
        else:
            read = _image(source)
        try:
            with contextlib.closing(read):
                yield from read
        except (DataError, OSError, MemoryError) as error:
            note(unreadable(source.path, error))


def unreadable(path: object, error: Exception) -> str:
    """The sentence for an image or a video that cannot be read."""
    if isinstance(error, DataError):
        return str(error)
    return f"An image must be readable. Received: {path} ({reason_of(error)}). Leave it out."


def _image(source: Source) -> Generator[Frame, None, None]:
    yield Frame(read_image(source.path), source)


def video_frames(source: Source, every: int, note: Note) -> Generator[Frame, None, None]:
    """The frames of a video file, upright. Closing the generator closes the file.

    Damage is noted. All frames that can be decoded are returned.

    Raises:
        DataError: it is no video, no frame decodes, or frames have too many pixels.
    """
    av, count = needed("av"), 0
    with opened(source.path) as (container, stream):
        damage = Damage(source.path, stream.frames)
        rate, first = frame_rate(stream), None
        for frame in _decoded(av, container, stream, damage):
            index, count = count, count + 1
            seconds = float(index / rate if frame.pts is None else frame.pts * stream.time_base)
            first = seconds if first is None else first
            damage.corrupt += bool(frame.is_corrupt)
            if index % every == 0:
                pixels = upright(frame.to_ndarray(format="rgb24"), _display_matrix(frame))
                yield Frame(pixels, source, index, seconds - first, rate)
    if not count:
        raise DataError(
            f"A video must hold frames that can be decoded. Received: {source.path}"
            f"{damage.reason()}. {WHOLE}"
        )
    damage.say(count, note)


@contextlib.contextmanager
def opened(path: str) -> Iterator[tuple[Any, Any]]:
    """Context manager for a video file: PyAV's container and its first video stream.

    Raises:
        DataError: it is no video, or its frames have too many pixels.
    """
    av = needed("av")
    try:
        # A file that is in truth a playlist must not make FFmpeg open addresses.
        container = av.open(path, options={"protocol_whitelist": "file"})
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DataError(
            f"A video must be a complete file. Received: {path} ({_reason(error)}). {WHOLE}"
        ) from error
    with container:
        if not container.streams.video:
            raise DataError(
                f"A video must have a video stream. Received: {path}, which has none. Leave it out."
            )
        stream = container.streams.video[0]
        pixels, most = stream.codec_context.width * stream.codec_context.height, pixel_limit()
        if pixels > most:
            raise DataError(
                f"A frame must have at most {most:,} pixels. Received: {path} with {pixels:,}. "
                "Scale the video down, or raise --max-pixels."
            )
        stream.thread_type = "AUTO"
        yield container, stream


def expected_frames(source: Source, every: int) -> int | None:
    """How many images or frames a source gives; None for a camera or if the file does not say."""
    if source.kind != "video":
        return 1 if source.kind == "image" else None
    try:
        with opened(source.path) as (container, stream):
            count = stream.frames
            if not count and container.duration:  # in microseconds
                count = int(container.duration / 1e6 * frame_rate(stream))
    except DataError:  # said when it is read
        return 0
    return -(-count // every) if count else None


def frame_rate(stream: Any) -> Fraction:
    """Frames per second of a video stream; 25 if it does not say."""
    return Fraction(stream.average_rate or stream.guessed_rate or USUAL_RATE)


class Damage:
    """Counts what cannot be read of a video.

    Args:
        path: of the video.
        expected: number of frames that the file says it has; 0 if it does not say.
    """

    def __init__(self, path: str, expected: int) -> None:
        self.path, self.expected = path, expected
        self.packets = self.broken = self.corrupt = 0
        self.error: Exception | None = None

    def reason(self) -> str:
        return f" ({_reason(self.error)})" if self.error else ""

    def say(self, count: int, note: Note) -> None:
        """Notes damage, if there is any; `count` frames were decoded."""
        if self.broken or self.corrupt:
            note(
                f"{self.path} is damaged: {counted(self.broken, 'frame')} could not be decoded, "
                f"{self.corrupt:,} decoded with errors{self.reason()}. All decoded frames are used."
            )
        if self.packets < self.expected:
            note(
                f"{self.path} ends early: {count:,} of {counted(self.expected, 'frame')} could be "
                "read. They are used."
            )


def _decoded(av: Any, container: Any, stream: Any, damage: Damage) -> Iterator[Any]:
    """The frames of a stream, past what cannot be decoded."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:  # the file cannot be read on; frames may still wait
            damage.error = error
            packet = None
        ended = packet is None or not packet.size
        damage.packets += not ended
        try:
            found = stream.decode(None if ended else packet)
        except av.EOFError:
            return
        except av.FFmpegError as error:
            damage.error, damage.broken = error, damage.broken + 1
            found = []
        yield from found
        if ended:
            return


def _reason(error: Exception | None) -> str:
    """FFmpeg's words for an error, without its number and the path."""
    text = getattr(error, "strerror", None) or str(error)
    return text.removesuffix(".")


def _display_matrix(frame: Any) -> tuple[int, ...] | None:
    data = frame.side_data.get("DISPLAYMATRIX")
    return None if data is None else struct.unpack("9i", bytes(data))


def upright(pixels: np.ndarray, matrix: Sequence[int] | None) -> np.ndarray:
    """Turns and mirrors a frame as the display matrix of its video says.

    Phones write a video as the sensor sees it, with such a matrix: column x and row y are shown at
    `(a x + c y, b x + d y)`, up to a shift, where the matrix is `(a, b, u, c, d, v, x, y, w)`. Only
    quarter turns and mirroring are applied; another matrix leaves the frame as it is.

    Args:
        pixels: `(height, width, 3)`.
        matrix: nine integers; None leaves the frame as it is.
    """
    if matrix is None:
        return pixels
    a, b, _, c, d = matrix[:5]
    if a and d and not (b or c):
        across, down = a, d
    elif b and c and not (a or d):
        pixels, across, down = pixels.swapaxes(0, 1), c, b
    else:
        return pixels
    pixels = pixels[:, ::-1] if across < 0 else pixels
    return np.ascontiguousarray(pixels[::-1] if down < 0 else pixels)


def camera_frames(source: Source, every: int) -> Generator[Frame, None, None]:
    """Frames of a camera, until it stops or the generator is closed, which frees the camera.

    Raises:
        DataError: there is no such camera.
    """
    capture = needed("cv2").VideoCapture(source.camera)
    try:
        if not capture.isOpened():
            raise DataError(
                f"A camera must be connected and not in use. Received: {source.path}, which cannot "
                "be opened. Close other programs that use it, or give another index."
            )
        rate = Fraction(capture.get(5) or USUAL_RATE).limit_denominator(1001)  # CAP_PROP_FPS
        start = None
        for index in itertools.count():
            alive, pixels = capture.read()
            now = time.monotonic()
            if not alive:
                return
            start = now if start is None else start
            if index % every == 0:
                rgb = np.ascontiguousarray(pixels[..., ::-1])  # OpenCV's order is blue, green, red
                yield Frame(rgb, source, index, now - start, rate)
    finally:
        capture.release()
