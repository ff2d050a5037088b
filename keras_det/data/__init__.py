"""Data sets, image reading, the input pipeline. Loads neither Keras nor TensorFlow by itself."""

from typing import TYPE_CHECKING

from keras_det.lazy_names import importer

if TYPE_CHECKING:
    from keras_det.data.arrays import from_arrays as from_arrays
    from keras_det.data.augment import AUGMENTS as AUGMENTS
    from keras_det.data.augment import Augment as Augment
    from keras_det.data.augmenting.steps import Blur as Blur
    from keras_det.data.augmenting.steps import CopyPaste as CopyPaste
    from keras_det.data.augmenting.steps import Cutout as Cutout
    from keras_det.data.augmenting.steps import Flip as Flip
    from keras_det.data.augmenting.steps import IoUCrop as IoUCrop
    from keras_det.data.augmenting.steps import JPEGNoise as JPEGNoise
    from keras_det.data.augmenting.steps import MixUp as MixUp
    from keras_det.data.augmenting.steps import Mosaic as Mosaic
    from keras_det.data.augmenting.steps import Photometric as Photometric
    from keras_det.data.augmenting.steps import Rotate90 as Rotate90
    from keras_det.data.augmenting.steps import ScaleJitter as ScaleJitter
    from keras_det.data.augmenting.steps import TileCrop as TileCrop
    from keras_det.data.augmenting.steps import ZoomOut as ZoomOut
    from keras_det.data.convert.coco import write_coco as write_coco
    from keras_det.data.convert.csv_table import write_csv as write_csv
    from keras_det.data.convert.tfrecord import write_tfrecord as write_tfrecord
    from keras_det.data.convert.voc import write_voc as write_voc
    from keras_det.data.convert.yolo import write_yolo as write_yolo
    from keras_det.data.dataset import Dataset as Dataset
    from keras_det.data.dict_batches import to_batches as to_batches
    from keras_det.data.formats.coco import read_coco as read_coco
    from keras_det.data.formats.createml import read_createml as read_createml
    from keras_det.data.formats.csv_table import read_csv as read_csv
    from keras_det.data.formats.cvat import read_cvat as read_cvat
    from keras_det.data.formats.hugging_face import from_hugging_face as from_hugging_face
    from keras_det.data.formats.label_studio import read_label_studio as read_label_studio
    from keras_det.data.formats.labelme import read_labelme as read_labelme
    from keras_det.data.formats.tfds import from_tfds as from_tfds
    from keras_det.data.formats.tfrecord import read_tfrecord as read_tfrecord
    from keras_det.data.formats.voc import read_voc as read_voc
    from keras_det.data.formats.yolo import read_yolo as read_yolo
    from keras_det.data.image import read_image as read_image
    from keras_det.data.merging import merge as merge
    from keras_det.data.pipeline import Pipeline as Pipeline
    from keras_det.data.resize import Transform as Transform
    from keras_det.data.sample import Sample as Sample
    from keras_det.data.shapes import draw_shapes_dataset as draw_shapes_dataset
    from keras_det.data.shapes import drawn_images as drawn_images
    from keras_det.data.splitting import split as split

__all__ = [
    "AUGMENTS",
    "Augment",
    "Blur",
    "CopyPaste",
    "Cutout",
    "Dataset",
    "Flip",
    "IoUCrop",
    "JPEGNoise",
    "MixUp",
    "Mosaic",
    "Photometric",
    "Pipeline",
    "Rotate90",
    "Sample",
    "ScaleJitter",
    "TileCrop",
    "Transform",
    "ZoomOut",
    "draw_shapes_dataset",
    "drawn_images",
    "from_arrays",
    "from_hugging_face",
    "from_tfds",
    "load",
    "load_train_and_val",
    "merge",
    "read_coco",
    "read_createml",
    "read_csv",
    "read_cvat",
    "read_image",
    "read_label_studio",
    "read_labelme",
    "read_tfrecord",
    "read_voc",
    "read_yolo",
    "split",
    "statistics",
    "to_batches",
    "write_coco",
    "write_csv",
    "write_tfrecord",
    "write_voc",
    "write_yolo",
]
# The module of this folder in which a name lives.
_HOMES = {
    "AUGMENTS": "augment",
    "Augment": "augment",
    "Blur": "augmenting.steps",
    "CopyPaste": "augmenting.steps",
    "Cutout": "augmenting.steps",
    "Dataset": "dataset",
    "Flip": "augmenting.steps",
    "IoUCrop": "augmenting.steps",
    "JPEGNoise": "augmenting.steps",
    "MixUp": "augmenting.steps",
    "Mosaic": "augmenting.steps",
    "Photometric": "augmenting.steps",
    "Pipeline": "pipeline",
    "Rotate90": "augmenting.steps",
    "Sample": "sample",
    "ScaleJitter": "augmenting.steps",
    "Transform": "resize",
    "TileCrop": "augmenting.steps",
    "ZoomOut": "augmenting.steps",
    "draw_shapes_dataset": "shapes",
    "drawn_images": "shapes",
    "from_arrays": "arrays",
    "from_hugging_face": "formats.hugging_face",
    "from_tfds": "formats.tfds",
    "merge": "merging",
    "read_coco": "formats.coco",
    "read_createml": "formats.createml",
    "read_csv": "formats.csv_table",
    "read_cvat": "formats.cvat",
    "read_image": "image",
    "read_label_studio": "formats.label_studio",
    "read_labelme": "formats.labelme",
    "read_tfrecord": "formats.tfrecord",
    "read_voc": "formats.voc",
    "read_yolo": "formats.yolo",
    "split": "splitting",
    "to_batches": "dict_batches",
    "write_coco": "convert.coco",
    "write_csv": "convert.csv_table",
    "write_tfrecord": "convert.tfrecord",
    "write_voc": "convert.voc",
    "write_yolo": "convert.yolo",
}

if not TYPE_CHECKING:  # else checkers would accept every name
    __getattr__ = importer(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)


# The submodules of the same names must not win.
from keras_det.data.load import load, load_train_and_val  # noqa: E402
from keras_det.data.statistics import statistics  # noqa: E402
