"""What a run folder tells: loss, learning rate, average precision, classes that stay at 0."""

import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_det.doctor.finding import Finding, ranked
from keras_det.doctor.run_files import Run, read_run
from keras_det.errors import DataError
from keras_det.run_folder import RECIPE, was_edited
from keras_det.words import counted

# A change of the loss between the last fifth of the epochs and the fifth before counts from here.
CHANGE = 0.03
# A gain of AP in the last fifth of the epochs, and a loss of AP since the best epoch.
GAIN, DROP = 0.01, 0.02
# Below this AP nothing is detected yet, and the AP of single classes means nothing.
NOTHING = 0.01
# Fewer steps from random weights are too few to expect anything.
FEW_STEPS = 1_000
# Positive anchors per object below which targets are probably missing; crops take some objects.
FEW_POSITIVES = 0.8
NAMED = 8
WARMUP = 0.05  # share of the steps in which the rate of adamw rises


def check_run(folder: str | os.PathLike) -> list[Finding]:
    """Says in words how a training went, from the files of its run folder.

    Args:
        folder: a folder that `keras-det train` filled, also of a run that has not ended.

    Returns:
        Findings, the most harmful first.

    Raises:
        DataError: the folder holds no `history.csv`, or a file cannot be read.
    """
    run = read_run(folder)
    if not run.epochs:
        raise DataError(
            f"history.csv must hold at least one row. Received: {folder}, with none. Wait until "
            "the first epoch has ended."
        )
    findings = [*_of_recipe(run), *_of_loss(run), *_of_rate(run), *_of_positives(run)]
    findings += [*_of_precision(run), *_of_classes(run), *_of_gap(run), *_of_end(run)]
    return ranked(findings)


def _of_recipe(run: Run) -> Iterator[Finding]:
    if was_edited(run.recipe):
        yield _note(
            "run-recipe-changed",
            f"{RECIPE} was changed after training wrote it.",
            "Its settings, class names and counts may not be those of the training. Restore it "
            "from a copy of the run.",
            harm="warning",
        )


def _note(code: str, title: str, cure: str, **more: Any) -> Finding:
    return Finding(code, more.pop("harm", "note"), title, cure, doc="runs", **more)


def trend(values: np.ndarray) -> str:
    """ "falling", "flat" or "rising" at the end; "unknown" for fewer than four values.

    The mean of the last fifth, at least two values, is compared with the mean of as many before. A
    difference counts from `CHANGE` on, where it is larger than the usual step between neighbours.
    """
    count = max(2, len(values) // 5)
    if len(values) < 2 * count:
        return "unknown"
    end = values[-2 * count :]
    before, change = float(end[:count].mean()), float(end[count:].mean() - end[:count].mean())
    usual = float(np.abs(np.diff(end)).mean())
    if abs(change) <= max(CHANGE * abs(before), usual):
        return "flat"
    return "falling" if change < 0 else "rising"


def _of_loss(run: Run) -> Iterator[Finding]:
    loss = run.column("loss")
    if loss is None:
        return
    bad = np.flatnonzero(~np.isfinite(loss))
    if len(bad):
        yield _note(
            "run-nan",
            f"The loss is {loss[bad[0]]} from epoch {int(run.columns['epoch'][bad[0]])} on.",
            "Lower the learning rate (--learning-rate), and check the boxes with keras-det doctor.",
            harm="error",
        )
        return
    if run.epochs == 1:
        yield _note(
            "run-loss",
            f"The mean loss of the only epoch is {loss[0]:.3g}: one epoch shows no trend.",
            "Train for more epochs, then examine the run again.",
        )
        return
    yield _of_finite_loss(loss)


def _of_finite_loss(loss: np.ndarray) -> Finding:
    """How the loss moved, over all epochs and at the end."""
    first, last, kind = loss[0], loss[-1], trend(loss)
    moved = "fell" if last < first * (1 - CHANGE) else "rose" if last > first * (1 + CHANGE) else ""
    text = f"The loss {moved} from {first:.3g} to {last:.3g}" if moved else (
        f"The loss stayed at {last:.3g} (it began at {first:.3g})"
    )  # fmt: skip
    end = {
        "falling": " and still falls",
        "flat": " and is flat at the end",
        "rising": " and rises at the end",
        "unknown": "",
    }[kind if moved else "unknown"]
    worse = kind == "rising" or moved == "rose"
    stuck = not worse and not moved and len(loss) >= 3
    return _note(
        "run-loss",
        f"{text} in {counted(len(loss), 'epoch')}{end}.",
        "Lower the learning rate (--learning-rate), and check the boxes with keras-det doctor."
        if worse
        else "Nothing was learned. Check the data with keras-det doctor, and try "
        "keras-det doctor --overfit."
        if stuck
        else "As long as AP rises too, more epochs help."
        if kind == "falling"
        else "Nothing to do.",
        harm="warning" if worse or stuck else "note",
        facts={"first": float(first), "last": float(last), "trend": kind},
    )


def rate_of(run: Run) -> tuple[float, float] | None:
    """(peak learning rate, rate at the end of the last epoch) of auto and adamw; None if other.

    As `training.recipes.adamw`: a linear warm-up over a twentieth of the steps, then a cosine to 0.
    """
    batch = int(run.recipe.get("batch_size") or 0)
    if run.recipe.get("recipe") not in ("auto", "adamw") or not batch or not run.planned:
        return None
    peak = run.recipe.get("learning_rate") or 2e-3 * (batch / 8.0) ** 0.5
    done, warmup = min(run.epochs / run.planned, 1.0), WARMUP
    if done < warmup:
        return peak, peak * done / warmup
    return peak, peak * 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))


def _of_rate(run: Run) -> Iterator[Finding]:
    logged = run.column("learning_rate")
    rates = rate_of(run)
    if logged is not None:  # after each epoch: the peak may lie within one
        highest = float(np.nanmax(logged))
        within = rates is not None and run.epochs >= WARMUP * run.planned
        rates = max(highest, rates[0]) if rates and within else highest, float(logged[-1])
    if rates is None:
        return
    peak, now = rates
    ended = run.epochs >= run.planned
    place = "at the end" if ended else f"after epoch {run.epochs} of {run.planned}"
    warming = logged is None and run.epochs < WARMUP * run.planned
    yield _note(
        "run-rate",
        f"The learning rate rises to {peak:.2g} in the first twentieth of the run; it is {now:.2g} "
        f"{place}."
        if warming
        else f"The learning rate was {peak:.2g} at its highest and is {now:.2g} {place}.",
        "If the loss jumps or is NaN, halve it (--learning-rate); if the loss falls slowly and "
        "smoothly, double it.",
        facts={"peak": peak, "now": now},
    )


def _of_positives(run: Run) -> Iterator[Finding]:
    positives = run.column("positives_per_image")
    if positives is None:
        return
    mean, (images, objects) = float(np.nanmean(positives)), run.counts
    if mean == 0:
        yield _note(
            "run-no-positives",
            "No image had an object to learn: positives_per_image is 0.",
            "Check the data with keras-det doctor --model: objects are missing, are all crowd, or "
            "vanish at this image size.",
            harm="error",
        )
        return
    per_object = mean / (objects / images) if objects else float("nan")
    if per_object < FEW_POSITIVES:
        yield _note(
            "run-few-positives",
            f"Only {per_object:.2f} positives were trained per object ({mean:.3g} per image with "
            f"{objects / images:.3g} objects): objects are lost before they reach the network.",
            "Check the data with keras-det doctor --model: the image size, the augmentation and "
            "max_boxes (--max-boxes) decide how many are left.",
            harm="warning",
            facts={"positives_per_object": per_object},
        )


def _of_precision(run: Run) -> Iterator[Finding]:
    ap = run.column("val_AP")
    if ap is None:
        return
    ap = np.nan_to_num(ap)
    best, last, epochs = int(ap.argmax()), float(ap[-1]), run.epochs
    facts = {"best_epoch": best + 1, "best": float(ap[best]), "last": last}
    if ap[best] < NOTHING:
        few = 0 < run.steps < FEW_STEPS and not run.recipe.get("weights")
        yield _note(
            "run-ap-zero",
            f"Almost nothing is detected: val_AP is {last:.3f} after "
            f"{counted(epochs, 'epoch')} (highest: {ap[best]:.3f}).",
            f"The run had {counted(run.steps, 'step')} from random weights; thousands are often "
            "needed. "
            "Train longer, or start from public weights (--weights)."
            if few
            else "Check the data with keras-det doctor --model, and try keras-det doctor "
            "--overfit.",
            harm="warning",
            facts=facts,
        )
        return
    number = int(run.columns["epoch"][best])
    if best == epochs - 1:
        title = f"val_AP was highest in the last epoch, {number}: {ap[best]:.3f}."
    else:
        title = f"val_AP was highest in epoch {number}: {ap[best]:.3f}; it ended at {last:.3f}."
    cure = "best.keras holds the model of that epoch." if run.has_best else "Nothing to do."
    yield _note("run-ap", title, cure, facts=facts)
    yield from _of_rise(ap)


def _of_rise(ap: np.ndarray) -> Iterator[Finding]:
    """AP that still rises at the end."""
    epochs, best = len(ap), int(ap.argmax())
    tail = max(1, epochs // 5)
    if epochs >= 5 and best >= epochs - tail:
        gain = float(ap[best] - ap[:-tail].max())
        if gain > GAIN and gain > 0.03 * float(ap[best]):
            yield _note(
                "run-still-rising",
                f"val_AP still rose by {gain:.3f} in the last "
                f"{f'{tail} epochs' if tail > 1 else 'epoch'}: the training was too short.",
                "Train for more epochs: start a new run with larger --epochs, and give this run's "
                "best.keras as --weights.",
                harm="warning",
                facts={"gain": gain},
            )


def _of_classes(run: Run) -> Iterator[Finding]:
    """Classes at AP 0 where others are detected; those without objects are no finding."""
    per_class = run.metrics.get("AP_per_class") or {}
    measured = {
        name: float(value)
        for name, value in per_class.items()
        if isinstance(value, (int, float)) and not math.isnan(value)
    }
    zero = [name for name, value in measured.items() if value < 0.0005]
    if not zero or sum(measured.values()) < NOTHING * len(measured):
        return
    counts = run.recipe.get("objects_per_class") or {}
    zero.sort(key=lambda name: counts.get(name, 0))
    shown = [
        f"{name} ({counted(counts[name], 'training object')})" if name in counts else name
        for name in zero[:NAMED]
    ]
    more = f" and {len(zero) - NAMED} more" if len(zero) > NAMED else ""
    verb = "has" if len(zero) == 1 else "have"
    yield _note(
        "run-classes-zero",
        f"{len(zero)} of {counted(len(measured), 'measured class', 'measured classes')} {verb} AP "
        f"0: {', '.join(shown)}{more}.",
        "Add images of classes with few objects. If a class has many, check its labels and the "
        "size of its objects (keras-det doctor --model).",
        harm="warning",
        count=len(zero),
        total=len(measured),
        facts={"classes": zero},
    )


def _of_gap(run: Run) -> Iterator[Finding]:
    """Signs of overfitting."""
    loss, ap, val = (run.column(name) for name in ("loss", "val_AP", "val_loss"))
    cure = (
        "More images, stronger augmentation (--augment lsj), weights from a larger data set or "
        "fewer epochs help."
    )
    if run.has_best:
        cure = f"Use best.keras. {cure}"
    if loss is None or run.epochs < 5 or not np.isfinite(loss).all():
        return
    holds = ap is not None and np.nanmax(ap) - ap[-1] <= DROP  # where AP rises, the loss may too
    if val is not None and np.isfinite(val[-1]) and not holds:
        best = int(np.nanargmin(val))  # NaN before the first measurement
        if val[-1] > 1.1 * val[best] and loss[-1] < loss[best]:
            yield _note(
                "run-gap",
                f"The validation loss rose from {val[best]:.3g} (epoch {best + 1}) to "
                f"{val[-1]:.3g}, while the training loss fell to {loss[-1]:.3g}: the model "
                "overfits the training images.",
                cure,
                harm="warning",
            )
            return
    if ap is not None:
        ap = np.nan_to_num(ap)
        best = int(ap.argmax())
        fallen = float(ap[best] - ap[-1])
        if fallen > max(DROP, 0.05 * float(ap[best])) and loss[-1] < loss[best] * (1 - CHANGE):
            yield _note(
                "run-gap",
                f"val_AP fell from {ap[best]:.3f} (epoch {best + 1}) to {ap[-1]:.3f}, while the "
                "training loss still fell: the model overfits the training images.",
                cure,
                harm="warning",
            )


def _of_end(run: Run) -> Iterator[Finding]:
    if run.epochs < run.planned:
        yield _note(
            "run-unfinished",
            f"{run.epochs} of {counted(run.planned, 'epoch')} done: the training is still running, "
            "was interrupted or stopped with an error, such as a loss that was not finite.",
            "If it no longer runs, continue it with --resume. If it stopped with an error, correct "
            "the cause first.",
            harm="note",
        )
