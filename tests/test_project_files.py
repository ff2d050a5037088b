"""Workflows, citation and hooks say the same as setup.cfg and the Makefile."""

import configparser
import re

import pytest

import keras_det
from tests.conftest import LONG_FILES
from tests.helpers import ROOT

yaml = pytest.importorskip("yaml", reason="needs pyyaml")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def metadata():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config["metadata"]


def test_hosted_tests_run_on_every_python_that_is_promised():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())["jobs"]
    promised = re.findall(r"Python :: (3\.\d+)", metadata()["classifiers"])
    assert jobs["test"]["strategy"]["matrix"]["python-version"] == promised


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_call_targets_that_exist(path):
    makefile = (ROOT / "Makefile").read_text().replace("$(VENV)", ".venv")
    for target in re.findall(r"\bmake ([\w./-]+)", path.read_text()):
        assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.stem
)
def test_every_file_of_the_forge_is_a_mapping(path):
    assert isinstance(yaml.safe_load(path.read_text()), dict)


def test_the_hooks_take_the_ruff_that_the_tests_take():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    found = next(repo["rev"] for repo in hooks if repo["repo"].endswith("ruff-pre-commit"))
    lowest = re.search(r"ruff>=([\d.]+)", (ROOT / "setup.cfg").read_text())[1]
    assert found == f"v{lowest}"


def test_the_citation_and_the_package_agree():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"version: {keras_det.__version__}\n" in citation
    assert f"url: {metadata()['url']}\n" in citation
    assert f"license: {metadata()['license']}\n" in citation


def test_files_that_start_first_exist():
    assert [name for name in LONG_FILES if not (ROOT / "tests" / name).is_file()] == []
