"""Detections as arrays: without empty slots, in original pixels, from MediaPipe's convention."""

from collections.abc import Sequence

import numpy as np

from keras_det.data.resize import Transform

# Outputs of TFLite_Detection_PostProcess, in the order of the operator. MediaPipe and TFLite's task
# library expect them in this order.
OPERATOR_OUTPUTS = ("locations", "classes", "scores", "num_detections")


def trim(detections: dict) -> dict:
    """Returns the detections of the first image of a batch, without empty slots."""
    count = int(detections["num_detections"][0])
    return {name: detections[name][0, :count] for name in ("boxes", "scores", "labels")}


def in_original_pixels(detections: dict, transform: Transform, shape: Sequence[int]) -> dict:
    """Converts boxes from pixels of the network's input to the original image, and clips them.

    Args:
        detections: `boxes` `(…, n, 4)`; other keys stay as they are.
        transform: from the original image to the network's input.
        shape: (height, width, …) of the original image.
    """
    boxes = transform.inverse().apply(detections["boxes"].astype("float32"))
    limits = np.array([shape[1], shape[0]] * 2, "float32")
    return {**detections, "boxes": np.clip(boxes, 0, limits)}


def as_detections(found: dict, image_size: Sequence[int]) -> dict:
    """Converts the operator's outputs to detections: pixels, integers, -1 in empty slots.

    The operator does not set empty slots: they hold whatever was in memory.

    Args:
        found: arrays by the names of `OPERATOR_OUTPUTS`.
        image_size: (height, width) of the network's input.
    """
    height, width = image_size
    count = found["num_detections"].astype("int32")
    filled = np.arange(found["classes"].shape[1])[None] < count[:, None]
    boxes = np.where(filled[..., None], found["locations"][..., [1, 0, 3, 2]], np.float32(0))
    return {
        "boxes": boxes * np.array([width, height, width, height], np.float32),
        "scores": np.where(filled, found["scores"], np.float32(0)),
        "labels": np.where(filled, found["classes"], -1).astype("int32"),
        "num_detections": count,
    }
