"""cleanlab's scores of labels and detections, for benchmarks/review.py; needs cleanlab alone.

    python -m venv cleanlab_env && cleanlab_env/bin/pip install cleanlab==2.9.0
    cleanlab_env/bin/python benchmarks/peer_cleanlab.py input.json HIGH LOW > output.json

HIGH is the least probability of a detection that may be an overlooked object or a swapped class,
LOW that of a detection that may show a badly placed box (cleanlab's own: 0.95 and 0.5).
"""

import json
import sys

import numpy as np
from cleanlab.object_detection import rank


def main():
    content = json.load(open(sys.argv[1]))
    high, low = map(float, sys.argv[2:4])
    labels, predictions, order = [], [], []
    for row in content["images"]:
        boxes = np.array(row["boxes"], float).reshape(-1, 4)
        labels.append({"bboxes": boxes, "labels": np.array(row["labels"], int)})
        found = np.column_stack([np.array(row["found"], float).reshape(-1, 4), row["scores"]])
        of = np.array(row["found_labels"], int)
        places = [np.flatnonzero(of == label) for label in range(content["classes"])]
        predictions.append(np.array([found[each] for each in places] + [None], object)[:-1])
        order.append(np.concatenate(places))
    both = {"labels": labels, "predictions": predictions}
    scores = {
        "missing": rank.compute_overlooked_box_scores(**both, high_probability_threshold=high),
        "swapped": rank.compute_swap_box_scores(**both, high_probability_threshold=high),
        "misplaced": rank.compute_badloc_box_scores(**both, low_probability_threshold=low),
    }
    found = []
    for kind, rows in scores.items():
        for image, row in enumerate(rows):
            for k, score in enumerate(np.asarray(row, float)):
                if np.isfinite(score) and score < 1:
                    which = order[image][k] if kind == "missing" else k
                    found.append([kind, float(score), image, int(which)])
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
