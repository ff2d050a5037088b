"""The annotation formats, one module each."""

from keras_det.data.formats import (
    coco,
    createml,
    csv_table,
    hugging_face,
    tfds,
    tfrecord,
    voc,
    yolo,
)
from keras_det.data.raw import Format

# In the order in which a folder is tried: formats that need a file of their own come first.
FORMATS: tuple[Format, ...] = (
    coco.FORMAT,
    voc.FORMAT,
    tfds.FORMAT,
    tfrecord.FORMAT,
    hugging_face.FORMAT,
    yolo.FORMAT,
    createml.FORMAT,
    csv_table.FORMAT,
)
