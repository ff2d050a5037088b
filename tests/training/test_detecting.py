"""Detection in a data set with anything that has `detect`."""

import numpy as np
import pytest

from keras_det.data import draw_shapes_dataset, load
from keras_det.errors import DataError
from keras_det.runtime import AugmentedDetector, TiledDetector
from keras_det.training import evaluate, measure
from keras_det.training.evaluate import detect_dataset
from tests.export.tiny import TinyDetector


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    draw_shapes_dataset(folder, 3, 1, 64, seed=0)
    return load(folder, split="train")


class File:
    """Like an exported file: it finds the objects of the data set, and has no network of Keras."""

    engine = "test"

    def __init__(self, dataset):
        self.class_names = list(dataset.class_names)
        self.objects = {dataset[i].read().tobytes(): dataset[i] for i in range(len(dataset))}

    def detect(self, image, score_threshold=None):
        sample = self.objects[np.asarray(image).tobytes()]
        scores = np.full(len(sample.boxes), 0.9, "float32")
        return {"boxes": sample.boxes, "scores": scores, "labels": sample.labels, "more": None}


def test_a_file_is_evaluated_like_a_model(images):
    done = []
    found = measure(File(images), images, on_batch=lambda *counts: done.append(counts))
    assert found.metrics["AP"] == 1.0 and found.seen.indices == [0, 1, 2]
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert evaluate(File(images), images, score_threshold=0.5)["AP"] == 1.0


# A detector in views passes on the attributes of its model. It must not be measured as the model.
@pytest.mark.parametrize("wrap", [AugmentedDetector, lambda model: TiledDetector(model, 32)])
def test_tiles_and_views_are_what_is_measured(images, wrap):
    model = TinyDetector(images.class_names, 64)
    wrapped = wrap(model)
    indices, found = detect_dataset(wrapped, images, 2, method="hard")
    assert indices == [0, 1, 2] and {*found[0]} == {"boxes", "scores", "labels"}
    plain = detect_dataset(model, images, 3, method="hard")[1]
    for index, (one, other) in enumerate(zip(found, plain, strict=True)):
        expected = wrapped.detect(images[index].read(), method="hard")
        np.testing.assert_allclose(one["scores"], expected["scores"], rtol=1e-5)
        same = one["scores"].shape == other["scores"].shape
        assert not same or np.abs(one["scores"] - other["scores"]).max() > 1e-3
    with pytest.raises(TypeError, match=r"^detect_dataset\(\) takes no argument 'sigmas'"):
        detect_dataset(wrapped, images, sigmas=0.1)
    with pytest.raises(ValueError, match="`losses` needs a Keras detector.*Received: losses=True"):
        measure(wrapped, images, losses=True)


def test_other_classes_are_refused(images):
    file = File(images)
    file.class_names = ["other"]
    with pytest.raises(ValueError, match=r"detector's classes in its order.*\['other'\]"):
        measure(file, images)


def test_unreadable_images_are_left_out(tmp_path):
    draw_shapes_dataset(tmp_path, 3, 1, 64, seed=0)
    images = load(tmp_path, split="train")
    file = File(images)
    with open(images.image_paths[1], "r+b") as opened:
        opened.seek(60)
        opened.write(bytes(200))
    with pytest.warns(UserWarning, match="cannot be used and is skipped"):
        assert detect_dataset(file, images)[0] == [0, 2]
    with open(images.image_paths[2], "r+b") as opened:
        opened.seek(60)
        opened.write(bytes(200))
    with pytest.warns(UserWarning), pytest.raises(DataError):
        detect_dataset(file, images)
