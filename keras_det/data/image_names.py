"""How tools write the file name of one image: paths of other systems, URLs, spellings of a name."""

import posixpath
import re
import unicodedata
import urllib.parse

from keras_det.data.image import IMAGE_SUFFIXES

SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/+")
DRIVE = re.compile(r"[A-Za-z]:/*")
# Label Studio serves a file of its disk as "/data/local-files/?d=photos/x.jpg".
LOCAL_FILE = re.compile(r"[?&]d=([^&]+)")
# Label Studio writes eight hexadecimal digits before the name of an uploaded file.
UPLOAD = re.compile(r"[0-9a-f]{8}-(?=.)")


def clean_path(name: str) -> str:
    """Returns the path that a name means: with "/", relative, without URL parts and quotes.

    "C:\\photos\\a b.jpg", "file:///photos/a%20b.jpg" and "/data/local-files/?d=photos/a%20b.jpg"
    all become "photos/a b.jpg".
    """
    path = name.strip().strip("\"'").strip().replace("\\", "/")
    url = SCHEME.match(path)
    served = LOCAL_FILE.search(path)
    if served:
        path = served[1]
    elif url:
        path = re.split(r"[?#]", path[url.end() :], maxsplit=1)[0]
    for _ in range(2):  # some tools quote twice
        if "%" in path:
            decoded = urllib.parse.unquote(path)
            path = path if "\ufffd" in decoded else decoded.replace("\\", "/")
    path = DRIVE.sub("", path, count=1) if DRIVE.match(path) else path
    path = path.lstrip("/")
    if "./" in path or "//" in path:
        path = posixpath.normpath(path)
    while path.startswith("../"):
        path = path[3:]
    return "" if path in (".", "..") else path


def is_relative(name: str) -> bool:
    """Whether a name is a path below some folder, neither absolute nor a URL."""
    path = name.strip().strip("\"'").strip()
    return not (path.startswith(("/", "\\")) or SCHEME.match(path) or DRIVE.match(path))


def stem(name: str) -> str:
    """The name without the suffix of an image; other suffixes belong to the name."""
    head, _, suffix = name.rpartition(".")
    return head if head and f".{suffix.lower()}" in IMAGE_SUFFIXES else name


def same_text(name: str) -> str:
    """One form for names that look the same: an accent may be a letter of its own (Mac)."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def same_inside(name: str) -> str:
    """One form for names that differ in blanks around them."""
    return same_text(name).strip()


def same_letters(name: str) -> str:
    """One form for names that differ in upper and lower case, kinds of spaces or %20."""
    if "%" in name:
        name = urllib.parse.unquote(name)
    if name.isascii():
        return name.strip().lower()
    return unicodedata.normalize("NFKC", name).strip().casefold()


def same_stem(name: str) -> str:
    """One form for names that differ in their suffix too."""
    return same_letters(stem(name))


def has_prefix(name: str) -> bool:
    """Whether a name starts as Label Studio's do: "0a1b2c3d-"."""
    return UPLOAD.match(name) is not None


def without_prefix(name: str) -> str:
    """One form for names with and without the prefix of Label Studio."""
    return same_letters(UPLOAD.sub("", name, count=1))


def shown(name: str) -> str:
    """The name for a message, and its codes where letters may look the same."""
    return repr(name) if repr(name) == ascii(name) else f"{name!r} ({ascii(name)})"
