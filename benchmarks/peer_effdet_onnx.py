"""Writes effdet's networks as ONNX for `benchmarks/artefacts.py`; run by it with the peer's Python.

    pip install onnx onnxscript      # in addition to what peer_effdet.py says

Arguments: a folder, then variants as `lite0:320`. Torch's exporter (dynamo), opset 18, batch 1,
90 classes, random weights, 3 x size x size float input already normalised; outputs per level, as
effdet's network has them.
"""

import pathlib
import sys
import warnings

import torch
from peer import load_torchvision

warnings.filterwarnings("ignore")
OPSET = 18


def main():
    load_torchvision()
    from effdet import create_model

    folder, *variants = sys.argv[1:]
    for each in variants:
        variant, size = each.split(":")
        size = int(size)
        torch.manual_seed(0)
        model = create_model(
            f"tf_efficientdet_{variant}",
            bench_task="",
            pretrained=False,
            pretrained_backbone=False,
            image_size=(size, size),
        ).eval()
        path = pathlib.Path(folder) / f"effdet_{variant}.onnx"
        image = torch.randn(1, 3, size, size)
        with torch.inference_mode():
            torch.onnx.export(model, (image,), str(path), dynamo=True, opset_version=OPSET)


if __name__ == "__main__":
    main()
