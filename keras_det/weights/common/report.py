"""What a load did, said by every importer in the same words."""

from dataclasses import dataclass, field

# How many class names a report shows.
SHOWN = 5


@dataclass(frozen=True)
class LoadReport:
    """What a load of public weights did.

    Attributes:
        loaded: names of the file's tensors that the model now holds.
        skipped: dict from the name of every other tensor of the file to the reason.
        missing: paths of the model's variables that the file did not fill; they keep their values.
        averaged: those of `loaded` that are moving averages over the training.
        classes: dict from each class of the model to the file's class (`output k` for one without
            a name), None where it starts from the prior. Empty where the importer takes classes
            all or none.
    """

    loaded: list[str]
    skipped: dict[str, str]
    missing: list[str]
    averaged: list[str] = field(default_factory=list)
    classes: dict[str, str | None] = field(default_factory=dict)

    def __str__(self):
        averages = f" ({len(self.averaged)} as moving averages)" if self.averaged else ""
        lines = [
            f"tensors of the file loaded: {len(self.loaded)}{averages}, skipped: "
            f"{len(self.skipped)}; variables of the model not in the file: {len(self.missing)}"
        ]
        names_of = {}
        for name, reason in self.skipped.items():
            names_of.setdefault(reason, []).append(name)
        for reason, names in names_of.items():
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            lines.append(f"  skipped {names[0]}{more}: {reason}")
        lines += [f"  not in the file: {path}" for path in self.missing]
        if self.classes:
            lines += self._class_lines()
        return "\n".join(lines)

    def _class_lines(self):
        """Which classes the file knows, and which it does not."""
        taken = [
            name if name == source else f"{name} ({source})"
            for name, source in self.classes.items()
            if source is not None
        ]
        new = [name for name, source in self.classes.items() if source is None]
        lines = [f"  classes from the file: {_shortened(taken)}"]
        return lines + ([f"  classes from the prior: {_shortened(new)}"] if new else [])


def _shortened(names):
    """The number of names, and the first of them."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    shown = f": {', '.join(names[:SHOWN])}{more}" if names else ""
    return f"{len(names)}{shown}"
