"""`keras-det info [MODEL]`: the models there are, or one of them in numbers."""

import math
import pathlib
from typing import TYPE_CHECKING

import click

from keras_det.cli.command import Command, echo
from keras_det.cli.files import load_keras_model
from keras_det.cli.model_names import PARAMETERS, ModelName, check_model_name, in_millions
from keras_det.cli.start import start_keras
from keras_det.names import NUM_COCO_IDS

if TYPE_CHECKING:
    from keras_det.models import Detector

EXAMPLES = ("keras-det info", "keras-det info efficientdet_d3", "keras-det info run/")
ROW = "{:<23}{:>10}{:>12}  {:<13}{:>8}  {}"  # at most 80 columns


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("model", required=False, type=ModelName(or_file=True))
def info(model: str | None) -> None:
    """Lists the models, or describes one of them.

    MODEL is a name from the list, a .keras file, a run folder or a preset folder. A name stands for
    the published model with the 90 classes of COCO. The list gives all parameters of these models,
    trainable or not, in millions.
    """
    if model is None:
        echo(model_table())
        return
    if pathlib.Path(model).exists():
        detector = load_keras_model(model)
    else:
        check_model_name(model)
        start_keras()
        from keras_det.models import build_model

        detector = build_model(model, num_classes=NUM_COCO_IDS)
    echo(description(detector))


def model_table() -> str:
    """One line per model: its name, its size, and the row of its table."""
    start_keras()
    from keras_det.models import CornerNet, EfficientDet, RetinaNet

    lines = [ROW.format("name", "image size", "parameters", "backbone", "channels", "neck")]
    for variant, row in EfficientDet.variants.items():
        neck = f"BiFPN x {row.neck_cells}"
        name, size = f"efficientdet_{variant}", row.image_size
        lines.append(table_row(name, size, row.backbone, row.channels, neck))
    for variant in RetinaNet.variants:
        name, size = f"retinanet_{variant}", RetinaNet.image_sizes[variant]
        lines.append(table_row(name, size, variant, 256, "FPN"))
    for variant, hourglass in CornerNet.variants.items():
        stacks = f"{hourglass.num_stacks} hourglass{'es' if hourglass.num_stacks > 1 else ''}"
        name, size = f"cornernet_{variant}", CornerNet.image_sizes[variant]
        lines.append(table_row(name, size, stacks, hourglass.channels[0], "none"))
    return "\n".join(lines)


def table_row(name: str, size: int, backbone: str, channels: int, neck: str) -> str:
    """A line of the list; the parameters are looked up by the name."""
    parameters = f"{in_millions(PARAMETERS[name])} M"
    return ROW.format(name, size, parameters, backbone, channels, neck)


def description(detector: "Detector") -> str:
    """Size, parameters, multiply-adds, and levels and anchors or maps, as lines of text."""
    from keras_det.profiling import multiply_adds

    height, width = detector.image_size
    parameters = sum(math.prod(weight.shape) for weight in detector.trainable_weights)
    names = detector.class_names
    shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    named = "" if names[0] == "class_0" else f" ({shown})"
    rows = {
        "model": detector.name,
        "image size": f"{height} x {width} pixels (height x width)",
        "resizing": detector.resize_policy["mode"],
        "parameters": f"{parameters:,} trainable, {detector.count_params():,} in all",
        "multiply-adds": in_billions(multiply_adds(detector)),
        **places(detector),
        "classes": f"{len(names)}{named}",
    }
    return "\n".join(f"{key:<15}{value}" for key, value in rows.items())


def places(detector: "Detector") -> dict[str, str]:
    """Where a detector looks for objects: levels and anchors, or maps of corners."""
    if not hasattr(detector, "anchors"):
        height, width = detector.output["top_left_heatmaps"].shape[1:3]
        return {"corners": f"of {height} x {width} cells, stride {detector.stride}"}
    generator = detector.anchor_generator
    return {
        "levels": ", ".join(f"P{level}" for level in generator.levels),
        "anchors": f"{len(detector.anchors):,}, {generator.num_anchors_per_cell} per cell",
    }


def in_billions(count: int) -> str:
    """A large number as the tables of EfficientDet print it: "2.54 B", "25.0 B"."""
    billions = count / 1e9
    return f"{billions:.{2 if billions < 10 else 1}f} B"
