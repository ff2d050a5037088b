"""Prints what TIDE's own package finds, the reference for tests/metrics/test_error_kinds.py.

Use a separate environment, because the package needs OpenCV and pandas:

    pip install tidecv==1.0.1
    cd tests/golden/metrics
    python ../../../benchmarks/peer_tide.py bccd_found.npz > tide.json
"""

import json
import sys

import numpy as np
from tidecv import TIDE, Data


def sides(box):
    """Left, top, width, height, as floats."""
    x1, y1, x2, y2 = map(float, box)
    return [x1, y1, x2 - x1, y2 - y1]


def main():
    file = np.load(sys.argv[1])
    truth, found = Data("truth"), Data("found")
    for image in range(int(file["images"])):
        truth.add_image(image, str(image))
    names = ("image", "boxes", "labels")
    for image, box, label in zip(*(file[name] for name in names), strict=True):
        truth.add_ground_truth(int(image), int(label), sides(box))
    names = ("found_image", "found_boxes", "found_labels", "found_scores")
    for image, box, label, score in zip(*(file[name] for name in names), strict=True):
        found.add_detection(int(image), int(label), float(score), sides(box))
    tide = TIDE()
    run = tide.evaluate(truth, found)
    print(
        json.dumps(
            {
                "AP50": run.ap,
                "cost": tide.get_main_errors()["found"],
                "totals": tide.get_special_errors()["found"],
                "count": {kind.short_name: len(each) for kind, each in run.error_dict.items()},
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
