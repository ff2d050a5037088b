"""Writes `tests/golden/timm`: features that timm's EfficientNets compute with drawn weights.

    python -m venv peers && . peers/bin/activate
    pip install torch==2.14.1 timm==1.0.31
    python benchmarks/peer_timm_outputs.py

A file holds names and shapes of the state dict, an image as the network sees it, and the maps of
strides 8, 16 and 32. The weights are those of `tests/weights/backbones/efficientnet_recipe.py`.
"""

import pathlib
import sys

import numpy as np
import timm
import torch

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.weights.backbones import efficientnet_recipe as recipe  # noqa: E402

SIZE = (64, 50)
NAMES = ("tf_efficientnet_lite0", "tf_efficientnet_b0")


def write(name):
    """Writes the file of one network."""
    classifier = timm.create_model(name).eval()
    shapes = {key: tuple(value.shape) for key, value in classifier.state_dict().items()}
    state = {key: torch.from_numpy(array) for key, array in recipe.values(shapes).items()}
    network = timm.create_model(name, features_only=True).eval()
    network.load_state_dict({k: v for k, v in state.items() if k in network.state_dict()})
    image = np.random.default_rng(1).normal(size=(1, *SIZE, 3)).astype("float32")
    with torch.no_grad():
        maps = network(torch.from_numpy(image).permute(0, 3, 1, 2))
    outputs = {f"P{i}": maps[i - 1].permute(0, 2, 3, 1).numpy() for i in (3, 4, 5)}
    np.savez_compressed(
        ROOT / "tests" / "golden" / "timm" / f"{name}.npz",
        names=np.array(list(shapes)),
        shapes=np.array([",".join(map(str, shape)) for shape in shapes.values()]),
        image=image,
        **outputs,
    )
    print(name, {level: (array.shape, array.std()) for level, array in outputs.items()})


if __name__ == "__main__":
    for each in NAMES:
        write(each)
