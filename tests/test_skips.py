"""The last lines of a test run name what it skipped."""

import shutil
import subprocess
import sys

import pytest

from tests.helpers import ROOT
from tests.skips import EXTRA_OF, extra_for, summary
from tests.test_packaging import extras


@pytest.mark.parametrize(
    "reason, extra",
    [
        ("could not import 'ai_edge_litert.interpreter': No module named 'ai_edge_litert'", "edge"),
        ("the extra `onnx` is not installed", "onnx"),
        ("needs the extra `serving`", "serving"),
        ("jax is not installed: pip install .[jax]", "jax"),
        ("needs kubernetes-validate", "test"),
        ("a shell script", None),
    ],
)
def test_a_reason_names_its_extra(reason, extra):
    assert extra_for(reason) == extra


def test_every_extra_exists():
    assert set(EXTRA_OF.values()) <= extras()


def test_skips_are_counted_by_reason():
    lines = summary([("Skipped: no jax", False)] * 2 + [("no onnx", True), ("a shell", False)])
    assert lines[:3] == [
        "1 test: a shell",
        "2 tests: no jax (install the extra jax)",
        "1 whole file: no onnx (install the extra onnx)",
    ]
    assert lines[3].endswith('pip install -e ".[jax,onnx]"')
    assert summary([]) == ["nothing"]


def test_pytest_ends_with_them(tmp_path):
    (tmp_path / "test_a.py").write_text("import pytest\npytest.importorskip('no_onnx')\n")
    (tmp_path / "test_b.py").write_text(
        "import pytest\n@pytest.mark.skip(reason='jax')\ndef test_b(): pass\ndef test_c(): pass\n"
    )
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    report = done.stdout.split("Skipped:")[-1]
    assert "1 test: jax (install the extra jax)" in report
    assert "1 whole file: could not import 'no_onnx'" in report
