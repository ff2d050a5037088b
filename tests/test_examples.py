"""What examples/ shows, run as it stands on a few synthetic images."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from keras_det.data import draw_shapes_dataset
from tests.helpers import ROOT
from tests.weights.common.torch_writer import write_torch_file
from tests.weights.retinanet.torchvision_recipe import resnet_shapes, weights


def coco_2017(folder):
    """Synthetic images in the layout of COCO 2017."""
    draw_shapes_dataset(folder, num_train=4, num_val=2, image_size=64, seed=0)
    for split in ("train", "val"):
        images = next(p for p in (folder / split, folder / "images" / split) if p.exists())
        images.rename(folder / f"{split}2017")
        annotations = folder / "annotations" / f"instances_{split}.json"
        annotations.rename(annotations.with_name(f"instances_{split}2017.json"))
    return folder


@pytest.mark.slow
def test_retinanet_on_coco_runs(tmp_path):
    coco = coco_2017(tmp_path / "coco")
    write_torch_file(tmp_path / "resnet34.pth", weights(resnet_shapes("resnet34")))
    settings = dict(COCO=coco, WEIGHTS=tmp_path / "resnet34.pth", OUT=tmp_path / "run")
    settings |= dict(SIZE=64, BATCH=4, EPOCHS=1, DTYPE="float32")
    commands = pathlib.Path(sys.executable).parent
    environment = {**os.environ, **{k: str(v) for k, v in settings.items()}}
    environment["PATH"] = f"{commands}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", ROOT / "examples" / "retinanet_coco.sh"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert recipe["recipe"] == "published" and recipe["model"] == "retinanet_resnet34"
    assert (tmp_path / "run" / "found" / "detections.json").exists()
    assert "AP50" in done.stdout
