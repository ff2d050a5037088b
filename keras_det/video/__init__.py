"""Frames of videos, tracks through them, and what was found drawn on them.

`model.stream(source)` is the way in. Reading and writing videos, tracks and cameras need the extra
`video`; pictures need nothing.
"""

from keras_det.video.sources import find_sources as find_sources
from keras_det.video.writing import VideoWriter as VideoWriter
