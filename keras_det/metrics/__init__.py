"""How good detections are: COCO's average precision."""

from keras_det.metrics.coco import coco_metrics as coco_metrics
from keras_det.metrics.coco import format_metrics as format_metrics
