"""Images per second of the doctor's look at images against JPEG decoding alone, in one process.

    python benchmarks/doctor.py PATH/TO/IMAGES

The peer opens and decodes each file with Pillow in a pool of one thread for each core. Both read
the same files in turns, and medians are compared. Without a path, synthetic images are drawn. The
exit code is 1 if the doctor falls below 0.7 of the rate of decoding.
"""

import argparse
import pathlib
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from PIL import Image  # noqa: E402

from keras_det.data import draw_shapes_dataset  # noqa: E402
from keras_det.doctor.scan import cores, scan_images  # noqa: E402

TARGET = 0.7


def decode(path):
    """Reads and decodes one image, nothing else."""
    with Image.open(path) as image:
        image.load()
        return image.size


def decode_all(paths):
    """Decodes all images on all cores."""
    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(decode, paths))


def seconds(run, paths):
    """Wall time and processor time of one turn."""
    start, start_cpu = time.perf_counter(), time.process_time()
    run(paths)
    return time.perf_counter() - start, time.process_time() - start_cpu


def main():
    """Prints one row for each way, and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="?", help="folder with .jpg files; none: drawn images")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = arguments.images or draw_shapes_dataset(f"{folder}/shapes", 200, 0, 640)
        paths = [str(path) for path in sorted(pathlib.Path(root).rglob("*.jpg"))]
        ways = {
            "JPEG decoding alone": decode_all,
            "doctor, pixels": lambda paths: scan_images(paths, quick=False),
            "doctor, headers only": lambda paths: scan_images(paths, quick=True),
        }
        times = {name: [] for name in ways}
        for turn in range(arguments.rounds + 1):
            for name, run in ways.items():
                took = seconds(run, paths)
                if turn:  # the first turn warms the disk cache
                    times[name].append(took)
    rates = {name: [len(paths) / wall for wall, _ in each] for name, each in times.items()}
    middle = {name: statistics.median(each) for name, each in rates.items()}
    print(f"{len(paths)} images, {cores()} cores")
    print("| what | images/s, median (range) | share of decoding | CPU ms per image |")
    print("|---|---|---|---|")
    for name, each in rates.items():
        cpu = statistics.median(1e3 * cpu / len(paths) for _, cpu in times[name])
        share = middle[name] / middle["JPEG decoding alone"]
        print(
            f"| {name} | {middle[name]:.0f} ({min(each):.0f}-{max(each):.0f}) | {share:.2f} "
            f"| {cpu:.2f} |"
        )
    return int(middle["doctor, pixels"] < TARGET * middle["JPEG decoding alone"])


if __name__ == "__main__":
    sys.exit(main())
