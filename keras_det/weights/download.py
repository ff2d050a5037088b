"""Fetches public checkpoints once and keeps them; the table of those there are.

Files go through `keras.utils.get_file` into a folder of their own and get their name in the cache
when they are complete, so that an interrupted download is never taken for the file. Archives are
unpacked beside them, below a name that holds their hash.
"""

import glob
import gzip
import hashlib
import os
import pathlib
import re
import shutil
import stat
import tarfile
import tempfile
import urllib.parse
import zipfile
import zlib
from collections.abc import Iterator

import keras

from keras_det.errors import DataError, suggest
from keras_det.files import file_digest

# A base address, or a folder, that takes the place of everything up to the file's name.
MIRROR_VARIABLE = "KERAS_DET_CHECKPOINTS"
# Below Keras' own cache, where keras.applications keeps its weights too.
CACHE_SUBDIR = "models"

EFFICIENTDET_BASE = "https://storage.googleapis.com/cloud-tpu-checkpoints/efficientdet/"
# As the README of the original lists them. Its link to lite3x is mistyped ("lite3x..gz"); this is
# the one that https://github.com/google/automl/issues/1017 gives. Apache-2.0. No hashes published.
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
# torchvision's IMAGENET1K_V1. Like all its files they end in the first digits of their SHA-256.
IMAGENET_RESNETS = {
    "resnet18": "resnet18-f37072fd.pth",
    "resnet34": "resnet34-b627a593.pth",
    "resnet50": "resnet50-0676ba61.pth",
    "resnet101": "resnet101-63fe2227.pth",
    "resnet152": "resnet152-394f9c45.pth",
}
COCO_RETINANETS = {"resnet50": "retinanet_resnet50_fpn_coco-eeacb38b.pth"}

TARS, ZIPS = (".tar.gz", ".tgz"), (".zip",)
MODEL_FILES = (".h5", ".pth", ".safetensors", ".keras")
# What a damaged or odd archive raises; other OSErrors, a full disk, are not its fault.
BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    RuntimeError,  # an encrypted zip
    FileExistsError,  # one path as a file and as a folder
    NotADirectoryError,
    IsADirectoryError,
)
MD5_DIGITS = 32
READ_SIZE = 1 << 20  # bytes


def _fits(path, file_hash):
    if file_hash is None:
        return True
    algorithm = "md5" if len(file_hash) == MD5_DIGITS else "sha256"
    return file_digest(path, algorithm).startswith(file_hash.lower())


def _cache_folder(cache_dir):
    """The folder for files, made where it is missing; the home is chosen as Keras chooses it."""
    home = cache_dir or os.environ.get("KERAS_HOME") or pathlib.Path("~", ".keras")
    folder = pathlib.Path(home).expanduser() / CACHE_SUBDIR
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise DataError(
            f"The cache must be a folder that can be written. Received: {folder}. Set KERAS_HOME "
            "to one that can."
        )
    return folder


def _download(address, target, file_hash):
    """Puts the complete file at `target`, or raises DataError and leaves what was there."""
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=target.parent) as folder:
        try:
            part = keras.utils.get_file(target.name, address, cache_dir=folder, cache_subdir="")
        except Exception as error:  # get_file raises plain Exception for what the network does
            raise DataError(
                f"The file must be within reach. Received: {address} ({_reason(error)}). Without a "
                f"network, fetch it elsewhere and set {MIRROR_VARIABLE} to the folder that holds "
                "it; or, of a whole detector, unpack it and give its path as the weights."
            ) from error
        if not _fits(part, file_hash):
            raise DataError(
                f"The file at {address} must have a hash that begins with {file_hash}. Received: "
                f"SHA-256 {file_digest(part)}, {os.path.getsize(part)} bytes. Nothing was kept: "
                "fetch it again, or ask who serves it."
            )
        os.replace(part, target)


def _reason(error):
    """What the network said: get_file repeats the address around it."""
    cause = error.__context__
    reason = getattr(cause, "reason", None)
    return f"{getattr(cause, 'code', '')} {reason}".strip() if reason else str(error)


def _inside(folder, name, is_plain):
    """Where an archive's member goes; DataError for links, devices and paths out of the folder."""
    parts = re.split(r"[/\\]", name)
    if not is_plain or name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
        raise DataError(
            "An archive must hold plain files and folders with paths inside it, no links. "
            f"Received: {name!r}. It was not unpacked: take it from where it was published."
        )
    return folder.joinpath(*(part for part in parts if part))


def _tar_members(path) -> Iterator[tuple]:
    with gzip.open(path) as stream:
        # To the end, where the checksum is: tarfile stops reading before it.
        while stream.read(READ_SIZE):
            pass
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            yield member.name, member.isfile() or member.isdir(), file


def _zip_members(path) -> Iterator[tuple]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            is_plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
            file = archive.open(member) if is_plain and not member.is_dir() else None
            yield member.filename, is_plain, file


def _unpack(path, folder):
    """Writes what an archive holds below `folder`: contents only, no owners and no permissions."""
    members = _tar_members if path.name.endswith(TARS) else _zip_members
    for name, is_plain, file in members(path):
        target = _inside(folder, name, is_plain)
        if file is None:
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with file, open(target, "wb") as output:
            shutil.copyfileobj(file, output)


def _unpacked(path, digest):
    """The folder with an archive's files; a broken archive is removed from the cache."""
    folder = path.with_name(f"{path.name.partition('.')[0]}-{digest[:8]}")
    if folder.is_dir():
        return folder
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=path.parent) as scratch:
        files = pathlib.Path(scratch, "files")
        files.mkdir()
        try:
            _unpack(path, files)
            _checkpoint_in(files)
        except DataError:
            path.unlink()
            raise
        except BROKEN as error:
            size = path.stat().st_size
            path.unlink()
            raise DataError(
                f"An archive must be complete. Received: {path.name}, {size} bytes ({error}). It "
                "was removed from the cache: fetch it again."
            ) from error
        try:
            files.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
    return folder


def _is_newest(index):
    """Whether TensorFlow's `checkpoint` file beside it names this checkpoint as the newest."""
    state = index.with_name("checkpoint")
    text = state.read_text() if state.is_file() else ""
    newest = re.search(r'^model_checkpoint_path: "(?:.*/)?([^"/]+)"', text, re.MULTILINE)
    return newest is not None and newest[1] == index.name.removesuffix(".index")


def _checkpoint_in(folder):
    """Prefix of the TensorFlow checkpoint in a folder, or its one file of weights."""
    files = sorted(path for path in folder.rglob("*") if not path.name.startswith("."))
    indices = [path for path in files if path.suffix == ".index"]
    found = indices if len(indices) < 2 else [path for path in indices if _is_newest(path)]
    found = found or [path for path in files if path.suffix in MODEL_FILES and not indices]
    if len(found) != 1:
        names = [str(path.relative_to(folder)) for path in files if path.is_file()]
        raise DataError(
            "An archive must hold one checkpoint: a TensorFlow checkpoint's .index, or one file of "
            f"{', '.join(MODEL_FILES)}. Received: {names[:8]}. It was removed from the cache: "
            "unpack it by hand and give the path of the right one as `weights=`."
        )
    return _complete(found[0].with_suffix("")) if indices else found[0]


def _complete(prefix):
    """The prefix of a TensorFlow checkpoint whose data files are all there."""
    parts = list(prefix.parent.glob(f"{glob.escape(prefix.name)}.data-?????-of-?????"))
    if not parts or len(parts) != int(parts[0].name[-5:]):
        raise DataError(
            f"A TensorFlow checkpoint must have all its data files beside {prefix.name}.index. "
            f"Received: {sorted(part.name for part in parts)}. The archive was removed from the "
            "cache: take it from where it was published."
        )
    return prefix


def fetch(address: str, *, name: str, cache_dir=None, file_hash=None) -> pathlib.Path:
    """Returns a file from the cache, where it is put by the first call.

    Prints the address, the size and the SHA-256, so that they can be noted and pinned.

    Args:
        address: URL, also `file://…`.
        name: name of the file in the cache, which tells it from others: two addresses with one name
            are one file. `.tar.gz`, `.tgz` and `.zip` are unpacked.
        cache_dir: folder below which `models/<name>` lies; `KERAS_HOME` or `~/.keras` by default.
        file_hash: SHA-256 in hexadecimal, or its first digits, or a whole MD5 (32 digits). A file
            in the cache that does not fit is fetched again.

    Returns:
        Path of the file; for an archive the prefix of the TensorFlow checkpoint in it, or its one
        file of weights.

    Raises:
        DataError: the address is out of reach, the hash does not fit, the archive is incomplete,
            or holds links, paths out of its folder, or no checkpoint. Nothing is kept then.
    """
    target = _cache_folder(cache_dir) / name
    if not (target.is_file() and _fits(target, file_hash)):
        _download(address, target, file_hash)
    digest = file_digest(target)
    print(f"{address}\n{target}: {target.stat().st_size / 1e6:.1f} MB, SHA-256 {digest}")
    if not name.endswith(TARS + ZIPS):
        return target
    return _checkpoint_in(_unpacked(target, digest))


def mirrored(address: str) -> str:
    """The address, or that of the file's name below `KERAS_DET_CHECKPOINTS` where that is set."""
    base = os.environ.get(MIRROR_VARIABLE)
    if not base:
        return address
    name = address.rpartition("/")[2]
    if "://" in base:
        return f"{base.rstrip('/')}/{name}"
    return (pathlib.Path(base).expanduser().absolute() / name).as_uri()


def _entry(table, variant, what):
    if variant not in table:
        raise DataError(
            f"{what} are published for {', '.join(table)}. Received: {variant!r}."
            f"{suggest(variant, table)} Choose a name from the list, or give a path."
        )
    return table[variant]


def coco_checkpoint(variant: str, address: str | None = None, cache_dir=None) -> pathlib.Path:
    """Fetches the official COCO checkpoint of an EfficientDet.

    Args:
        variant: "d0" … "d7", "d7x", "lite0" … "lite4", "lite3x".
        address: another URL for it; kept apart in the cache. Default: the official one, or the
            same name below `KERAS_DET_CHECKPOINTS`, a base address or a folder.
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


def _torchvision_file(name, cache_dir):
    digits = name.removesuffix(".pth").rpartition("-")[2]
    address = mirrored(TORCHVISION_BASE + name)
    return fetch(address, name=name, cache_dir=cache_dir, file_hash=digits)


def imagenet_resnet(variant: str, cache_dir=None) -> pathlib.Path:
    """Fetches torchvision's ImageNet weights (IMAGENET1K_V1) of "resnet18" … "resnet152".

    Returns:
        Path of a `.pth`, for `keras_det.weights.load_resnet`.

    Raises:
        DataError: the variant is unknown; or as `fetch`.
    """
    name = _entry(IMAGENET_RESNETS, variant, "ImageNet weights of ResNets")
    return _torchvision_file(name, cache_dir)


def coco_retinanet(variant: str, cache_dir=None) -> pathlib.Path:
    """Fetches torchvision's COCO weights of RetinaNet with the backbone "resnet50".

    Returns:
        Path of a `.pth`, for `keras_det.weights.load_torchvision_retinanet`.

    Raises:
        DataError: the variant is unknown; or as `fetch`.
    """
    name = _entry(COCO_RETINANETS, variant, "COCO weights of RetinaNet")
    return _torchvision_file(name, cache_dir)
