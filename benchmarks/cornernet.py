"""CornerNet: corner pooling against PyTorch's, the network against plain convolutions.

    python benchmarks/cornernet.py --torch peers/bin/python

First table: the four corner poolings of one map of 1x128x128x128, compiled, in turns with PyTorch's
`flip(cummax)` (`peer_corner_pooling.py`); the ratio is ours / theirs, below 1 we are faster.

Second table: one 511x511 image through Hourglass-104 with decode, in float32 and mixed_bfloat16, as
`detect` runs it (343.2 G multiply-adds, counted in the original). The yardstick is a plain loop of
3x3 convolutions, 256 channels, at 128x128 and 64x64, timed between the rounds; the share says how
much of that rate the whole network reaches. bfloat16 figures are meaningful only on a CPU with AMX.
"""

import argparse
import os
import resource
import statistics

from peer import measure, measure_peer

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

MULTIPLY_ADDS = 343.2e9
POOLING = "pool:four:128:1"


def pooling():
    """A function that pools one map in all four directions, compiled."""
    import tensorflow as tf

    from keras_det.layers.corner_pooling import DIRECTIONS, CornerPooling

    layers = [CornerPooling(direction) for direction in DIRECTIONS]
    runs = [tf.function(lambda x, layer=layer: layer(x)) for layer in layers]
    x = tf.random.normal((1, 128, 128, 128))
    return lambda: [run(x).numpy() for run in runs]


def network(dtype):
    """A function that detects on one image of 511x511."""
    import numpy as np

    from keras_det import CornerNet

    model = CornerNet("hourglass104", num_classes=80, dtype=dtype)
    detect = model.detect_function()
    image = np.random.default_rng(0).integers(0, 256, (1, 511, 511, 3)).astype("uint8")
    return lambda: detect(image)["scores"].numpy()


def convolutions(dtype, size, repeats=8):
    """A function that runs 3x3 convolutions of 256 channels, and their multiply-adds."""
    import tensorflow as tf

    kind = tf.bfloat16 if dtype == "mixed_bfloat16" else tf.float32
    x = tf.cast(tf.random.normal((1, size, size, 256)), kind)
    kernel = tf.cast(tf.random.normal((3, 3, 256, 256), stddev=0.02), kind)

    @tf.function
    def run(x):
        for _ in range(repeats):
            x = tf.nn.conv2d(x, kernel, 1, "SAME")
        return tf.reduce_sum(x)

    return lambda: run(x).numpy(), repeats * 9 * 256 * 256 * size * size


def rate(times, multiply_adds):
    """G multiply-adds per second of the median."""
    return multiply_adds / (statistics.median(times) / 1e3) / 1e9


def compare_pooling(python, threads, rounds, repetitions):
    run = pooling()
    run(), run()
    ours, theirs = [], []
    for _ in range(rounds):
        ours += measure(run, repetitions)
        theirs += measure_peer(python, "peer_corner_pooling.py", threads, repetitions, POOLING)
    ours, theirs = statistics.median(ours), statistics.median(theirs)
    print(f"{'ms of four poolings':<34}{'ours':>10}{'torch':>10}{'ratio':>8}")
    print(f"{'1x128x128x128, float32':<34}{ours:>10.1f}{theirs:>10.1f}{ours / theirs:>8.2f}\n")


def compare_network(rounds):
    print(f"{'':<16}{'ms / image':>12}{'GMAC/s':>10}{'conv 128':>10}{'conv 64':>10}{'share':>8}")
    medians = {}
    for dtype in ("float32", "mixed_bfloat16"):
        run = network(dtype)
        plain = [convolutions(dtype, size) for size in (128, 64)]
        run(), [each() for each, _ in plain]
        times, rates = [], [[], []]
        for _ in range(rounds):
            times += measure(run, 2)
            for (each, _), found in zip(plain, rates, strict=True):
                found += measure(each, 3)
        ours = rate(times, MULTIPLY_ADDS)
        peers = [rate(found, count) for found, (_, count) in zip(rates, plain, strict=True)]
        medians[dtype] = statistics.median(times)
        row = f"{dtype:<16}{medians[dtype]:>12.0f}{ours:>10.0f}{peers[0]:>10.0f}{peers[1]:>10.0f}"
        print(f"{row}{ours / (sum(peers) / 2):>8.2f}", flush=True)
    print(f"throughput in mixed_bfloat16: {medians['float32'] / medians['mixed_bfloat16']:.2f}x")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory of this process, both networks built and run: {peak:.2f} GiB")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", help="Python with torch; without it the first table is left out")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--repetitions", type=int, default=5, help="of each round's pooling")
    options = parser.parse_args()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    if options.torch:
        compare_pooling(options.torch, options.threads, options.rounds, options.repetitions)
    compare_network(options.rounds)


if __name__ == "__main__":
    main()
