"""Out-of-fold detections: who is trained on what, and what happens after an interruption."""

import json

import numpy as np
import pytest

from keras_det.data import Dataset, Sample, draw_shapes_dataset, load
from keras_det.errors import DataError
from keras_det.review import find_label_errors, folds, out_of_fold_detections


def dataset_of(count):
    area = np.array([100.0])
    box, crowd = np.array([[0.0, 0, 10, 10]]), np.array([False])
    samples = [
        Sample(f"/x/{chr(97 + k)}.png", box, np.array([k % 2]), crowd, area, (20, 20), k)
        for k in range(count)
    ]
    return Dataset.from_samples(samples, ["cat", "dog"])


def test_folds_are_parts_balanced_by_class():
    dataset = dataset_of(20)
    for count in (2, 3, 5):
        parts = folds.folds_of(dataset, count)
        assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(20))
        assert max(map(len, parts)) - min(map(len, parts)) <= 2
        cats = [(dataset.labels[part] == 0).mean() for part in parts]
        assert min(cats) >= 0.25 and max(cats) <= 0.75
    assert not np.array_equal(folds.folds_of(dataset, 2, seed=1)[0], folds.folds_of(dataset, 2)[0])
    for wrong in (1, 21):
        with pytest.raises(
            DataError, match=f"folds must be at least 2 .* Received: {wrong} for 20"
        ):
            folds.folds_of(dataset, wrong)


@pytest.fixture
def trained(monkeypatch):
    """Puts recorders in the place of training and detection; lists what each fold trained on."""
    calls = []

    def train(model, rest, val, run, resume, **settings):
        assert val is None
        calls.append((run.name, resume, set(rest.image_paths), settings["epochs"]))
        run.mkdir(parents=True, exist_ok=True)
        (run / "recipe.json").write_text("{}")
        if settings["epochs"] == 13:
            raise KeyboardInterrupt

    def detect(model, part, batch_size, on_batch):
        rows = [{"boxes": np.array([[1.234, 0, 9, 9]]), "scores": [0.5], "labels": [1]}]
        return list(range(len(part) - 1)), rows * (len(part) - 1)  # one image is unreadable

    monkeypatch.setattr(folds, "train", train)
    monkeypatch.setattr(folds, "load_model", lambda path: path)
    monkeypatch.setattr(folds, "detect_dataset", detect)
    return calls


def test_no_image_is_judged_by_a_model_that_saw_it(trained, tmp_path):
    dataset = dataset_of(10)
    out = tmp_path / "review"
    found = out_of_fold_detections("m", dataset, out, 2, epochs=3, say=str)
    (_, first, seen, _), (_, second, others, _) = trained
    assert not first and not second and not seen & others and len(seen | others) == 10
    assert sum(len(row["scores"]) for row in found) == 8  # one of each fold is unreadable
    assert found[0]["boxes"].shape[1] == 4 and found[0]["boxes"].dtype == float
    again = out_of_fold_detections("m", dataset, out, 2, epochs=3, say=str)
    assert len(trained) == 2  # nothing is trained again
    for one, other in zip(found, again, strict=True):
        assert np.array_equal(one["boxes"], other["boxes"])


def test_an_interrupted_fold_goes_on(trained, tmp_path):
    dataset = dataset_of(10)
    with pytest.raises(KeyboardInterrupt):
        out_of_fold_detections("m", dataset, tmp_path, 2, epochs=13, say=str)
    settings = json.loads((tmp_path / "review.json").read_text())
    settings["settings"]["epochs"] = 3
    (tmp_path / "review.json").write_text(json.dumps(settings))
    out_of_fold_detections("m", dataset, tmp_path, 2, epochs=3, say=str, learning_rate=0.1)
    assert [(name, resume) for name, resume, *_ in trained] == [
        ("fold_1", False),
        ("fold_1", True),
        ("fold_2", False),
    ]


def test_another_review_is_not_mixed_in(trained, tmp_path):
    out = tmp_path / "review"
    out_of_fold_detections("m", dataset_of(10), out, 2, epochs=3, say=str)
    with pytest.raises(DataError, match="a review with other labels or images"):
        out_of_fold_detections("m", dataset_of(11), out, 2, epochs=3, say=str)
    with pytest.raises(DataError, match="a review with other folds=2"):
        out_of_fold_detections("m", dataset_of(10), out, 3, epochs=3, say=str)
    with pytest.raises(DataError, match="must be a new or empty folder, or that of the same"):
        out_of_fold_detections("m", dataset_of(10), tmp_path, 2, epochs=3, say=str)
    assert len(trained) == 2


@pytest.mark.slow
def test_two_real_trainings(tmp_path):
    draw_shapes_dataset(tmp_path / "data", num_train=12, num_val=2, image_size=64)
    dataset = load(tmp_path / "data", split="train")
    settings = dict(epochs=1, batch_size=2, image_size=64, say=str)
    found = out_of_fold_detections("efficientdet_lite0", dataset, tmp_path / "out", 2, **settings)
    assert len(found) == 12 and all(len(row["scores"]) for row in found)
    for number in (1, 2):
        assert (tmp_path / "out" / f"fold_{number}" / "last.keras").is_file()
    findings = find_label_errors(dataset.ground_truth(), found, dataset.class_names, least=0)
    assert {each.kind for each in findings} >= {"missing"}
