"""What a load did, said by every importer in the same words."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class LoadReport:
    """What a load of public weights did.

    Attributes:
        loaded: names of the file's tensors that the model now holds.
        skipped: dict from the name of every other tensor of the file to the reason.
        missing: paths of the model's variables that the file did not fill; they keep their values.
        averaged: those of `loaded` that are moving averages over the training.
    """

    loaded: list[str]
    skipped: dict[str, str]
    missing: list[str]
    averaged: list[str] = field(default_factory=list)

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
        return "\n".join(lines)
