"""Which images are learned by heart, and what stopped it."""

import pytest

from keras_det.data import draw_shapes_dataset, load
from keras_det.doctor import overfit as overfitting
from keras_det.doctor.overfit import Overfit, check_overfit, choose_images, finding_of, overfit
from tests.doctor.made import dataset_of, square


def test_images_show_all_classes_with_large_objects():
    boxes = [[square(10, 10, 100)]] * 9 + [[square(10, 10, 100)] * 2, [square(10, 10, 3)]]
    labels = [[0]] * 8 + [[1], [2, 3], [4]]
    names = ("a", "b", "c", "d", "e")
    data = dataset_of(boxes, [(256, 256)] * 11, labels, names)
    chosen = choose_images(data, (256, 256), "letterbox")
    assert len(chosen) == len(set(chosen)) == 8
    assert chosen[0] == 9 and {8, 9} <= set(
        chosen
    )  # the most classes first; not image 10: 3 pixels
    assert 10 not in chosen


def test_of_equal_classes_the_fewest_objects_are_taken():
    boxes = [[square(10, 10, 100)] * count for count in (3, 1, 2, *[4] * 7)]
    data = dataset_of(boxes, [(256, 256)] * 10)
    assert choose_images(data, (256, 256), "letterbox")[:3] == [1, 2, 0]


def test_few_images_are_all_taken():
    data = dataset_of([[square(0, 0, 3)], [], [square(0, 0, 50)]], [(256, 256)] * 3)
    assert sorted(choose_images(data, (256, 256), "letterbox")) == [0, 2]


def result(ap50=0.5, losses=(2.0, 0.5), positives=9.0, perfect=1.0):
    return Overfit(ap50, len(losses), 61.0, losses, positives, perfect, (0, 1), (256, 256))


@pytest.mark.parametrize(
    "changes, code, harm",
    [
        ({"ap50": 0.9}, "overfit-learned", "note"),
        ({"losses": (2.0, float("nan"))}, "overfit-nan", "error"),
        ({"positives": 0.0}, "overfit-positives", "error"),
        ({"perfect": 0.7}, "overfit-evaluator", "error"),
        ({"losses": (2.0,) * 39 + (1.7,)}, "overfit-loss", "error"),
        ({"losses": (2.0,) * 20}, "overfit-time", "warning"),  # too few steps to say
        ({}, "overfit-time", "warning"),
    ],
)
def test_what_stopped_it(changes, code, harm):
    finding = finding_of(result(**changes))
    assert (finding.code, finding.harm) == (code, harm)


def test_the_sentences():
    assert finding_of(result(ap50=0.95)).title == (
        "2 images are memorised at 256x256: AP50 0.95 after 2 steps in 1:01 min, loss 2 to "
        "0.5; data, targets, losses and evaluation work together."
    )
    assert "2 images are not memorised" in finding_of(result()).title


# Steps cost as much as the number of pixels: 4 times the multiply-adds, half the side.
@pytest.mark.parametrize(
    "cost, side", [(1e9, 256), (2e9, 256), (4e9, 160), (8e9, 128), (1e12, 128)]
)
def test_large_models_get_small_images_on_a_cpu(cost, side, monkeypatch):
    monkeypatch.setattr(overfitting, "multiply_adds", lambda model: cost)
    monkeypatch.setattr(overfitting, "device_memory", lambda: None)
    assert overfitting._affordable(None, 256) == side
    monkeypatch.setattr(overfitting, "device_memory", lambda: 2**30)
    assert overfitting._affordable(None, 256) == 256


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    draw_shapes_dataset(folder, num_train=3, num_val=1, image_size=64, seed=0)
    return load(folder, split="train")


class Ticks:
    """A clock that gives `count` steps time."""

    def __init__(self, count):
        self.now, self.count = -1.0, count

    def __call__(self):
        self.now += 1.0
        return self.now * 10.0 / (self.count + 1)


@pytest.mark.slow
def test_training_stops_in_time(shapes):
    found = overfit(shapes, "efficientdet_lite0", image_size=64, seconds=10.0, clock=Ticks(3))
    assert found.steps == 3 and len(found.losses) == 3 and found.perfect == 1.0
    assert found.image_size == (64, 64) and found.positives > 0 and found.stopped_by


@pytest.mark.slow
def test_unreadable_images_are_an_error(shapes, tmp_path):
    broken = shapes.select([0, 1])
    object.__setattr__(broken, "image_paths", (str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")))
    (finding,) = check_overfit(broken, "efficientdet_lite0", image_size=64, seconds=5.0)
    assert finding.code == "overfit-unreadable"
