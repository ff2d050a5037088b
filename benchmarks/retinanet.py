"""Times RetinaNet-R50 against torchvision's and keras-hub's, in turn; and in bfloat16.

    python benchmarks/retinanet.py --torchvision peers/bin/python --keras-hub hub/bin/python

Every round times each case here, then in the peers' processes; the table gives medians over all
rounds and their ratio (below 1: we are faster). How to make the peers' environments is said in
`peer_torchvision.py` and `peer_keras_hub.py`. 91 classes; the forward is the compiled network
without post-processing, "exported" the same with weights as constants, as `export.saved_model`
writes it; the step is `train_on_batch` with target assignment, losses, gradients and SGD with
momentum, as the peer's is. The last row compares our own step in float32 with the same in
mixed_bfloat16: it means something on a CPU with AMX and is left out on others.
"""

import argparse
import os
import pathlib
import statistics

from peer import measure, measure_peer

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

CASES = (
    ("forward:resnet50:640:1", "torchvision"),
    ("exported:resnet50:640:1", "torchvision"),
    ("forward:resnet50:640:1", "keras_hub"),
    ("step:resnet50:640:2", "keras_hub"),
)
BFLOAT16 = "step:resnet50:640:2"


def ours(name, dtype="float32"):
    """A function that runs one case once, compiled."""
    import keras
    import numpy as np
    import tensorflow as tf

    from keras_det.export.network.graph import frozen_network
    from keras_det.models import RetinaNet
    from keras_det.necks import FPN

    what, backbone, size, batch = name.split(":")
    size, batch = int(size), int(batch)
    keras.config.set_dtype_policy(dtype)
    neck = FPN(256, extra="p5", name="fpn")  # as both peers have it
    model = RetinaNet(backbone, num_classes=91, image_size=size, neck=neck, dtype=dtype)
    keras.config.set_dtype_policy("float32")
    rng = np.random.default_rng(0)
    images = tf.constant(rng.integers(0, 256, (batch, size, size, 3)).astype("float32"))
    if what == "exported":
        network, images = frozen_network(model, batch), tf.cast(images, tf.uint8)
        return lambda: network(images)["class_logits"].numpy()
    if what == "forward":
        forward = tf.function(lambda x: model(x, training=False))
        return lambda: forward(images)["class_logits"].numpy()
    corner = rng.random((batch, 8, 2)) * size * 0.6
    far = corner + 20 + rng.random((batch, 8, 2)) * size * 0.35
    targets = {
        "boxes": tf.constant(np.concatenate([corner, far], -1), tf.float32),
        "labels": tf.constant(rng.integers(0, 91, (batch, 8)), tf.int32),
    }
    model.compile(keras.optimizers.SGD(1e-4, momentum=0.9))
    return lambda: model.train_on_batch(images, targets)


def has_amx():
    try:
        return "amx_bf16" in pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def print_row(what, a, b):
    a, b = statistics.median(a), statistics.median(b)
    print(f"{what:<44}{a:>10.0f}{b:>10.0f}{a / b:>8.2f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torchvision", help="Python with torch and torchvision")
    parser.add_argument("--keras-hub", help="Python with keras-hub")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    settings = arguments.threads, arguments.repetitions
    pythons = {"torchvision": arguments.torchvision, "keras_hub": arguments.keras_hub}
    print(f"{'case':<44}{'ours ms':>10}{'peer ms':>10}{'ratio':>8}")
    for name, peer in CASES:
        if pythons[peer] is None:
            print(f"{name} against {peer}: no Python given for it")
            continue
        run, mine, theirs = ours(name), [], []
        script, as_forward = f"peer_{peer}.py", name.replace("exported", "forward")
        measure(run, 2)
        for _ in range(arguments.rounds):
            mine += measure(run, arguments.repetitions)
            theirs += measure_peer(pythons[peer], script, *settings, as_forward)
        print_row(f"{name} / {peer}", mine, theirs)
        del run
    if not has_amx():
        print("mixed_bfloat16: skipped, this CPU has no AMX")
        return
    single, half = ours(BFLOAT16), ours(BFLOAT16, "mixed_bfloat16")
    measure(single, 2), measure(half, 2)
    times = {"half": [], "single": []}
    for _ in range(arguments.rounds):
        times["half"] += measure(half, arguments.repetitions)
        times["single"] += measure(single, arguments.repetitions)
    print_row(f"{BFLOAT16}, mixed_bfloat16 / float32", times["half"], times["single"])


if __name__ == "__main__":
    main()
