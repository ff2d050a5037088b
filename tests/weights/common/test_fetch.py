"""Fetching files, from `file://` only: cache, hashes, archives, mirrors, refusals."""

import hashlib
import socket
import tarfile
import zipfile

import numpy as np
import pytest

from keras_det.errors import DataError
from keras_det.weights.common import archives
from keras_det.weights.common.fetch import MIRROR_VARIABLE, fetch, mirrored
from tests.weights.common.archive_writer import CHECKPOINT, DATA, kept, write_archive

# ---- files ----


def test_a_file_is_fetched_once_and_described(tmp_path, cache, capsys):
    source = tmp_path / "a.h5"
    source.write_bytes(b"x" * 1_250_000)
    path = fetch(source.as_uri(), name="a.h5", cache_dir=cache)
    assert path == cache / "models" / "a.h5" and path.read_bytes() == source.read_bytes()
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    assert f"Fetched {source.as_uri()}: 1.2 MB, SHA-256 {digest}" in capsys.readouterr().err
    source.unlink()
    assert fetch(source.as_uri(), name="a.h5", cache_dir=cache) == path
    assert kept(cache) == ["a.h5", "a.h5.sha256"] and capsys.readouterr() == ("", "")


def test_the_cache_is_keras_home(tmp_path, monkeypatch):
    (tmp_path / "a.h5").write_bytes(b"x")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    path = fetch((tmp_path / "a.h5").as_uri(), name="a.h5")
    assert path == tmp_path / "home" / "models" / "a.h5"


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "cache").write_bytes(b"a file")
    with pytest.raises(DataError, match=r"writable folder\. Received: .*cache/models\."):
        fetch("file:///absent", name="a.h5", cache_dir=tmp_path / "cache")


def hashes(content):
    sha256 = hashlib.sha256(content).hexdigest()
    return sha256, sha256[:8].upper(), hashlib.md5(content).hexdigest()


@pytest.mark.parametrize("which", range(3))
def test_hashes_are_checked(tmp_path, cache, which):
    (tmp_path / "a.h5").write_bytes(b"right")
    address = (tmp_path / "a.h5").as_uri()
    wrong = hashes(b"wrong")[which]
    with pytest.raises(DataError, match=rf"begins with {wrong}\. Received: SHA-256 .*, 5 bytes\."):
        fetch(address, name="a.h5", cache_dir=cache, file_hash=wrong)
    assert kept(cache) == []
    path = fetch(address, name="a.h5", cache_dir=cache, file_hash=hashes(b"right")[which])
    assert path.read_bytes() == b"right"


def test_a_cached_file_with_another_hash_is_fetched_again(tmp_path, cache):
    (tmp_path / "a.h5").write_bytes(b"old")
    address = (tmp_path / "a.h5").as_uri()
    fetch(address, name="a.h5", cache_dir=cache)
    (tmp_path / "a.h5").write_bytes(b"new")
    path = fetch(address, name="a.h5", cache_dir=cache, file_hash=hashes(b"new")[0])
    assert path.read_bytes() == b"new"
    with pytest.raises(DataError, match="must have a hash that begins with"):
        fetch(address, name="a.h5", cache_dir=cache, file_hash=hashes(b"third")[0])
    assert path.read_bytes() == b"new"


# As after SIGKILL or a power cut, where nothing tidies up.
def test_what_a_killed_download_left_is_not_taken(tmp_path, cache):
    (cache / "models").mkdir(parents=True)
    (cache / "models" / ".fetching-a.h5").write_bytes(b"longer than the whole")
    (tmp_path / "a.h5").write_bytes(b"whole")
    path = fetch((tmp_path / "a.h5").as_uri(), name="a.h5", cache_dir=cache)
    assert path.read_bytes() == b"whole" and kept(cache) == ["a.h5", "a.h5.sha256"]


# ---- files without a published hash ----


def test_the_hash_of_the_first_download_is_kept_and_compared(tmp_path, cache):
    (tmp_path / "a.h5").write_bytes(b"first")
    address = (tmp_path / "a.h5").as_uri()
    path = fetch(address, name="a.h5", cache_dir=cache)
    digest = hashlib.sha256(b"first").hexdigest()
    assert path.with_name("a.h5.sha256").read_text() == f"{digest}  a.h5\n"
    path.write_bytes(b"damaged")
    assert fetch(address, name="a.h5", cache_dir=cache).read_bytes() == b"first"
    path.write_bytes(b"damaged")
    (tmp_path / "a.h5").write_bytes(b"second")
    with pytest.raises(
        DataError, match=rf"begins with {digest}\. Received.*gives no hash.*delete .*a\.h5\.sha256"
    ):
        fetch(address, name="a.h5", cache_dir=cache)
    path.with_name("a.h5.sha256").unlink()
    path.unlink()
    assert fetch(address, name="a.h5", cache_dir=cache).read_bytes() == b"second"


def test_a_published_hash_takes_the_place_of_the_kept_one(tmp_path, cache):
    (tmp_path / "a.h5").write_bytes(b"x")
    address = (tmp_path / "a.h5").as_uri()
    fetch(address, name="a.h5", cache_dir=cache)
    fetch(address, name="a.h5", cache_dir=cache, file_hash=hashes(b"x")[0])
    assert kept(cache) == ["a.h5"]


def closed_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def test_without_a_network_the_message_says_what_to_do(cache, monkeypatch):
    monkeypatch.delenv("KERAS_DET_OFFLINE")
    address = f"http://127.0.0.1:{closed_port()}/efficientdet-d0.tar.gz"
    with pytest.raises(DataError) as caught:
        fetch(address, name="efficientdet-d0.tar.gz", cache_dir=cache)
    message = str(caught.value)
    assert message.startswith(f"The file must be reachable. Received: {address} (")
    assert "Connection refused). Without" in message and message.count(address) == 1
    assert "give its path as the weights" in message and "set KERAS_DET_CHECKPOINTS" in message
    assert kept(cache) == []


def test_a_mirror_takes_the_place_of_the_base(tmp_path, monkeypatch):
    official = "https://example.org/deep/efficientdet-d0.tar.gz"
    assert mirrored(official) == official
    for base, expected in (
        ("https://mirror.example/x/", "https://mirror.example/x/efficientdet-d0.tar.gz"),
        (str(tmp_path), f"{tmp_path.as_uri()}/efficientdet-d0.tar.gz"),
    ):
        monkeypatch.setenv(MIRROR_VARIABLE, base)
        assert mirrored(official) == expected


# ---- archives ----


@pytest.mark.parametrize("ending", [".tar.gz", ".tgz", ".zip"])
def test_archives_are_unpacked_once(tmp_path, cache, ending):
    name = f"efficientdet-x{ending}"
    address = write_archive(tmp_path / name, {**CHECKPOINT, "efficientdet-x/._model.index": b""})
    prefix = fetch(address, name=name, cache_dir=cache)
    digest = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    folder = cache / "models" / f"efficientdet-x-{digest[:8]}"
    assert prefix == folder / "efficientdet-x" / "model"
    assert prefix.with_suffix(".index").read_bytes() == b"index"
    assert prefix.with_suffix(DATA).read_bytes() == b"values"
    (tmp_path / name).unlink()
    prefix.with_suffix(DATA).write_bytes(b"mark")
    assert fetch(address, name=name, cache_dir=cache) == prefix
    assert prefix.with_suffix(DATA).read_bytes() == b"mark"
    assert kept(cache) == [folder.name, name, f"{name}.sha256"]


def test_an_archive_that_changed_is_unpacked_anew(tmp_path, cache):
    for content in (b"first", b"second"):
        files = {"model.index": content, f"model{DATA}": b""}
        address = write_archive(tmp_path / "x.tgz", files)
        digest = hashlib.sha256((tmp_path / "x.tgz").read_bytes()).hexdigest()
        prefix = fetch(address, name="x.tgz", cache_dir=cache, file_hash=digest)
        assert prefix.with_suffix(".index").read_bytes() == content


@pytest.mark.parametrize("ending", [".tar.gz", ".zip"])
@pytest.mark.parametrize("part", [0.0, 0.5, 0.95, 0.99999])
def test_truncated_archives_are_refused(tmp_path, cache, ending, part):
    noise = np.random.default_rng(0).bytes(100_000)
    path = tmp_path / f"x{ending}"
    address = write_archive(path, {"x/model.index": noise, f"x/model{DATA}": noise})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(
        DataError, match=rf"must be complete\. Received: .*x{ending}, [\d,]+ bytes "
    ):
        fetch(address, name=path.name, cache_dir=cache)
    assert kept(cache) == []
    path.write_bytes(whole)
    assert fetch(address, name=path.name, cache_dir=cache).name == "model"


# Random bytes do not compress: the middle of the file is the middle of what is in it, where only
# the checksum at the very end can tell.
@pytest.mark.parametrize("ending", [".tar.gz", ".zip"])
def test_a_changed_byte_is_seen(tmp_path, cache, ending):
    noise = np.random.default_rng(0).bytes(100_000)
    path = tmp_path / f"x{ending}"
    address = write_archive(path, {"x/model.index": noise, f"x/model{DATA}": noise})
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=rf"must be complete\. Received: .*x{ending}, [\d,]+ bytes "
    ):
        fetch(address, name=path.name, cache_dir=cache)
    assert kept(cache) == []


def test_a_page_instead_of_an_archive_is_refused(tmp_path, cache):
    (tmp_path / "x.tgz").write_bytes(b"<html>Not found</html>")
    with pytest.raises(DataError, match=r"must be complete\. Received: .*x\.tgz, 22 bytes"):
        fetch((tmp_path / "x.tgz").as_uri(), name="x.tgz", cache_dir=cache)
    assert kept(cache) == []


@pytest.mark.parametrize("ending", [".tgz", ".zip"])
@pytest.mark.parametrize("name", ["../evil", "x/../../evil", "/evil", "x\\..\\..\\evil", "c:/evil"])
def test_paths_out_of_the_folder_are_refused(tmp_path, cache, ending, name):
    address = write_archive(tmp_path / f"x{ending}", {**CHECKPOINT, name: b"evil"})
    with pytest.raises(
        DataError,
        match=r"no links\. Received: .*/x\..*, with '.*evil', a path out of",
    ):
        fetch(address, name=f"x{ending}", cache_dir=cache)
    assert kept(cache) == [] and not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_are_refused(tmp_path, cache, kind):
    with tarfile.open(tmp_path / "x.tgz", "w:gz") as archive:
        member = tarfile.TarInfo("x/model.index")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(
        DataError, match=r"no links\. Received: .*/x\.\w+, with 'x/model\.index', a link"
    ):
        fetch((tmp_path / "x.tgz").as_uri(), name="x.tgz", cache_dir=cache)
    assert kept(cache) == []


def test_links_in_zips_are_refused(tmp_path, cache):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        link = zipfile.ZipInfo("x/model.index")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(
        DataError, match=r"no links\. Received: .*/x\.\w+, with 'x/model\.index', a link"
    ):
        fetch((tmp_path / "x.zip").as_uri(), name="x.zip", cache_dir=cache)


def test_a_path_that_is_file_and_folder_is_refused(tmp_path, cache):
    address = write_archive(tmp_path / "x.tgz", {"x": b"", "x/model.index": b""})
    with pytest.raises(DataError, match="An archive must be complete"):
        fetch(address, name="x.tgz", cache_dir=cache)


def test_another_process_may_be_faster(tmp_path, cache, monkeypatch):
    address = write_archive(tmp_path / "x.tgz", CHECKPOINT)
    unpack = archives.unpack

    def and_so_does_the_other(path, folder):
        unpack(path, folder)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        unpack(path, cache / "models" / f"x-{digest[:8]}")

    monkeypatch.setattr(archives, "unpack", and_so_does_the_other)
    prefix = fetch(address, name="x.tgz", cache_dir=cache)
    assert prefix.with_suffix(".index").read_bytes() == b"index"
    assert len(kept(cache)) == 3


@pytest.mark.parametrize(
    "files, found",
    [
        (["x/model.index", f"x/model{DATA}", "x/notes.txt"], "x/model"),
        (["model.ckpt-7.index", f"model.ckpt-7{DATA}"], "model.ckpt-7"),
        (["m.index", "m.data-00000-of-00002", "m.data-00001-of-00002"], "m"),
        (["x/a.h5", "x/notes.txt"], "x/a.h5"),
        (["a.pth"], "a.pth"),
        (["x/ckpt-1.index", "x/ckpt-2.index", f"x/ckpt-2{DATA}", "x/checkpoint"], "x/ckpt-2"),
    ],
)
def test_the_checkpoint_in_an_archive_is_found(tmp_path, cache, files, found):
    state = b'model_checkpoint_path: "/home/me/ckpt-2"\nall_model_checkpoint_paths: "ckpt-1"\n'
    contents = {name: state if name.endswith("checkpoint") else b"" for name in files}
    address = write_archive(tmp_path / "x.tgz", contents)
    path = fetch(address, name="x.tgz", cache_dir=cache)
    assert str(path).endswith(f"/{found}") and path.parents[found.count("/")].name[:2] == "x-"


@pytest.mark.parametrize(
    "files",
    [["notes.txt"], ["a.index", "b.index"], ["a.h5", "b.h5"], ["a.index", "b.index", "c.h5"]],
)
def test_an_archive_without_one_checkpoint_is_refused(tmp_path, cache, files):
    address = write_archive(tmp_path / "x.tgz", dict.fromkeys(files, b""))
    with pytest.raises(
        DataError, match=rf"must hold one checkpoint: .*Received: .*, with \['{files[0]}'"
    ):
        fetch(address, name="x.tgz", cache_dir=cache)
    assert kept(cache) == []


@pytest.mark.parametrize("parts", [[], ["m.data-00000-of-00002"], [f"other{DATA}"]])
def test_a_checkpoint_without_its_data_is_refused(tmp_path, cache, parts):
    address = write_archive(tmp_path / "x.tgz", dict.fromkeys(["m.index", *parts], b""))
    with pytest.raises(
        DataError, match=r"all its data files beside m\.index\. Received: .*x.tgz, with \["
    ):
        fetch(address, name="x.tgz", cache_dir=cache)
    assert kept(cache) == []
