"""Small files that declare huge images."""

import io
import struct
import zlib

from PIL import Image


def hollow_jpeg(width, height, **options):
    """A whole JPEG of 16x16 pixels whose frame declares another size."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16), (90, 80, 70)).save(file, "JPEG", **options)
    contents = bytearray(file.getvalue())
    frame = contents.index(b"\xff\xc2" if options.get("progressive") else b"\xff\xc0")
    contents[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(contents)


def plain_png(width, height, depth=8, color=0):
    """A PNG of one colour, at about a thousandth of its pixels' bytes.

    Args:
        width, height: in pixels.
        depth: bits of a value.
        color: 0 grey, 2 RGB.
    """

    def chunk(name, content):
        sum_ = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", sum_)

    row = bytes(1 + (width * depth * (3 if color == 2 else 1) + 7) // 8)
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    parts = (("IHDR", header), ("IDAT", packed), ("IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name.encode(), part) for name, part in parts)
