"""Wheel, sdist and editable install hold everything, `keras_det.export` included. No network."""

import configparser
import os
import pathlib
import re
import subprocess
import sys
import sysconfig
import tarfile

import pytest

from tests.built import build, copied_checkout, unpack
from tests.helpers import ROOT


def imported_from(folder):
    """Imports the package from `folder` alone; returns the files of both packages and metadata.

    `-S` hides the environment's own install of keras_det: `.pth` files are processed for `folder`
    only, and what they import must be found before the environment's.
    """
    code = f"""
import site, sys
sys.path.insert(0, {str(folder)!r})
site.addsitedir({str(folder)!r})
sys.path.append({sysconfig.get_path("purelib")!r})
import importlib.metadata
import keras_det, keras_det.export
print(keras_det.__file__, keras_det.export.__file__, keras_det.__version__,
      importlib.metadata.distribution("keras-det").version)
"""
    command = [sys.executable, "-I", "-S", "-c", code]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


@pytest.fixture
def source(tmp_path):
    pytest.importorskip("setuptools", minversion="70.1")  # the first that builds without `wheel`
    return copied_checkout(tmp_path / "source")


@pytest.mark.slow
def test_wheel_holds_every_package(source, tmp_path):
    installed = unpack(build(source, "wheel", tmp_path / "wheel"), tmp_path / "installed")
    package, export, *versions = imported_from(installed)
    assert package == str(installed / "keras_det" / "__init__.py")
    assert export == str(installed / "keras_det" / "export" / "__init__.py")
    assert len(set(versions)) == 1
    for file in ("py.typed", "metrics/analysis.schema.json"):
        assert (installed / "keras_det" / file).exists()
    for module in [*(ROOT / "keras_det").rglob("*.py"), *(ROOT / "export").rglob("*.py")]:
        place = module.relative_to(ROOT)
        place = place if place.parts[0] == "keras_det" else "keras_det" / place
        assert (installed / place).exists(), f"{place} is missing from the wheel"
    assert not (installed / "export").exists() and not (installed / "tests").exists()


@pytest.mark.slow
def test_sdist_builds_the_same_wheel(source, tmp_path):
    with tarfile.open(build(source, "sdist", tmp_path / "sdist")) as archive:
        # Python 3.11.3 and earlier have no such filter, nor the argument for it.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        archive.extractall(tmp_path / "unpacked")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert (unpacked / "LICENSE").exists()
    installed = unpack(build(unpacked, "wheel", tmp_path / "wheel"), tmp_path / "installed")
    assert imported_from(installed)[1] == str(installed / "keras_det" / "export" / "__init__.py")


@pytest.mark.slow
def test_editable_install_leads_to_the_checkout(source, tmp_path):
    wheel = build(source, "editable", tmp_path / "editable")
    package, export, *_ = imported_from(unpack(wheel, tmp_path / "installed"))
    assert package == str(source / "keras_det" / "__init__.py")
    assert pathlib.Path(export).resolve() == source / "export" / "__init__.py"
    # A plain path, which type checkers follow; they cannot run setuptools' import hooks.
    files = [path for path in (tmp_path / "installed").iterdir() if path.is_file()]
    assert [path.suffix for path in files] == [".pth"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_checkout_whose_link_is_a_text_file_installs_too(source, tmp_path, kind):
    """What Git on Windows leaves where it may not make links."""
    link = source / "keras_det" / "export"
    link.unlink()
    link.write_text("../export")
    wheel = build(source, kind, tmp_path / "wheel")
    _, export, *_ = imported_from(unpack(wheel, tmp_path / "installed"))
    home = {"wheel": tmp_path / "installed" / "keras_det", "editable": source}[kind]
    assert export == str(home / "export" / "__init__.py")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="links may be text files")
def test_export_is_linked_into_the_package_and_loaded_under_one_name():
    assert os.readlink(ROOT / "keras_det" / "export") == os.path.join("..", "export")
    code = """
import sys
import keras_det.export.to_tflite.tflite, keras_det.export.to_saved_model.saved_model
files = [m.__file__ for m in sys.modules.values() if "/export/" in str(getattr(m, "__file__", ""))]
ours = [name for name in sys.modules if name.split(".")[0] == "export"]
assert not ours and len(files) == len(set(files)), (ours, files)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_setup_cfg_lists_every_package():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = config["options"]["packages"].split()
    folders = [p.parent.relative_to(ROOT) for p in (ROOT / "keras_det").rglob("__init__.py")]
    folders += [
        "keras_det" / p.parent.relative_to(ROOT) for p in (ROOT / "export").rglob("__init__.py")
    ]
    assert listed == sorted(".".join(folder.parts) for folder in folders)


def extras():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return set(config["options.extras_require"])


def test_names_of_extras_have_no_underscore():
    # pip 23 compares them with the names in the metadata, where underscores became hyphens.
    assert not [name for name in extras() if "_" in name]


def test_make_test_all_installs_every_extra():
    listed = re.search(r"^EXTRAS_ALL := ([\w,-]+)\$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {*listed[1].split(","), "gpu"} == extras()  # gpu where a driver is


def test_messages_name_extras_that_exist():
    text = "".join(
        path.read_text() for top in ("keras_det", "export") for path in (ROOT / top).rglob("*.py")
    )
    named = set(re.findall(r"""install_hint\(['"]([\w-]+)['"]\)""", text))
    assert {"edge", "hub", "safetensors"} <= named <= extras()


def test_every_folder_of_modules_is_a_package():
    for top in ("keras_det", "export"):
        for module in (ROOT / top).rglob("*.py"):
            assert (module.parent / "__init__.py").exists(), f"{module.parent} has no __init__.py"


def find_python(folder):
    """Runs .ci/find_python with `folder` alone as PATH."""
    command = ["/bin/sh", str(ROOT / ".ci" / "find_python")]
    return subprocess.run(
        command, env={"PATH": str(folder)}, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
def test_make_takes_the_first_python_that_really_runs(tmp_path):
    (tmp_path / "python3").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python3").chmod(0o755)
    result = find_python(tmp_path)
    assert result.returncode == 1
    assert "needs Python 3.11, 3.12 or 3.13 with the venv module" in result.stderr
    (tmp_path / "python3.12").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (tmp_path / "python3.12").chmod(0o755)
    assert find_python(tmp_path).stdout.strip() == str(tmp_path / "python3.12")
