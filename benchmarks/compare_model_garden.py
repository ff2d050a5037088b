"""Compares RetinaNet.from_model_garden with the Garden's own network, with random weights.

    python benchmarks/compare_model_garden.py --peer-python garden/bin/python

`peer_model_garden.py` says how to make the peer's environment. It makes random weights and
batch-norm statistics. It saves them as a checkpoint, as the Garden's trainer does, and the outputs.
Here the checkpoint is loaded, and outputs, anchors and decoded boxes are compared. Then pairs of
tensors of one shape are swapped in the file, which the comparison must notice. The exit code is 1
if the outputs of a level differ by more than a thousandth of their standard deviation, if this
deviation is outside 0.3 to 3, or if a swap goes unnoticed.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

PEER = pathlib.Path(__file__).with_name("peer_model_garden.py")
LEVELS = "34567"
LIMIT = 1e-3
DEVIATIONS = (0.3, 3.0)
YXYX_TO_XYXY = [1, 0, 3, 2]


def their_rows(outputs, kind, level, columns):
    """`(anchors, outputs)` of one level, of our outputs in our order."""
    num_anchors = outputs[f"anchors_{level}"].shape[-1] // 4
    maps = outputs[f"{kind}_{level}"]
    return maps.reshape(-1, maps.shape[-1] // num_anchors)[:, columns]


def differences(model, outputs, classes):
    """Yields (what, level, standard deviation, largest difference) of the network's outputs."""
    raw = model(outputs["images"].astype("float32"), training=False)
    places = np.cumsum((0, *model.level_sizes))
    for kind, columns, ours in (
        ("class", classes, raw["class_logits"]),
        ("box", YXYX_TO_XYXY, raw["box_deltas"]),
    ):
        for i, level in enumerate(LEVELS):
            theirs = their_rows(outputs, kind, level, columns)
            found = np.asarray(ours)[0, places[i] : places[i + 1]]
            yield kind, level, float(theirs.std()), float(np.abs(found - theirs).max())


def decoded_difference(model, outputs):
    """Anchors and decoded boxes: (largest difference, deviation) in pixels of each."""
    from keras_det.boxes import decode_deltas

    theirs = [outputs[f"anchors_{level}"].reshape(-1, 4) for level in LEVELS]
    anchors = np.concatenate(theirs)[:, YXYX_TO_XYXY]
    raw = model(outputs["images"].astype("float32"), training=False)
    boxes = np.asarray(decode_deltas(model.anchors, raw["box_deltas"]))[0]
    wanted = outputs["decoded_boxes"][0][:, YXYX_TO_XYXY]
    return (
        ("anchors", np.abs(model.anchors - anchors).max(), anchors.std()),
        ("decoded boxes", np.abs(boxes - wanted).max(), wanted.std()),
    )


def swapped_pairs(values, number):
    """Pairs of names of one shape, drawn evenly from the shapes that several tensors have."""
    rng = np.random.default_rng(0)
    by_shape = {}
    for name, value in values.items():
        by_shape.setdefault(value.shape, []).append(name)
    groups = [names for names in by_shape.values() if len(names) > 1]
    for group in rng.permutation(len(groups))[:number]:
        yield rng.choice(groups[group], 2, replace=False)


def compare(folder, pairs):
    from keras_det.models import RetinaNet
    from keras_det.weights.common.coco_classes import COCO_CLASSES
    from keras_det.weights.retinanet.model_garden import load_model_garden
    from keras_det.weights.retinanet.model_garden_file import read_model_garden

    outputs = dict(np.load(pathlib.Path(folder) / "outputs.npz"))
    size = outputs["images"].shape[1:3]
    model = RetinaNet.from_model_garden(pathlib.Path(folder) / "ckpt-1", image_size=size)
    print(model.load_report)
    classes, good = list(COCO_CLASSES), True
    print(f"\n{'output':<8}{'level':>6}{'deviation':>11}{'difference':>12}{'share':>10}")
    for kind, level, deviation, off in differences(model, outputs, classes):
        print(f"{kind:<8}{'P' + level:>6}{deviation:>11.3f}{off:>12.2e}{off / deviation:>10.1e}")
        good &= off <= LIMIT * deviation and DEVIATIONS[0] <= deviation <= DEVIATIONS[1]
    for what, off, deviation in decoded_difference(model, outputs):
        print(f"{what}: largest difference {off:.2e} pixels, deviation {deviation:.1f}")
        good &= off <= LIMIT * deviation
    print("\nswapped in the file (largest share over outputs and levels):")
    values, _ = read_model_garden(folder)
    for first, second in swapped_pairs(values, pairs):
        load_model_garden(model, {**values, first: values[second], second: values[first]})
        found = differences(model, outputs, classes)
        share = max(off / deviation for _, _, deviation, off in found)
        print(f"  {share:8.1e}  {first} and {second}, {values[first].shape}")
        good &= share > LIMIT
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", required=True, help="Python with tf-models-official")
    parser.add_argument("--size", type=int, nargs=2, default=(128, 192), help="height width")
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [arguments.peer_python, str(PEER), folder, *map(str, arguments.size)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"the peer failed: {done.stderr[-2000:]}")
        good = compare(folder, arguments.pairs)
    print("\nthe same network" if good else "\nNOT the same network")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
