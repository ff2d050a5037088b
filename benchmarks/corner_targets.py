"""Times the heat maps of CornerNet: CornerTargets against a NumPy loop like the original's.

    python benchmarks/corner_targets.py

8 images of 511x511, maps of 128x128 cells, 80 classes, 100 slots; medians of one process, in turns.
The loop is timed with and without handing its arrays to TensorFlow: NumPy's zeros take no memory
until they are read. The two other ways to draw with static shapes and in `keras.ops` only:

- windows: each object fills a square of the largest size, 59x59 cells, with one scatter per map;
- planes: a loop over the slots fills whole planes, product of a row and a column, one per image,
  classes first, transposed in the end.

2026-11-21, two shared cores of a Xeon with AVX-512, load 4 to 5, Python 3.11.7, Keras 3.15.1,
TensorFlow 2.21.0; milliseconds, in brackets divided by ours:

                            none    as COCO     100 per image   100 as large as the image
    ours                     14       34            61             300
    ours, XLA                13       21            30             446
    windows                 160       173 (5.2)     287 (4.7)      169 (0.6)
    planes                   35       552 (16)     1409 (23)      1433 (4.8)
    loop                      0        13 (0.4)      46 (0.8)       81 (0.3)
    loop to TensorFlow       33        49 (1.5)      94 (1.5)      157 (0.5)

With JAX ours takes 36 ms as COCO and 40 with 100 per image; zeros of that size alone take 36.
The maps themselves are 84 MB; a first call adds 190 to 230 MB to the peak of its process, as
TensorFlow copies a map whenever it scatters into it.
"""

import platform
import resource
import time

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_det.targets import CornerTargets
from keras_det.targets.corner_targets import _cells

BATCH, SLOTS, IMAGE, MAP, CLASSES, REPEATS = 8, 100, 511, 128, 80, 9
LARGEST = 29
CORNERS = ("top_left", "bottom_right")


def ours(boxes, labels):
    targets = CornerTargets().assign(boxes, labels, (IMAGE, IMAGE), (MAP, MAP), CLASSES)
    return [targets[f"{corner}_heatmaps"] for corner in CORNERS]


def geometry(boxes):
    """The corners' cells and the radii, as CornerTargets finds them."""
    boxes = boxes * (MAP / IMAGE)
    cells = [ops.stack(_cells(p, (MAP, MAP)), -1) for p in (boxes[..., :2], boxes[..., 2:])]
    return cells, CornerTargets()._radii(boxes)


def windows(boxes, labels):
    (corners, radii), reach = geometry(boxes), tf.range(-LARGEST, LARGEST + 1)
    inside = tf.abs(reach) <= radii[..., None]
    sigma = tf.cast(2 * radii + 1, "float32")[..., None] / 6
    line = tf.where(inside, tf.exp(-tf.cast(reach**2, "float32") / (2 * sigma**2)), 0.0)
    values = line[..., :, None] * line[..., None, :]
    plane = tf.range(BATCH)[:, None] * MAP * MAP * CLASSES + labels
    maps = []
    for cells in corners:
        x, y = cells[..., :1] + reach, cells[..., 1:] + reach
        seen_x, seen_y = (x >= 0) & (x < MAP), (y >= 0) & (y < MAP)
        seen = seen_y[..., :, None] & seen_x[..., None, :] & (labels >= 0)[..., None, None]
        index = (y[..., :, None] * MAP + x[..., None, :]) * CLASSES + plane[..., None, None]
        index = tf.reshape(tf.where(seen, index, 0), (-1, 1))
        blank = tf.zeros(BATCH * MAP * MAP * CLASSES)
        drawn = tf.reshape(tf.where(seen, values, 0.0), (-1,))
        heatmap = tf.tensor_scatter_nd_max(blank, index, drawn)
        maps.append(tf.reshape(heatmap, (BATCH, MAP, MAP, CLASSES)))
    return maps


def planes(boxes, labels):
    corners, radii = geometry(boxes)
    last = tf.reduce_max(tf.where(labels >= 0, tf.range(SLOTS) + 1, 0))
    sigma = tf.cast(2 * radii + 1, "float32")[..., None] / 6

    def lines(centres):
        off = tf.range(MAP) - centres[..., None]
        seen = (tf.abs(off) <= radii[..., None]) & (labels >= 0)[..., None]
        return tf.where(seen, tf.exp(-tf.cast(off**2, "float32") / (2 * sigma**2)), 0.0)

    pairs = [(lines(cells[..., 0]), lines(cells[..., 1])) for cells in corners]
    place = tf.range(BATCH)[:, None] * CLASSES + tf.maximum(labels, 0)

    def step(slot, *maps):
        index = tf.gather(place, slot, axis=1)[:, None]
        return slot + 1, *(
            tf.tensor_scatter_nd_max(
                m,
                index,
                tf.gather(y, slot, axis=1)[..., None] * tf.gather(x, slot, axis=1)[:, None],
            )
            for m, (x, y) in zip(maps, pairs, strict=True)
        )

    state = (0, *(tf.zeros((BATCH * CLASSES, MAP, MAP)) for _ in corners))
    maps = tf.while_loop(lambda slot, *_: slot < last, step, state)[1:]
    shape = (BATCH, CLASSES, MAP, MAP)
    return [tf.transpose(tf.reshape(m, shape), (0, 2, 3, 1)) for m in maps]


def draw(heatmap, x, y, radius):
    side = 2 * radius + 1
    dy, dx = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    gaussian = np.exp(-(dx * dx + dy * dy) / (2 * (side / 6) ** 2))
    gaussian[gaussian < np.finfo(gaussian.dtype).eps * gaussian.max()] = 0
    left, right = min(x, radius), min(MAP - x, radius + 1)
    top, bottom = min(y, radius), min(MAP - y, radius + 1)
    part = heatmap[y - top : y + bottom, x - left : x + right]
    gaussian = gaussian[radius - top : radius + bottom, radius - left : radius + right]
    np.maximum(part, gaussian, out=part)


def loop(boxes, labels):
    """Object by object, on planes of one class each, as the original keeps them."""
    maps = [np.zeros((BATCH, CLASSES, MAP, MAP), "float32") for _ in CORNERS]
    for image, slot in np.argwhere(labels >= 0):
        x1, y1, x2, y2 = boxes[image, slot].astype("float64") * (MAP / IMAGE)
        total = np.ceil(x2 - x1) + np.ceil(y2 - y1)
        lost = 0.7 * np.ceil(x2 - x1) * np.ceil(y2 - y1)
        # Whole numbers stay whole, so that the results can be compared.
        radius = int((total - np.sqrt(total**2 - 4 * lost)) / 4 + 1e-9)
        for heatmaps, x, y in zip(maps, (x1, x2), (y1, y2), strict=True):
            x, y = min(int(x), MAP - 1), min(int(y), MAP - 1)
            draw(heatmaps[image, labels[image, slot]], x, y, radius)
    return maps


def ground_truth(valid_counts, sides, seed=0):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, IMAGE - sides[0], (BATCH, SLOTS, 2))
    # Whole pixels: nothing lies within rounding of the edge of a cell.
    corner = np.floor(corner)
    far = np.minimum(corner + rng.integers(*sides, (BATCH, SLOTS, 2)), IMAGE)
    labels = rng.integers(0, CLASSES, (BATCH, SLOTS))
    labels[np.arange(SLOTS) >= np.resize(valid_counts, (BATCH, 1))] = -1
    return np.concatenate([corner, far], -1).astype("float32"), labels.astype("int32")


def milliseconds(functions):
    times = {name: [] for name in functions}
    for _ in range(REPEATS):
        for name, function in functions.items():
            start = time.perf_counter()
            result = function()
            [float(heatmap[0, 0, 0, 0]) for heatmap in result]
            times[name].append(1e3 * (time.perf_counter() - start))
            del result
    return {name: float(np.median(values)) for name, values in times.items()}


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    print(f"keras {keras.__version__}, TensorFlow {tf.__version__}, Python", end=" ")
    print(platform.python_version())
    graphs = {"ours": tf.function(ours), "ours, XLA": tf.function(ours, jit_compile=True)}
    graphs |= {"windows": tf.function(windows), "planes": tf.function(planes)}
    counts = np.minimum(np.random.default_rng(1).geometric(1 / 7.3, BATCH), SLOTS)
    before = peak()
    for title, valid, sides in (
        (f"as many as COCO, {counts.tolist()}, sides of 8 to 200", counts, (8, 200)),
        ("all 100 slots, sides of 8 to 200", SLOTS, (8, 200)),
        ("all 100 slots as large as the image", SLOTS, (490, IMAGE)),
        ("none", 0, (8, 200)),
    ):
        boxes, labels = ground_truth(valid, sides)
        truth = tf.constant(boxes), tf.constant(labels)
        for name, graph in graphs.items():
            result = [heatmap.numpy() for heatmap in graph(*truth)]
            if title.startswith("as many"):
                print(f"{name}: first call adds {peak() - before:.0f} MB to the peak")
                before = peak()
            for found, expected in zip(result, loop(boxes, labels), strict=True):
                np.testing.assert_allclose(found, expected.transpose(0, 2, 3, 1), atol=1e-6)
            del result, found, expected
        functions = {name: lambda g=graph: g(*truth) for name, graph in graphs.items()}  # noqa: B023
        functions["loop"] = lambda: loop(boxes, labels)  # noqa: B023
        functions["loop to TensorFlow"] = lambda: [tf.constant(x) for x in loop(boxes, labels)]  # noqa: B023
        times = milliseconds(functions)
        print(title)
        for name, value in times.items():
            print(f"  {name}: {value:.0f} ms, {value / times['ours']:.2f} of ours")


if __name__ == "__main__":
    main()
