"""torchvision's side of `benchmarks/compare_torchvision.py`, run by it with the peer's Python.

    python -m venv peers && . peers/bin/activate
    pip install torch==2.13.0 numpy pillow
    pip install --no-deps torchvision==0.28.0

`peer_torchvision_outputs.py compare FOLDER SIZES…` writes state dicts in every form and the outputs
for an image of each size HEIGHTxWIDTH; `peer_torchvision_outputs.py fixtures` writes the small
files of `tests/data/torchvision`.
"""

import json
import pathlib
import sys
import warnings
from collections import OrderedDict

import numpy as np
import torch
from peer import load_torchvision

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.weights.retinanet import torchvision_recipe as recipe  # noqa: E402

warnings.filterwarnings("ignore")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FIXTURES = ROOT / "tests" / "data" / "torchvision"
FIXTURE_SIZE = (64, 96)
# Class outputs kept in the fixture: COCO's ids of person, bicycle, stop sign … toothbrush.
FIXTURE_OUTPUTS = (1, 2, 13, 27, 44, 67, 90)


def make_model(variant, frozen):
    """torchvision's RetinaNet with the recipe's weights, in evaluation mode."""
    from torchvision.models.detection import RetinaNet
    from torchvision.models.detection._utils import overwrite_eps
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7
    from torchvision.ops.misc import FrozenBatchNorm2d

    backbone = resnet_fpn_backbone(
        backbone_name=variant,
        weights=None,
        norm_layer=FrozenBatchNorm2d if frozen else torch.nn.BatchNorm2d,
        returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(256, 256),
    )
    model = RetinaNet(backbone, num_classes=91).eval()
    if frozen:
        overwrite_eps(model, 0.0)  # as for the published weights
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    expected = recipe.retinanet_shapes(variant, frozen=frozen)
    difference = set(shapes.items()) ^ set(expected.items())
    assert not difference, f"the recipe differs from torchvision: {sorted(difference)[:4]}"
    values = recipe.weights(expected)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in values.items()})
    return model


def outputs_of(model, size):
    """dict of class logits, box deltas, anchors, decoded boxes, and cells of each level."""
    from torchvision.models.detection.image_list import ImageList

    pixels = torch.from_numpy(recipe.image(*size)).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    images = (pixels - mean) / std
    with torch.inference_mode():
        features = list(model.backbone(images).values())
        head = model.head(features)
        anchors = model.anchor_generator(ImageList(images, [size]), features)[0]
        boxes = model.box_coder.decode_single(head["bbox_regression"][0], anchors)
    return {
        "class_logits": head["cls_logits"][0].numpy(),
        "box_deltas": head["bbox_regression"][0].numpy(),
        "anchors": anchors.numpy(),
        "boxes": boxes.numpy(),
        "cells": np.array([x.shape[2] * x.shape[3] for x in features]),
    }


def compare(folder, sizes):
    """Two networks: batch norm that learned, and frozen with epsilon 0 under the older names."""
    folder = pathlib.Path(folder)
    for frozen in (False, True):
        model, kind = make_model("resnet50", frozen), "frozen" if frozen else "trained"
        state = OrderedDict(model.state_dict())
        if frozen:
            state = OrderedDict(recipe.older_names(state))
        torch.save(state, folder / f"{kind}_zip.pth")
        path = folder / f"{kind}_stream.pth"
        torch.save(state, path, _use_new_zipfile_serialization=False)
        for size in sizes:
            outputs = outputs_of(model, tuple(int(side) for side in size.split("x")))
            np.savez(folder / f"{kind}_{size}.npz", **outputs)


def tiny_checkpoint():
    """Tensors of every kind that a state dict may hold, a training checkpoint around them."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    network[1].running_var.uniform_(0.5, 2)
    shared = torch.randn(4, 6)
    state = OrderedDict((f"module.{name}", value) for name, value in network.state_dict().items())
    state._metadata = network.state_dict()._metadata
    state["transposed"] = shared.T
    state["part"] = shared[1:3, 2:5]
    state["expanded"] = torch.arange(3.0)[:, None].expand(3, 5)
    state["empty"] = torch.zeros(0, 4)
    state["parameter"] = torch.nn.Parameter(torch.randn(2))
    for kind in ("half", "bfloat16", "double", "int", "short", "char", "long", "bool"):
        state[kind] = getattr(torch.tensor([0.0, 1.5, -3.0, 100.0, 1.00390625]), kind)()
    state["byte"] = torch.tensor([0, 255], dtype=torch.uint8)
    state["no tensor"] = 3
    return {"epoch": 3, "state_dict": state, "optimizer": {"state": {}, "lr": [0.1, None, True]}}


def file_fixtures():
    """One checkpoint in both forms, and the numbers it holds."""
    checkpoint = tiny_checkpoint()
    torch.save(checkpoint, FIXTURES / "every_kind_zip.pth")
    path = FIXTURES / "every_kind_stream.pth"
    torch.save(checkpoint, path, _use_new_zipfile_serialization=False)
    values = {}
    for name, value in checkpoint["state_dict"].items():
        if isinstance(value, torch.Tensor):
            value = value.detach()
            value = value.float() if value.dtype == torch.bfloat16 else value
            values[name.removeprefix("module.")] = value.numpy()
    np.savez_compressed(FIXTURES / "every_kind.npz", **values)


def fixtures():
    import torchvision

    FIXTURES.mkdir(exist_ok=True)
    file_fixtures()
    kept = list(FIXTURE_OUTPUTS)
    outputs = outputs_of(make_model("resnet18", False), FIXTURE_SIZE)
    frozen = outputs_of(make_model("resnet18", True), FIXTURE_SIZE)
    np.savez_compressed(
        FIXTURES / "resnet18.npz",
        size=FIXTURE_SIZE,
        cells=outputs["cells"],
        outputs=kept,
        anchors=outputs["anchors"].astype("int16"),  # whole numbers, as the sides are rounded
        class_logits=outputs["class_logits"][:, kept],
        box_deltas=outputs["box_deltas"],
        frozen_class_logits=frozen["class_logits"][:, kept[:1]],
        versions=f"torch {torch.__version__}, torchvision {torchvision.__version__}",
    )
    print(json.dumps({path.name: path.stat().st_size for path in FIXTURES.iterdir()}))


def main():
    torch.set_num_threads(2)
    load_torchvision()
    what, *arguments = sys.argv[1:]
    if what == "fixtures":
        fixtures()
    else:
        compare(arguments[0], arguments[1:])


if __name__ == "__main__":
    main()
