"""Says what a file is that is no image this package reads."""

import os

from keras_det.files import open_bytes

# The brands of an ISO media file, after "ftyp".
HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
CONVERT = "convert it to JPEG or PNG"
STARTS = (
    (b"\0\0\0\x0cjP  ", f"a JPEG 2000 image: {CONVERT}"),
    (b"\xff\x4f\xff\x51", f"a JPEG 2000 image: {CONVERT}"),
    (b"\xff\x0a", f"a JPEG XL image: {CONVERT}"),
    (b"\0\0\0\x0cJXL ", f"a JPEG XL image: {CONVERT}"),
    (b"%!PS", f"a PostScript file: {CONVERT}"),
    *((f"P{i}".encode(), f"a PPM image: {CONVERT}") for i in range(1, 7)),
    (b"\0\0\1\0", f"an icon: {CONVERT}"),
    (b"8BPS", f"a Photoshop file: {CONVERT}"),
    (b"%PDF", f"a PDF file: {CONVERT}"),
    (b"PK\3\4", "a zip archive: unpack it"),
    (b"\x1f\x8b", "a gzip archive: unpack it"),
    (b"\x1aE\xdf\xa3", "a video: extract its frames"),
    (b"version https://git-lfs", "a pointer of Git LFS: run `git lfs pull`"),
)
DAMAGED = (b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*")
START = 1024


def what_is(contents: bytes) -> str:
    """Says what the bytes of a file are, and what to do, such as "a video: extract its frames".

    Args:
        contents: the file, or its start; they do not open as an image.
    """
    start = contents[:START]
    if not start.strip(b"\0 \r\n\t"):
        return "a file of zeros or spaces" if start else "an empty file"
    if start[4:8] == b"ftyp":
        if start[8:12] in HEIC:
            return f"a HEIC image: {CONVERT}"
        return "a damaged AVIF image" if start[8:12] == b"avif" else "a video: extract its frames"
    for begin, what in STARTS:
        if start.startswith(begin):
            return what
    text = start.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if b"<svg" in start.lower():
        return f"an SVG drawing: {CONVERT}"
    if text.startswith((b"<!doctype", b"<html")):
        return "a web page: download the image again"
    if start.startswith(DAMAGED):
        return "a damaged image"
    return "not an image"


def what_is_at(path: str | os.PathLike) -> str:
    """As `what_is`, for the file at a path."""
    try:
        with open_bytes(path) as file:
            return what_is(file.read(START))
    except (OSError, ValueError) as error:
        return f"a file that does not open ({getattr(error, 'strerror', None) or error})"
