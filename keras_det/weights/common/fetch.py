"""Downloads public files once and keeps them in a cache.

A file gets its name in the cache only when it is complete and its hash is right, so an interrupted
download is never mistaken for the file. If the publisher gives no hash, the hash of the first
download is stored beside the file. An archive is unpacked into a folder named with its hash.
"""

import os
import pathlib
import sys

from keras_det.errors import DataError
from keras_det.files import file_digest, write_whole
from keras_det.weights.common.archives import ARCHIVE_SUFFIXES, checkpoint_in, unpacked
from keras_det.weights.common.transfer import (
    Silence,
    TransferError,
    forget,
    is_local,
    part_of,
    transfer,
)
from keras_det.words import counted

# A base address or a folder that replaces everything before the file's name.
MIRROR_VARIABLE = "KERAS_DET_CHECKPOINTS"
# Set to anything but "" and 0, nothing is fetched from the network.
OFFLINE_VARIABLE = "KERAS_DET_OFFLINE"
# Inside Keras' own cache, where keras.applications keeps its weights too.
CACHE_SUBDIR = "models"
MD5_DIGITS = 32


def fits(path: str | os.PathLike, digest: str | None) -> bool:
    """Whether a file has this hash: first digits of a SHA-256, or a whole MD5. True for None."""
    if digest is None:
        return True
    algorithm = "md5" if len(digest) == MD5_DIGITS else "sha256"
    return file_digest(path, algorithm).startswith(digest.lower())


def cache_folder(cache_dir: str | os.PathLike | None = None) -> pathlib.Path:
    """The cache folder, chosen as Keras chooses it. It may not exist yet."""
    home = cache_dir or os.environ.get("KERAS_HOME") or pathlib.Path("~", ".keras")
    return pathlib.Path(home).expanduser() / CACHE_SUBDIR


def _made_folder(cache_dir: str | os.PathLike | None) -> pathlib.Path:
    """The cache folder, created if it is missing."""
    folder = cache_folder(cache_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise DataError(
            f"The cache must be a writable folder. Received: {folder}. Set KERAS_HOME to a folder "
            "that you can write to."
        )
    return folder


class Unreachable(DataError):
    """A file that cannot be downloaded.

    Attributes:
        problems: pairs (address, why).
        reason: why the first cannot be reached, in a few words.
        silent: whether no data arrived, so that other addresses may not answer either.
    """

    def __init__(self, problems: list[tuple[str, TransferError]]) -> None:
        self.problems = problems
        self.reason = str(problems[0][1])
        self.silent = any(isinstance(error, Silence) for _, error in problems)
        where = "" if len(problems) == 1 else " at one of its addresses"
        received = ", ".join(f"{address} ({error})" for address, error in problems)
        super().__init__(
            f"The file must be reachable{where}. Received: {received}. Without a network, download "
            f"the file on another computer, then set {MIRROR_VARIABLE} to its folder. Or give its "
            "path as the weights; unpack an archive first."
        )


def is_offline() -> bool:
    """Whether the environment forbids the use of the network."""
    return os.environ.get(OFFLINE_VARIABLE, "") not in ("", "0")


def kept_digest(path: pathlib.Path) -> str | None:
    """The SHA-256 of the first download, stored beside a file of the cache; None if there is none.

    The record is a file that `sha256sum --check` reads.
    """
    record = path.with_name(f"{path.name}.sha256")
    words = record.read_text(encoding="utf-8").split() if record.is_file() else []
    return words[0] if words else None


def _keep_digest(path: pathlib.Path, digest: str, published: bool) -> None:
    """Stores the SHA-256 of a file whose publisher gives no hash."""
    record = path.with_name(f"{path.name}.sha256")
    if published:
        record.unlink(missing_ok=True)
    elif not record.is_file():
        write_whole(record, f"{digest}  {path.name}\n".encode())


def _download(address: str, target: pathlib.Path, digest: str | None, published: bool) -> None:
    """Puts the complete file at `target`, or raises DataError and leaves what was there."""
    with part_of(target) as part:
        try:
            if is_offline() and not is_local(address):
                raise TransferError(f"{OFFLINE_VARIABLE} is set")
            completed = transfer(address, part, target.name)
            if completed and not fits(part, digest):  # the two parts are not of one file
                forget(part)
                transfer(address, part, target.name)
        except TransferError as error:
            raise Unreachable([(address, error)]) from error
        if not fits(part, digest):
            found, size = file_digest(part), os.path.getsize(part)
            forget(part)
            raise DataError(_other_hash(address, target, digest, published, found, size))
        os.replace(part, target)
        forget(part)
    print(
        f"Fetched {address}: {target.stat().st_size / 1e6:.1f} MB, SHA-256 {file_digest(target)}",
        file=sys.stderr,
    )


def _other_hash(
    address: str, target: pathlib.Path, digest: str | None, published: bool, found: str, size: int
) -> str:
    """The error for a file whose hash is neither the published nor the stored one."""
    advice = "Download it again, or ask its publisher."
    if not published:
        advice = (
            "Its publisher gives no hash; this one is from the first download. If the publisher "
            f"has replaced the file, delete {target}.sha256 and download the file again."
        )
    return (
        f"The file at {address} must have a hash that begins with {digest}. Received: SHA-256 "
        f"{found}, {counted(size, 'byte')}. The download was deleted. {advice}"
    )


def fetch(
    address: str,
    *,
    name: str,
    cache_dir: str | os.PathLike | None = None,
    file_hash: str | None = None,
) -> pathlib.Path:
    """Downloads a file on the first call and returns it from the cache afterwards.

    A download shows its progress on a terminal, continues if it was interrupted, and stops with an
    error if no data arrives for 15 seconds. The address, the size and the SHA-256 of each download
    are printed to standard error.

    Args:
        address: URL, also `file://…`.
        name: file name in the cache. Two addresses with one name are the same file. `.tar.gz`,
            `.tgz` and `.zip` are unpacked.
        cache_dir: the file is kept as `models/<name>` in this folder. Default: `KERAS_HOME`, else
            `~/.keras`.
        file_hash: SHA-256 in hexadecimal, or its first digits, or a whole MD5 (32 digits). A file
            in the cache with another hash is downloaded again. None: the hash of the first download
            is stored in `<name>.sha256` and used instead.

    Returns:
        Path of the file. For an archive: the prefix of the TensorFlow checkpoint in it, or the path
        of its only file of weights.

    Raises:
        DataError: the address cannot be reached, the network may not be used
            (`KERAS_DET_OFFLINE=1`), the hash differs, the archive is incomplete, or it
            holds links, paths out of its folder, or no checkpoint. Nothing is kept then.
    """
    target = _made_folder(cache_dir) / name
    published = file_hash is not None
    expected = file_hash or kept_digest(target)
    if not (target.is_file() and fits(target, expected)):
        _download(address, target, expected, published)
    digest, result = file_digest(target), target
    if name.endswith(ARCHIVE_SUFFIXES):
        result = checkpoint_in(unpacked(target, digest), target)
    _keep_digest(target, digest, published)
    return result


def mirrored(address: str) -> str:
    """The address to use: the same file name at `KERAS_DET_CHECKPOINTS`, if that is set."""
    base = os.environ.get(MIRROR_VARIABLE)
    if not base:
        return address
    name = address.rpartition("/")[2]
    if "://" in base:
        return f"{base.rstrip('/')}/{name}"
    return (pathlib.Path(base).expanduser().absolute() / name).as_uri()
