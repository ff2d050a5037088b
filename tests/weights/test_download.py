"""The public files that can be fetched by name: what is published, and where."""

import hashlib
import inspect
import itertools
import tarfile

import keras
import numpy as np
import pytest

from keras_det.errors import DataError
from keras_det.weights import download
from keras_det.weights.common.fetch import MIRROR_VARIABLE
from keras_det.weights.download import coco_checkpoint, coco_retinanet, imagenet_resnet
from tests.helpers import ROOT, d0_checkpoint, golden
from tests.weights.common.archive_writer import DATA, kept, write_archive


def test_tables_name_what_was_published():
    names = ["d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7", "d7x"]
    names += ["lite0", "lite1", "lite2", "lite3", "lite3x", "lite4"]
    assert list(download.COCO_EFFICIENTDETS) == names
    base = "https://storage.googleapis.com/cloud-tpu-checkpoints/efficientdet"
    assert download.COCO_EFFICIENTDETS["d7x"] == f"{base}/coco2/efficientdet-d7x.tar.gz"
    assert download.COCO_EFFICIENTDETS["lite3x"] == f"{base}/coco/efficientdet-lite3x.tgz"
    for variant, name in itertools.chain(
        download.IMAGENET_RESNETS.items(), download.COCO_RETINANETS.items()
    ):
        digits = name.removesuffix(".pth").rpartition("-")[2]
        assert variant in name and len(digits) == 8 and int(digits, 16)


def test_the_document_lists_every_address():
    text = (ROOT / "docs" / "checkpoints.md").read_text()
    names = [*download.IMAGENET_RESNETS.values(), *download.COCO_RETINANETS.values()]
    addresses = [*download.COCO_EFFICIENTDETS.values()]
    addresses += [download.TORCHVISION_BASE + name for name in names]
    base = inspect.getmodule(keras.applications.EfficientNetB0).BASE_WEIGHTS_PATH
    addresses += [f"{base}efficientnetb{i}_notop.h5" for i in range(8)]
    assert [address for address in addresses if f"| {address} |" not in text] == []


@pytest.mark.parametrize(
    "function, message",
    [
        (coco_checkpoint, r"EfficientDet are published for d0, .*lite4\. Received: 'd8'\. Choose"),
        (imagenet_resnet, r"ResNets are published for resnet18, .*resnet152\. Received: 'd8'\."),
        (coco_retinanet, r"RetinaNet are published for resnet50\. Received: 'd8'\. Choose"),
    ],
)
def test_unknown_variants_name_the_known_ones(function, message):
    with pytest.raises(DataError, match=message):
        function("d8")


def test_torchvision_files_are_checked_by_their_names(tmp_path, cache, monkeypatch):
    content = b"weights"
    name = f"resnet18-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    (tmp_path / name).write_bytes(content)
    (tmp_path / download.COCO_RETINANETS["resnet50"]).write_bytes(content)
    monkeypatch.setenv(MIRROR_VARIABLE, tmp_path.as_uri() + "/")
    monkeypatch.setitem(download.IMAGENET_RESNETS, "resnet18", name)
    assert imagenet_resnet("resnet18", cache_dir=cache).read_bytes() == content
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


def test_a_query_is_no_part_of_the_name(monkeypatch):
    asked = {}
    monkeypatch.setattr(download, "fetch", lambda address, **kwargs: asked.update(kwargs))
    coco_checkpoint("d0", "https://example.org/x/efficientdet-d0.tar.gz?key=a/b")
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
