"""The text of an XML file in any encoding, as the XML parser of Python takes it."""

import codecs
import re

from keras_det.data.formats import plain_text

# How files in UTF-16 without a mark begin.
UNMARKED = ((b"<\x00", "utf-16-le"), (b"\x00<", "utf-16-be"))
# Codecs of Python that no XML file is written in.
NO_CHARACTER_SETS = ("idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape")
DECLARED = re.compile(rb"<\?xml[^>]*?\bencoding\s*=\s*[\"']\s*([^\"'>]*?)\s*[\"']")
DECLARATION = re.compile(r"^<\?xml.*?\?>", re.DOTALL)
ENTITY = "<!ENTITY"


class XmlTextError(ValueError):
    """An XML file that is not to be parsed.

    Args:
        must: what must hold, such as "must define no entities".
        received: what the file has instead.
    """

    def __init__(self, must: str, received: str) -> None:
        super().__init__(f"{must}. Received: {received}")
        self.must, self.received = must, received


def xml_text(data: bytes) -> bytes | str:
    """Returns the content of an XML file for the parser: bytes in UTF-8, or decoded text.

    Decoded text has no declaration, which names the encoding of the file. Blanks before the first
    element are left out.

    Args:
        data: the content of the file.

    Raises:
        XmlTextError: the encoding is not known, the bytes are not text in it, or the file defines
            entities: a small file with these can fill the memory.
    """
    encoding = xml_encoding(data)
    if encoding is None:
        if ENTITY.encode() in data:
            raise _entities()
        return data.lstrip()
    try:
        if codecs.lookup(encoding).name in NO_CHARACTER_SETS:
            raise LookupError
        text = data.decode(encoding).lstrip("\ufeff\r\n\t ")
    except LookupError:
        shown = repr(encoding) if len(encoding) <= 40 else f"{encoding[:40]!r}…"
        raise XmlTextError("must be in a known encoding", f"encoding={shown}") from None
    except (UnicodeError, ValueError) as error:
        raise XmlTextError("must be in the declared encoding", str(error)) from None
    if ENTITY in text:
        raise _entities()
    return DECLARATION.sub("", text, count=1).lstrip()


def _entities() -> XmlTextError:
    return XmlTextError("must define no entities", f"{ENTITY} …>")


def xml_encoding(data: bytes) -> str | None:
    """The encoding by mark or declaration; None for UTF-8, which the XML parser reads itself."""
    marked = plain_text.encoding_of(data)
    if marked.startswith(("utf-16", "utf-32")):
        return marked
    for start, encoding in UNMARKED:
        if data.startswith(start):
            return encoding
    declared = DECLARED.search(data, 0, 400)
    if declared is None:
        return None
    name = declared[1].decode("ascii", "replace").lower()
    if name in ("utf-8", "utf8", ""):
        return None
    # .NET declares utf-16 in files of single bytes, and some editors save any file as UTF-8 with
    # its mark: the bytes decide.
    if data.startswith(codecs.BOM_UTF8) or re.match("utf-?(16|32)", name):
        return "utf-8"
    return name
