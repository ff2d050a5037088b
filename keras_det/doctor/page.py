"""A report as one HTML page: findings with pictures, plots of classes and sizes."""

import base64
import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_det.data.dataset import Dataset
from keras_det.doctor.finding import Finding
from keras_det.doctor.sections import PAGE
from keras_det.doctor.text import verdict
from keras_det.errors import DataError
from keras_det.report.draw import class_colour, draw_ground_truth
from keras_det.report.page.plots import svg, text_of

if TYPE_CHECKING:
    from keras_det.doctor.examine import Report

# Pictures of each finding, their longer side in pixels, and their quality as JPEG.
PICTURES, PICTURE_SIDE, QUALITY = 4, 360, 80
MAX_CLASSES, BINS = 40, 24
STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
article { border-left: 6px solid; padding: .2rem 0 .2rem 1rem; margin: 1.2rem 0; }
article h3 { margin: 0; font-size: 1.05rem; } article p { margin: .3rem 0; }
.error { border-color: #c62828; }
.warning { border-color: #ef9a00; }
.note { border-color: #5a8dc8; }
.harm { font-size: .8rem; text-transform: uppercase; letter-spacing: .05em; }
code, .files { font-family: ui-monospace, monospace; font-size: .85rem; overflow-wrap: anywhere; }
.files { margin: .3rem 0; padding-left: 1.2rem; }
figure { display: inline-block; margin: .4rem .6rem .4rem 0; vertical-align: top; max-width: 100%; }
figure img { max-width: 100%; display: block; }
figcaption { font-size: .75rem; max-width: 360px; overflow-wrap: anywhere; }
table { border-collapse: collapse; } .wide { overflow-x: auto; }
td, th { padding: .1rem .8rem .1rem 0; text-align: right; } .left { text-align: left; }
svg { max-width: 100%; height: auto; } svg text { fill: currentColor; font: 12px sans-serif; }
"""


def report_page(report: "Report") -> str:
    """One self-contained page: no other file, no script."""
    title = text_of(report.facts.get("path", report.facts.get("name", "Data set")))
    articles = "\n".join(_article(report, finding) for finding in report.findings)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Doctor: {title}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{title}</h1>
<p><strong>{text_of(verdict(report))}</strong></p>
{_facts(report.facts)}
<h2>Findings</h2>
{articles or "<p>None.</p>"}
{_plots(report)}
</body>
</html>
"""


def _article(report: "Report", finding: Finding) -> str:
    files = "".join(f"<li>{text_of(example)}</li>" for example in finding.examples)
    section = f" <code>{PAGE}#{text_of(finding.doc)}</code>" if finding.doc else ""
    return f"""<article class="{finding.harm}" id="{text_of(finding.code)}">
<span class="harm">{finding.harm}</span> <code>{text_of(finding.code)}</code>
<h3>{text_of(finding.title)}</h3>
<p>{text_of(finding.cure)}{section}</p>
{f'<ul class="files">{files}</ul>' if files else ""}
{"".join(_pictures(report, finding))}
</article>"""


def _pictures(report: "Report", finding: Finding) -> Iterator[str]:
    """The first images of a finding that can be read, with its boxes or all boxes."""
    for number, image in enumerate(finding.images[:PICTURES]):
        dataset, index = report.image_of(finding, image)
        marked = finding.boxes[number] if number < len(finding.boxes) else None
        try:
            picture = _drawn(dataset, index, marked)
        except DataError:
            continue  # the finding is that it cannot be read
        name = text_of("/".join(dataset.image_paths[index].replace("\\", "/").split("/")[-2:]))
        data = base64.b64encode(_jpeg(picture)).decode()
        height, width = picture.shape[:2]
        yield (
            f'<figure><img src="data:image/jpeg;base64,{data}" width="{width}" height="{height}" '
            f'alt="{name}" loading="lazy"><figcaption>{name}</figcaption></figure>'
        )


def _drawn(dataset: Dataset, index: int, marked: Any) -> np.ndarray:
    """A small copy of an image with the marked boxes, or all of its boxes, and their classes."""
    from PIL import Image

    sample = dataset[index]
    boxes, labels = sample.boxes, sample.labels
    if marked is not None:
        marked = np.reshape(np.asarray(marked, np.float64), (-1, 4))
        labels = _labels_of(marked, sample.boxes, sample.labels)
        boxes = marked
    pixels = sample.read()
    height, width = pixels.shape[:2]
    scale = min(1.0, PICTURE_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, None, 2.0))
    names = [*dataset.class_names, "?"]
    return draw_ground_truth(small, np.asarray(boxes) * scale, labels, names)


def _labels_of(marked: np.ndarray, boxes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The labels of the marked boxes; the number of classes where one is not of the data set."""
    if not len(boxes) or not len(marked):
        return np.full(len(marked), 0 if not len(labels) else int(labels.max()))
    distance = np.abs(marked[:, None] - boxes[None]).max(axis=-1)
    # Two boxes at one place: each marked box takes the next one that is free.
    taken: set[int] = set()
    found = []
    for row in distance:
        order = np.argsort(row, kind="stable").tolist()
        best = next((i for i in order if i not in taken), order[0])
        taken.add(best)
        found.append(int(labels[best]))
    return np.array(found, np.int64)


def _jpeg(pixels: np.ndarray) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _facts(facts: dict[str, Any]) -> str:
    """Format, splits and the map of classes."""
    if "splits" not in facts:
        return ""
    splits = list(facts["splits"])
    rows = "".join(
        f'<tr><td class="left">{text_of(name)}</td><td>{row["images"]:,}</td>'
        f"<td>{row['images without objects']:,}</td><td>{row['objects']:,}</td>"
        f"<td>{row['crowd']:,}</td></tr>"
        for name, row in facts["splits"].items()
    )
    classes = "".join(
        f'<tr><td>{row["label"]}</td><td class="left">{text_of(row["name"])}</td>'
        f"<td>{text_of(row['source id'])}</td>"
        + "".join(f"<td>{row['objects'][split]:,}</td>" for split in splits)
        + "</tr>"
        for row in facts["classes"]
    )
    heads = "".join(f"<th>{text_of(split)}</th>" for split in splits)
    form = f"<p>Format: {text_of(facts['format'])}</p>" if "format" in facts else ""
    return f"""{form}
<div class="wide"><table><tr><th class="left">split</th><th>images</th><th>without objects</th>
<th>objects</th><th>crowd</th></tr>{rows}</table></div>
<h2>Classes</h2>
<div class="wide"><table><tr><th>label</th><th class="left">name</th><th>source id</th>{heads}</tr>
{classes}</table></div>"""


def _plots(report: "Report") -> str:
    """Objects of each class, and sizes of boxes and images."""
    sets = [each for each in report.splits.values() if len(each.labels)]
    if not sets or "classes" not in report.facts:
        return ""
    classes = report.facts["classes"]
    counts = [(row["label"], row["name"], sum(row["objects"].values())) for row in classes]
    counts.sort(key=lambda row: -row[2])
    sides, shares = [], []
    for each in sets:
        size = np.repeat(each.image_sizes, np.diff(each.row_splits), axis=0)
        box = each.boxes[:, 2:] - each.boxes[:, :2]
        sides.append(np.sqrt(np.maximum(box.prod(axis=1), 0)))
        shares.append(sides[-1] / np.sqrt(np.maximum(size.prod(axis=1), 1)))
    more = f" (the {MAX_CLASSES} most frequent)" if len(counts) > MAX_CLASSES else ""
    return f"""<h2>Objects of each class{more}</h2>
{bars(counts[:MAX_CLASSES])}
<h2>Sides of the boxes in pixels (square root of the area)</h2>
{histogram(np.concatenate(sides))}
<h2>Sides of the boxes as fractions of the image size</h2>
{histogram(np.concatenate(shares))}"""


def bars(rows: Sequence[tuple[int, str, int]]) -> str:
    """A bar for each class, as SVG; rows are label, name and count."""
    most, height, left = max([1, *(count for _, _, count in rows)]), 20, 170
    parts = []
    for k, (label, name, count) in enumerate(rows):
        shown = name if len(name) <= 24 else f"{name[:23]}…"
        width, y = 480 * count / most, k * height
        colour = "#{:02x}{:02x}{:02x}".format(*class_colour(label))
        parts.append(
            f'<text x="{left - 6}" y="{y + 14}" text-anchor="end">{text_of(shown)}</text>'
            f'<rect x="{left}" y="{y + 3}" width="{width:.1f}" height="14" fill="{colour}"/>'
            f'<text x="{left + width + 5:.1f}" y="{y + 14}">{count:,}</text>'
        )
    return svg(720, height * len(rows), "Objects of each class", parts)


def histogram(values: np.ndarray) -> str:
    """How often each size occurs, on a logarithmic axis, as SVG."""
    values = values[np.isfinite(values) & (values > 0)]
    if not len(values):
        return ""
    low, high = np.log(values.min()), np.log(values.max())
    edges = np.linspace(low, max(high, low + 1e-6), BINS + 1)
    counts, _ = np.histogram(np.log(values).clip(edges[0], edges[-1]), edges)
    step, top = 28, 130
    parts = []
    for k, count in enumerate(counts.tolist()):
        tall = 110 * count / counts.max()
        parts.append(
            f'<rect x="{20 + k * step}" y="{top - tall:.1f}" width="{step - 2}" '
            f'height="{tall:.1f}" fill="#5a8dc8"><title>{count:,}</title></rect>'
        )
        if k % 4 == 0:
            parts.append(f'<text x="{20 + k * step}" y="{top + 16}">{np.exp(edges[k]):.3g}</text>')
    parts.append(
        f'<text x="{20 + BINS * step}" y="{top + 16}" text-anchor="end">{values.max():.3g}</text>'
    )
    return svg(BINS * step + 40, top + 24, "Distribution of sizes", parts)
