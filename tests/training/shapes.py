"""A few drawn images, and a detector of their classes that is not trained."""

import keras

from keras_det.data import draw_shapes_dataset, load
from tests.export.tiny import TinyDetector


def drawn(folder, count):
    """The training split of drawn images, of 64 pixels each."""
    draw_shapes_dataset(folder, count, 1, 64, seed=0)
    return load(folder, split="train")


def untrained(images):
    """A compiled detector of the classes of the images, always with the same weights."""
    keras.utils.set_random_seed(0)
    model = TinyDetector(images.class_names, 64)
    model.compile()
    return model
