"""effdet's side of `benchmarks/compare_effdet.py`, run by it with the peer's Python.

The environment is that of `peer_effdet.py`. `peer_effdet_outputs.py FOLDER SIZE VARIANTS…` makes
random weights for each `tf_efficientdet_<variant>`, scales them so that the outputs of every level
have a standard deviation in 0.3 … 3, and writes `<variant>.pth`, `<variant>.safetensors` and
`<variant>.npz`: the normalised images, class and box outputs of each level, anchors with the
original's aspect ratios and with effdet's own.
"""

import pathlib
import sys
import warnings

import numpy as np
import torch
from peer import load_torchvision
from peer_effdet import model_of

warnings.filterwarnings("ignore")
BATCH, ROUNDS = 4, 5
# Of the original code, width / height; effdet's own settings round their roots to 1.4 and 0.7.
ASPECT_RATIOS = (1.0, 2.0, 0.5)


def draw(model, random):
    """Fills every tensor at random: kernels by their fan-in, all else so that no two are alike."""
    for name, value in model.state_dict().items():
        if value.dtype != torch.float32:
            continue
        if value.ndim == 4:
            drawn = random.standard_normal(value.shape) / np.sqrt(value[0].numel())
        elif name.endswith("edge_weights"):
            drawn = random.uniform(0.1, 1.5, value.shape)
        elif name.endswith(("running_var", "weight")):
            drawn = random.uniform(0.5, 1.5, value.shape)
        else:
            drawn = random.uniform(-0.5, 0.5, value.shape)
        value.copy_(torch.from_numpy(np.asarray(drawn, "float32")))


def settle(model, images):
    """Lets the statistics of batch normalisation follow the activations."""
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    model.train()
    for module in norms:
        module.momentum = 0.5
    for _ in range(ROUNDS):
        model(images)
    model.eval()


def scale_predictions(model, images):
    """Scales the last convolutions: standard deviation 1 in the mean of the levels' logarithms."""
    for net, outputs in zip((model.class_net, model.box_net), model(images), strict=True):
        stds = [float(level.std()) for level in outputs]
        net.predict.conv_pw.weight /= float(np.exp(np.mean(np.log(stds))))
        net.predict.conv_pw.bias /= float(np.exp(np.mean(np.log(stds))))
    return model(images)


def anchors_of(model, aspect_ratios):
    from effdet.anchors import Anchors

    config = model.config
    levels = config.min_level, config.max_level
    scales = config.num_scales, aspect_ratios, config.anchor_scale
    return Anchors(*levels, *scales, config.image_size).boxes.numpy()


def write(variant, size, folder):
    from safetensors.torch import save_file

    random = np.random.default_rng(0)
    model = model_of(variant, size).to(memory_format=torch.contiguous_format)
    images = random.standard_normal((BATCH, 3, size, size)).astype("float32")
    with torch.inference_mode():
        draw(model, random)
        settle(model, torch.from_numpy(images))
        outputs = scale_predictions(model, torch.from_numpy(images))
    torch.save(model.state_dict(), folder / f"{variant}.pth")
    save_file(model.state_dict(), folder / f"{variant}.safetensors")
    arrays = {
        f"{kind}_{level}": output.permute(0, 2, 3, 1).numpy()
        for kind, levels in zip(("class", "box"), outputs, strict=True)
        for level, output in enumerate(levels, start=3)
    }
    images = np.transpose(images, (0, 2, 3, 1))
    arrays["anchors"] = anchors_of(model, ASPECT_RATIOS)
    arrays["rounded_anchors"] = anchors_of(model, model.config.aspect_ratios)
    np.savez(folder / f"{variant}.npz", images=images, **arrays)


def main():
    torch.set_num_threads(2)
    load_torchvision()
    folder, size, *variants = sys.argv[1:]
    for variant in variants:
        write(variant, int(size), pathlib.Path(folder))


if __name__ == "__main__":
    main()
