"""Draws detections and ground truth on images."""

from keras_det.report.draw import draw_detections as draw_detections
from keras_det.report.draw import draw_ground_truth as draw_ground_truth
from keras_det.report.draw import side_by_side as side_by_side
