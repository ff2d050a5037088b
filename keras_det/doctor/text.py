"""A report as text: the verdict, the facts, then the findings, the worst first."""

import textwrap
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from keras_det.doctor.finding import Finding
from keras_det.doctor.sections import PAGE
from keras_det.words import counted, printable

if TYPE_CHECKING:
    from keras_det.doctor.examine import Report

WIDTH = 80
# Lines of a report that is not asked for everything, and what it shows of classes and examples.
MAX_LINES, MAX_CLASSES = 60, 12
MAX_EXAMPLES = {"error": 3, "warning": 2, "note": 1}
INDENT = " " * 9
MORE = "All examples, and what to do about notes: --all (in Python: text(all=True))."


def report_text(report: "Report", all: bool = False) -> str:
    """Lines of at most 80 columns; about 60 of them unless `all` is True."""
    lines = [verdict(report), *_wrapped_facts(report.facts, all)]
    left = list(report.findings)
    for number, finding in enumerate(report.findings):
        block = ["", *_block(finding, all)]
        if not all and number and len(lines) + len(block) > MAX_LINES:
            break
        lines += block
        left.remove(finding)
    if left:
        lines += ["", f"And {_in_words(left)}.", MORE]
    elif not all and any(_shortened(finding) for finding in report.findings):
        lines += ["", MORE]
    return "\n".join(printable(line) for line in lines)


def _shortened(finding: Finding) -> bool:
    """Whether the report leaves out examples of a finding, or what to do."""
    return finding.harm == "note" or len(finding.examples) > MAX_EXAMPLES[finding.harm]


def verdict(report: "Report") -> str:
    """One sentence: what was found, and whether training can start."""
    if not report.findings:
        return "Nothing was found: the data can be trained on."
    text = {
        "error": "training would fail, or its results would mislead.",
        "warning": "training works, but the warnings may cost accuracy.",
        "note": "the data can be trained on.",
    }[report.worst or "note"]
    words = _in_words(report.findings)
    part = " Not all images were read." if report.facts.get("interrupted") else ""
    return f"{words}: {text}{part}"


def _in_words(findings: list[Finding]) -> str:
    """ "2 errors, 1 warning and 3 notes"."""
    counts = Counter(finding.harm for finding in findings)
    parts = [counted(counts[harm], harm) for harm in ("error", "warning", "note") if counts[harm]]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _wrapped_facts(facts: dict[str, Any], all: bool) -> list[str]:
    return [row for line in _facts(facts, all) for row in _wrapped(line, "", "  ")]


def _facts(facts: dict[str, Any], all: bool) -> Iterator[str]:
    """What the data set is: format, splits, sizes, classes."""
    if "splits" not in facts:
        return
    yield ""
    if "format" in facts:
        yield f"{facts['path']} in the format {facts['format']}"
    for name, row in facts["splits"].items():
        empty, crowd = row["images without objects"], row["crowd"]
        yield (
            f"{name}: "
            f"{counted(row['images'], 'image')}{f' ({empty:,} without objects)' if empty else ''}, "
            f"{counted(row['objects'], 'object')}{f' ({crowd:,} crowd)' if crowd else ''}"
        )
    sizes = facts["image sizes"]
    first = sizes["most frequent"][:1]
    often = f", most of them {first[0]['width']}x{first[0]['height']}" if first else ""
    count = sizes["different"]
    if count == 1 and first:
        yield f"image size: {first[0]['width']}x{first[0]['height']} pixels"
    elif first:
        yield (
            f"image sizes: {count} different, sides {sizes['smallest side']} to "
            f"{sizes['largest side']} pixels{often if first[0]['images'] > 1 else ''}"
        )
    if "box sides in pixels" in facts:
        box = facts["box sides in pixels"]
        yield (
            f"boxes: sides {box['smallest']:.3g} to {box['largest']:.4g} pixels, half of them "
            f"below {box['median']:.3g}"
        )
    yield from _class_table(facts["classes"], list(facts["splits"]), all)


def _class_table(classes: list[dict[str, Any]], splits: list[str], all: bool) -> Iterator[str]:
    """The map of labels, names and source ids, with the objects of each split."""
    rows = classes if all or len(classes) <= MAX_CLASSES else classes[: MAX_CLASSES - 1]
    widths = [max(6, *(len(f"{row['objects'][s]:,}") for row in classes), len(s)) for s in splits]
    room = WIDTH - 18 - sum(width + 2 for width in widths)
    longest = max(4, min(room, max(len(row["name"]) for row in classes)))
    yield ""
    heads = "".join(f"  {name:>{width}}" for name, width in zip(splits, widths, strict=True))
    yield f"label  {'name':<{longest}}  source id{heads}"
    for row in rows:
        name = row["name"] if len(row["name"]) <= longest else f"{row['name'][: longest - 1]}…"
        counts = "".join(
            f"  {row['objects'][s]:>{width},}" for s, width in zip(splits, widths, strict=True)
        )
        yield f"{row['label']:>5}  {name:<{longest}}  {row['source id']!s:>9.9}{counts}"
    if len(rows) < len(classes):
        yield f"… and {counted(len(classes) - len(rows), 'more class', 'more classes')}"


def _block(finding: Finding, all: bool) -> Iterator[str]:
    """The lines of one finding: harm and title, examples, cure, code."""
    yield from _wrapped(finding.title, f"{finding.harm.upper():<9}", INDENT)
    count = len(finding.examples) if all else MAX_EXAMPLES[finding.harm]
    for example in finding.examples[:count]:
        if all or finding.code == "unreadable-data":
            yield from _wrapped(example, f"{INDENT}- ", f"{INDENT}  ")
        else:
            yield _cut(example, f"{INDENT}- ")
    if all or finding.harm != "note":
        section = f", {PAGE}#{finding.doc}" if finding.doc else ""
        cure = f"{finding.cure} [{finding.code}{section}]"
        yield from _wrapped(cure, f"{INDENT}> ", f"{INDENT}  ")


def _wrapped(text: str, first: str, others: str) -> list[str]:
    """Lines of at most 80 columns; short lines, such as rows of tables, keep their spaces."""
    if len(first) + len(text) <= WIDTH:
        return [first + text]
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _cut(example: str, first: str = "") -> str:
    """One line: of a long path the beginning is left out, of a long text the end."""
    if len(first) + len(example) > WIDTH:
        name, colon, rest = example.partition(": ")
        room = max(30, WIDTH - len(first) - len(colon + rest))
        if len(name) > room:
            name = f"…{name[len(name) - room + 1 :]}"
        example = name + colon + rest
    line = first + example
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…"
