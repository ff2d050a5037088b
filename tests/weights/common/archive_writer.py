"""Writes the archives of the tests, and lists what a cache keeps."""

import io
import tarfile
import zipfile

DATA = ".data-00000-of-00001"
CHECKPOINT = {
    "efficientdet-x/model.index": b"index",
    f"efficientdet-x/model{DATA}": b"values",
}


def write_archive(path, files):
    """A `.tar.gz`, `.tgz` or `.zip` of a dict from names to contents; returns its address."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path.as_uri()
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path.as_uri()


def kept(cache):
    """Names of what lies in the cache, hidden ones too."""
    return sorted(path.name for path in (cache / "models").iterdir())
