"""Gives the Model Garden's RetinaNet random weights, and saves a checkpoint and the outputs.

Run by `benchmarks/compare_model_garden.py` with the peer's Python:

    python -m venv garden && . garden/bin/activate
    pip install --no-deps tf-models-official==2.20.0 gin-config scipy pycocotools pyyaml
    pip install --no-deps opencv-python-headless
    pip install tensorflow-cpu==2.20.0 tf-keras==2.20.1 tensorflow_datasets matplotlib
    python benchmarks/peer_model_garden.py FOLDER height width [--narrow] [--classes N]

Weights are those of `tests/weights/retinanet/model_garden_recipe.py`; its names are compared
with the Garden's. Writes FOLDER/ckpt-1 as the Garden's trainer does, with its optimizer, and
FOLDER/outputs.npz: `images` uint8 `(1, height, width, 3)`, and per level `class_3`, `box_3`,
`anchors_3` … as the Garden orders them, `decoded_boxes` `(1, anchors, 4)` yxyx. With --narrow it is
the file of `tests/golden/model_garden/model_garden.npz` (64 96 --narrow --classes 3).
"""

import argparse
import os
import pathlib
import re
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from tests.weights.retinanet import model_garden_recipe as recipe  # noqa: E402


def variables_below(node, path, view, seen):
    """Yields (name, variable) of what a part of the model holds, named as in its checkpoint."""
    import tensorflow as tf

    for name, child in view.children(node).items():
        if id(child) in seen or re.fullmatch(r"layer-\d+", name):
            continue
        seen.add(id(child))
        if isinstance(child, tf.Variable):
            yield f"{path}/{name}", child
        else:
            yield from variables_below(child, f"{path}/{name}", view, seen)


def experiment(height, width, narrow, classes):
    """The published experiment at another size, and where narrow with another network."""
    from official.core import exp_factory
    from official.vision import configs  # noqa: F401  registers the experiments
    from official.vision.modeling.backbones import resnet

    config = exp_factory.get_exp_config("retinanet_resnetfpn_coco")
    model = config.task.model
    model.input_size, model.num_classes = [height, width, 3], classes
    model.detection_generator.apply_nms = False
    if narrow:
        resnet.RESNET_SPECS[50] = [("bottleneck", *block) for block in recipe.NARROW_BLOCKS]
        model.decoder.fpn.num_filters = model.head.num_filters = recipe.NARROW_CHANNELS
    return config


def save(folder, height, width, narrow, classes):
    import tensorflow as tf
    import tf_keras
    from official.core import base_task, base_trainer
    from official.vision.modeling import factory
    from official.vision.ops import anchor, preprocess_ops

    config = experiment(height, width, narrow, classes)
    shape = [None, height, width, 3]
    model = factory.build_retinanet(tf_keras.layers.InputSpec(shape=shape), config.task.model)
    images = recipe.draw_images(height, width)
    inputs = tf.stack([preprocess_ops.normalize_image(tf.constant(image)) for image in images])
    model(inputs, training=True)
    variables = {}
    for part, holder in model.checkpoint_items.items():
        variables |= variables_below(holder, part, tf.train.TrackableView(holder), set())
    narrow_shape = {"blocks": recipe.NARROW_BLOCKS, "channels": recipe.NARROW_CHANNELS}
    values = recipe.draw_all(classes=classes, **(narrow_shape if narrow else {}))
    if values.keys() != variables.keys():
        sys.exit(f"names differ from the recipe's: {sorted(values.keys() ^ variables.keys())[:9]}")
    for name, variable in variables.items():
        variable.assign(values[name])
    optimizer = base_task.Task.create_optimizer(config.trainer.optimizer_config)
    # A step with gradients of zero changes nothing, but now there is momentum to be saved.
    steps = [(tf.zeros_like(variable), variable) for variable in model.trainable_variables]
    optimizer.apply_gradients(steps)
    trainer = base_trainer.Trainer(config, None, model, optimizer, train=False, evaluate=False)
    trainer.checkpoint.save(str(pathlib.Path(folder) / "ckpt"))
    raw = model(inputs, training=False)
    settings = config.task.model.anchor
    boxes = anchor.Anchor(
        3, 7, settings.num_scales, settings.aspect_ratios, settings.anchor_size, (height, width)
    ).multilevel_boxes
    arrays = {"images": images, "decoded_boxes": raw["decoded_boxes"].numpy()[:, :, 0]}
    for level in boxes:
        arrays[f"class_{level}"] = raw["cls_outputs"][level].numpy()
        arrays[f"box_{level}"] = raw["box_outputs"][level].numpy()
        arrays[f"anchors_{level}"] = boxes[level].numpy()
    np.savez_compressed(pathlib.Path(folder) / "outputs.npz", **arrays)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("height", type=int)
    parser.add_argument("width", type=int)
    parser.add_argument("--narrow", action="store_true", help="few channels, few blocks")
    parser.add_argument("--classes", type=int, default=91, help="with background")
    arguments = parser.parse_args()
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    save(**vars(arguments))


if __name__ == "__main__":
    main()
