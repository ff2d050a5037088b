"""The report of a load, the same for every importer."""

from collections.abc import Sequence
from dataclasses import dataclass, field

# How many class names a report shows.
MAX_NAMES_SHOWN = 5
# Why tensors are skipped, in every importer.
STEP_COUNTER = "counts training steps"
OF_TRAINING = "belongs to the training, not to the network"


@dataclass(frozen=True)
class LoadReport:
    """What a load of public weights did.

    Attributes:
        loaded: names of the file's tensors that the model now holds.
        skipped: dict from the name of each other tensor of the file to the reason.
        missing: paths of the model's variables that the file did not fill. They keep their values.
        averaged: those of `loaded` that are moving averages over the training.
        classes: dict from each class of the model to the file's class (`output k` where it has no
            name), or to None where the class is not in the file. Empty for importers that take
            either all classes or none.
        source: path of the file, for weights that were found by name.
        notes: sentences about what else is to know, such as that only the backbone was filled.
    """

    loaded: list[str]
    skipped: dict[str, str]
    missing: list[str]
    averaged: list[str] = field(default_factory=list)
    classes: dict[str, str | None] = field(default_factory=dict)
    source: str = ""
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        averages = f" ({len(self.averaged)} as moving averages)" if self.averaged else ""
        lines = [
            f"tensors of the file loaded: {len(self.loaded)}{averages}, skipped: "
            f"{len(self.skipped)}; variables of the model not in the file: {len(self.missing)}"
        ]
        names_of: dict[str, list[str]] = {}
        for name, reason in self.skipped.items():
            names_of.setdefault(reason, []).append(name)
        for reason, names in names_of.items():
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            lines.append(f"  skipped {names[0]}{more}: {reason}")
        lines += [f"  not in the file: {path}" for path in self.missing]
        if self.classes:
            lines += self._class_lines()
        lines += [f"  {note}" for note in self.notes]
        return "\n".join(lines)

    def _class_lines(self) -> list[str]:
        """Which classes are in the file, and which are not."""
        taken = [
            name if name == source else f"{name} ({source})"
            for name, source in self.classes.items()
            if source is not None
        ]
        new = [name for name, source in self.classes.items() if source is None]
        lines = [f"  classes from the file: {_shortened(taken)}"]
        return lines + ([f"  classes from the prior: {_shortened(new)}"] if new else [])


def _shortened(names: Sequence[str]) -> str:
    """The number of names, and the first of them."""
    left_out = len(names) - MAX_NAMES_SHOWN
    more = f" and {left_out} more" if left_out > 0 else ""
    shown = f": {', '.join(names[:MAX_NAMES_SHOWN])}{more}" if names else ""
    return f"{len(names)}{shown}"
