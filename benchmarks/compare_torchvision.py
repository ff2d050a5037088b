"""Compares torchvision's RetinaNet-50 with ours, given the same weights: outputs, anchors, boxes.

    python benchmarks/compare_torchvision.py --peer-python peers/bin/python

The peer (`peer_torchvision_outputs.py` says how to make its environment) saves one network with
trained batch normalisation and one with frozen statistics (epsilon 0, older names), each in both
forms of torch's files, and its outputs for a square image and one that is not square. We load the
files without torch. For every level, the outputs must have a standard deviation in 0.3 … 3 and
differ by at most 1e-3 of it; anchors must be equal bit for bit. Then tensors of the same shape are
swapped, pair by pair, and the comparison must fail for each pair, and for a wrong epsilon. If any
of this does not hold, the exit code is 1.
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

from keras_det.boxes import decode_deltas  # noqa: E402
from keras_det.models import RetinaNet  # noqa: E402
from keras_det.weights import load_torchvision_retinanet, read_torch_file  # noqa: E402
from keras_det.weights.common.coco_classes import COCO_CLASSES  # noqa: E402
from tests.weights.retinanet import torchvision_recipe as recipe  # noqa: E402

PEER = pathlib.Path(__file__).with_name("peer_torchvision_outputs.py")
SIZES = ((256, 256), (256, 320))
TOLERANCE = 1e-3
BODY, HEAD = "backbone.body", "head"
PAIRS = (
    (f"{BODY}.layer3.1.conv2.weight", f"{BODY}.layer3.4.conv2.weight"),
    (f"{BODY}.layer2.0.bn1.bias", f"{BODY}.layer2.0.bn1.running_mean"),
    ("backbone.fpn.extra_blocks.p6.weight", "backbone.fpn.extra_blocks.p7.weight"),
    ("backbone.fpn.layer_blocks.0.0.bias", "backbone.fpn.layer_blocks.1.0.bias"),
    (f"{HEAD}.classification_head.conv.2.0.weight", f"{HEAD}.regression_head.conv.2.0.weight"),
)
HEADER = "| file | image | level | std class, box | difference / std | boxes, px | anchors |"
failures = []


def check(fine, what):
    if not fine:
        failures.append(what)
    return what if fine else f"{what} FAILS"


def outputs_of(model, size):
    """Class logits in columns of COCO's ids, box deltas, decoded boxes, of one image."""
    raw = model(recipe.image(*size)[None], training=False)
    logits, deltas = (keras.ops.convert_to_numpy(raw[key])[0] for key in raw)
    boxes = keras.ops.convert_to_numpy(decode_deltas(model.anchors, deltas))
    return {"class_logits": logits, "box_deltas": deltas, "boxes": boxes}


def matched(model, theirs):
    """Their outputs in the order of our anchors, found by the anchors' coordinates alone."""
    ours, order = np.lexsort(model.anchors.T), np.lexsort(theirs["anchors"].T)
    same = np.empty_like(order)
    same[ours] = order
    ids = [next(i for i, name in COCO_CLASSES.items() if name == n) for n in model.class_names]
    return {
        "anchors": theirs["anchors"][same],
        "class_logits": theirs["class_logits"][same][:, ids],
        "box_deltas": theirs["box_deltas"][same],
        "boxes": theirs["boxes"][same],
    }


def levels_of(theirs):
    ends = np.cumsum(9 * theirs["cells"])
    return [slice(end - 9 * cells, end) for end, cells in zip(ends, theirs["cells"], strict=True)]


def worst_difference(mine, other, levels):
    keys = ("class_logits", "box_deltas")
    return max(
        np.abs(mine[key][level] - other[key][level]).max() / other[key][level].std()
        for key, level in itertools.product(keys, levels)
    )


def print_levels(name, size, model, theirs):
    mine, other = outputs_of(model, size), matched(model, theirs)
    equal = np.array_equal(model.anchors, other["anchors"])
    for number, level in enumerate(levels_of(theirs), start=3):
        stds = [other[key][level].std() for key in ("class_logits", "box_deltas")]
        worst = worst_difference(mine, other, [level])
        # Boxes decode through exp: at most a thousandth of a side, and never of less than a pixel.
        off = np.abs(mine["boxes"] - other["boxes"])[level]
        sides = np.tile((other["boxes"][level][:, 2:] - other["boxes"][level][:, :2]), 2)
        small = (off <= TOLERANCE * np.maximum(sides, 1)).all()
        cells = [
            name,
            f"{size[0]}x{size[1]}",
            f"P{number}",
            check(all(0.3 <= std <= 3 for std in stds), f"{stds[0]:.2f}, {stds[1]:.2f}"),
            check(worst <= TOLERANCE, f"{worst:.1e}"),
            check(small, f"{off.max():.4f}"),
            check(equal, "equal" if equal else "differ"),
        ]
        print("| " + " | ".join(cells) + " |", flush=True)


def build(path, size):
    model = RetinaNet.from_torchvision(path, image_size=size)
    report = model.load_report
    check(not report.missing, f"{path.name}: missing {report.missing}")
    return model


def print_swaps(values, model, theirs, size, num_random):
    """Swaps tensors of one shape; every swap must be noticed."""
    random, shapes = np.random.default_rng(0), {}
    for name, value in values.items():
        if value.ndim:
            shapes.setdefault(value.shape, []).append(name)
    candidates = [pair for names in shapes.values() for pair in itertools.combinations(names, 2)]
    drawn = random.choice(len(candidates), num_random, replace=False)
    other, levels = matched(model, theirs), levels_of(theirs)
    print("\n| swapped | | worst difference / std |\n|---|---|---|")
    for first, second in [*PAIRS, *(candidates[i] for i in drawn)]:
        load_torchvision_retinanet(model, {**values, first: values[second], second: values[first]})
        worst = worst_difference(outputs_of(model, size), other, levels)
        # Not a number is noticed too: a bias in the place of a variance may be negative.
        noticed = check(not worst <= TOLERANCE, f"{worst:.2g}")
        print(f"| {first} | {second} | {noticed} |", flush=True)


def compare(folder, num_random):
    print(HEADER + "\n" + "|---" * 7 + "|")
    for kind, size in itertools.product(("trained", "frozen"), SIZES):
        theirs = dict(np.load(folder / f"{kind}_{size[0]}x{size[1]}.npz"))
        form = "zip" if size == SIZES[0] else "stream"
        path = folder / f"{kind}_{form}.pth"
        model = build(path, size)
        print_levels(path.name, size, model, theirs)
        if kind == "trained" and size == SIZES[1]:
            trained = model, theirs
    for kind in ("trained", "frozen"):
        one, other = (read_torch_file(folder / f"{kind}_{form}.pth") for form in ("zip", "stream"))
        equal = list(one) == list(other) and all(np.array_equal(one[k], other[k]) for k in one)
        print("\n" + check(equal, f"{kind}: both forms hold {len(one)} equal tensors"))
    model, theirs = trained
    print_swaps(read_torch_file(folder / "trained_zip.pth"), model, theirs, SIZES[1], num_random)
    load_torchvision_retinanet(model, read_torch_file(folder / "frozen_zip.pth"))
    theirs = dict(np.load(folder / "frozen_{}x{}.npz".format(*SIZES[1])))
    levels = levels_of(theirs)
    worst = worst_difference(outputs_of(model, SIZES[1]), matched(model, theirs), levels)
    print("\n" + check(worst > TOLERANCE, f"frozen statistics with epsilon 1e-5: {worst:.2g}"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", required=True, help="Python with torch and torchvision")
    parser.add_argument("--random", type=int, default=5, help="random swaps after the named ones")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sizes = ["{}x{}".format(*size) for size in SIZES]
        command = [arguments.peer_python, str(PEER), "compare", folder, *sizes]
        subprocess.run(command, check=True)
        compare(pathlib.Path(folder), arguments.random)
    print(
        f"\n{len(failures)} of the checks failed: {failures}" if failures else "\nAll checks hold."
    )
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
