"""Finds the public checkpoints of the catalogue: installed, in the cache, or on the network."""

import hashlib
import importlib.util
import os
import pathlib
import urllib.parse
from typing import NamedTuple

from keras_det.errors import DataError, suggest
from keras_det.files import file_digest
from keras_det.weights.catalogue import CATALOGUE, Entry, PublicFile, entry_of
from keras_det.weights.common.fetch import Unreachable, cache_folder, fits, kept_digest, mirrored
from keras_det.weights.common.fetch import fetch as fetch
from keras_det.weights.common.transfer import TransferError

IMAGENET, COCO = "imagenet/", "coco/"


class Found(NamedTuple):
    """A public checkpoint on this computer.

    Attributes:
        path: what the importers take: a file, or the prefix of a TensorFlow checkpoint.
        file: the file that was downloaded or installed, whose hash is checked.
        place: "installed" or "cached".
        digest: the first digits of its SHA-256 or its MD5, if published; else the SHA-256 of the
            first download; None if neither is known.
        published: whether `digest` is the publisher's.
        note: how the weights differ from the first file of the entry.
    """

    path: pathlib.Path
    file: pathlib.Path
    place: str
    digest: str | None
    published: bool
    note: str = ""

    @property
    def sha256(self) -> str:
        """SHA-256 of the file."""
        return file_digest(self.file)

    @property
    def is_intact(self) -> bool:
        """Whether the hash of the file is right; True if none is known."""
        return fits(self.file, self.digest)


def _cache_name(file: PublicFile, address: str) -> str:
    """Name in the cache: a file from another address gets its own name if it has no hash."""
    name = urllib.parse.urlsplit(address).path.rpartition("/")[2]
    if address == file.address or file.digest is not None:
        return name
    return f"{hashlib.sha256(address.encode()).hexdigest()[:8]}-{name}"


def _installed(entry: Entry) -> Found | None:
    """The file that an installed package holds."""
    package = entry.package
    spec = importlib.util.find_spec(package.module) if package else None
    if package is None or spec is None or spec.origin is None:
        return None
    path = pathlib.Path(spec.origin).parent / package.file
    return Found(path, path, "installed", package.digest, True) if path.is_file() else None


def _in_cache(file: PublicFile, target: pathlib.Path) -> Found:
    """What the cache has of a file at `target`."""
    digest = file.digest or kept_digest(target)
    return Found(target, target, "cached", digest, file.digest is not None, file.note)


def _cached(file: PublicFile, cache_dir: str | os.PathLike | None) -> Found | None:
    target = cache_folder(cache_dir) / _cache_name(file, mirrored(file.address))
    return _in_cache(file, target) if target.is_file() else None


def on_this_computer(entry: Entry, cache_dir: str | os.PathLike | None = None) -> list[Found]:
    """The installed and cached files of an entry, intact or not, the preferred one first.

    `path` is the file itself. For an archive, `obtain` gives the path of the checkpoint in it.

    Args:
        entry: an entry of the catalogue.
        cache_dir: as for `fetch`.
    """
    places = [_installed(entry), *(_cached(file, cache_dir) for file in entry.files)]
    return [found for found in places if found is not None]


def _fetched(
    file: PublicFile, cache_dir: str | os.PathLike | None, address: str | None = None
) -> Found:
    address = address or mirrored(file.address)
    name = _cache_name(file, address)
    path = fetch(address, name=name, cache_dir=cache_dir, file_hash=file.digest)
    return _in_cache(file, cache_folder(cache_dir) / name)._replace(path=path)


def obtain(name: str, cache_dir: str | os.PathLike | None = None) -> Found:
    """A public checkpoint: the installed one, else the one in the cache, else a download.

    Args:
        name: a name of the catalogue: "imagenet/efficientnet_lite0", "coco/efficientdet_d0" ….
        cache_dir: as for `fetch`.

    Returns:
        `Found`.

    Raises:
        DataError: there is no such name, or no address could be reached; the message gives the
            reason for each.
    """
    entry = entry_of(name)
    if found := _installed(entry):
        return found
    # A file that is in the cache comes before the download of another one.
    in_cache = [file for file in entry.files if _cached(file, cache_dir)]
    problems: list[tuple[str, TransferError]] = []
    wrong: DataError | None = None
    for file in [*in_cache, *(file for file in entry.files if file not in in_cache)]:
        try:
            return _fetched(file, cache_dir)
        except Unreachable as error:
            problems += error.problems
        except DataError as error:  # a wrong hash, or a damaged archive
            wrong = wrong or error
    raise wrong or Unreachable(problems)


def _known(name: str, variant: str, prefix: str, what: str) -> str:
    """The name of an entry; DataError if there is none for the variant."""
    if name not in CATALOGUE:
        known = [each.removeprefix(prefix) for each in CATALOGUE if each.startswith(prefix)]
        raise DataError(
            f"{what} are published for {', '.join(known)}. Received: {variant!r}."
            f"{suggest(variant, known)} Choose a name from the list, or give a path."
        )
    return name


def coco_checkpoint(
    variant: str, address: str | None = None, cache_dir: str | os.PathLike | None = None
) -> pathlib.Path:
    """The official COCO checkpoint of an EfficientDet.

    Args:
        variant: "d0" … "d7", "d7x", "lite0" … "lite4", "lite3x".
        address: another URL for it, which gets its own place in the cache. Default: the addresses
            of the catalogue, or the same file names at `KERAS_DET_CHECKPOINTS`, a base address or a
            folder.
        cache_dir: as for `fetch`.

    Returns:
        What `keras_det.weights.load_efficientdet` takes: the prefix of the official checkpoint, or
        the path of effdet's file with the same weights.

    Raises:
        DataError: the variant is unknown; or as for `obtain`.
    """
    prefix = f"{COCO}efficientdet_"
    name = _known(prefix + variant, variant, prefix, "COCO checkpoints of EfficientDet")
    if address is None:
        return obtain(name, cache_dir).path
    file = CATALOGUE[name].files[0]
    return _fetched(file._replace(note=""), cache_dir, address).path


def imagenet_backbone(network: str, cache_dir: str | os.PathLike | None = None) -> pathlib.Path:
    """ImageNet weights of a backbone.

    Args:
        network: "efficientnet_b0" … "efficientnet_b7", "efficientnet_lite0" …
            "efficientnet_lite4", "resnet18" … "resnet152".
        cache_dir: as for `fetch`.

    Returns:
        Path of a file for `keras_det.weights.load_backbone`.

    Raises:
        DataError: there are none; or as for `obtain`.
    """
    name = _known(IMAGENET + network, network, IMAGENET, "ImageNet weights of backbones")
    return obtain(name, cache_dir).path


def coco_retinanet(variant: str, cache_dir: str | os.PathLike | None = None) -> pathlib.Path:
    """torchvision's COCO weights of RetinaNet with the backbone "resnet50".

    Args:
        variant: name of the backbone.
        cache_dir: as for `fetch`.

    Returns:
        Path of a `.pth`, for `keras_det.weights.load_torchvision_retinanet`.

    Raises:
        DataError: the variant is unknown; or as for `obtain`.
    """
    prefix = f"{COCO}retinanet_"
    name = _known(prefix + variant, variant, prefix, "COCO weights of RetinaNet")
    return obtain(name, cache_dir).path
