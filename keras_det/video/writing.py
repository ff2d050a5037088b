"""Writes a video frame by frame."""

import os
import pathlib
from fractions import Fraction
from types import TracebackType
from typing import Any

import numpy as np

from keras_det.errors import DataError
from keras_det.video.hidden import HiddenFile
from keras_det.video.libraries import needed

# Encoders, the better first. FFmpeg can be built without H.264.
ENCODERS = ("libx264", "mpeg4")
# Quality of each: a constant rate factor of 20 shows no loss in thin lines.
OPTIONS = {"libx264": {"crf": "20", "preset": "veryfast"}, "mpeg4": {"q": "3"}}
# Time steps in the time of a frame: frames may come unevenly. MPEG-4 has at most 65,535 a second.
STEPS = {"libx264": 16, "mpeg4": 1}


class VideoWriter:
    """Writes frames to an MP4 file, H.264 where the library has it, else MPEG-4. No sound.

    The file appears when it is complete: when the `with` block ends, also after an exception or
    Ctrl-C, with the frames so far. Until then a hidden file lies beside it.

    Args:
        path: of the file; an existing one is replaced.
        rate: frames per second.

    Raises:
        DataError: PyAV is not installed.
    """

    def __init__(self, path: str | os.PathLike, rate: Fraction | float) -> None:
        self.path, self.rate = pathlib.Path(path), Fraction(rate).limit_denominator(65_535)
        self.av = needed("av")
        self.encoder = next(name for name in ENCODERS if name in self.av.codecs_available)
        self.container: Any = None
        self.count, self.last = 0, -1

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def add(self, pixels: np.ndarray, time: float | None = None) -> None:
        """Adds a frame.

        Args:
            pixels: uint8 `(height, width, 3)`, RGB. All frames have the size of the first; an odd
                side is one pixel longer in the file.
            time: seconds from the first frame. Default: one frame's time after the last one.
        """
        if self.container is None:
            self._start(pixels.shape[0], pixels.shape[1])
        height, width = pixels.shape[:2]
        if (height, width) != self.size:
            raise DataError(
                f"All frames of a video must have one size. Received: {width}x{height} after "
                f"{self.size[1]}x{self.size[0]} (width x height) in {self.path}. Write two videos."
            )
        odd = ((0, height % 2), (0, width % 2), (0, 0))
        frame = self.av.VideoFrame.from_ndarray(np.pad(pixels, odd, mode="edge"), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
        step = self.stream.codec_context.time_base
        due = self.last + STEPS[self.encoder] if time is None else round(time / step)
        self.last = frame.pts = max(self.last + 1, due) if self.count else 0
        frame.time_base = step
        self.container.mux(self.stream.encode(frame))
        self.count += 1

    def close(self) -> None:
        """Completes the file. Without a frame, there is none. Further calls do nothing."""
        container, self.container = self.container, None
        if container is None:
            return
        try:
            container.mux(self.stream.encode())
            container.close()
            self.hidden.publish()
        except BaseException:
            self._remove(container)
            raise

    def discard(self) -> None:
        """Removes what was written, after a frame could not be added."""
        container, self.container = self.container, None
        if container is not None:
            self._remove(container)

    def _remove(self, container: Any) -> None:
        try:
            container.close()
        except (self.av.FFmpegError, OSError):  # the first error says more
            pass
        self.hidden.remove()

    def _start(self, height: int, width: int) -> None:
        self.size, self.hidden = (height, width), HiddenFile(self.path)
        self.container = self.av.open(self.hidden.name, "w", format="mp4")
        stream = self.container.add_stream(self.encoder, rate=self.rate)
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt, stream.options = "yuv420p", OPTIONS[self.encoder]
        context = stream.codec_context
        context.time_base = 1 / (self.rate * STEPS[self.encoder])
        # Players take these for granted in high resolutions, and others in low ones.
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
        self.stream = stream
