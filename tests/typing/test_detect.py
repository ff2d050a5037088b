"""Type checkers know what `detect` returns: a dict for one image, a list of dicts for several."""

import os
import re
import subprocess
import sys

import pytest

from tests.helpers import ROOT

PROGRAM = """
import pathlib
from keras_det.models import CornerNet, Detector, EfficientDet

def f(any_model: Detector, with_anchors: EfficientDet, with_corners: CornerNet) -> None:
    reveal_type(any_model.detect("a.jpg"))
    reveal_type(any_model.detect(["a.jpg", "b.jpg"], score_threshold=0.3))
    reveal_type(with_anchors.detect(pathlib.Path("a.jpg"), candidates="pairs"))
    reveal_type(with_corners.detect(b"", flip=True, peak_window=3))
    reveal_type(with_corners.detect((b"", b""), original_size=True))
    with_anchors.detect("a.jpg", score_treshold=0.3)
    with_corners.detect("a.jpg", candidates="pairs")
"""
ONE, SEVERAL = "dict[str, Any]", "list[dict[str, Any]]"


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
    output = result.stdout.replace("builtins.", "")
    revealed = re.findall(r'Revealed type is "(.+)"', output)
    assert revealed == [ONE, SEVERAL, ONE, ONE, SEVERAL], result.stdout + result.stderr
    assert set(re.findall(r":(\d+): error: ", output)) == {"11", "12"}, output
