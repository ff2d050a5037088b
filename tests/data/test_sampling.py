import numpy as np
import pytest

from keras_det.data import Dataset, Sample
from keras_det.data.sampling import Sampler, balanced_factors, repeat_factors


def dataset_of(*labels, classes=3):
    samples = []
    for i, own in enumerate(labels):
        boxes = np.tile(np.float32([0, 0, 4, 4]), (len(own), 1))
        crowd = np.zeros(len(own), bool)
        area = np.ones(len(own), np.float32)
        samples.append(Sample(f"{i}.jpg", boxes, np.int32(own), crowd, area, (8, 8), i))
    return Dataset.from_samples(samples, [f"c{k}" for k in range(classes)])


# Of 4 images, class 0 is in 3, class 1 in 1. Threshold 0.64: sqrt(0.64 / 0.25) = 1.6, and
# sqrt(0.64 / 0.75) = 0.92 -> 1.
def test_repeat_factors_by_hand():
    dataset = dataset_of([0, 0], [0], [0, 1], [])
    np.testing.assert_allclose(repeat_factors(dataset, 0.64), [1, 1, 1.6, 1])
    np.testing.assert_allclose(repeat_factors(dataset, 0.001), 1)


# Three "classes": 0 in 3 images, 1 in 1, nothing in 1. Image 2: (1/3 + 1) * 4 / 3.
def test_balanced_factors_by_hand():
    dataset = dataset_of([0, 0], [0], [0, 1], [])
    np.testing.assert_allclose(balanced_factors(dataset), [4 / 9, 4 / 9, 16 / 9, 4 / 3])


@pytest.mark.parametrize("name", ["repeat_factor", "class_balanced"])
def test_images_come_as_often_as_their_factors(name):
    dataset = dataset_of([0, 0], [0], [0, 1], [], [0], [2, 0])
    sampler = Sampler(dataset, name, 0.9)
    factors = repeat_factors(dataset, 0.9) if name == "repeat_factor" else balanced_factors(dataset)
    assert sampler.length == (np.ceil(factors.sum()) if name == "repeat_factor" else 6)
    factors = factors * sampler.length / factors.sum()
    counts = []
    for number in range(40):
        found = [int(sampler.index(place, (7, number))) for place in range(sampler.length)]
        counts.append(np.bincount(found, minlength=6))
    counts = np.array(counts)
    assert ((counts >= np.floor(factors)) & (counts <= np.ceil(factors))).all()
    np.testing.assert_allclose(counts.mean(axis=0), factors, atol=0.25)


def test_uniform_changes_nothing():
    sampler = Sampler(dataset_of([0], [1]), "uniform", 0.001)
    assert sampler.length == 2 and sampler.index(1, None) == 1
