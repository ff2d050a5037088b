"""Times EfficientDet's forward pass and training step against effdet (PyTorch), in turn.

    python benchmarks/efficientdet.py --peer-python peers/bin/python

Every round times each case here, then in the peer's process; the table gives medians over all
rounds and their ratio (below 1: we are faster). `peer_effdet.py` says how to make the peer's
environment. All cases use float32. The forward pass is the compiled network without
post-processing; the step is `train_on_batch` with target assignment, losses, gradients and SGD with
momentum.
"""

import argparse
import os
import statistics

from peer import measure, measure_peer

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

CASES = ("forward:d0:512:1", "forward:d0:512:4", "step:d0:512:4", "step:lite0:256:8")
PEER = "peer_effdet.py"


def ours(name):
    """A function that runs one case once, compiled."""
    import keras
    import numpy as np
    import tensorflow as tf

    from keras_det.models import EfficientDet

    what, variant, size, batch = name.split(":")
    size, batch = int(size), int(batch)
    model = EfficientDet(variant, num_classes=90, image_size=size)
    rng = np.random.default_rng(0)
    images = tf.constant(rng.integers(0, 256, (batch, size, size, 3)).astype("float32"))
    if what == "forward":
        forward = tf.function(lambda x: model(x, training=False))
        return lambda: forward(images)["class_logits"].numpy()
    corner = rng.random((batch, 8, 2)) * size * 0.6
    far = corner + 20 + rng.random((batch, 8, 2)) * size * 0.35
    targets = {
        "boxes": tf.constant(np.concatenate([corner, far], -1), tf.float32),
        "labels": tf.constant(rng.integers(0, 90, (batch, 8)), tf.int32),
    }
    model.compile(keras.optimizers.SGD(1e-4, momentum=0.9))
    return lambda: model.train_on_batch(images, targets)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", required=True, help="Python with torch and effdet")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repetitions", type=int, default=6)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("cases", nargs="*", default=CASES)
    arguments = parser.parse_args()
    runs = {name: ours(name) for name in arguments.cases}
    settings = arguments.threads, arguments.repetitions
    mine, theirs = ({name: [] for name in runs} for _ in range(2))
    for _ in range(arguments.rounds):
        for name, run in runs.items():
            run(), run()
            mine[name] += measure(run, arguments.repetitions)
            theirs[name] += measure_peer(arguments.peer_python, PEER, *settings, name)
    print(f"{'case':<22}{'keras_det ms':>14}{'effdet ms':>12}{'ratio':>8}")
    for name in runs:
        a, b = statistics.median(mine[name]), statistics.median(theirs[name])
        print(f"{name:<22}{a:>14.1f}{b:>12.1f}{a / b:>8.2f}")


if __name__ == "__main__":
    main()
