"""The parts of the page of an evaluation, made from plain numbers."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_det.report.page.page import Section, colour_of, number
from keras_det.report.page.plots import (
    MOST_CELLS,
    Line,
    plot_bars,
    plot_lines,
    plot_matrix,
    text_of,
)
from keras_det.words import counted

MOST_CURVES = 8  # classes in one plot; more colours cannot be told apart
FEW, MOST = 25, 10  # tables of more than FEW classes show the MOST worst and the MOST best
MOST_PAIRS = 20  # of confused classes, where there are too many for a matrix
ERRORS = {
    "localisation": ("localisation", "the right class, but an IoU of 0.1 to 0.5 with the object"),
    "classification": ("classification", "IoU 0.5 or more with an object of another class"),
    "both": ("both", "wrong class, and an IoU of 0.1 to 0.5 with the object"),
    "duplicate": ("duplicate", "a detection with a higher score found the object"),
    "background": ("background", "an IoU below 0.1 with every object"),
    "missed": ("missed", "an object that no detection finds"),
}
LOSSES = ("loss", "class_loss", "box_loss", "val_loss", "val_class_loss", "val_box_loss")
PALETTE = ("#3b82c4", "#c2571a", "#3a9a5b", "#a04bb5", "#b59a1f", "#4a9fa5")


def classes_section(analysis: Mapping[str, Any]) -> Section:
    """AP, threshold, precision and recall of each class, the worst first.

    Args:
        analysis: of `keras_det.metrics.analysis.Analysis.as_dict`.
    """
    best = analysis["thresholds"]["best_f1"]["classes"]
    sizes = analysis["ap_by_size"]
    names = list(analysis["class_names"])
    order = sorted(range(len(names)), key=lambda k: _worst(sizes[names[k]]["all"]))
    rows = [_class_row(k, names[k], best[names[k]], sizes[names[k]]) for k in order]
    heads = ("objects", "AP", "small", "medium", "large", "threshold", "precision", "recall", "F1")
    head = '<tr><th class="left">class</th>' + "".join(f"<th>{each}</th>" for each in heads)
    note = (
        '<p class="soft">The threshold is the score with the best F1 at an IoU of 0.5. Precision '
        "and recall are those at this threshold.</p>"
    )
    if len(rows) <= FEW:
        return Section("classes", "Classes", f"{_table(head, rows)}{note}")
    some = (
        f"<h3>The {MOST} worst</h3>{_table(head, rows[:MOST])}"
        f"<h3>The {MOST} best</h3>{_table(head, rows[::-1][:MOST])}"
        f"<details><summary>All {len(rows)} classes</summary>{_table(head, rows)}</details>"
    )
    return Section("classes", "Classes", some + note)


def _worst(value: Any) -> tuple[bool, float]:
    """Sorts classes without a number to the end."""
    return (value is None, value or 0.0)


def _class_row(label: int, name: str, best: Mapping[str, Any], sizes: Mapping[str, Any]) -> str:
    mark = f'<i class="mark" style="--c:{colour_of(label)}"></i>'
    values = [number(sizes[size]) for size in ("all", "small", "medium", "large")]
    values += [number(best[each]) for each in ("threshold", "precision", "recall", "f1")]
    cells = "".join(f"<td>{value}</td>" for value in values)
    return (
        f'<tr><td class="text">{mark}{text_of(name)}</td><td>{best["objects"]:,}</td>{cells}</tr>'
    )


def _table(head: str, rows: Sequence[str]) -> str:
    return f'<div class="wide"><table>{head}</tr>{"".join(rows)}</table></div>'


def errors_section(analysis: Mapping[str, Any]) -> Section:
    """The kinds of errors with the AP that each costs, the most costly first.

    Args:
        analysis: as for `classes_section`.
    """
    kinds = analysis["errors"]["kinds"]
    order = sorted(kinds, key=lambda name: -(kinds[name]["cost"] or 0.0))
    bars = [
        (
            ERRORS[name][0],
            kinds[name]["cost"] or 0.0,
            f"{number(kinds[name]['cost'])}, {kinds[name]['count']:,} times",
        )
        for name in order
    ]
    rows = [
        f'<tr><td class="left">{ERRORS[name][0]}</td><td class="text">{ERRORS[name][1]}</td></tr>'
        for name in order
    ]
    body = (
        "<p>How much AP50 would rise without the errors of one kind (TIDE). The values do not add "
        "up to the total. Detections of any score count, even those below the thresholds.</p>"
        f'<div class="panels">{plot_bars(bars, "AP50 lost by kind of error", "var(--bad)")}'
        f"{_table('', rows)}</div>"
    )
    return Section("errors", "Errors", body)


def curves_section(analysis: Mapping[str, Any]) -> Section:
    """Precision against recall of each class, and how well the scores are calibrated.

    Args:
        analysis: as for `classes_section`.
    """
    recalls = analysis["precision_recall"]["recalls"]
    curves = analysis["precision_recall"]["classes"]
    names, labels = list(analysis["class_names"]), drawn_classes(analysis)
    plots = []
    for overlap, title in (("0.50", "IoU 0.50"), ("0.75", "IoU 0.75")):
        lines = [
            Line(names[k], colour_of(k), recalls, numbers(curves[names[k]][overlap]))
            for k in labels
        ]
        drawn = plot_lines(
            lines, f"Precision against recall, {title}", "recall", "precision", (0, 1), (0, 1)
        )
        plots.append(f"<div><h3>Precision and recall at {title}</h3>{drawn}</div>" if drawn else "")
    found = analysis["calibration"]
    bins = Line("detections", "var(--accent)", numbers(found["score"]), numbers(found["precision"]))
    even = Line("perfect calibration", "var(--soft)", (0, 1), (0, 1), dashed=True)
    drawn = plot_lines(
        [bins, even],
        "Share of correct detections against score",
        "score",
        "share that is correct",
        (0, 1),
        (0, 1),
    )
    says = number(found["error"])
    plots.append(
        f'<div><h3>Calibration of the scores</h3>{drawn}<p class="soft">Expected calibration '
        f"error {says}. Below the dashed line, scores are too high.</p></div>"
    )
    more = ""
    if len(names) > MOST_CURVES:
        more = f'<p class="soft">Shown: the {MOST_CURVES} classes with the most objects.</p>'
    return Section("curves", "Curves", f'<div class="panels">{"".join(plots)}</div>{more}')


def numbers(values: Sequence[Any]) -> list[float]:
    """Numbers of an analysis as JSON has them; NaN for None."""
    return [math.nan if value is None else float(value) for value in values]


def drawn_classes(analysis: Mapping[str, Any]) -> list[int]:
    """The labels of the classes with the most objects, as many as one plot can show."""
    names, best = analysis["class_names"], analysis["thresholds"]["best_f1"]["classes"]
    labels = sorted(range(len(names)), key=lambda k: -best[names[k]]["objects"])
    return sorted(labels[:MOST_CURVES])


def confusion_section(analysis: Mapping[str, Any]) -> Section:
    """The confusion matrix with background, or its largest entries where there are many classes.

    Args:
        analysis: as for `classes_section`.
    """
    counts = np.asarray(analysis["confusion"]["matrix"])
    names = [*analysis["class_names"], "background"]
    rule = (
        "<p>Rows are the classes of the objects, columns the classes of the detections, at an IoU "
        "of 0.5 and above the threshold of each class. Column “background”: missed objects. Row "
        "“background”: detections without an object, and duplicates.</p>"
    )
    if len(names) <= MOST_CELLS:
        drawn = plot_matrix(counts, names, "Confusion matrix")
        return Section(
            "confusion", "Confusion of classes", f'{rule}<div class="wide">{drawn}</div>'
        )
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_PAIRS]
    rows = []
    for row, column in zip(*np.unravel_index(order, wrong.shape), strict=True):
        if wrong[row, column]:
            rows.append(
                f'<tr><td class="left">{text_of(names[row])}</td><td class="left">'
                f"{text_of(names[column])}</td><td>{wrong[row, column]:,}</td></tr>"
            )
    head = '<tr><th class="left">object</th><th class="left">found as</th><th>times</th>'
    return Section("confusion", "Confusion of classes", f"{rule}{_table(head, rows)}")


def learning_section(history: Sequence[Mapping[str, str]]) -> Section | None:
    """Losses, AP and learning rate over the epochs; None without any epoch.

    Args:
        history: rows of `history.csv`.
    """
    if not history:
        return None
    panels = [
        ("Loss", [name for name in LOSSES if name in history[0]], "loss"),
        ("Average precision on the validation set", ["val_AP", "val_AP50", "val_AP75"], "AP"),
        ("Learning rate", ["learning_rate"], "learning rate"),
    ]
    plots = []
    for title, names, unit in panels:
        lines = [
            Line(
                name,
                PALETTE[(names.index(name.removeprefix("val_")) if unit == "loss" else k) % 6],
                *_column(history, name),
                dashed=unit == "loss" and name.startswith("val_"),
            )
            for k, name in enumerate(names)
            if name.removeprefix("val_") in names or unit != "loss"
        ]
        drawn = plot_lines(lines, title, "epoch", unit)
        plots.append(f"<div><h3>{title}</h3>{drawn}</div>" if drawn else "")
    if not any(plots):
        return None
    return Section("learning", "Training", f'<div class="panels">{"".join(plots)}</div>')


def _column(history: Sequence[Mapping[str, str]], name: str) -> tuple[list[float], list[float]]:
    """Epochs and values of a column, where it was measured."""
    rows = [row for row in history if row.get(name)]
    if name.startswith("val_"):
        rows = [row for row in rows if float(row.get("val_measured") or 1) > 0]
    return [float(row["epoch"]) for row in rows], [float(row[name]) for row in rows]


def text_section(id: str, title: str, parts: Mapping[str, Any]) -> Section:
    """Texts and settings that can be unfolded.

    Args:
        id, title: of the section.
        parts: by heading a text, or what JSON can write.
    """
    folded = []
    for heading, value in parts.items():
        text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
        folded.append(
            f"<details><summary>{text_of(heading)}</summary>"
            f'<pre tabindex="0">{_lines(text)}</pre></details>'
        )
    return Section(id, title, "".join(folded))


def _lines(text: str) -> str:
    """A text of several lines, each one escaped."""
    return "\n".join(text_of(line) for line in text.splitlines())


def pictures_note(shown: int, images: int) -> str:
    """A sentence where not every image is on the page, else ""."""
    if shown == images:
        return ""
    return f"This page shows {counted(shown, 'image')} of {images:,}: those with the most errors."
