"""Writes CVAT's annotations: CVAT for images 1.1."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence

import numpy as np

from keras_det.data.dataset import Dataset
from keras_det.words import printable


def cvat_xml(dataset: Dataset, names: Sequence[str], scores: np.ndarray) -> str:
    """The text of annotations.xml. Crowd regions are left out: CVAT has none.

    Args:
        dataset: images and boxes.
        names: of the images in CVAT's task.
        scores: float `(objects,)`; a box with one gets source="auto", one with NaN "manual".
    """
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    labels = ElementTree.SubElement(task, "labels")
    for name in dataset.class_names:
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = name
        ElementTree.SubElement(label, "type").text = "rectangle"
        ElementTree.SubElement(label, "attributes")
    for i, name in enumerate(names):
        sample = dataset[i]
        height, width = sample.original_size
        about = {"id": str(i), "name": printable(name), "width": str(width), "height": str(height)}
        image = ElementTree.SubElement(root, "image", about)
        own = np.isfinite(scores[dataset.rows(i)])
        for k, (box, label) in enumerate(zip(sample.boxes, sample.labels.tolist(), strict=True)):
            if sample.crowd[k]:
                continue
            corners = zip(("xtl", "ytl", "xbr", "ybr"), box.tolist(), strict=True)
            ElementTree.SubElement(
                image,
                "box",
                {
                    "label": dataset.class_names[label],
                    "source": "auto" if own[k] else "manual",
                    "occluded": "0",
                    **{key: f"{value:.2f}" for key, value in corners},
                    "z_order": "0",
                },
            )
    ElementTree.indent(root, "  ")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(root, "unicode")}\n'
