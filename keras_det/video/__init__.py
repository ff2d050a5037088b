"""Reads and writes videos, reads cameras, and tracks objects.

Start with `model.stream(source)`. All this needs the extra `video`; images do not.
"""

from keras_det.video.sources import find_sources as find_sources
from keras_det.video.writing import VideoWriter as VideoWriter
