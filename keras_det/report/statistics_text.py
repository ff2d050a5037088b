"""The statistics of a data set as text of 80 columns."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from keras_det.report.statistics_picture import ranges
from keras_det.words import counted

WIDTH, BAR = 80, 30
MAX_CLASSES = 40


def statistics_text(splits: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns the statistics of each split, one after the other.

    Args:
        splits: `{name of the split: what keras_det.data.statistics returns}`.
    """
    return "\n\n".join("\n".join(_of_split(name, found)) for name, found in splits.items())


def _of_split(name: str, found: Mapping[str, Any]) -> list[str]:
    empty, crowd = found["images_without_objects"], found["crowd"]
    lines = [
        f"{found['name']} {name}".strip(),
        f"  {counted(found['images'], 'image')}{f', {empty:,} without objects' if empty else ''}",
        f"  {counted(found['objects'], 'object')}{f', and {crowd:,} crowd' if crowd else ''}"
        f", at most {found['most_objects']:,} in an image",
        *_image_sizes(found),
        *_classes(found["classes"]),
    ]
    if not found["objects"]:
        return lines
    sizes = found["sizes"]
    limits = {"small": "small, below 32²", "medium": "medium, below 96²", "large": "large"}
    rows = [(text, sizes[key]) for key, text in limits.items()]
    lines += _bars("COCO's size classes, by area in square pixels", rows)
    lines += _bars("Side of the boxes (square root of the area), pixels", ranges(found["sides"]))
    lines += _bars("Width / height of the boxes", ranges(found["aspect_ratios"]))
    return lines + _bars("Objects per image", ranges(found["objects_per_image"], whole=True))


def _image_sizes(found: Mapping[str, Any]) -> list[str]:
    if not found["images"]:
        return []
    sizes = [f"{width}x{height} ({count:,})" for width, height, count in found["image_sizes"][:3]]
    shown = sum(count for *_, count in found["image_sizes"][:3])
    rest = found["images"] - shown
    lines = textwrap.wrap(
        f"Images, width x height: {', '.join(sizes)}",
        WIDTH,
        initial_indent="  ",
        subsequent_indent="    ",
        break_on_hyphens=False,
    )
    if rest:
        low, high = ("x".join(map(str, found[f"{key}_image"])) for key in ("smallest", "largest"))
        lines.append(f"  {rest:,} have other sizes; the smallest is {low}, the largest {high}")
    return lines


def _classes(classes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A table of the classes, the most frequent first."""
    ordered = sorted(classes.items(), key=lambda pair: -pair[1]["objects"])
    shown = ordered[:MAX_CLASSES]
    width = min(40, max([len(name) for name, _ in shown], default=0) + 2)
    width = max(width, 7)
    lines = ["", f"  {'Class':{width}} {'objects':>9} {'images':>9} {'median side':>12}"]
    for name, row in shown:
        side = "-" if row["median_side"] is None else f"{row['median_side']:.1f}"
        name = name if len(name) < width else name[: width - 2] + "…"
        lines.append(f"  {name:{width}} {row['objects']:>9,} {row['images']:>9,} {side:>12}")
    if len(ordered) > len(shown):
        rest = ordered[len(shown) :]
        objects = sum(row["objects"] for _, row in rest)
        lines.append(
            f"  … and {counted(len(rest), 'class', 'classes')} with {counted(objects, 'object')}"
        )
    return lines


def _bars(title: str, rows: Sequence[tuple[str, int]]) -> list[str]:
    """A title and one line with a bar for each row; empty rows at the ends are left out."""
    filled = [i for i, (_, count) in enumerate(rows) if count]
    rows = rows[filled[0] : filled[-1] + 1] if filled else rows
    total, most = sum(count for _, count in rows) or 1, max(count for _, count in rows) or 1
    lines = ["", f"  {title}"]
    for text, count in rows:
        bar = "#" * round(BAR * count / most)
        lines.append(f"    {text:18} {count:>9,} {count / total:>4.0%} {bar}".rstrip())
    return lines
