"""The page of an evaluation: escaped, complete in itself, and small enough."""

import html.parser
import json

import numpy as np
import pytest

from keras_det.report.page.page import KINDS, Headline, Section, evaluation_page
from keras_det.report.page.pictures import BUDGET, SIDES, Budget, Picture, side_for
from keras_det.report.page.plots import Line, plot_bars, plot_lines, plot_matrix, ticks
from keras_det.report.page.sections import text_section

HOSTILE = "</script><script>alert(1)</script>\x1b[31m"


class Parts(html.parser.HTMLParser):
    """What a browser would see: elements, and the texts of the scripts."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.scripts = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.elements and self.elements[-1][0] == "script":
            self.scripts.append(data)


def picture(name="a/b.jpg", jpeg=b"\xff\xd8"):
    truth = [[1, 2, 30.25, 40, 1, 0.875, 0]]
    return Picture(name, (48, 64), jpeg, truth, [[1.04, 2, 30, 40, 1, 0.87654, 3]])


def page(pictures=(), names=("cat", HOSTILE), title="best.keras"):
    headline = Headline(title, [HOSTILE], {"AP": 0.5, "AP50": float("nan")}, [HOSTILE])
    sections = [Section("one", "One", "<p>1</p>")]
    more = [text_section("more", "More", {HOSTILE: HOSTILE})]
    return "".join(evaluation_page(headline, sections, pictures, names, [0.3, 0.4], more))


def test_names_are_escaped_wherever_they_stand():
    text = page([picture(HOSTILE)], title=HOSTILE)
    parts = Parts(text)
    assert [tag for tag, _ in parts.elements].count("script") == 2  # data and gallery
    assert "alert(1)</script>" not in text and "\x1b" not in text
    data = json.loads(parts.scripts[0])
    assert data["classes"] == ["cat", HOSTILE] and data["images"][0]["name"] == HOSTILE


def test_the_page_needs_no_other_file():
    parts = Parts(page([picture()]))
    for tag, attributes in parts.elements:
        assert tag not in ("link", "iframe", "img")
        assert not attributes.get("src") and attributes.get("href", "#").startswith("#")
    assert "http" not in parts.scripts[1].replace("http://www.w3.org/2000/svg", "")


def test_the_data_holds_boxes_thresholds_and_kinds():
    data = json.loads(Parts(page([picture()])).scripts[0])
    assert data["thresholds"] == [0.3, 0.4]
    assert data["kinds"] == [name for name, _ in KINDS] and data["words"]["missed"] == "missed"
    (image,) = data["images"]
    assert (image["h"], image["w"]) == (48, 64) and image["jpeg"] == "/9g="
    assert image["truth"] == [[1, 2, 30.2, 40, 1, 0.875, 0]]
    assert image["found"] == [[1, 2, 30, 40, 1, 0.8765, 3]]


def test_numbers_that_are_not_there_are_dashes():
    assert "<b>0.500</b>" in page() and "<b>–</b>" in page()


@pytest.mark.parametrize(
    "low, high, wanted",
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 0.23, [0, 0.05, 0.1, 0.15, 0.2]),
        (1, 30, [10, 20, 30]),
        (3, 3, [3]),
        (0, float("nan"), [0]),
    ],
)
def test_ticks_are_round_numbers(low, high, wanted):
    np.testing.assert_allclose(ticks(low, high), wanted, atol=1e-12)


# By hand: the plot is 346 wide and 210 high between the axes, from (62, 10).
def test_a_line_runs_through_its_points():
    plot = plot_lines([Line("a", "red", [0, 1], [0, 0.5])], "t", "x", "y", (0, 1), (0, 1))
    assert 'points="62.0,220.0 408.0,115.0"' in plot


def test_points_that_are_not_finite_are_left_out():
    nan = float("nan")
    plot = plot_lines([Line("a", "red", [0, 1, 2], [1, nan, 1])], "t", "x", "y")
    assert plot.count(",") == 2 and "nan" not in plot
    assert plot_lines([Line("a", "red", [0], [nan])], "t", "x", "y") == ""
    assert "<circle" in plot_lines([Line("a", "red", [4], [2])], "t", "x", "y")


def test_a_matrix_shows_each_count_and_what_it_means():
    plot = plot_matrix(np.array([[7, 2], [0, 0]]), ["cat", "background"], "t")
    assert "cat found as background: 2" in plot and ">7</text>" in plot
    assert ">0</text>" not in plot


def test_bars_are_as_long_as_their_values():
    plot = plot_bars([("a", 0.2, "x"), ("b", 0.1, "y"), ("c", float("nan"), "-")], "t", "red")
    assert 'width="210.0"' in plot and 'width="105.0"' in plot and 'width="0.0"' in plot


@pytest.mark.parametrize("images, side", [(1, 640), (100, 640), (5000, 192)])
def test_more_images_are_smaller(images, side):
    assert side_for(images) == side
    assert side_for(10**7) == SIDES[-1]


# Noise takes several times the bytes of a photo.
def test_pictures_stay_within_the_budget():
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    budget, sizes = Budget(40, 400_000), []
    for _ in range(40):
        sizes.append(len(budget.copy(noise)))
    assert sizes[0] > sizes[-1] and sum(sizes) < 1.3 * 400_000
    assert BUDGET * 4 / 3 < 40e6
