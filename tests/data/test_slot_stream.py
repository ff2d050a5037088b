"""Images that become named pipes, devices, sockets or folders while a pipeline reads."""

import contextlib
import os
import socket
import threading

import pytest

from keras_det.data import Mosaic, Pipeline, slot_stream
from tests.data.test_pipeline import make_dataset, take

SECONDS = 90

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")


@pytest.fixture
def waited(tmp_path):
    """Pipes that were waited for; TensorFlow goes on once somebody opens them to write."""
    found = []

    def release():
        for path in tmp_path.iterdir():
            if path.is_fifo():
                found.append(path.name)
                with contextlib.suppress(OSError):
                    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))

    timer = threading.Timer(SECONDS, release)
    timer.daemon = True
    timer.start()
    yield found
    timer.cancel()


@pytest.mark.parametrize(
    ("kind", "augment"),
    [
        ("pipe", None),
        ("pipe", "ssj"),
        ("pipe", [Mosaic(1.0)]),
        ("link", None),
        ("socket", None),
        ("folder", None),
    ],
)
def test_an_image_that_became_special_counts_as_one_that_vanished(tmp_path, waited, kind, augment):
    dataset = make_dataset(tmp_path)
    pipeline = Pipeline(dataset, 32, 2, augment=augment, num_parallel_calls=1)
    place = tmp_path / "3.jpg"
    place.unlink()
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "link":
        place.symlink_to("/dev/zero")
    elif kind == "folder":
        place.mkdir()
    else:
        with contextlib.chdir(tmp_path), contextlib.closing(socket.socket(socket.AF_UNIX)) as it:
            it.bind(place.name)
    with pytest.warns(UserWarning, match=r"is skipped: An image must be a file.*3\.jpg"):
        seen = [i for batch in take(pipeline, 4) for i in batch[1]["image_index"]]
    assert 3 not in seen and len(seen) == (5 if augment is None else 8)
    assert pipeline.failed == [str(place)] and not waited


def test_an_image_that_becomes_a_named_pipe_within_an_epoch_is_noticed(
    tmp_path, waited, monkeypatch
):
    monkeypatch.setattr(slot_stream, "BLOCK", 2)
    dataset = make_dataset(tmp_path, 40)
    batches = iter(Pipeline(dataset, 32, 1, num_parallel_calls=1).as_tf_dataset())
    next(batches)
    (tmp_path / "39.jpg").unlink()
    os.mkfifo(tmp_path / "39.jpg")
    with pytest.warns(UserWarning, match=r"39\.jpg \(.*named pipe"):
        assert [int(batch[1]["image_index"][0]) for batch in batches] == list(range(1, 39))
    assert not waited


# Of a million files, checking all before an epoch would delay it by seconds.
def test_at_most_50_000_files_are_checked_before_an_epoch():
    import tensorflow as tf

    asked = []

    class Looks:
        def look(self, first, count):
            asked.append((first, count))
            return set()

    slots = tf.data.Dataset.range(600)
    kept = slot_stream.readable_slots(slots, tf.constant(0, tf.int64), Looks(), lambda *_: [])
    assert [int(slot) for slot in kept] == list(range(600))
    assert asked == [(0, 50_000), (256, 256), (512, 256)]
