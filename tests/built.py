"""Wheels, source archives and editable installs of this checkout, built without network."""

import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile

from tests.helpers import ROOT

LEFT_OUT = shutil.ignore_patterns(
    ".*", "build", "dist", "*.egg-info", "__pycache__", "tests", "runs"
)


def copied_checkout(folder):
    """A copy of the checkout, because building writes into its source folder."""
    return shutil.copytree(ROOT, folder, symlinks=True, ignore=LEFT_OUT)


def build(source, kind, out):
    """Calls the build backend of pyproject.toml the way pip does; returns what it wrote."""
    code = (
        "import sys; from setuptools import build_meta; "
        "print(getattr(build_meta, 'build_' + sys.argv[1])(sys.argv[2]))"
    )
    out.mkdir()
    command = [sys.executable, "-c", code, kind, str(out)]
    result = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return out / result.stdout.splitlines()[-1]


def unpack(wheel, folder):
    """Extracts a wheel, which is what installing it comes to; returns the folder."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def environment_with(wheel, folder):
    """A virtual environment that holds a wheel and sees the packages of this one.

    This one's own install of keras_det is not seen: `.pth` files in folders that a `.pth` file adds
    are not read.

    Returns:
        Path of its interpreter.
    """
    venv.create(folder, with_pip=False, symlinks=sys.platform != "win32")
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    found = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    packages = unpack(wheel, folder.joinpath(found.stdout.strip()))
    (packages / "z_others.pth").write_text(sysconfig.get_path("purelib"))
    return python
