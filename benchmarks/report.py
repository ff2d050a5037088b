"""Times the report of an evaluation against drawing its pictures alone, and opens the page.

    python benchmarks/report.py --images 5000

The images are synthetic: 640x480, with 12 objects and 20 detections each. "Pictures alone" reads
every image, makes a small copy and compresses it; every report must do this. If Chromium, its
driver and the package selenium are installed, the page is opened, and the time until its first
pictures appear is printed.
"""

import argparse
import pathlib
import shutil
import statistics
import tempfile
import time

import numpy as np
from PIL import Image

import keras_det.data
from keras_det.metrics.columns import columns
from keras_det.metrics.engines import evaluate
from keras_det.metrics.matching import IOUS, match
from keras_det.metrics.score_facts import score_facts
from keras_det.report.page.pictures import Budget
from keras_det.training.evaluate import Measured, Seen
from keras_det.training.report import write_report

NAMES = [f"class {k}" for k in range(10)]
HEIGHT, WIDTH, OBJECTS, EXTRA = 480, 640, 12, 8


def scene(rng):
    """Boxes `(12, 4)` xyxy and labels."""
    corners = rng.uniform(0, (WIDTH - 90, HEIGHT - 90), (OBJECTS, 2))
    sides = rng.uniform(20, 90, (OBJECTS, 2))
    return np.hstack([corners, corners + sides]), rng.integers(0, len(NAMES), OBJECTS)


def draw(path, boxes, rng):
    """An image with soft noise and a rectangle for each box."""
    noise = rng.normal(120, 30, (HEIGHT // 8, WIDTH // 8, 3)).clip(0, 255).astype("uint8")
    image = np.array(Image.fromarray(noise).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
    for x1, y1, x2, y2 in boxes.astype(int):
        image[y1:y2, x1:x2] = image[y1:y2, x1:x2] // 2 + rng.integers(0, 128, 3, dtype=np.uint8)
    Image.fromarray(image).save(path, quality=90)


def found_in(boxes, labels, rng):
    moved = boxes + rng.normal(0, 6, boxes.shape)
    more, others = scene(rng)
    scores = rng.uniform(0.05, 1, OBJECTS + EXTRA)
    return {
        "boxes": np.vstack([moved, more[:EXTRA]]),
        "labels": np.concatenate([labels, others[:EXTRA]]),
        "scores": scores,
    }


def pictures_alone(dataset):
    budget = Budget(len(dataset))
    return sum(len(budget.copy(dataset[i].read())) for i in range(len(dataset)))


def opened(page):
    """Seconds until the first pictures of the page appear; None without a browser."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    try:
        from selenium import webdriver
    except ImportError:
        return None
    if not (browser and driver):
        return None
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in ("headless", "no-sandbox", "disable-gpu", "disable-background-networking"):
        options.add_argument(f"--{flag}")
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    times = []
    for _ in range(3):
        browser.get("about:blank")
        start = time.perf_counter()
        browser.get(page.as_uri())
        browser.execute_async_script("requestAnimationFrame(() => arguments[0]())")
        times.append(time.perf_counter() - start)
    browser.quit()
    return statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--keep", type=pathlib.Path, help="folder for the report")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        truth, paths = [], []
        for k in range(arguments.images):
            boxes, labels = scene(rng)
            truth.append({"boxes": boxes.astype("float32"), "labels": labels})
            paths.append(str(folder / f"{k:05}.jpg"))
            draw(paths[-1], boxes, rng)
        items = [{"images": path, **each} for path, each in zip(paths, truth, strict=True)]
        form = {"bounding_box_format": "xyxy", "class_names": NAMES}
        dataset = keras_det.data.from_arrays(items, **form)
        found = [found_in(each["boxes"], each["labels"], rng) for each in truth]
        arrays = columns(truth, found, NAMES)
        evaluation = evaluate(*arrays, len(NAMES))
        measured = Measured(
            {"AP": float("nan"), "AP50": float("nan")},
            {},
            score_facts(found, [(HEIGHT, WIDTH)] * len(found), 0.3),
            seen=Seen(list(range(len(truth))), match(*arrays, IOUS[:1]), evaluation, NAMES),
        )
        start = time.perf_counter()
        pictures_alone(dataset)
        alone = time.perf_counter() - start
        out = arguments.keep or folder / "report"
        start = time.perf_counter()
        page = write_report(out, measured, dataset, NAMES, "drawn")
        whole = time.perf_counter() - start
        size = page.stat().st_size / 1e6
        print(f"{arguments.images} images: pictures alone {alone:.1f} s, report {whole:.1f} s")
        print(f"ratio {whole / alone:.2f}, page {size:.1f} MB")
        seconds = opened(page)
        print("page not opened" if seconds is None else f"page opens in {seconds:.2f} s")


if __name__ == "__main__":
    main()
