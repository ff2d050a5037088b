"""The files of a review: findings as CSV and JSON, pictures, and one HTML page."""

import base64
import io
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from keras_det.data.dataset import Dataset
from keras_det.errors import DataError
from keras_det.files import write_json, write_whole
from keras_det.names import LIKELY_WRONG
from keras_det.report.page.plots import text_of
from keras_det.report.tables import csv_bytes
from keras_det.review.finding import KINDS, WORDS, LabelFinding
from keras_det.review.pictures import draw_finding
from keras_det.words import counted

FINDINGS, TABLE, PAGE, PICTURES = "findings.json", "findings.csv", "index.html", "pictures"
COLUMNS = (
    *("rank", "kind", "score", "image", "object", "label", "proposed_label", "detected"),
    *("trained_on", "x1", "y1", "x2", "y2"),
    *("proposed_x1", "proposed_y1", "proposed_x2", "proposed_y2"),
)
LONGEST_NAME = 60  # characters of an image's name in that of its picture
QUALITY = 88
MOST_ON_PAGE = 300  # pictures; all lie in the folder
STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } .red { color: #d33; } .green { color: #1a9a3a; }
ol { display: grid; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)); gap: 1rem;
  list-style: none; padding: 0; }
figure { margin: 0; } figure img { max-width: 100%; height: auto; display: block; }
figcaption { font-size: .85rem; overflow-wrap: anywhere; }
figcaption b { font-size: 1rem; } .name { color: GrayText; }
td, th { padding: .1rem 1rem .1rem 0; text-align: right; } .left { text-align: left; }
"""


def counts_of(findings: Sequence[LabelFinding], least: float) -> dict[str, tuple[int, int]]:
    """Of each kind the number of findings, and of those with at least a score.

    Args:
        findings: of any kinds.
        least: a score in 0..1.
    """
    rows: dict[str, tuple[int, int]] = {}
    for kind in KINDS:
        scores = [each.score for each in findings if each.kind == kind]
        rows[kind] = len(scores), sum(score >= least for score in scores)
    return rows


def write_findings(
    folder: str | os.PathLike,
    dataset: Dataset,
    findings: Sequence[LabelFinding],
    pictures: int = 100,
    on_picture: Callable[[int, int], None] | None = None,
) -> list[pathlib.Path]:
    """Writes `findings.csv`, `findings.json`, `pictures/` and `index.html`; replaces older ones.

    Args:
        folder: an existing folder.
        dataset: what the findings are about.
        findings: the highest score first.
        pictures: number of findings to draw, from the first on.
        on_picture: function called with the number of pictures done and the total number.

    Returns:
        The paths of the page, the table and the JSON file.
    """
    folder = pathlib.Path(folder)
    rows = [each.as_dict(dataset) for each in findings]
    content = {"class_names": dataset.class_names, "images": len(dataset), "findings": rows}
    write_json(folder / FINDINGS, content)
    write_whole(folder / TABLE, _table(rows))
    _remove_older(folder / PICTURES)
    shown = list(findings[:pictures])
    drawn: list[tuple[LabelFinding, str, bytes]] = []
    for rank, finding in enumerate(shown, 1):
        try:
            picture = draw_finding(dataset, finding)
        except DataError:
            continue  # it could be read a moment ago, when the model looked at it
        name = picture_name(rank, finding, dataset.image_paths[finding.image])
        data = _jpeg(picture)
        (folder / PICTURES).mkdir(exist_ok=True)
        write_whole(folder / PICTURES / name, data)
        if len(drawn) < MOST_ON_PAGE:
            drawn.append((finding, name, data))
        if on_picture is not None:
            on_picture(rank, len(shown))
    page = "".join(_page(dataset, findings, drawn))
    write_whole(folder / PAGE, page.encode("utf-8", "backslashreplace"))
    return [folder / PAGE, folder / TABLE, folder / FINDINGS]


def picture_name(rank: int, finding: LabelFinding, path: str) -> str:
    """File name of a picture, such as "0001_missing_photo.jpg".

    Args:
        rank: of the finding, from 1.
        finding: what is drawn.
        path: of its image.
    """
    stem = pathlib.Path(path.replace("\\", "/")).stem.encode(errors="replace").decode()
    return f"{rank:04}_{finding.kind}_{stem[:LONGEST_NAME]}.jpg"


def _remove_older(folder: pathlib.Path) -> None:
    """Removes the pictures of an earlier review: their numbers would mix with the new ones."""
    if folder.is_dir():
        for path in folder.iterdir():
            if re.fullmatch(rf"\d{{4,}}_({'|'.join(KINDS)})_.*\.jpg", path.name, re.DOTALL):
                path.unlink()


def _table(rows: Sequence[dict[str, Any]]) -> bytes:
    lines: list[Sequence[object]] = [COLUMNS]
    for rank, row in enumerate(rows, 1):
        cells = [rank, *(row[name] for name in COLUMNS[1:9])]
        lines.append([*cells, *(row["box"] or [""] * 4), *(row["proposed_box"] or [""] * 4)])
    return csv_bytes(lines)


def _jpeg(picture: np.ndarray) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _page(
    dataset: Dataset,
    findings: Sequence[LabelFinding],
    drawn: Sequence[tuple[LabelFinding, str, bytes]],
) -> Iterator[str]:
    """The page in pieces: no other file, no script."""
    title = f"Review of {text_of(dataset.name)}"
    rows = "".join(
        f'<tr><td class="left">{WORDS[kind]}</td><td>{count:,}</td><td>{likely:,}</td></tr>'
        for kind, (count, likely) in counts_of(findings, LIKELY_WRONG).items()
    )
    yield f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{title}</h1>
<p>{counted(len(dataset), "image")}, {counted(len(dataset.labels), "object")}. The most likely
errors come first; the first {len(drawn):,} are shown. <b class="red">Red</b>: the label in the
data. <b class="green">Green</b>: what the model proposes, with its score. Blue: other objects.</p>
<table><tr><th class="left">kind</th><th>findings</th><th>score {LIKELY_WRONG:g} or more</th></tr>
{rows}</table>
<ol>
"""
    for rank, (finding, name, data) in enumerate(drawn, 1):
        text = text_of(finding.text(dataset.class_names))
        path = text_of("/".join(dataset.image_paths[finding.image].split(os.sep)[-2:]))
        source = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
        known = " (trained on)" if finding.trained_on else ""
        yield (
            f'<li><figure><img src="{source}" alt="{text_of(name)}" loading="lazy"><figcaption>'
            f"<b>{rank}. {text}</b><br>score {finding.score:.2f}{known}<br>"
            f'<span class="name">{path}</span></figcaption></figure></li>\n'
        )
    yield "</ol>\n</body>\n</html>\n"
