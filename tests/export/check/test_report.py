"""The printed report of an export: short lines, all numbers, the allowed ones beside them."""

import dataclasses
import json

from keras_det.export.check.budget import BUDGETS
from keras_det.export.check.report import Comparison, ExportReport

COMPARISON = Comparison(
    num_images=8,
    total_detections=20,
    matched_detections=18,
    excused_detections=2,
    reordered=0,
    box_error_max=0.0123,
    box_error_mean=0.001,
    score_error_max=2e-5,
    raw_error={"class_logits": 1e-4},
    raw_error_max={"class_logits": 3e-4},
    score_threshold=0.05,
    judged=("raw outputs", "detections"),
    unjudged="",
    latency_ms={"serving_default": 5.613},
    precision=None,
    failures=(),
    notes=(),
)
REPORT = ExportReport(
    artefact="x.tflite",
    format="tflite",
    settings={},
    comparison=COMPARISON,
    budget=BUDGETS["float32"],
    image_source="synthetic",
    size_bytes=159896,
    sha256="88588b932560633a",
    weights_sha256="",
    versions={},
    preprocessing={},
    class_names=("cat",),
    decoding={},
    signatures={},
    notes=(" ".join(["a long remark"] * 8),),
)
RAW_NAN = {"class_logits": float("nan")}


def test_printed_report():
    assert str(REPORT).split("\n") == [
        "passed: raw outputs and detections agree with the Keras model",
        "  images: 8 synthetic",
        "  detections above 0.05: 18 of 20 matched, 2 unmatched at the threshold",
        "  boxes: largest difference 0.012 pixels (allowed 0.5), mean 0.001",
        "  scores: largest difference 2e-05 (allowed 0.001)",
        "  differences of raw outputs, in standard deviations:",
        "    class_logits: 99.9% within 0.0001, largest 0.0003",
        "    allowed: 99.9% within 0.001, largest 0.001",
        "  file: x.tflite, 0.16 MB, sha256 88588b932560…",
        "  time per image on this machine: serving_default 5.61 ms",
        "  note: a long remark a long remark a long remark a long remark a long remark a",
        "    long remark a long remark a long remark",
    ]


def test_average_precision_and_no_limits():
    precision = {
        "keras": 0.5,
        "artefact": 0.4968,
        "drop": 0.0032,
        "mean_drop": 0.0031,
        "interval": (0.001, 0.005),
    }
    comparison = dataclasses.replace(COMPARISON, precision=precision, raw_error_max=RAW_NAN)
    report = dataclasses.replace(REPORT, comparison=comparison, budget=BUDGETS["int8"])
    lines = str(report).split("\n")
    assert lines[3] == "  boxes: largest difference 0.012 pixels, mean 0.001"
    assert lines[5] == "  AP 0.5000 with Keras, 0.4968 exported, drop 0.0032"
    assert lines[6] == (
        "  AP drop, paired bootstrap: mean 0.0031 (allowed 0.004), 95% interval 0.0010 to 0.0050"
    )
    assert lines[9] == "    allowed: 99.9% within 1"
    written = json.loads(report.to_json())
    assert written["comparison"]["raw_error_max"] == {"class_logits": None}, "JSON has no NaN"
    assert written["comparison"]["matched_rate"] == 0.9 and written["passed"]
