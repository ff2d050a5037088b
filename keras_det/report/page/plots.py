"""Plots as SVG, for a page in light and dark: lines, bars and a matrix."""

import html
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from keras_det.words import printable

WIDTH, HEIGHT = 420, 260
# Space for the numbers and titles of the axes, in pixels.
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 10, 40
MOST_POINTS = 200  # of a line; more cannot be told apart
MOST_CELLS = 24  # rows of a matrix with numbers
LONGEST_NAME = 18


class Line(NamedTuple):
    """One line of a plot: its name, its colour in CSS, and its points."""

    name: str
    colour: str
    x: Sequence[float]
    y: Sequence[float]
    dashed: bool = False


def text_of(value: object) -> str:
    """A text for HTML: escaped, and without characters that cannot be printed."""
    return html.escape(printable(str(value)))


def short(name: str, longest: int = LONGEST_NAME) -> str:
    """A name with an ellipsis where it is too long."""
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from `low` to `high`: multiples of 1, 2 or 5 times a power of ten."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low]
    raw = span / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def plot_lines(
    lines: Sequence[Line],
    title: str,
    x_title: str,
    y_title: str,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
) -> str:
    """A plot of lines with a legend below, as an HTML figure; "" without any finite point.

    Args:
        lines: points that are not finite are left out.
        title: what a screen reader says.
        x_title, y_title: of the axes, with the unit.
        x_range, y_range: lowest and highest value. Default: those of the lines, y from 0.
    """
    kept = [_finite(line) for line in lines]
    kept = [line for line in kept if len(line.x)]
    if not kept:
        return ""
    x_low, x_high = x_range or _span([line.x for line in kept])
    y_low, y_high = y_range or (0.0, _span([line.y for line in kept])[1])
    if x_low == x_high:
        x_low, x_high = x_low - 0.5, x_high + 0.5
    y_high = y_high if y_high > y_low else y_low + 1.0
    across, up = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + across * (x - x_low) / (x_high - x_low),
            TOP + up * (1 - min(1.0, max(0.0, (y - y_low) / (y_high - y_low)))),
        )

    parts = _axes(at, (x_low, x_high), (y_low, y_high), x_title, y_title)
    for line in kept:
        points = [at(x, y) for x, y in _thinned(line)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        name = f"<title>{text_of(line.name)}</title>"
        if len(points) == 1:
            x, y = points[0]
            mark = (
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" class="dot" style="--c:{line.colour}">'
                f"{name}</circle>"
            )
        else:
            mark = (
                f'<polyline points="{path}" class="line" style="--c:{line.colour}"{dash}>'
                f"{name}</polyline>"
            )
        parts.append(mark)
    return f"<figure>{svg(WIDTH, HEIGHT, title, parts)}{_legend(kept)}</figure>"


def _finite(line: Line) -> Line:
    x, y = np.asarray(line.x, "float64"), np.asarray(line.y, "float64")
    kept = np.isfinite(x) & np.isfinite(y)
    return line._replace(x=x[kept].tolist(), y=y[kept].tolist())


def _span(columns: Sequence[Sequence[float]]) -> tuple[float, float]:
    return min(map(min, columns)), max(map(max, columns))


def _thinned(line: Line) -> list[tuple[float, float]]:
    points = list(zip(line.x, line.y, strict=True))
    if len(points) <= MOST_POINTS:
        return points
    chosen = np.unique(np.linspace(0, len(points) - 1, MOST_POINTS).round().astype(int))
    return [points[i] for i in chosen.tolist()]


def _axes(
    at: Callable[[float, float], tuple[float, float]],
    x_span: tuple[float, float],
    y_span: tuple[float, float],
    x_title: str,
    y_title: str,
) -> list[str]:
    """Both axes with their numbers, and a line at each number of the y axis."""
    parts = []
    floor, right = at(x_span[0], y_span[0])[1], WIDTH - RIGHT
    for value in ticks(*y_span):
        y = at(x_span[0], value)[1]
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>')
    for value in ticks(*x_span):
        x = at(value, y_span[0])[0]
        ends = f'x1="{x:.1f}" y1="{floor}" x2="{x:.1f}" y2="{floor + 4}"'
        parts.append(f'<line class="axis" {ends}/>')
        parts.append(f'<text x="{x:.1f}" y="{floor + 17}" text-anchor="middle">{value:.4g}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" y1="{floor}" x2="{right}" y2="{floor}"/>')
    middle = f'x="{(LEFT + right) / 2}" y="{HEIGHT - 5}" text-anchor="middle"'
    parts.append(f'<text class="soft" {middle}>{text_of(x_title)}</text>')
    turned = f'transform="translate(12 {(TOP + floor) / 2}) rotate(-90)" text-anchor="middle"'
    parts.append(f'<text class="soft" {turned}>{text_of(y_title)}</text>')
    return parts


def _legend(lines: Sequence[Line]) -> str:
    if len(lines) == 1 and not lines[0].name:
        return ""
    entries = "".join(
        f'<span><i class="mark" style="--c:{line.colour}"></i>{text_of(line.name)}</span>'
        for line in lines
    )
    return f'<figcaption class="legend">{entries}</figcaption>'


def plot_matrix(counts: np.ndarray, names: Sequence[str], title: str) -> str:
    """A matrix of counts, rows against columns, each row shaded by its share; an HTML figure.

    Args:
        counts: int `(rows, columns)`, at most `MOST_CELLS` each: objects by what they were found
            as.
        names: of the rows and columns; the last stands for the background.
        title: what a screen reader says.
    """
    counts = np.asarray(counts)
    cell, left, top = 44, 130, 84
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    parts = []
    for k, name in enumerate(names):
        y, x = top + k * cell + cell / 2 + 4, left + k * cell + cell / 2
        label, whole = text_of(short(name, 16)), f"<title>{text_of(name)}</title>"
        parts.append(f'<text x="{left - 8}" y="{y}" text-anchor="end">{whole}{label}</text>')
        turned = f'transform="translate({x + 4} {top - 8}) rotate(-45)"'
        parts.append(f"<text {turned}>{whole}{text_of(short(name, 12))}</text>")
    for row, column in np.ndindex(*counts.shape):
        x, y = left + column * cell, top + row * cell
        colour = "var(--good)" if row == column else "var(--bad)"
        says = f"{names[row]} found as {names[column]}: {counts[row, column]:,}"
        parts.append(
            f'<rect x="{x + 1}" y="{y + 1}" width="{cell - 2}" height="{cell - 2}" rx="3" '
            f'fill="{colour}" fill-opacity="{0.06 + 0.6 * share[row, column]:.2f}">'
            f"<title>{text_of(says)}</title></rect>"
        )
        if counts[row, column]:
            parts.append(
                f'<text x="{x + cell / 2}" y="{y + cell / 2 + 4}" text-anchor="middle">'
                f"{counts[row, column]:,}</text>"
            )
    width = left + counts.shape[1] * cell + 40
    return f"<figure>{svg(width, top + counts.shape[0] * cell + 6, title, parts)}</figure>"


def plot_bars(rows: Sequence[tuple[str, float, str]], title: str, colour: str) -> str:
    """Horizontal bars, as an HTML figure.

    Args:
        rows: name, length (0 or more) and the text after the bar.
        title: what a screen reader says.
        colour: in CSS.
    """
    most = max([value for _, value, _ in rows if math.isfinite(value)] + [1e-12])
    height, left, full = 26, 130, 210
    parts = []
    for k, (name, value, says) in enumerate(rows):
        y, long = k * height, full * max(0.0, value if math.isfinite(value) else 0.0) / most
        parts.append(
            f'<text x="{left - 8}" y="{y + 17}" text-anchor="end">{text_of(short(name))}</text>'
            f'<rect x="{left}" y="{y + 4}" width="{long:.1f}" height="18" rx="2" fill="{colour}"/>'
            f'<text x="{left + long + 6:.1f}" y="{y + 17}">{text_of(says)}</text>'
        )
    return f"<figure>{svg(left + full + 130, height * len(rows), title, parts)}</figure>"


def svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    """A drawing of this size in pixels; it shrinks where the page is narrower."""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img" '
        f'aria-label="{text_of(title)}">{"".join(parts)}</svg>'
    )
