"""Random weights for timm's EfficientNets, by names and shapes; both sides use this file.

Written without a look at our importer. Kernels keep the size of activations, and batch-norm
statistics are far from 0 and 1.
"""

import re
import zlib

import numpy as np


def values(shapes, seed=0):
    """Arrays by name, each drawn from its name and `seed`.

    Args:
        shapes: dict from torch's names to shapes.
        seed: int.
    """
    drawn = {}
    for name, shape in shapes.items():
        rng = np.random.default_rng((seed, zlib.crc32(name.encode())))
        if name.endswith("num_batches_tracked"):
            drawn[name] = np.asarray(7, "int64")
            continue
        if len(shape) > 1:
            array = rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))
        elif name.endswith(("running_var", "weight")):
            array = rng.uniform(0.5, 1.5, shape)
        else:
            array = rng.normal(size=shape) * 0.2
        drawn[name] = array.astype("float32")
    return drawn


def package_name(name, first_blocks):
    """The name of a tensor of timm in the packages' files.

    Args:
        name: timm's name.
        first_blocks: for each stage the number of its first block in the whole network.
    """
    block = re.match(r"blocks\.(\d+)\.(\d+)\.(.*)", name)
    if block is None:
        layer, value = name.rsplit(".", 1)
        theirs = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head"}
        theirs |= {"bn2": "_bn1", "classifier": "_fc"}
        return f"{theirs[layer]}.{value}"
    stage, number, rest = int(block[1]), int(block[2]), block[3]
    plain = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
    expanded = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv"}
    expanded |= {"bn2": "_bn1", "conv_pwl": "_project_conv", "bn3": "_bn2"}
    gates = {"se.conv_reduce": "_se_reduce", "se.conv_expand": "_se_expand"}
    layer, value = rest.rsplit(".", 1)
    theirs = {**(plain if stage == 0 else expanded), **gates}[layer]
    return f"_blocks.{first_blocks[stage] + number}.{theirs}.{value}"


def as_package(arrays):
    """The same arrays under the names of the packages' files."""
    blocks = {re.match(r"blocks\.(\d+)\.(\d+)", name) for name in arrays} - {None}
    places = sorted({(int(found[1]), int(found[2])) for found in blocks})
    first_blocks = {stage: places.index((stage, 0)) for stage, _ in places}
    return {package_name(name, first_blocks): array for name, array in arrays.items()}
