"""The page of an evaluation in headless Chromium: the gallery by mouse and by keyboard."""

import io
import shutil

import numpy as np
import pytest

pytest.importorskip("selenium", reason="the extra `browser`")

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from keras_det.report.page.page import Headline, evaluation_page
from keras_det.report.page.pictures import Picture

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="no Chromium with its driver here")

NAMES = ["cat", "<script>window.hacked = true</script>"]
RIGHT, CLASS, PLACE = range(3)
BOX = [4, 4, 40, 40]


def grey():
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.full((60, 80, 3), 128, "uint8")).save(file, "JPEG")
    return file.getvalue()


# The first has nothing wrong, the second a wrong class and a missed dog, the third a box that is
# off with a low score.
def pictures():
    size = (60, 80)
    yield Picture("good.jpg", size, grey(), [[*BOX, 0, 0.9, 0]], [[*BOX, 0, 0.9, RIGHT]])
    yield Picture("bad.jpg", size, grey(), [[*BOX, 1, -1, 0]], [[*BOX, 0, 0.8, CLASS]])
    yield Picture("low.jpg", size, grey(), [[*BOX, 0, -1, 0]], [[*BOX, 0, 0.2, PLACE]])


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "index.html"
    headline = Headline("best.keras", ["3 images"], {"AP": 0.5}, ["Look."])
    file.write_text("".join(evaluation_page(headline, [], pictures(), NAMES, [0.5, 0.5])), "utf-8")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in ("headless", "no-sandbox", "disable-gpu", "disable-background-networking"):
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={file.parent / 'profile'}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.get(file.as_uri())
    yield driver
    driver.quit()


def choose(page, name, value):
    Select(page.find_element(By.ID, name)).select_by_value(value)


@pytest.fixture(autouse=True)
def _as_opened(page):
    for name, value in (("class", ""), ("kind", ""), ("score", "own"), ("order", "worst")):
        choose(page, name, value)


def shown(page):
    return [each.text for each in page.find_elements(By.CSS_SELECTOR, "#gallery .name")]


def test_the_image_with_the_most_errors_comes_first(page):
    assert shown(page) == ["bad.jpg", "low.jpg", "good.jpg"]
    errors = [each.text for each in page.find_elements(By.CSS_SELECTOR, "#gallery .errors")]
    assert errors == ["1 wrong class, 1 missed", "1 missed", "1 correct"]
    choose(page, "order", "file")
    assert shown(page) == ["good.jpg", "bad.jpg", "low.jpg"]
    assert page.find_element(By.ID, "count").text == "3 of 3 images"


def test_filters_by_class_kind_and_score(page):
    choose(page, "kind", "missed")
    assert shown(page) == ["bad.jpg", "low.jpg"]
    choose(page, "class", "1")
    assert shown(page) == ["bad.jpg"]
    choose(page, "class", "")
    choose(page, "kind", "localisation")
    assert shown(page) == []
    choose(page, "score", "0.1")
    assert shown(page) == ["low.jpg"]
    choose(page, "kind", "none wrong")
    choose(page, "score", "own")
    assert shown(page) == ["good.jpg"]


def test_an_image_opens_by_keyboard_and_arrows_turn_pages(page):
    view = page.find_element(By.ID, "view")
    first = page.find_element(By.CSS_SELECTOR, "#gallery button")
    first.send_keys(Keys.ENTER)
    assert view.is_displayed() and page.find_element(By.ID, "title").text == "bad.jpg (1 of 3)"
    assert "wrong class" in page.find_element(By.ID, "large").text
    page.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert page.find_element(By.ID, "title").text == "low.jpg (2 of 3)"
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not view.is_displayed()


def test_boxes_stand_where_they_are(page):
    drawn = page.find_elements(By.CSS_SELECTOR, "#gallery li:first-child svg rect")
    # Each box has a dark rim below its line: the missed object, and the detection.
    assert len(drawn) == 4
    assert [drawn[1].get_attribute(each) for each in ("x", "y", "width", "height")] == [
        *("4", "4", "36", "36")
    ]
    picture = page.find_element(By.CSS_SELECTOR, "#gallery li:first-child svg image")
    assert picture.get_attribute("href").startswith("data:image/jpeg;base64,")


def test_no_name_is_run_and_nothing_fails(page):
    assert page.execute_script("return window.hacked") is None
    assert Select(page.find_element(By.ID, "class")).options[2].text == NAMES[1]
    assert page.get_log("browser") == []


def test_a_phone_needs_no_scrolling_to_the_side(page):
    page.set_window_size(500, 800)
    widths = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    full, visible = page.execute_script(widths)
    assert full <= visible
