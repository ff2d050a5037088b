"""What an export's certificate says, and that no damaged file gets one."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from PIL import Image

from keras_det import export
from keras_det.data import Dataset, drawn_images
from keras_det.data.sample import Sample
from keras_det.errors import DataError
from keras_det.export.check.average_precision import exceeds
from keras_det.export.check.publishing import weights_sha256
from keras_det.export.to_tflite import tflite as module
from keras_det.training.evaluate import evaluate
from tests.export.tiny import one_weight, tiny, wrong_mean

pytestmark = pytest.mark.slow
pytest.importorskip("ai_edge_litert.interpreter")


@pytest.fixture(scope="module")
def model():
    return tiny(image_size=(96, 128))


def self_labelled(model, folder, count=4):
    """Images whose objects are what the model finds: half of it, so that AP is not just 1."""
    samples = []
    for i, image in enumerate(drawn_images(count, (120, 150), seed=21)):
        path = folder / f"{i}.png"
        Image.fromarray(image).save(path)
        found = model.detect(image, score_threshold=0.1)
        boxes, labels = found["boxes"][::2], found["labels"][::2]
        sides = boxes[:, 2:] - boxes[:, :2]
        keep = sides.min(axis=-1) > 1
        samples.append(
            Sample(
                image_path=str(path),
                boxes=boxes[keep],
                labels=labels[keep],
                crowd=np.zeros(keep.sum(), bool),
                area=sides.prod(axis=-1)[keep],
                original_size=image.shape[:2],
                image_id=i,
            )
        )
    return Dataset.from_samples(samples, model.class_names)


@pytest.fixture(scope="module")
def labelled(model, tmp_path_factory):
    return self_labelled(model, tmp_path_factory.mktemp("labelled"))


@pytest.mark.parametrize("kind", ["tflite", "saved_model"])
def test_average_precision_of_both(model, labelled, kind, tmp_path):
    report = getattr(export, kind)(model, tmp_path / "x", images=labelled)
    written = json.loads((tmp_path / "x.certificate.json").read_text())
    expected = evaluate(model, labelled)["AP"]
    assert 0.1 < expected < 1
    precision = written["comparison"]["precision"]
    assert precision["keras"] == pytest.approx(expected, abs=2e-3)
    assert precision["artefact"] == pytest.approx(precision["keras"], abs=1e-6)
    assert precision["interval"] == pytest.approx([0, 0], abs=1e-6)
    assert precision["num_images"] == 4 == written["comparison"]["num_images"]
    assert written["image_source"] == "labelled"
    assert written["comparison"]["matched_rate"] == 1.0
    assert written["comparison"]["judged"] == ["raw outputs", "detections"]
    assert set(written["comparison"]["latency_ms"]) <= set(report.signatures)
    assert all(value > 0 for value in written["comparison"]["latency_ms"].values())
    assert "AP " in str(report) and " ms" in str(report)


def test_weights_are_known_by_their_sum(model, tmp_path):
    report = export.tflite(model, tmp_path / "x.tflite")
    model.save(tmp_path / "model.keras")
    assert report.weights_sha256 == weights_sha256(
        keras.saving.load_model(tmp_path / "model.keras")
    )
    half = tiny(image_size=(96, 128), dtype="mixed_bfloat16")
    assert weights_sha256(half) == report.weights_sha256
    kernel = half.class_head.prediction.pointwise_kernel
    kernel.assign(kernel * (1 + 2.0**-20))
    assert weights_sha256(half) != report.weights_sha256


def test_few_detections_are_not_judged(tmp_path):
    report = export.tflite(tiny(finds=False), tmp_path / "x.tflite")
    assert report.passed and report.comparison.matched_detections < 10
    assert "passed on raw outputs only; detections: not judged" in str(report)
    written = json.loads((tmp_path / "x.tflite.certificate.json").read_text())
    assert written["comparison"]["judged"] == ["raw outputs"]


def damaged(change):
    """A converter whose files are those of a changed model."""
    convert = module.convert

    def convert_other(model, *arguments, **settings):
        other = tiny(image_size=(96, 128))
        change(other)
        return convert(other, *arguments, **settings)

    return convert_other


def swapped_axes(other):
    decode = other.decode

    def decode_swapped(raw, decoder=None):
        found = decode(raw, decoder)
        return {**found, "boxes": keras.ops.take(found["boxes"], [1, 0, 3, 2], axis=-1)}

    other.decode = decode_swapped


@pytest.mark.parametrize(
    "change, message",
    [
        (one_weight, "`class_logits` differs"),
        (wrong_mean, "standard deviations"),
        (swapped_axes, "only the (Keras model|export) finds label"),
    ],
)
def test_no_damaged_file_is_kept(model, tmp_path, monkeypatch, change, message):
    monkeypatch.setattr(module, "convert", damaged(change))
    with pytest.raises(export.ExportError, match=message):
        export.tflite(model, tmp_path / "x.tflite")
    assert list(tmp_path.iterdir()) == []


def test_average_precision_is_judged_where_the_budget_says_so(
    model, labelled, tmp_path, monkeypatch
):
    """Detections and raw outputs out of sight, a damage must be seen in AP alone."""
    budget = export.Budget(None, None, None, None, rounding=2.0**-19, ap_drop=0.004)
    report = export.tflite(model, tmp_path / "x.tflite", images=labelled, budget=budget)
    assert report.comparison.judged == ("average precision",)
    assert "passed on average precision only; detections: not judged" in report.verdict
    monkeypatch.setattr(module, "convert", damaged(swapped_axes))
    with pytest.raises(export.ExportError, match=r"AP 0\.\d+ with Keras.* allowed 0.004") as caught:
        export.tflite(model, tmp_path / "y.tflite", images=labelled, budget=budget)
    precision = caught.value.report.comparison.precision
    assert precision["mean_drop"] > 0.1 and precision["interval"][0] > 0.004
    assert not (tmp_path / "y.tflite").exists()
    # Without labels nothing could judge it.
    loose = dataclasses.replace(budget, raw=10.0)
    monkeypatch.undo()
    report = export.tflite(model, tmp_path / "z.tflite", budget=loose)
    assert "average precision: not judged, no labelled images were given" in report.verdict


def test_an_interval_that_holds_the_allowance_passes():
    assert not exceeds({"mean_drop": 0.006, "interval": (0.001, 0.011)}, 0.004)
    assert not exceeds({"mean_drop": 0.003, "interval": (0.001, 0.005)}, 0.004)
    assert exceeds({"mean_drop": 0.006, "interval": (0.005, 0.007)}, 0.004)


def test_wrong_data_sets(model, labelled, tmp_path):
    other = dataclasses.replace(labelled, class_names=("a", "b", "c"))
    with pytest.raises(DataError, match="must have the model's classes.*'a'"):
        export.tflite(model, tmp_path / "x.tflite", images=other)
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    paths = (str(bad), *labelled.image_paths[1:])
    report = export.tflite(
        model, tmp_path / "x.tflite", images=dataclasses.replace(labelled, image_paths=paths)
    )
    assert report.comparison.num_images == 3 and any("bad.png" in note for note in report.notes)
    nothing = dataclasses.replace(labelled, image_paths=(str(bad),) * 4)
    with pytest.raises(DataError, match="At least one image for the check must be readable"):
        export.tflite(model, tmp_path / "y.tflite", images=nothing)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"score": -1.0}, "`score` must be a finite number of at least 0. Received: -1.0"),
        ({"raw": "much"}, "`raw` must be a finite number"),
        ({"score": None}, "must both be numbers or both be None"),
        ({"rounding": None}, "`rounding` must be"),
    ],
)
def test_wrong_budgets(values, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(export.BUDGETS["float32"], **values)
