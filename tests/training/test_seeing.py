"""Curves as a picture, and what is written for TensorBoard."""

import io

import pytest
import tensorflow as tf
from PIL import Image

from keras_det.data import draw_shapes_dataset, load
from keras_det.errors import DataError
from keras_det.training import seeing
from keras_det.training.callbacks import History
from tests.export.tiny import TinyDetector

ROWS = [
    {"epoch": "1", "loss": "3", "box_loss": "1", "val_AP": "0", "val_measured": "0"},
    {"epoch": "2", "loss": "2", "box_loss": "0.5", "val_AP": "0.5", "val_measured": "1"},
    {"epoch": "3", "loss": "1", "box_loss": "0.25", "val_AP": "0.5", "val_measured": "0"},
]


def test_the_curves_have_the_numbers_of_the_history(monkeypatch):
    Axes = pytest.importorskip("matplotlib.axes").Axes  # noqa: N806

    drawn = {}
    plot = Axes.plot

    def record(self, x, y, **more):
        drawn[more["label"]] = (list(x), list(y))
        return plot(self, x, y, **more)

    monkeypatch.setattr(Axes, "plot", record)
    picture = Image.open(io.BytesIO(seeing.draw_curves(ROWS)))
    assert drawn == {
        "loss": ([1, 2, 3], [3, 2, 1]),
        "box_loss": ([1, 2, 3], [1, 0.5, 0.25]),
        "val_AP": ([2], [0.5]),  # the others were not measured
    }
    assert picture.format == "PNG" and picture.size == (700, 480)


def test_the_picture_is_drawn_now_and_then_and_at_the_end(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    now, drawn = [100.0], []
    monkeypatch.setattr(seeing.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(seeing, "draw_curves", lambda rows: drawn.append(len(rows)) or b"x")
    history, curves = History(tmp_path / "history.csv"), seeing.Curves(tmp_path)
    for epoch in range(5):
        history.on_epoch_end(epoch, {"loss": 1.0})
        curves.on_epoch_end(epoch)
        now[0] += 8
    curves.on_train_end()
    assert drawn == [1, 4, 5] and (tmp_path / "curves.png").read_bytes() == b"x"


def test_without_matplotlib_nothing_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(seeing.importlib.util, "find_spec", lambda name: None)
    (tmp_path / "history.csv").write_text("epoch,loss\n1,2\n")
    seeing.Curves(tmp_path).on_train_end()
    assert not (tmp_path / "curves.png").exists()


class Measured:
    """`EvaluateAP` of which only what it has found matters."""

    model, dataset, found = TinyDetector(["cat"], (64, 64), max_level=5), "data", None


# Writing takes 2 seconds, so the next report comes 2 / 0.03 = 67 seconds later.
def test_the_report_takes_a_small_share_of_the_time(tmp_path, monkeypatch):
    now, written = [100.0], []

    def write(folder, found, dataset, names, title, history):
        now[0] += 2.0
        written.append((now[0], found, title, len(history)))

    monkeypatch.setattr(seeing, "write_report", write)
    rows = History(tmp_path / "history.csv")
    page = seeing.ReportPage(tmp_path, Measured, rows.path, lambda: now[0])
    for epoch, (seconds, found) in enumerate(
        [(5, "a"), (30, "b"), (30, "c"), (30, "d"), (30, "e"), (90, "e"), (90, None), (90, "f")]
    ):
        now[0] += seconds
        monkeypatch.setattr(Measured, "found", found)
        rows.on_epoch_end(epoch, {"loss": 1.0})
        page.on_epoch_end(epoch)
    assert written == [
        (137.0, "b", "After epoch 2", 2),
        (229.0, "e", "After epoch 5", 5),
        (501.0, "f", "After epoch 8", 8),
    ]


def events(folder):
    """Tags with their steps and values; of pictures, (width, height)."""
    found = {}
    for path in sorted(folder.iterdir()):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                tensor = tf.make_ndarray(value.tensor)
                if tensor.dtype == object:
                    tensor = tuple(int(side) for side in tensor[:2])
                found.setdefault(value.tag, []).append((event.step, tensor))
    return found


def test_tensorboard_that_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(seeing.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"needs the package tensorboard. Received: .*Install it"):
        seeing.TensorBoard(tmp_path)


def test_tensorboard_gets_numbers_and_pictures(tmp_path):
    pytest.importorskip("tensorboard")
    draw_shapes_dataset(tmp_path / "data", num_train=1, num_val=5, image_size=64, seed=0)
    dataset = load(tmp_path / "data", split="val")
    model = TinyDetector(dataset.class_names, (64, 64))
    model.compile()
    board = seeing.TensorBoard(tmp_path / "board", dataset, batch_size=2, pictures=3)
    board.set_model(model)
    logs = {"loss": 2.0, "learning_rate": 0.5, "val_AP": 0.25}
    board.on_epoch_end(0, {**logs, "val_measured": 1.0})
    board.on_epoch_end(1, {**logs, "val_measured": 0.0})
    board.on_train_end()
    found = events(tmp_path / "board")
    assert found["loss/loss"] == [(1, 2.0), (2, 2.0)]
    assert found["training/learning_rate"] == [(1, 0.5), (2, 0.5)]
    assert found["validation/AP"] == [(1, 0.25)], "it was not measured again"
    names = [dataset.image_paths[i].split("/")[-1] for i in (0, 2, 4)]
    pictures = {tag: values for tag, values in found.items() if tag in names}
    assert sorted(pictures) == sorted(names)
    ((step, (width, height)),) = pictures[names[0]]
    high, wide = dataset.image_sizes[0]
    assert step == 1 and height == high and width >= 2 * wide


@pytest.mark.parametrize(
    "name, tag",
    [("loss", "loss/loss"), ("val_AP50", "validation/AP50"), ("seconds", "training/seconds")],
)
def test_groups(name, tag):
    assert seeing._group(name) == tag
