"""`.ci/sbom.py`: licences of what is installed, and the SBOM of a release."""

import email.message
import importlib.metadata

import pytest

from tests.helpers import load_script


@pytest.fixture(scope="module")
def sbom():
    return load_script(".ci/sbom.py")


class Installed:
    """A distribution of a name, with requirements and headers of its metadata."""

    version = "1.2"

    def __init__(self, requires=(), **headers):
        self.requires, self.metadata = list(requires), email.message.Message()
        for name, value in headers.items():
            self.metadata[name.replace("_", "-")] = value


@pytest.fixture
def installed(monkeypatch):
    found = {
        "app": Installed(
            [
                "B_lib[fast]>=2; python_version > '3'",
                "gone; os_name == 'nt'",
                'extra1; extra == "x"',
            ],
            License_Expression="MIT OR Apache-2.0",
        ),
        "b-lib": Installed(["app", "c.lib (>=1)"], License="BSD"),
        "c-lib": Installed(Classifier="License :: OSI Approved :: MIT License", License="x\ny"),
        "extra1": Installed(),
    }

    def distribution(name):
        if name not in found:
            raise importlib.metadata.PackageNotFoundError(name)
        return found[name]

    monkeypatch.setattr(importlib.metadata, "distribution", distribution)
    return found


def test_all_that_is_needed_and_installed_is_in_the_bill(sbom, installed):
    bill = sbom.bill("app")
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    assert bill["metadata"]["component"]["bom-ref"] == "pkg:pypi/app@1.2"
    assert bill["metadata"]["component"]["licenses"] == [{"expression": "MIT OR Apache-2.0"}]
    assert [(each["name"], each["licenses"]) for each in bill["components"]] == [
        ("b-lib", [{"license": {"name": "BSD"}}]),
        ("c-lib", [{"license": {"name": "MIT License"}}]),
    ]
    assert {each["ref"]: each["dependsOn"] for each in bill["dependencies"]} == {
        "pkg:pypi/app@1.2": ["pkg:pypi/b-lib@1.2"],
        "pkg:pypi/b-lib@1.2": ["pkg:pypi/app@1.2", "pkg:pypi/c-lib@1.2"],
        "pkg:pypi/c-lib@1.2": [],
    }
    assert bill == sbom.bill("app"), "the same for the same environment"
    assert sbom.licence(installed["extra1"]) == "unknown"


def test_a_package_that_is_not_installed_is_named(sbom, installed):
    with pytest.raises(SystemExit, match="other must be installed"):
        sbom.bill("other")


# A dependency that forces its licence on others must be seen before a release.
def test_no_dependency_has_a_licence_of_the_gpl_alone(sbom):
    found = {name: sbom.licence(each) for name, each in sbom.closure("keras-det").items()}
    assert {"keras", "numpy", "pillow", "tensorflow"} <= {*found}
    strict = {n: words for n, words in found.items() if "GPL" in words and "LGPL" not in words}
    assert not strict
