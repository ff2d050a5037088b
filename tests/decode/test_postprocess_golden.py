"""What test_anchor_decode.py leaves of the original's post-processing: candidates, NumPy's NMS.

Its `pyfunc_diou` results have no counterpart: suppression by DIoU is not offered here.
"""

import numpy as np
import pytest

from keras_det.decode import AnchorDecoder
from tests.decode.test_anchor_decode import MOVE, NO_THRESHOLD, ROOM, as_numpy, original
from tests.nms_oracle import soft_nms


def test_candidates_equal_the_originals_before_suppression():
    logits, deltas, anchors, _, results = original()
    keep_all = AnchorDecoder(ROOM, "hard", 1.0, pre_nms_top_k=0, class_agnostic=True)
    found = as_numpy(keep_all(logits, deltas, anchors + MOVE))
    for i, scores in enumerate(results["pre_nms_top0/scores"]):
        best = np.argsort(-scores, kind="stable")[:100]
        boxes = results["pre_nms_top0/boxes"][i, best][:, [1, 0, 3, 2]]
        np.testing.assert_allclose(found["scores"][i], scores[best], atol=1e-6)
        np.testing.assert_allclose(found["boxes"][i] - MOVE, boxes, atol=1e-3)
        np.testing.assert_array_equal(found["labels"][i], results["pre_nms_top0/classes"][i, best])


# Rows of the original: image id, x1, y1, x2, y2, score, class + 1. It adds a pixel to sides.
@pytest.mark.slow
@pytest.mark.parametrize("method", ["hard", "gaussian", "linear"])
def test_the_originals_numpy_code_on_pairs_differs_by_its_pixel_only(method):
    logits, deltas, anchors, _, results = original()
    table = 1 / (1 + np.exp(-logits[0].astype("float64")))
    pairs = np.argsort(-table.ravel(), kind="stable")[:5000]
    boxes = results["pre_nms_top0/boxes"][0, pairs // 90][:, [1, 0, 3, 2]]
    candidates = boxes, table.ravel()[pairs], pairs % 90

    chosen, scores = soft_nms(*candidates, method=method, pixel=1.0)
    rows = results[f"pyfunc_{method}_top5000"][0]
    np.testing.assert_allclose(scores, rows[:, 5], atol=1e-5)
    np.testing.assert_array_equal(candidates[2][chosen] + 1, rows[:, 6])
    np.testing.assert_allclose(boxes[chosen], rows[:, 1:5], atol=1e-4)

    chosen, scores = soft_nms(*candidates, method=method)
    decode = AnchorDecoder(ROOM, method, pre_nms_top_k=5000, candidates="pairs", **NO_THRESHOLD)
    found = as_numpy(decode(logits[:1], deltas[:1], anchors + MOVE))
    np.testing.assert_allclose(found["scores"][0], scores, atol=1e-5)
    np.testing.assert_array_equal(found["labels"][0], candidates[2][chosen])
    np.testing.assert_allclose(found["boxes"][0] - MOVE, boxes[chosen], atol=1e-3)
