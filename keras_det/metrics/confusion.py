"""Which classes a detector confuses: the confusion matrix with background."""

from collections.abc import Sequence

import numpy as np

from keras_det.metrics.matching import Matches, countable, pairs

IOU = 0.5


def confusion_matrix(matches: Matches, thresholds: Sequence[float], num_classes: int) -> np.ndarray:
    """Counts objects by their class and the class of the detection that found them.

    Only detections that score above the threshold of their class count. The rule, at an IoU of 0.5:

    1. Each detection takes an object of its own class, as in COCO.
    2. In the order of the scores, each remaining detection takes the remaining object that it
       overlaps most, whatever its class.
    3. The rest belongs to the background: a remaining object is missed, and a remaining detection
       has no object.

    So the diagonal holds the detections that are right, and duplicates stand in the last row.
    Crowd regions, and detections that match one, are left out.

    Args:
        matches: of `keras_det.metrics.matching.match`, whose first overlap is 0.5.
        thresholds: one per class.
        num_classes: labels run from 0 to `num_classes - 1`.

    Returns:
        int64 `(num_classes + 1, num_classes + 1)`: rows are the classes of objects, columns those
        of detections; the last row and the last column are the background.
    """
    labels, objects = matches.labels, matches.objects
    above = matches.scores > np.asarray(thresholds, "float64")[labels]
    shown = np.flatnonzero(above & ~matches.ignored[0])
    taken = matches.match[0][shown].copy()
    free = countable(objects)
    free[taken[taken >= 0]] = False
    left = np.flatnonzero(taken < 0)
    left = left[np.argsort(-matches.scores[shown[left]], kind="stable")]
    rows = matches.rows[shown[left]]
    detection, thing, overlap = pairs(objects, matches.found, rows, IOU, by_class=False)
    for pair in np.lexsort((thing, -overlap, detection)):
        place = left[detection[pair]]
        if taken[place] < 0 and free[thing[pair]]:
            taken[place], free[thing[pair]] = thing[pair], False
    found = np.append(objects.labels, num_classes)[taken]  # the last one for -1
    matrix = np.zeros((num_classes + 1, num_classes + 1), "int64")
    np.add.at(matrix, (found, labels[shown]), 1)
    np.add.at(matrix, (objects.labels[free], num_classes), 1)
    return matrix
