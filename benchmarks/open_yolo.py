"""Files of labels per second of the YOLO reader, against a plain loop, in one process.

    python benchmarks/open_yolo.py [--files 100000] [--objects 7]

Draws a data set of `--files` images (one tiny PNG each) with `--objects` lines in each file of
labels. The first round warms the disk cache. Then three cases take turns, and medians are compared:
the labels alone, `load` of the whole data set, and the peer: `open`, `read`, `split`, `float` for
every number. The exit code is 1 where the labels alone or `load` read fewer than 10,000 files a
second.
"""

import argparse
import pathlib
import statistics
import sys
import tempfile
import time
import warnings

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

from keras_det.data import load  # noqa: E402
from keras_det.data.formats.yolo_labels import read_labels  # noqa: E402
from keras_det.data.raw import BadRecords  # noqa: E402

TARGET = 10_000


def draw(root, files, objects):
    """Writes the data set and returns the paths of its labels."""
    images, labels = root / "images" / "train", root / "labels" / "train"
    for folder in (images, labels):
        folder.mkdir(parents=True)
    (root / "data.yaml").write_text("train: images/train\nnames: [cat, dog]\n")
    Image.new("RGB", (64, 48)).save(root / "one.png")
    picture = (root / "one.png").read_bytes()
    (root / "one.png").unlink()
    rng = np.random.default_rng(0)
    paths = []
    for i in range(files):
        boxes = rng.uniform(0.2, 0.4, (objects, 4))
        text = "".join(f"{i % 2} " + " ".join(f"{v:.6f}" for v in box) + "\n" for box in boxes)
        (images / f"{i:06}.png").write_bytes(picture)
        paths.append(str(labels / f"{i:06}.txt"))
        pathlib.Path(paths[-1]).write_text(text)
    return paths


def plain_loop(paths):
    """The peer: one file after another, one number after another."""
    classes, boxes = [], []
    for path in paths:
        with open(path) as file:
            for line in file.read().splitlines():
                words = line.split()
                classes.append(int(words[0]))
                boxes.append([float(word) for word in words[1:5]])
    return np.array(classes), np.array(boxes)


def main():
    """Measures and prints the three rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--objects", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="yolo-") as folder:
        root = pathlib.Path(folder)
        paths = draw(root, arguments.files, arguments.objects)
        cases = {
            "labels alone": lambda: read_labels(paths, BadRecords("lines", folder)),
            "load": lambda: load(root, "train"),
            "plain loop": lambda: plain_loop(paths),
        }
        ours, peer = cases["labels alone"](), cases["plain loop"]()
        np.testing.assert_array_equal(ours.classes, peer[0])
        np.testing.assert_array_equal(ours.boxes, peer[1])
        seconds = {name: [] for name in cases}
        for _ in range(arguments.rounds):
            for name, run in cases.items():
                start = time.perf_counter()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    run()
                seconds[name].append(time.perf_counter() - start)
        rates = {name: arguments.files / statistics.median(s) for name, s in seconds.items()}
    for name, rate in rates.items():
        print(f"{name}: {rate:,.0f} files/s ({rate / rates['plain loop']:.2f} of the plain loop)")
    return int(min(rates["labels alone"], rates["load"]) < TARGET)


if __name__ == "__main__":
    sys.exit(main())
