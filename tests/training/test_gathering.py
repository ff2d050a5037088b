"""Workers that share the images of an evaluation measure what one worker does."""

import threading

import numpy as np
import pytest

from keras_det.training import gathering
from keras_det.training.evaluate import measure
from tests.training.shapes import drawn, untrained

SETTINGS = {"score_threshold": 0.005}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return drawn(tmp_path_factory.mktemp("shapes"), 7)


@pytest.fixture(scope="module")
def model(images):
    return untrained(images)


class Together:
    """Threads that stand for workers: `sum_over_workers` waits for all of them and adds."""

    def __init__(self, monkeypatch, workers, module=gathering):
        self.workers, self.here = workers, threading.local()
        self.meet, self.given = threading.Barrier(workers, timeout=60), {}
        monkeypatch.setattr(module, "worker_of", lambda _: (self.here.index, workers))
        monkeypatch.setattr(module, "sum_over_workers", self.sum)

    def sum(self, _, numbers):
        self.given[self.here.index] = np.array(numbers, "float64")
        self.meet.wait()
        total = sum(self.given[i] for i in range(self.workers))
        self.meet.wait()
        return total

    def run(self, function):
        """What `function` of the worker's index returns, for each worker."""
        ends = [None] * self.workers

        def one(index):
            self.here.index = index
            try:
                ends[index] = function(index)
            except BaseException as error:
                ends[index] = error
                self.meet.abort()

        threads = [threading.Thread(target=one, args=(i,)) for i in range(self.workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for end in ends:
            if isinstance(end, BaseException):
                raise end
        return ends


# 7 images in batches of 2: the last batch has one. Of 5 workers, the last one has no image.
@pytest.mark.parametrize("workers", [1, 2, 3, 5])
def test_all_workers_together_measure_what_one_does(monkeypatch, model, images, workers):
    one = measure(model, images, 2, losses=True, **SETTINGS)
    assert one.facts.passing > 0 or one.facts.highest > 0
    monkeypatch.setattr(gathering, "AT_ONCE", 50)  # several exchanges
    chief, *others = Together(monkeypatch, workers).run(
        lambda _: gathering.measure_together(model, images, 2, True, SETTINGS)
    )
    assert others == [None] * (workers - 1)
    assert chief.seen.indices == one.seen.indices == list(range(7))
    assert chief.losses == pytest.approx(one.losses, rel=1e-9)
    found, expected = chief.as_metrics(), one.as_metrics()
    np.testing.assert_equal(
        {k: v for k, v in found.items() if k not in one.losses},
        {k: v for k, v in expected.items() if k not in one.losses},
    )


def test_every_number_arrives_as_it_was(monkeypatch):
    rng = np.random.default_rng(0)
    counts = [[3, 0, 100], [], [1]]
    indices = [[4, 0, 7], [], [2]]
    found = [
        [
            {
                "boxes": rng.normal(0, 1e3, (n, 4)).astype("float32"),
                "scores": rng.random(n, "float32"),
                "labels": rng.integers(0, 2**31 - 1, n, "int32"),
            }
            for n in each
        ]
        for each in counts
    ]
    together = Together(monkeypatch, 3)
    ends = together.run(lambda i: gathering.gather(None, np.array(indices[i], int), found[i]))
    by_index = dict(zip(sum(indices, []), sum(found, []), strict=True))
    for order, gathered in ends:
        assert order == [0, 2, 4, 7]
        for index, each in zip(order, gathered, strict=True):
            for name, value in by_index[index].items():
                assert each[name].dtype == value.dtype
                np.testing.assert_array_equal(each[name], value)
