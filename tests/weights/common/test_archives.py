"""Archives that would fill the disk, or that write elsewhere, are refused and leave nothing."""

import gzip
import io
import os
import tarfile
import tracemalloc
import zipfile

import pytest

from keras_det.errors import DataError
from keras_det.weights.common import archives, transfer
from keras_det.weights.common.fetch import fetch
from tests.weights.common.archive_writer import CHECKPOINT, kept, write_archive


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def refused(path, cache, match):
    files = {each for each in path.parent.rglob("*") if cache not in each.parents}
    with pytest.raises(DataError, match=match):
        fetch(path.as_uri(), name=path.name, cache_dir=cache)
    assert kept(cache) == []
    left = {each for each in path.parent.rglob("*") if cache not in each.parents}
    assert left == files | {cache}


def tar_gz(path, headers, data=b""):
    path.write_bytes(gzip.compress(headers + data + bytes(1024)))
    return path


def member(name="x/model.index", size=0, kind=tarfile.REGTYPE, form=tarfile.GNU_FORMAT, **pax):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.pax_headers = size, kind, pax
    return info.tobuf(tarfile.PAX_FORMAT if pax else form)


def old_sparse(real):
    """GNU's first form: the header names one stretch of no bytes, and the real size."""
    header = bytearray(member(kind=tarfile.GNUTYPE_SPARSE))
    header[386:410] = b"%011o\0%011o\0" % (0, 0)
    header[483:495] = b"%011o\0" % real
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def new_sparse(real):
    return member(
        **{
            "GNU.sparse.major": "0",
            "GNU.sparse.minor": "1",
            "GNU.sparse.map": "0,0",
            "GNU.sparse.name": "x/model.index",
            "GNU.sparse.size": str(real),
        }
    )


def sparse_1_0(real):
    name = {"GNU.sparse.name": "x/model.index", "GNU.sparse.realsize": str(real)}
    header = member(**name, **{"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}, size=512)
    return header + b"1\n0\n0\n".ljust(512, b"\0")


@pytest.mark.parametrize("make", [old_sparse, new_sparse, sparse_1_0])
@pytest.mark.parametrize("real", [100, 3_200_000_000])
def test_sparse_files_are_refused(make, real, tmp_path, cache):
    path = tar_gz(tmp_path / "x.tgz", make(real))
    assert path.stat().st_size < 1000
    with tarfile.open(path) as archive:
        found = archive.getmembers()[0]
        assert found.issparse() and found.size == real, "the attack itself does not work"
    refused(path, cache, r"no links\. Received: .*/x\.tgz, with 'x/model\.index'|must hold at most")


@pytest.mark.parametrize("ending", [".tgz", ".zip"])
def test_bombs_are_refused_before_they_are_written(ending, tmp_path, cache, monkeypatch):
    monkeypatch.setattr(archives, "FREE", 1 << 20)
    path, zeros = tmp_path / f"x{ending}", bytes(4 << 20)
    if ending == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x/model.index", zeros)
    else:
        tar_gz(path, member(size=len(zeros)), zeros)
    monkeypatch.setattr(archives, "open", None, raising=False)  # nothing is written
    refused(
        path,
        cache,
        r"at most [\d,]+ bytes: 20 times its own [\d,]+ bytes.* Received: .*, with [\d,]+ by",
    )


def test_what_is_written_counts_not_what_is_declared(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(archives, "FREE", 1000)
    monkeypatch.setattr(archives, "MAX_RATIO", 0)
    address = write_archive(tmp_path / "x.tgz", {f"x/{i}": os.urandom(150) for i in range(7)})
    monkeypatch.setattr(archives, "_tar_members", lambda path, budget: endless())
    with pytest.raises(DataError, match=r"must hold at most 1,000 bytes"):
        fetch(address, name="x.tgz", cache_dir=cache)
    assert kept(cache) == []


def endless():
    yield "x/model.index", True, io.BytesIO(bytes(2000))


@pytest.mark.parametrize("ending", [".tgz", ".zip"])
def test_members_are_counted(ending, tmp_path, cache, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 5)
    write_archive(tmp_path / f"x{ending}", {f"x/{i}": b"" for i in range(6)})
    refused(
        tmp_path / f"x{ending}",
        cache,
        r"at most 5 files and folders\. Received: .*/x\.\w+, with 6 files and folders",
    )


def test_a_declared_size_is_not_believed(tmp_path, cache):
    path = tar_gz(tmp_path / "x.tgz", member(size=1 << 40))
    refused(path, cache, "must hold at most")
    path = tar_gz(tmp_path / "x.tgz", member(**{"size": str(1 << 50)}))
    refused(path, cache, "must hold at most")
    path = tar_gz(tmp_path / "x.tgz", member(size=1 << 20))  # more than there is
    refused(path, cache, "must be complete")


@pytest.mark.parametrize(
    "name", ["x/" + "n" * 300, "a/" * 40 + "b", "x/a\x1b[31m", "x/a\nb", "x/a\x00b"]
)
def test_names_that_no_disk_takes_are_refused(name, tmp_path, cache):
    if "\x00" in name:
        path = tar_gz(tmp_path / "x.tgz", member(path=name))
        refused(path, cache, r"plain files and folders|must be complete|must hold one checkpoint")
        return
    write_archive(tmp_path / "x.tgz", {**CHECKPOINT, name: b""})
    refused(tmp_path / "x.tgz", cache, r"plain files and folders")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_refused(method, tmp_path, cache):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", method) as archive:
        archive.writestr("x/model.index", b"index" * 100)
    refused(tmp_path / "x.zip", cache, r"plain files and folders")


def test_overlapping_members_are_counted_each(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(archives, "FREE", 1 << 20)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/a", bytes(100_000))
        first = archive.infolist()[0]
        for i in range(20):  # all of them show to the same bytes
            twin = zipfile.ZipInfo(f"x/{i}")
            for field in ("header_offset", "CRC", "compress_size", "file_size", "compress_type"):
                setattr(twin, field, getattr(first, field))
            archive.filelist.append(twin)
            archive.NameToInfo[twin.filename] = twin
    (tmp_path / "x.zip").write_bytes(stream.getvalue())
    refused(tmp_path / "x.zip", cache, "must hold at most|must be complete")


@pytest.mark.parametrize("fields", [b"9" * 18, b"-1", b"x", b""])
def test_headers_that_tarfile_cannot_read_are_refused(fields, tmp_path, cache):
    names = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "5"}
    header = member(**names, size=512) + (fields + b"\n").ljust(512, b"\0")
    refused(tar_gz(tmp_path / "x.tgz", header), cache, "must be complete|plain files and folders")


def test_unpacking_takes_little_memory(tmp_path):
    content = os.urandom(1 << 16) * 64
    path = tmp_path / "x.tgz"
    write_archive(path, {"x/model.index": content})
    tracemalloc.start()
    try:
        archives.unpack(path, tmp_path / "out")
        assert tracemalloc.get_traced_memory()[1] < 4 * archives.READ_SIZE
    finally:
        tracemalloc.stop()
    assert (tmp_path / "out" / "x" / "model.index").read_bytes() == content


def test_a_copy_is_limited_and_leaves_nothing(tmp_path, monkeypatch):
    part = tmp_path / "part"
    part.write_bytes(b"xxx")
    monkeypatch.setattr(transfer, "MAX_BYTES", 10)
    with pytest.raises(transfer.TransferError, match="11 bytes or more, and the limit is 10"):
        transfer._check_size(11, part)
    assert not part.exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_no_file_to_copy(tmp_path, cache):
    os.mkfifo(tmp_path / "x.h5")
    with pytest.raises(DataError, match=r"it is a named pipe, not a regular file"):
        fetch((tmp_path / "x.h5").as_uri(), name="x.h5", cache_dir=cache)
    assert kept(cache) == []
