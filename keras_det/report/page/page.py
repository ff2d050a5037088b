"""One HTML page of an evaluation: headline, what to do next, plots, and all images."""

import dataclasses
import datetime
import importlib.resources
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from keras_det.report.draw import class_colour
from keras_det.report.page.pictures import Picture, page_data
from keras_det.report.page.plots import text_of

NUMBERS = (
    ("AP", "AP", "average precision, mean over IoU 0.50 to 0.95"),
    ("AP50", "AP50", "average precision at IoU 0.50"),
    ("AP75", "AP75", "average precision at IoU 0.75"),
    ("AP_small", "small", "AP of objects below 32x32 pixels"),
    ("AP_medium", "medium", "AP of objects of 32x32 to 96x96 pixels"),
    ("AP_large", "large", "AP of objects above 96x96 pixels"),
)
SCORES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
# Kinds of a detection, as `keras_det.metrics` names them, and the words for them.
KINDS = (
    ("right", "correct"),
    ("classification", "wrong class"),
    ("localisation", "poor localisation"),
    ("both", "wrong class and poor localisation"),
    ("duplicate", "duplicate"),
    ("background", "on background"),
    ("ignored", "ignored"),
)


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page: its id, its heading and its HTML."""

    id: str
    title: str
    body: str


@dataclasses.dataclass(frozen=True)
class Headline:
    """The top of the page.

    Attributes:
        title: what was evaluated.
        about: facts in short, such as the data and the number of images.
        metrics: of `keras_det.metrics.coco.metrics_of`.
        advice: what to do next, at most five sentences.
        warning: a sentence above everything else, or "".
    """

    title: str
    about: list[str]
    metrics: Mapping[str, Any]
    advice: Sequence[str]
    warning: str = ""


def colour_of(label: int) -> str:
    """The colour of a class in CSS, the same as in all pictures."""
    return "#{:02x}{:02x}{:02x}".format(*class_colour(label))


def number(value: Any, digits: int = 3) -> str:
    """A number of the page; an en dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def evaluation_page(
    headline: Headline,
    sections: Sequence[Section],
    pictures: Iterable[Picture],
    class_names: Sequence[str],
    thresholds: Sequence[float],
    background: Sequence[Section] = (),
) -> Iterator[str]:
    """The page in pieces, so that memory holds one picture at a time.

    It needs no other file and no network. Names are escaped.

    Args:
        headline: the top of the page.
        sections: between the top and the gallery.
        pictures: of the gallery.
        class_names, thresholds: by label.
        background: sections at the end: data, recipe, environment.
    """
    parts = [*sections, Section("images", "Images", _gallery(class_names)), *background]
    yield _head(headline, parts)
    for section in parts:
        heading = f'<h2 id="{section.id}">{text_of(section.title)}</h2>'
        yield f"<section>{heading}\n{section.body}</section>\n"
    yield "</main>\n"
    yield f"<footer>keras_det, {datetime.datetime.now():%Y-%m-%d %H:%M}</footer>\n"
    yield '<script type="application/json" id="data">'
    colours = [colour_of(label) for label in range(len(class_names))]
    yield from page_data(pictures, class_names, colours, thresholds, KINDS)
    yield f"</script>\n<script>\n{_file('gallery.js')}</script>\n</body>\n</html>\n"


def _file(name: str) -> str:
    return (importlib.resources.files("keras_det.report.page") / name).read_text("utf-8")


def _head(headline: Headline, parts: Sequence[Section]) -> str:
    title = text_of(headline.title)
    about = " · ".join(map(text_of, headline.about))
    links = "".join(f'<a href="#{part.id}">{text_of(part.title)}</a>' for part in parts)
    warning = f'<p class="warning">{text_of(headline.warning)}</p>' if headline.warning else ""
    advice = "".join(f"<li>{text_of(each)}</li>" for each in headline.advice)
    following = (
        f'<div class="next"><h2>What to do next</h2><ol>{advice}</ol></div>' if advice else ""
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{_file("page.css")}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p class="about">{about}</p>
<nav aria-label="Parts of this page">{links}</nav>
</header>
<main>
{warning}
<div class="numbers">{"".join(_numbers(headline.metrics))}</div>
{following}
"""


def _numbers(metrics: Mapping[str, Any]) -> Iterator[str]:
    for k, (key, name, says) in enumerate(NUMBERS):
        if key in metrics:
            kind = ' class="first"' if not k else ""
            value = number(metrics[key])
            yield f'<div{kind} title="{text_of(says)}"><b>{value}</b><span>{name}</span></div>'


def _gallery(class_names: Sequence[str]) -> str:
    classes = "".join(
        f'<option value="{label}">{text_of(name)}</option>'
        for label, name in enumerate(class_names)
    )
    kinds = "".join(
        f'<option value="{name}">{text_of(words)}</option>'
        for name, words in [*KINDS[1:], ("missed", "missed"), KINDS[0]]
    )
    scores = "".join(f'<option value="{score:g}">{score:g}</option>' for score in SCORES)
    return f"""<p>Dashed white boxes: missed objects. Dashed green boxes: objects that were found.
Solid boxes: detections, in the colour of their class.</p>
<div class="filters">
<label>class <select id="class"><option value="">all</option>{classes}</select></label>
<label>images with <select id="kind"><option value="">anything</option>{kinds}
<option value="none wrong">no errors</option></select></label>
<label>minimum score <select id="score"><option value="own">the model's thresholds</option>{scores}
</select></label>
<label>order <select id="order"><option value="worst">most errors first</option>
<option value="sure">errors with high scores first</option>
<option value="file">as in the data set</option>
</select></label>
<label class="tick"><input type="checkbox" id="truth" checked> objects</label>
<label class="tick"><input type="checkbox" id="found" checked> detections</label>
<span id="count" class="soft" role="status"></span>
</div>
<ul class="gallery" id="gallery"></ul>
<p><button type="button" id="more" hidden>Show more</button></p>
<dialog id="view" aria-labelledby="title">
<div class="bar"><span class="name" id="title"></span>
<button type="button" id="before">Previous</button>
<button type="button" id="after">Next</button>
<button type="button" id="close">Close</button></div>
<div id="large"></div>
</dialog>
<noscript><p>The images need JavaScript.</p></noscript>"""
