"""Type checkers know what `detect` returns: the keys and types of a dict, or a list of dicts."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

from keras_det.runtime.running import named
from keras_det.types import Detections
from tests.export.tiny import tiny
from tests.helpers import ROOT

PROGRAM = """
import pathlib
from typing import Any
import numpy as np
import keras_det
from keras_det.models import CornerNet, Detector, EfficientDet
from keras_det.types import BatchArray, Detections, OneArray

def f(any_model: Detector, with_anchors: EfficientDet, with_corners: CornerNet) -> None:
    reveal_type(any_model.detect("a.jpg"))
    reveal_type(any_model.detect(["a.jpg", "b.jpg"], score_threshold=0.3))
    reveal_type(with_anchors.detect(pathlib.Path("a.jpg"), candidates="pairs"))
    reveal_type(with_corners.detect(b"", flip=True, peak_window=3))
    reveal_type(with_corners.detect((b"", b""), original_size=True))
    reveal_type(keras_det.load_exported("a.tflite").detect("a.jpg"))
    reveal_type(keras_det.load_exported("a.onnx").detect(["a.jpg"]))

def g(model: EfficientDet, one: OneArray, batch: BatchArray, array: np.ndarray) -> None:
    reveal_type(model.detect(one))
    reveal_type(keras_det.load_exported("served/1").detect(one))
    reveal_type(model.detect(batch))
    reveal_type(model.detect(array))
    reveal_type(model.detect("a.jpg")["boxes"])
    reveal_type(model.detect("a.jpg")["class_names"])
    reveal_type(model.detect("a.jpg")["num_detections"])
    reveal_type(next(model.stream("a.mp4", track=True)))
    reveal_type(next(keras_det.load_exported("a.tflite").stream(["a", 0]))["track_ids"])

def h(model: EfficientDet, method: str, variant: str) -> None:
    model.detect("a.jpg", method=method)
    EfficientDet(variant, num_classes=2)
    found: Detections = model.detect("a.jpg")
    found["score"]
    model.detect("a.jpg", score_treshold=0.3)
    model.detect("a.jpg", method=3)
    EfficientDet(0, num_classes=2)

def i(model: CornerNet) -> None:
    model.detect("a.jpg", candidates="pairs")
"""
ONE, SEVERAL = "Detections", "list[Detections]"
REVEALED = [ONE, SEVERAL, ONE, ONE, SEVERAL, ONE, SEVERAL]
REVEALED += [ONE, ONE, SEVERAL, "Any", "ndarray", "list[str]", "int", ONE, "ndarray"]
# The lines that a type checker refuses contain these words.
WRONG = [
    '["score"]',
    "score_treshold",
    "method=3",
    "EfficientDet(0",
    'candidates="pairs")',
]


@pytest.mark.slow
def test_mypy_knows_what_detect_returns(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--config-file=", "--ignore-missing-imports"]
    command += ["--follow-imports=silent", "program.py"]
    result = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    revealed = re.findall(r'Revealed type is "(.+)"', result.stdout)
    kinds = [each.replace("keras_det.results.", "") for each in revealed]
    kinds = [re.sub(r"numpy.ndarray\[.*", "ndarray", each) for each in kinds]
    assert kinds == REVEALED, result.stdout + result.stderr
    lines = PROGRAM.splitlines()
    refused = sorted({int(line) for line in re.findall(r":(\d+): error: ", result.stdout)})
    assert len(refused) == len(WRONG), result.stdout
    for line, words in zip(refused, WRONG, strict=True):
        assert words in lines[line - 1], result.stdout


def test_detections_are_what_detect_returns():
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3)).astype("uint8")
    found = tiny(image_size=(64, 64)).detect(image)
    exported = named({name: found[name] for name in ("boxes", "scores", "labels")}, "abc")
    hints = {"boxes": np.ndarray, "scores": np.ndarray, "labels": np.ndarray}
    hints["num_detections"] = int
    assert found["num_detections"] > 0
    for each in (found, exported):
        assert {name: type(value) for name, value in each.items()} == {
            **hints, "class_names": list
        }  # fmt: skip
        assert all(isinstance(name, str) for name in each["class_names"])
        assert type(each) is Detections
