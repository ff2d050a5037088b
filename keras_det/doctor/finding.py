"""What the doctor reports: findings, ranked by harm."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from keras_det.words import printable

# "error": training would fail or mislead. "warning": it costs accuracy or is probably a mistake.
# "note": worth knowing.
Harm: TypeAlias = Literal["error", "warning", "note"]
HARMS: tuple[Harm, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One kind of defect, with everything of this kind that was found.

    Attributes:
        code: a fixed short name, such as "boxes-outside", for scripts.
        harm: "error", "warning" or "note".
        title: the main point in one short sentence, with the count, such as "12 of 340 objects
            extend beyond their image."
        cure: what to do next, in one or two short sentences; right in every case.
        count: how many images, objects or files it concerns.
        total: out of how many; 0 where that has no meaning.
        examples: the first files, with the record and the value, such as "a.xml, object 3: 12x0".
        images: indices of images of the data set that show it best, for pictures; at most 8. They
            count from 0 in `split`; without one, through all splits in their order.
        boxes: for each of `images` the boxes `(n, 4)` to mark, xyxy pixels of the original.
        facts: numbers behind the finding, for JSON.
        split: name of the split of `images`; "" where they count through all splits.
        doc: the section of docs/data.md that explains it, such as "box-formats".
    """

    code: str
    harm: Harm
    title: str
    cure: str
    count: int = 1
    total: int = 0
    examples: tuple[str, ...] = ()
    images: tuple[int, ...] = ()
    boxes: tuple[Any, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    doc: str = ""
    split: str = ""

    def __post_init__(self) -> None:
        # They name files and classes, and each is one line.
        object.__setattr__(self, "title", printable(self.title))
        object.__setattr__(self, "cure", printable(self.cure))
        object.__setattr__(self, "examples", tuple(printable(each) for each in self.examples))


def ranked(findings: Sequence[Finding]) -> list[Finding]:
    """Sorts findings: errors first, then by the share of what they concern, then by count."""

    def key(finding: Finding) -> tuple[int, float, int]:
        share = finding.count / finding.total if finding.total else 0.0
        return HARMS.index(finding.harm), -share, -finding.count

    return sorted(findings, key=key)
