"""Seconds and memory of opening a COCO file of train2017's size, against `json.load` alone.

    python benchmarks/open_coco.py

Draws a file with as many images and boxes as train2017's (118,287 and 860,001, with polygons,
about 400 MB) beside as many tiny images. Each side runs in a process of its own, in turns, and the
medians are compared: `json.load` of the file, and `keras_det.data.load`, which also finds the
images, checks every box and builds the data set. The exit code is 1 above 0.3 of the time of
`json.load` or above 1.2 GiB.
"""

import argparse
import json
import os
import pathlib
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

IMAGES, BOXES, CATEGORIES = 118_287, 860_001, 80
TIME_LIMIT, MEMORY_LIMIT = 0.3, 1.2


def polygon(numbers, points):
    return ",".join(f"{numbers.uniform(0, 600):.2f}" for _ in range(2 * points))


def draw(folder):
    """Writes the file and its images; returns the path of the file."""
    numbers = random.Random(0)
    polygons = [polygon(numbers, numbers.randint(8, 40)) for _ in range(1000)]
    path = folder / "annotations" / "instances_train2017.json"
    path.parent.mkdir()
    with open(path, "w", encoding="utf-8") as file:
        file.write('{"info": {"year": 2017}, "licenses": [], "images": [')
        file.write(",".join(image_entry(i) for i in range(IMAGES)))
        file.write('], "annotations": [')
        for i in range(BOXES):
            file.write(("," if i else "") + annotation_entry(i, numbers, polygons))
        names = [{"id": i + 1, "name": f"class {i}"} for i in range(CATEGORIES)]
        file.write(f'], "categories": {json.dumps(names)}}}')
    draw_images(folder / "train2017")
    return path


def image_entry(i):
    url = f"http://images.cocodataset.org/train2017/{i:012d}.jpg"
    return (
        f'{{"license": 3,"file_name": "{i:012d}.jpg","coco_url": "{url}","height": 480,'
        f'"width": 640,"date_captured": "2013-11-14 11:18:45","flickr_url": "{url}","id": {i}}}'
    )


def annotation_entry(i, numbers, polygons):
    x, y = numbers.uniform(0, 500), numbers.uniform(0, 400)
    width, height = numbers.uniform(5, 130), numbers.uniform(5, 75)
    return (
        f'{{"segmentation": [[{numbers.choice(polygons)}]],"area": {width * height / 2:.4f},'
        f'"iscrowd": 0,"image_id": {numbers.randrange(IMAGES)},"bbox": [{x:.2f},{y:.2f},'
        f'{width:.2f},{height:.2f}],"category_id": {numbers.randrange(CATEGORIES) + 1},"id": {i}}}'
    )


def draw_images(folder):
    """One image under many names: hard links, so that it takes no space."""
    from PIL import Image

    folder.mkdir()
    for i in range(IMAGES):
        path = folder / f"{i:012d}.jpg"
        if i % 10_000 == 0:  # file systems limit the links of one file
            first = path
            Image.new("RGB", (640, 480)).save(path)
        else:
            os.link(first, path)


def run(what, path):
    """One side, in this process: prints seconds and the highest memory in GiB."""
    if what == "load":
        from keras_det.data import load
    start, start_cpu = time.perf_counter(), time.process_time()
    if what == "json":
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        found = len(content["images"]), len(content["annotations"])
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = load(path)
        found = len(dataset), len(dataset.labels)
    seconds, processor = time.perf_counter() - start, time.process_time() - start_cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps([seconds, processor, memory, *found]))


def measure(what, path):
    command = [sys.executable, __file__, "--run", what, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, processor, memory, *found = json.loads(done.stdout.splitlines()[-1])
    if found != [IMAGES, BOXES]:
        raise SystemExit(f"{what} must find {IMAGES} images and {BOXES} objects. Received: {found}")
    return seconds, processor, memory


def compare(path, rounds):
    results = {"json": [], "load": []}
    for _ in range(rounds):
        for what, each in results.items():
            each.append(measure(what, path))
    print(f"{path.stat().st_size / 1e6:.0f} MB, {IMAGES:,} images, {BOXES:,} boxes")
    seconds, processor, memory = (
        {what: summary(row[column] for row in each) for what, each in results.items()}
        for column, summary in ((0, statistics.median), (1, statistics.median), (2, max))
    )
    for what, title in (("json", "json.load"), ("load", "keras_det.data.load")):
        times = f"{seconds[what]:6.2f} s {processor[what]:6.2f} s of processor time"
        print(f"{title:20} {times} {memory[what]:6.2f} GiB")
    ratios = [each["load"] / each["json"] for each in (seconds, processor, memory)]
    time_ratio, processor_ratio, memory_ratio = ratios
    print(
        f"time {time_ratio:.2f} of json.load (limit {TIME_LIMIT}), processor {processor_ratio:.2f}"
    )
    print(
        f"memory {memory_ratio:.2f} of json.load, {memory['load']:.2f} GiB (limit {MEMORY_LIMIT})"
    )
    return time_ratio <= TIME_LIMIT and memory["load"] <= MEMORY_LIMIT


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=pathlib.Path, help="folder for the file, drawn once")
    parser.add_argument("--run", nargs=2, metavar=("SIDE", "FILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        return run(*arguments.run)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or pathlib.Path(temporary)
        path = folder / "annotations" / "instances_train2017.json"
        if not path.exists():
            folder.mkdir(exist_ok=True)
            path = draw(folder)
        raise SystemExit(0 if compare(path, arguments.rounds) else 1)


if __name__ == "__main__":
    main()
