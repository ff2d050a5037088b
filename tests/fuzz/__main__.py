"""Feeds damaged data sets to all readers and counts what they do; `make fuzz MINUTES=5`.

The same seed gives the same inputs. The exit code is 1 if there was an internal error, a hang or
too much memory; those inputs are kept in the folder `fuzz_findings`, to be read again with
`keras-det data stats`.
"""

import argparse
import itertools
import pathlib
import sys
import tempfile
import time

from tests.fuzz import readers
from tests.fuzz.harness import BAD, Counts, attempt


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="stop after this many minutes")
    parser.add_argument("--inputs", type=int, help="stop after this many instead")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--formats", nargs="*", default=readers.FORMATS)
    parser.add_argument("--keep", type=pathlib.Path, default=pathlib.Path("fuzz_findings"))
    given = parser.parse_args(arguments)
    readers.preload(given.formats)
    counts, end = Counts(), time.monotonic() + 60 * given.minutes
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary) / "data"
        for number in itertools.count():
            if number >= given.inputs if given.inputs else time.monotonic() > end:
                break
            name = given.formats[number % len(given.formats)]
            case = readers.one(name, given.seed * 1_000_000 + number // len(given.formats))
            readers.write(folder, case)
            tried = attempt(lambda: readers.read(folder, name), readers.limits(name))  # noqa: B023
            counts.add(name, case.name, tried)
            if tried.outcome in BAD:
                readers.write(given.keep / case.name.replace(" ", "_"), case)
    print(counts.table())
    for kind, findings in counts.kinds():
        _, name, tried = findings[0]
        print(f"\n{len(findings)} times, first {name}: {kind}\n{tried.text}")
    return 1 if counts.findings else 0


if __name__ == "__main__":
    sys.exit(main())
