"""The public checkpoints that can be fetched by name, and where they are."""

import hashlib
import os
import pathlib
import urllib.parse
from collections.abc import Mapping

from keras_det.errors import DataError, suggest
from keras_det.weights.common.fetch import fetch as fetch
from keras_det.weights.common.fetch import mirrored

EFFICIENTDET_BASE = "https://storage.googleapis.com/cloud-tpu-checkpoints/efficientdet/"
# From the README of the original code. Its link to lite3x has a typing error ("lite3x..gz"); this
# address is from https://github.com/google/automl/issues/1017. Apache-2.0. No hashes are published.
COCO_EFFICIENTDETS = {
    **{
        variant: f"{EFFICIENTDET_BASE}coco2/efficientdet-{variant}.tar.gz"
        for variant in ("d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7", "d7x")
    },
    **{
        variant: f"{EFFICIENTDET_BASE}coco/efficientdet-{variant}.tgz"
        for variant in ("lite0", "lite1", "lite2", "lite3", "lite3x", "lite4")
    },
}
TORCHVISION_BASE = "https://download.pytorch.org/models/"
# torchvision's IMAGENET1K_V1. All its file names end in the first digits of the file's SHA-256.
IMAGENET_RESNETS = {
    "resnet18": "resnet18-f37072fd.pth",
    "resnet34": "resnet34-b627a593.pth",
    "resnet50": "resnet50-0676ba61.pth",
    "resnet101": "resnet101-63fe2227.pth",
    "resnet152": "resnet152-394f9c45.pth",
}
COCO_RETINANETS = {"resnet50": "retinanet_resnet50_fpn_coco-eeacb38b.pth"}


def _entry(table: Mapping[str, str], variant: str, what: str) -> str:
    if variant not in table:
        raise DataError(
            f"{what} are published for {', '.join(table)}. Received: {variant!r}."
            f"{suggest(variant, table)} Choose a name from the list, or give a path."
        )
    return table[variant]


def coco_checkpoint(
    variant: str, address: str | None = None, cache_dir: str | os.PathLike | None = None
) -> pathlib.Path:
    """Fetches the official COCO checkpoint of an EfficientDet.

    Args:
        variant: "d0" … "d7", "d7x", "lite0" … "lite4", "lite3x".
        address: another URL for it, which gets its own place in the cache. Default: the official
            URL, or the same file name at `KERAS_DET_CHECKPOINTS`, a base address or a folder.
        cache_dir: as for `fetch`.

    Returns:
        Prefix of the checkpoint, for `keras_det.weights.load_efficientdet`.

    Raises:
        DataError: the variant is unknown; or as `fetch`.
    """
    official = _entry(COCO_EFFICIENTDETS, variant, "COCO checkpoints of EfficientDet")
    address = address or mirrored(official)
    name = urllib.parse.urlsplit(address).path.rpartition("/")[2]
    if address != official:  # no hash says that it is the same file
        name = f"{hashlib.sha256(address.encode()).hexdigest()[:8]}-{name}"
    return fetch(address, name=name, cache_dir=cache_dir)


def _torchvision_file(name: str, cache_dir: str | os.PathLike | None) -> pathlib.Path:
    digits = name.removesuffix(".pth").rpartition("-")[2]
    address = mirrored(TORCHVISION_BASE + name)
    return fetch(address, name=name, cache_dir=cache_dir, file_hash=digits)


def imagenet_resnet(variant: str, cache_dir: str | os.PathLike | None = None) -> pathlib.Path:
    """Fetches torchvision's ImageNet weights (IMAGENET1K_V1) of "resnet18" … "resnet152".

    Args:
        variant: name of the ResNet.
        cache_dir: as for `fetch`.

    Returns:
        Path of a `.pth`, for `keras_det.weights.load_resnet`.

    Raises:
        DataError: the variant is unknown; or as `fetch`.
    """
    name = _entry(IMAGENET_RESNETS, variant, "ImageNet weights of ResNets")
    return _torchvision_file(name, cache_dir)


def coco_retinanet(variant: str, cache_dir: str | os.PathLike | None = None) -> pathlib.Path:
    """Fetches torchvision's COCO weights of RetinaNet with the backbone "resnet50".

    Args:
        variant: name of the backbone.
        cache_dir: as for `fetch`.

    Returns:
        Path of a `.pth`, for `keras_det.weights.load_torchvision_retinanet`.

    Raises:
        DataError: the variant is unknown; or as `fetch`.
    """
    name = _entry(COCO_RETINANETS, variant, "COCO weights of RetinaNet")
    return _torchvision_file(name, cache_dir)
