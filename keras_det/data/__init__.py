"""Data sets, image reading, the input pipeline. Loads neither Keras nor TensorFlow by itself."""

import importlib

_HOMES = {
    "AUGMENTS": "augment",
    "Augment": "augment",
    "Dataset": "dataset",
    "Pipeline": "pipeline",
    "Sample": "sample",
    "Transform": "resize",
    "draw_shapes_dataset": "shapes",
    "drawn_images": "shapes",
    "read_coco": "coco",
    "read_image": "image",
    "read_voc": "voc",
}
__all__ = [*sorted(_HOMES), "load"]


def __getattr__(name):
    if name in _HOMES:
        return getattr(importlib.import_module(f"keras_det.data.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


from keras_det.data.load import load  # noqa: E402  (the submodule of the same name must not win)
