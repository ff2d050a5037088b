"""docs/reliability.md promises only what a test shows."""

import re

from tests.helpers import ROOT

PROMISE = re.compile(r"^\| (?P<text>.+) \| `(?P<file>tests/[\w/]+\.py)::(?P<name>test_\w+)` \|$")


def test_every_promise_names_a_test_that_exists():
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    rows = [line for line in rows if not line.startswith("| promise |")]
    assert len(rows) > 15
    for row in rows:
        found = PROMISE.match(row)
        assert found, row
        source = (ROOT / found["file"]).read_text(encoding="utf-8")
        assert re.search(rf"^def {found['name']}\(", source, re.MULTILINE), row
