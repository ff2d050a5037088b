"""Compares effdet's EfficientDets with ours on the same weights: outputs of each level, anchors.

    python benchmarks/compare_effdet.py --peer-python peers/bin/python

The peer makes random weights and statistics for D0, D3 and Lite0 (`peer_effdet.py` says how to make
its environment). It saves them as .pth and .safetensors; we load both (the second needs the
safetensors package), without torch. The comparison starts from the normalised image: effdet
normalises Lite's images with mean and deviation 0.5 outside the network, the original with 127 and
128. For every level, the outputs must have a standard deviation in 0.3 … 3 and differ by at most
1e-3 of it. Anchors must be within 0.001 pixels of those that effdet makes with the original's
aspect ratios 1, 2, 0.5; its own settings round the sides sqrt(2) and sqrt(1 / 2) to 1.4 and 0.7,
which makes long anchors 1% smaller. Then tensors of the same shape are swapped, pair by pair, and
the comparison must fail for each pair. If any of this does not hold, the exit code is 1.
"""

import argparse
import itertools
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import keras  # noqa: E402
import numpy as np  # noqa: E402

from keras_det.models import EfficientDet  # noqa: E402
from keras_det.weights import checkpoint_info, load_efficientdet  # noqa: E402
from keras_det.weights.efficientdet.files import open_checkpoint  # noqa: E402

PEER = pathlib.Path(__file__).with_name("peer_effdet_outputs.py")
VARIANTS = ("d0", "d3", "lite0")
TOLERANCE = 1e-3
COLUMNS = {"class": 90, "box": 4}
CELL, BLOCK = "fpn_cells/cell_0", "efficientnet-{}/blocks_5/tpu_batch_normalization"
# Two norms of a block, both projections of P4, two levels' statistics, both heads, two weights.
PAIRS = (
    (f"{BLOCK}/gamma", f"{BLOCK}_1/gamma"),
    (f"{CELL}/fnode2/resample_0_1_7/conv2d/kernel", f"{CELL}/fnode4/resample_0_1_9/conv2d/kernel"),
    ("class_net/class-0-bn-3/moving_mean", "class_net/class-0-bn-4/moving_mean"),
    ("class_net/class-1/pointwise_kernel", "box_net/box-1/pointwise_kernel"),
    (f"{CELL}/fnode0/op_after_combine5/bn/beta", f"{CELL}/fnode0/op_after_combine5/conv/bias"),
    (f"{CELL}/fnode4/WSM", f"{CELL}/fnode4/WSM_1"),
)
HEADER = (
    "| model | level | std class, box | difference / std | anchors, px | "
    "effdet's rounded anchors, of a side |"
)
failures = []


def check(fine, what):
    if not fine:
        failures.append(what)
    return what if fine else f"{what} FAILS"


def outputs_of(model, images, theirs):
    """dict from (kind, level) to (ours, effdet's in our order), each (batch, anchors, columns)."""
    features = model.backbone(images)
    pyramid = model.neck({level: features[level] for level in ("P3", "P4", "P5")})
    heads, pairs = {"class": model.class_head, "box": model.box_head}, {}
    for kind, head in heads.items():
        ours, first = keras.ops.convert_to_numpy(head(pyramid)), 0
        for level in range(3, 8):
            other = theirs[f"{kind}_{level}"]
            other = other.reshape(len(other), -1, COLUMNS[kind])
            if kind == "box":
                other = other[..., [1, 0, 3, 2]]  # theirs: ty, tx, th, tw
            last = first + other.shape[1]
            pairs[kind, level] = ours[:, first:last], other
            first = last
    return pairs


def difference(ours, theirs):
    return np.abs(ours - theirs).max() / theirs.std()


def print_levels(variant, model, theirs):
    pairs = outputs_of(model, theirs["images"], theirs)
    sides = np.tile(model.anchors[:, 2:] - model.anchors[:, :2], 2)
    off, rounded = (
        np.abs(model.anchors - theirs[name][:, [1, 0, 3, 2]])
        for name in ("anchors", "rounded_anchors")
    )
    # Half of a side of sqrt(2) is 0.5 * (1 - 1.4 / sqrt(2)) = 0.505% off.
    share = (rounded / sides).max()
    for level in range(3, 8):
        both = [pairs[kind, level] for kind in COLUMNS]
        stds = [float(other.std()) for _, other in both]
        worst = [difference(*pair) for pair in both]
        cells = [
            variant,
            f"P{level}",
            check(all(0.3 <= std <= 3 for std in stds), f"{stds[0]:.2f}, {stds[1]:.2f}"),
            check(max(worst) <= TOLERANCE, f"{worst[0]:.1e}, {worst[1]:.1e}"),
            check(off.max() <= 1e-3, f"{off.max():.1e}"),
            check(share <= 0.0051, f"{share:.2%}"),
        ]
        print("| " + " | ".join(cells) + " |", flush=True)


def swapped_pairs(checkpoint, backbone, num_random):
    """The named pairs that this network has, and some drawn among all tensors of one shape."""
    shapes, random = {}, np.random.default_rng(0)
    for name, tensor in checkpoint.tensors.items():
        shapes.setdefault(tensor.shape, []).append(name)
    candidates = [pair for names in shapes.values() for pair in itertools.combinations(names, 2)]
    drawn = random.choice(len(candidates), num_random, replace=False)
    named = [tuple(name.format(backbone) for name in pair) for pair in PAIRS]
    named = [pair for pair in named if pair[0] in checkpoint.tensors]
    return [*named, *(candidates[i] for i in drawn)]


def print_swaps(variant, checkpoint, model, theirs, num_random):
    """Swaps tensors of one shape; every swap must be noticed."""
    backbone = EfficientDet.variants[variant].backbone
    for first, second in swapped_pairs(checkpoint, backbone, num_random):
        tensors = dict(checkpoint.tensors)
        tensors[first], tensors[second] = tensors[second], tensors[first]
        load_efficientdet(model, checkpoint._replace(tensors=tensors))
        pairs = outputs_of(model, theirs["images"], theirs).values()
        # Not a number is noticed too: a bias in the place of a variance may be negative.
        worst = max((difference(*pair) for pair in pairs), key=lambda x: np.inf if x != x else x)
        noticed = check(not worst <= TOLERANCE, f"{worst:.2g}")
        print(f"| {variant} | {first} | {second} | {noticed} |", flush=True)


def compare(folder, size, variants, num_random):
    loaded, lines = {}, []
    print(HEADER + "\n" + "|---" * 6 + "|")
    for variant in variants:
        theirs = dict(np.load(folder / f"{variant}.npz"))
        path = folder / f"{variant}.pth"
        model = EfficientDet(variant, num_classes=90, image_size=size)
        report = load_efficientdet(model, path)
        check(not report.missing, f"{path.name}: missing {report.missing}")
        fitting = checkpoint_info(path, EfficientDet.variants).variants
        check(fitting == (variant,), f"{path.name}: fits {fitting}")
        print_levels(variant, model, theirs)
        one = model.get_weights()
        load_efficientdet(model, folder / f"{variant}.safetensors")
        equal = all(map(np.array_equal, one, model.get_weights()))
        what = f"{variant}: .pth and .safetensors fill {len(one)} variables alike"
        lines.append(check(equal, what))
        loaded[variant] = model, theirs
    print("\n" + "\n".join(lines))
    print("\n| model | swapped | | worst difference / std |\n|---|---|---|---|")
    for variant, (model, theirs) in loaded.items():
        checkpoint = open_checkpoint(folder / f"{variant}.pth")
        print_swaps(variant, checkpoint, model, theirs, num_random)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", required=True, help="Python with torch and effdet")
    parser.add_argument("--size", type=int, default=128, help="side of the images, in pixels")
    parser.add_argument("--random", type=int, default=5, help="random swaps after the named ones")
    parser.add_argument("--variants", nargs="+", default=VARIANTS, choices=VARIANTS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [arguments.peer_python, str(PEER), folder, str(arguments.size)]
        subprocess.run([*command, *arguments.variants], check=True)
        compare(pathlib.Path(folder), arguments.size, arguments.variants, arguments.random)
    print(
        f"\n{len(failures)} of the checks failed: {failures}" if failures else "\nAll checks hold."
    )
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
