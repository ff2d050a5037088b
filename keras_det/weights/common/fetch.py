"""Downloads public files once and keeps them in a cache.

`keras.utils.get_file` downloads into a temporary folder. A file gets its name in the cache only
when it is complete, so an interrupted download is never mistaken for the file. Archives are
unpacked beside it, into a folder whose name holds the archive's hash.
"""

import os
import pathlib
import tempfile

import keras

from keras_det.errors import DataError
from keras_det.files import file_digest
from keras_det.weights.common.archives import ARCHIVE_SUFFIXES, checkpoint_in, unpacked

# A base address or a folder that replaces everything before the file's name.
MIRROR_VARIABLE = "KERAS_DET_CHECKPOINTS"
# Inside Keras' own cache, where keras.applications keeps its weights too.
CACHE_SUBDIR = "models"
MD5_DIGITS = 32


def _fits(path: str | os.PathLike, file_hash: str | None) -> bool:
    if file_hash is None:
        return True
    algorithm = "md5" if len(file_hash) == MD5_DIGITS else "sha256"
    return file_digest(path, algorithm).startswith(file_hash.lower())


def _cache_folder(cache_dir: str | os.PathLike | None) -> pathlib.Path:
    """The cache, created where it is missing; its place is chosen as Keras chooses it."""
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
            "to a folder that you may write to."
        )
    return folder


def _download(address: str, target: pathlib.Path, file_hash: str | None) -> None:
    """Puts the complete file at `target`, or raises DataError and leaves what was there."""
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=target.parent) as folder:
        try:
            part = keras.utils.get_file(target.name, address, cache_dir=folder, cache_subdir="")
        except Exception as error:  # get_file raises plain Exception for network errors
            raise DataError(
                f"The file must be reachable. Received: {address} ({_reason(error)}). Without a "
                f"network, download the file on another machine, then set {MIRROR_VARIABLE} to its "
                "folder. Or, for the weights of a whole detector, unpack the file and give its "
                "path as the weights."
            ) from error
        if not _fits(part, file_hash):
            raise DataError(
                f"The file at {address} must have a hash that begins with {file_hash}. Received: "
                f"SHA-256 {file_digest(part)}, {os.path.getsize(part)} bytes. Nothing was kept. "
                "Download it again, or ask its publisher."
            )
        os.replace(part, target)


def _reason(error: Exception) -> str:
    """What the network said, without the address that get_file repeats around it."""
    cause = error.__context__
    reason = getattr(cause, "reason", None)
    return f"{getattr(cause, 'code', '')} {reason}".strip() if reason else str(error)


def fetch(
    address: str,
    *,
    name: str,
    cache_dir: str | os.PathLike | None = None,
    file_hash: str | None = None,
) -> pathlib.Path:
    """Downloads a file on the first call and returns it from the cache afterwards.

    Prints the address, the size and the SHA-256, so that you can note them and check them later.

    Args:
        address: URL, also `file://…`.
        name: file name in the cache. Two addresses with one name are the same file. `.tar.gz`,
            `.tgz` and `.zip` are unpacked.
        cache_dir: the file is kept as `models/<name>` in this folder. Default: `KERAS_HOME`, else
            `~/.keras`.
        file_hash: SHA-256 in hexadecimal, or its first digits, or a whole MD5 (32 digits). A file
            in the cache with another hash is downloaded again.

    Returns:
        Path of the file. For an archive: the prefix of the TensorFlow checkpoint in it, or the path
        of its only file of weights.

    Raises:
        DataError: the address cannot be reached, the hash differs, the archive is incomplete, or it
            holds links, paths out of its folder, or no checkpoint. Nothing is kept then.
    """
    target = _cache_folder(cache_dir) / name
    if not (target.is_file() and _fits(target, file_hash)):
        _download(address, target, file_hash)
    digest = file_digest(target)
    print(f"{address}\n{target}: {target.stat().st_size / 1e6:.1f} MB, SHA-256 {digest}")
    if not name.endswith(ARCHIVE_SUFFIXES):
        return target
    return checkpoint_in(unpacked(target, digest))


def mirrored(address: str) -> str:
    """The address to use: the same file name at `KERAS_DET_CHECKPOINTS`, where that is set."""
    base = os.environ.get(MIRROR_VARIABLE)
    if not base:
        return address
    name = address.rpartition("/")[2]
    if "://" in base:
        return f"{base.rstrip('/')}/{name}"
    return (pathlib.Path(base).expanduser().absolute() / name).as_uri()
