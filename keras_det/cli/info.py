"""`keras-det info [MODEL]`: the models there are, or one of them in numbers."""

import math
import pathlib

import click

from keras_det.cli.command import Command
from keras_det.cli.files import load_keras_model
from keras_det.cli.start import start_keras
from keras_det.cli.train import check_model_name

EXAMPLES = ("keras-det info", "keras-det info efficientdet_d3", "keras-det info run/")
COCO_CLASSES = 90  # the published models' heads: COCO's ids 1..90, ten of them unused


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("model", required=False)
def info(model):
    """Lists the models, or describes one of them.

    MODEL is a name of the list, a .keras file or a run folder.
    """
    if model is None:
        click.echo(model_table())
        return
    if pathlib.Path(model).exists():
        detector = load_keras_model(model)
    else:
        check_model_name(model)
        from keras_det.models import build_model

        detector = build_model(model, num_classes=COCO_CLASSES)
    click.echo(description(detector))


def model_table() -> str:
    """One line per model: its name and the row of its table."""
    start_keras()
    from keras_det.models import CornerNet, EfficientDet, RetinaNet

    lines = [f"{'name':<22}{'image size':>10}  {'backbone':<10}{'channels':>8}  neck"]
    for name, row in EfficientDet.variants.items():
        lines.append(
            f"{f'efficientdet_{name}':<22}{row.image_size:>10}  {row.backbone:<10}"
            f"{row.channels:>8}  {row.neck_cells} BiFPN cells"
        )
    for name in RetinaNet.variants:
        lines.append(f"{f'retinanet_{name}':<22}{640:>10}  {name:<10}{256:>8}  FPN")
    for name, row in CornerNet.variants.items():
        stacks = f"{row.num_stacks} hourglass{'es' if row.num_stacks > 1 else ''}"
        lines.append(
            f"{f'cornernet_{name}':<22}{CornerNet.image_sizes[name]:>10}  {stacks:<12}"
            f"{row.channels[0]:>6}  none: corners"
        )
    return "\n".join(lines)


def description(detector) -> str:
    """Size, parameters, multiply-adds, where it looks, as lines of text."""
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


def places(detector) -> dict[str, str]:
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
