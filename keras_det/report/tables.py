"""Tables as CSV files."""

import csv
import io
from collections.abc import Iterable, Sequence


def csv_bytes(lines: Iterable[Sequence[object]]) -> bytes:
    """The content of a CSV file in UTF-8.

    File names may hold bytes that are not UTF-8; they become \\udc80 and so on.

    Args:
        lines: the header and the rows.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().encode("utf-8", "backslashreplace")
