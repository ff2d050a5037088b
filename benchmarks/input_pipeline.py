"""Images per second of the training pipeline against JPEG decoding alone, in one process.

    python benchmarks/input_pipeline.py PATH/TO/BCCD

BCCD's 640x480 JPEGs to 512x512, batch 8, for each augmentation. The variants take turns, a few
batches each, and medians are compared, so that a slow moment of the machine affects all of them.
Without a path, synthetic images are used. The exit code is 1 if LSJ falls below a third of the
rate of decoding.
"""

import argparse
import os
import pathlib
import statistics
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import tensorflow as tf  # noqa: E402

from keras_det.data import Pipeline, draw_shapes_dataset, load  # noqa: E402

TARGET = 1 / 3


def decode_alone(dataset, batch_size):
    """Batches of decoded images' heights: read and decode, nothing else."""

    def decode(path):
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        return tf.shape(image)[0] + tf.cast(image[0, 0, 0], tf.int32)

    paths = tf.data.Dataset.from_tensor_slices(list(dataset.image_paths)).repeat()
    images = paths.map(decode, num_parallel_calls=os.cpu_count(), deterministic=True)
    return images.batch(batch_size).prefetch(2)


def keras_layers(dataset, size, batch_size):
    """What Keras' own layers do: decode, resize with the boxes, flip, per image."""
    import keras

    flip = keras.layers.RandomFlip("horizontal", bounding_box_format="xyxy")
    resize = keras.layers.Resizing(size, size, bounding_box_format="xyxy")
    rows = (dataset.boxes, dataset.labels)
    boxes, labels = (tf.RaggedTensor.from_row_splits(r, dataset.row_splits) for r in rows)

    def prepare(path, boxes, labels):
        image = tf.cast(tf.io.decode_jpeg(tf.io.read_file(path), channels=3), tf.float32)
        inputs = {"images": image, "bounding_boxes": {"boxes": boxes, "labels": labels}}
        outputs = flip(resize(inputs))
        return outputs["images"], outputs["bounding_boxes"]["boxes"]

    paths = tf.constant(dataset.image_paths)
    samples = tf.data.Dataset.from_tensor_slices((paths, boxes, labels)).repeat()
    images = samples.map(prepare, num_parallel_calls=os.cpu_count())
    return images.padded_batch(batch_size, ((size, size, 3), (100, 4))).prefetch(2)


def rate(iterator, steps, batch_size):
    """Images per second and CPU milliseconds per image, over some batches."""
    start, start_cpu = time.perf_counter(), time.process_time()
    for _ in range(steps):
        next(iterator)
    cpu = (time.process_time() - start_cpu) * 1e3 / (steps * batch_size)
    return steps * batch_size / (time.perf_counter() - start), cpu


def parse_arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", help="folder of BCCD. Default: synthetic images")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=25, help="batches per turn")
    parser.add_argument("--keras", action="store_true", help="also Keras' own layers")
    return parser.parse_args()


def main():
    """Runs the variants in turns and prints a table."""
    args = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        if args.data:
            dataset = load(args.data)
        else:
            draw_shapes_dataset(f"{folder}/shapes", 100, 1, image_size=640)
            dataset = load(f"{folder}/shapes", "train")
        variants = {"JPEG decoding alone": decode_alone(dataset, args.batch_size)}
        for name in ("none", "flip", "ssj", "lsj"):
            pipeline = Pipeline(dataset, args.size, args.batch_size, augment=name)
            variants[f"Pipeline, {name}"] = pipeline.as_tf_dataset()
        if args.keras:
            variants["Keras layers, resize + flip"] = keras_layers(
                dataset, args.size, args.batch_size
            )
        iterators = {name: iter(variant) for name, variant in variants.items()}
        rates = {name: [] for name in variants}
        for turn in range(args.rounds + 1):
            for name, iterator in iterators.items():
                measured = rate(iterator, args.steps, args.batch_size)
                if turn:  # the first warms up
                    rates[name].append(measured)
    print(f"{dataset.name}: {len(dataset)} images to {args.size}x{args.size}")
    print("| what | images/s, median (range) | share of decoding | CPU ms per image |")
    print("|---|---|---|---|")
    ratios = {}
    for name, measured in rates.items():
        speeds, cpu = zip(*measured, strict=True)
        paired = zip(speeds, (alone for alone, _ in rates["JPEG decoding alone"]), strict=True)
        ratios[name] = statistics.median(own / alone for own, alone in paired)
        spread = f"{statistics.median(speeds):.0f} ({min(speeds):.0f}-{max(speeds):.0f})"
        print(f"| {name} | {spread} | {ratios[name]:.2f} | {statistics.median(cpu):.2f} |")
    return 0 if ratios["Pipeline, lsj"] >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
