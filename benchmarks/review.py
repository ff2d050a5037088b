"""Makes labels wrong and counts how many of them `keras-det review` finds; cleanlab beside it.

    python benchmarks/review.py bccd/ --out reviewed/ --peer cleanlab_env/bin/python

Of all boxes, 10% are chosen at random: a third of them is dropped, a third gets another class, a
third is shifted by 20% to 40% of its width and height, so that its IoU with the true box is about
0.22 to 0.47. Models are trained on the wrong labels, out of fold. N is the number of wrong boxes.
A finding is right if it points to one of them that no finding before has pointed to: a "missing"
one if its box has an IoU of at least 0.5 with a box that was dropped or shifted. Whatever else is
wrong in the data set counts as a false finding. --pictures draws these, to be looked at.

cleanlab has a score for each kind and no common ranking, so its lists are merged by their scores.
It runs with several thresholds; the best is printed.
"""

import argparse
import dataclasses
import json
import pathlib
import subprocess

import numpy as np

KINDS = ("missing", "swapped", "misplaced", "spurious")
DROPPED, SWAPPED, SHIFTED = 0, 1, 2
SHIFT = (0.2, 0.4)  # of the sides of a box
THRESHOLDS = [(0.95, 0.5), (0.6, 0.3), (0.5, 0.2), (0.4, 0.2), (0.3, 0.1)]  # cleanlab's first


def corrupted(dataset, share, seed):
    """The data set with wrong labels, and what was done to each of its boxes; -1 for nothing."""
    rng = np.random.default_rng(seed)
    count = len(dataset.labels)
    chosen = rng.permutation(count)[: round(share * count)]
    done = np.full(count, -1)
    done[chosen] = np.arange(len(chosen)) % 3
    boxes, labels = dataset.boxes.copy(), dataset.labels.copy()
    image = np.repeat(np.arange(len(dataset)), np.diff(dataset.row_splits))
    for row in np.flatnonzero(done == SWAPPED):
        labels[row] = (labels[row] + rng.integers(1, dataset.num_classes)) % dataset.num_classes
    for row in np.flatnonzero(done == SHIFTED):
        sides = boxes[row, 2:] - boxes[row, :2]
        move = rng.uniform(*SHIFT, 2) * sides * rng.choice([-1, 1], 2)
        limit = dataset.image_sizes[image[row]][::-1]
        outside = (boxes[row, :2] + move < 0) | (boxes[row, 2:] + move > limit)
        move = np.where(outside, -move, move)
        boxes[row] = np.clip(boxes[row] + np.tile(move, 2), 0, np.tile(limit, 2))
    kept = done != DROPPED
    counts = np.bincount(image[kept], minlength=len(dataset))
    columns = {"boxes": boxes, "labels": labels, "crowd": dataset.crowd}
    columns["area"] = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    columns = {name: column[kept] for name, column in columns.items()}
    splits = np.concatenate([[0], np.cumsum(counts)])
    return dataclasses.replace(dataset, row_splits=splits, **columns), done


def ious(box, others):
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    common = np.clip(high - low, 0, None).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1)
    return common / ((box[2:] - box[:2]).prod() + areas - common)


def judged(rows, dataset, noisy, done):
    """Which findings are right. A row is (image, object of the wrong labels or None, box)."""
    image = np.repeat(np.arange(len(dataset)), np.diff(dataset.row_splits))
    original = np.flatnonzero(done != DROPPED)
    absent = (done == DROPPED) | (done == SHIFTED)
    right, seen = [], {-1}
    for which, thing, box in rows:
        hit = -1
        if thing is not None:
            row = original[noisy.row_splits[which] + thing]
            hit = int(row) if done[row] >= 0 else -1
        elif len(near := np.flatnonzero((image == which) & absent)):
            overlap = ious(np.asarray(box, float), dataset.boxes[near])
            hit = int(near[overlap.argmax()]) if overlap.max() >= 0.5 else -1
        right.append(hit not in seen)
        seen.add(hit)
    return np.array(right, bool)


def report(name, kinds, right, wrong):
    """One row: precision in the first N / 4, N / 2 and N, and of each kind in the first N / 3."""
    first = [right[: wrong // part].sum() / (wrong // part) for part in (4, 2, 1)]
    each = []
    for kind in KINDS[:3]:
        own = right[kinds == kind][: wrong // 3]
        each.append(f"{own.sum() / (wrong // 3):.3f}")
    print("| " + " | ".join([name, *(f"{x:.3f}" for x in first), *each]) + " |", flush=True)
    return first[-1]


def detections(arguments, noisy):
    from keras_det.review import out_of_fold_detections

    return out_of_fold_detections(
        arguments.model,
        noisy,
        arguments.out,
        arguments.folds,
        batch_size=8,
        epochs=arguments.epochs,
        image_size=arguments.size,
        weights="imagenet",
        seed=0,
    )


def peer_rows(arguments, noisy, found, thresholds):
    """cleanlab's findings, the least likely label first: kinds, and rows for `judged`."""
    images = [
        {
            "boxes": sample.boxes.tolist(),
            "labels": sample.labels.tolist(),
            "found": np.asarray(row["boxes"]).tolist(),
            "scores": np.asarray(row["scores"]).tolist(),
            "found_labels": np.asarray(row["labels"]).tolist(),
        }
        for sample, row in zip(noisy, found, strict=True)
    ]
    path = arguments.out / "peer_input.json"
    path.write_text(json.dumps({"classes": noisy.num_classes, "images": images}))
    script = pathlib.Path(__file__).with_name("peer_cleanlab.py")
    command = [arguments.peer, str(script), str(path), *map(str, thresholds)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rows = sorted(json.loads(done.stdout), key=lambda row: row[1])
    kinds = np.array([row[0] for row in rows])
    places = [
        (image, None, found[image]["boxes"][k]) if kind == "missing" else (image, k, None)
        for kind, _, image, k in rows
    ]
    return kinds, places


def draw(arguments, noisy, findings, right, wrong):
    """Pictures of the false findings among the first N."""
    from keras_det.review import write_findings

    false = [each for each, hit in zip(findings[:wrong], right, strict=False) if not hit]
    arguments.pictures.mkdir(parents=True, exist_ok=True)
    write_findings(arguments.pictures, noisy, false, pictures=len(false))
    print(f"{len(false)} false findings: {arguments.pictures}/index.html")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("reviewed"))
    parser.add_argument("--model", default="efficientdet_lite0")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=17)
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peer", help="a Python that has cleanlab")
    parser.add_argument("--pictures", type=pathlib.Path, help="folder for the false findings")
    arguments = parser.parse_args()
    from keras_det.data import load
    from keras_det.review import find_label_errors

    dataset = load(arguments.data)
    noisy, done = corrupted(dataset, arguments.share, arguments.seed)
    wrong = int((done >= 0).sum())
    found = detections(arguments, noisy)
    findings = find_label_errors(noisy.ground_truth(), found, noisy.class_names)
    rows = [(each.image, each.object, each.proposed_box) for each in findings]
    right = judged(rows, dataset, noisy, done)
    kinds = np.array([each.kind for each in findings])
    print(f"\nN = {wrong}: {np.bincount(done[done >= 0]).tolist()} dropped, swapped, shifted")
    print("| | N/4 | N/2 | N | missing | swapped | misplaced |\n|---|---|---|---|---|---|---|")
    report("keras_det", kinds, right, wrong)
    if arguments.peer:
        results = []
        for thresholds in THRESHOLDS:
            peer_kinds, places = peer_rows(arguments, noisy, found, thresholds)
            hits = judged(places, dataset, noisy, done)
            results.append(report(f"cleanlab {thresholds}", peer_kinds, hits, wrong))
        print(f"cleanlab's best at N: {max(results):.3f}")
    scores = np.array([each.score for each in findings])
    for least, most in ((0.5, 1.01), (0.3, 0.5), (0.2, 0.3), (0.1, 0.2), (0.05, 0.1)):
        inside = (scores >= least) & (scores < most)
        share = right[inside].mean() if inside.any() else float("nan")
        print(f"score {least:g} to {min(most, 1):g}: {inside.sum()} findings, {share:.2f} right")
    counts = {
        k: (int((kinds[:wrong] == k).sum()), int(right[:wrong][kinds[:wrong] == k].sum()))
        for k in KINDS
    }
    print(f"Among the first N, findings and right ones: {counts}")
    if arguments.pictures:
        draw(arguments, noisy, findings, right, wrong)


if __name__ == "__main__":
    main()
