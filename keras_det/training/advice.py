"""What to do next with a detector, from its figures: at most five sentences."""

import math
from collections.abc import Mapping, Sequence

from keras_det.metrics.analysis import Analysis
from keras_det.metrics.error_kinds import ADVICE
from keras_det.metrics.score_facts import ScoreFacts
from keras_det.words import counted

MOST = 5  # sentences
LEAST_COST = 0.01  # of AP50; a kind of error that costs less is not mentioned
BEHIND = 0.7  # a class below this share of the mean AP is behind
NEVER = 0.005  # AP of a class that is hardly ever found
FEW_OBJECTS, FEW_IMAGES = 50, 50
RISE = 1.05  # a validation loss of this many times its lowest value means overfitting


def advice(
    analysis: Analysis, facts: ScoreFacts, history: Sequence[Mapping[str, str]] = ()
) -> list[str]:
    """What to do next, the most useful first.

    Args:
        analysis: where the detector fails.
        facts: about its scores.
        history: rows of `history.csv` of its training, if they are known.
    """
    if not facts.learned:
        return [facts.sentence("")]
    found = [
        _errors(analysis),
        _behind(analysis),
        _small(analysis),
        _overfits(history),
        _few(analysis),
        "Look at the images with the most errors: they often have wrong or missing labels.",
    ]
    return [each for each in found if each][:MOST]


def _errors(analysis: Analysis) -> str:
    name, kind = analysis.errors.ranked()[0]
    if not kind.cost >= LEAST_COST:
        return ""
    number = counted(kind.count, "error" if name != "missed" else "object")
    return f"Most AP50 is lost to “{name}” ({kind.cost:.3f}, {number}). {ADVICE[name]}"


def _behind(analysis: Analysis) -> str:
    """The class that is furthest behind the others."""
    values = {name: sizes["all"] for name, sizes in analysis.ap_by_size.items()}
    known = {name: value for name, value in values.items() if math.isfinite(value)}
    if len(known) < 2:
        return ""
    name = min(known, key=lambda each: known[each])
    mean = sum(known.values()) / len(known)
    if known[name] >= BEHIND * mean:
        return ""
    objects = analysis.best_f1[name].objects
    if known[name] < NEVER:
        return (
            f"“{name}” is hardly ever found ({counted(objects, 'object')}): train longer, and "
            "check its labels and the size of its objects in the images."
        )
    cure = (
        "Label more objects of this class."
        if objects < FEW_OBJECTS
        else "Filter the images by this class: look for wrong boxes, wrong labels and tiny objects."
    )
    of_class = f"“{name}” has AP {known[name]:.3f} with {counted(objects, 'object')}"
    return f"{of_class}; the mean of the classes is {mean:.3f}. {cure}"


def _small(analysis: Analysis) -> str:
    small, large = (analysis.metrics[f"AP_{size}"] for size in ("small", "large"))
    if not small < BEHIND * large:
        return ""
    return (
        f"Small objects (below 32x32 pixels) have AP {small:.3f}, large ones {large:.3f}. Try a "
        "larger --image-size."
    )


def _overfits(history: Sequence[Mapping[str, str]]) -> str:
    rows = [row for row in history if row.get("val_loss")]
    rows = [row for row in rows if float(row.get("val_measured") or 1) > 0]
    losses = [float(row["val_loss"]) for row in rows]
    if len(losses) < 3 or not losses[-1] > RISE * min(losses):
        return ""
    epoch = rows[losses.index(min(losses))]["epoch"]
    return (
        f"The loss on the validation set was lowest after epoch {epoch} and has risen since: the "
        "model overfits. More images help most; --augment strong or fewer steps help a little."
    )


def _few(analysis: Analysis) -> str:
    if analysis.images >= FEW_IMAGES:
        return ""
    return (
        f"The figures come from only {counted(analysis.images, 'image')}: on other images, they "
        "would differ somewhat."
    )
