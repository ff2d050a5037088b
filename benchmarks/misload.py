"""Does fine-tuning show that its checkpoint was loaded wrongly, with two tensors swapped?

    python benchmarks/misload.py [PATH/TO/coco_tiny]

Trains Lite0 from random weights on 80 images of COCO, which it overfits, and uses the result as
an official checkpoint. Then it fine-tunes on the same images, from the checkpoint unchanged and
with two tensors of the same shape swapped. It reports the loss on all images before the first step
and after ten steps, for three orders of the images. Finally, it reports the loss at the start for
pairs drawn at random.
"""

import argparse
import os
import pathlib
import resource
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = pathlib.Path(__file__).resolve().parent.parent

import keras  # noqa: E402
import numpy as np  # noqa: E402

from keras_det import EfficientDet  # noqa: E402
from keras_det.data import Pipeline, load  # noqa: E402
from keras_det.layers.batch_norm import BatchNorm  # noqa: E402
from keras_det.training.recipes import adamw  # noqa: E402
from keras_det.weights.efficientdet.names import BOX_PREDICTION, variable_names  # noqa: E402

SIZE, BATCH = 96, 8
LEARNING_RATE, FINE_RATE = 4e-3, 5e-4
BLOCKS, NECK = "efficientnet-lite0", "fpn_cells"
# Two tensors of one shape: kernels of neighbours, of two heads, statistics, scales and shifts.
PAIRS = (
    (f"{BLOCKS}/blocks_6/depthwise_conv2d/depthwise_kernel",
     f"{BLOCKS}/blocks_7/depthwise_conv2d/depthwise_kernel"),
    (f"{BLOCKS}/blocks_9/conv2d_1/kernel", f"{BLOCKS}/blocks_10/conv2d_1/kernel"),
    (f"{BLOCKS}/blocks_13/conv2d/kernel", f"{BLOCKS}/blocks_14/conv2d/kernel"),
    (f"{BLOCKS}/blocks_1/tpu_batch_normalization/moving_mean",
     f"{BLOCKS}/blocks_1/tpu_batch_normalization_1/moving_mean"),
    (f"{BLOCKS}/blocks_9/tpu_batch_normalization_2/gamma",
     f"{BLOCKS}/blocks_10/tpu_batch_normalization_2/gamma"),
    (f"{NECK}/cell_0/fnode3/op_after_combine8/conv/pointwise_kernel",
     f"{NECK}/cell_2/fnode3/op_after_combine8/conv/pointwise_kernel"),
    (f"{NECK}/cell_0/fnode1/resample_0_2_6/conv2d/kernel",
     f"{NECK}/cell_0/fnode5/resample_0_2_10/conv2d/kernel"),
    ("class_net/class-0/pointwise_kernel", "box_net/box-0/pointwise_kernel"),
    ("class_net/class-1/depthwise_kernel", "class_net/class-2/depthwise_kernel"),
    ("class_net/class-1-bn-4/moving_variance", "class_net/class-1-bn-4/gamma"),
    ("class_net/class-0-bn-3/moving_mean", "class_net/class-0-bn-5/moving_mean"),
)  # fmt: skip


def find_data(parser, given):
    """The data set of the command line, else the one that the tests use."""
    default = os.environ.get("KERAS_DET_DATA", ROOT.parent / "shared" / "data")
    path = pathlib.Path(given or pathlib.Path(default, "coco_tiny"))
    if not path.is_dir():
        parser.error(
            f"the folder of coco_tiny must exist. Received: {path}. Give its path, or set "
            "KERAS_DET_DATA to the folder that holds it."
        )
    return path


def built(dataset):
    return EfficientDet("lite0", class_names=dataset.class_names, image_size=SIZE)


def trained(dataset, steps):
    """A model with `steps` steps on a data set behind it, its statistics those of the last ones."""
    model = built(dataset)
    for layer in model._flatten_layers():
        if isinstance(layer, BatchNorm):
            layer.momentum = 0.5
    model.compile(adamw(model, BATCH, steps, LEARNING_RATE, averaged=False))
    pipeline = Pipeline(dataset, model, BATCH, training=True)
    model.fit(pipeline, epochs=-(-steps // pipeline.steps_per_epoch), verbose=0)
    return model


def official(model):
    """The model's variables as an official checkpoint holds them: boxes as (ty, tx, th, tw)."""
    values = {name: np.array(v.numpy()) for name, v in variable_names(model).items()}
    for name in (f"{BOX_PREDICTION}/pointwise_kernel", f"{BOX_PREDICTION}/bias"):
        by_anchor = values[name].reshape(*values[name].shape[:-1], 9, 4)
        values[name] = by_anchor[..., [1, 0, 3, 2]].reshape(values[name].shape)
    return values


def swapped(checkpoint, first, second):
    return {**checkpoint, first: checkpoint[second], second: checkpoint[first]}


class FineTune:
    """Fine-tunes of one compiled model, each from a checkpoint and a fresh optimizer.

    Args:
        dataset: to train and measure on.
        steps: of fine-tuning.
        seeds: of the orders of the images.
    """

    def __init__(self, dataset, steps, seeds):
        self.model = model = built(dataset)
        model.compile(adamw(model, BATCH, 10 * steps, FINE_RATE, averaged=False))
        model.optimizer.build(model.trainable_variables)
        self.fresh = [v.numpy() for v in model.optimizer.variables]
        self.random = model.get_weights()
        self.batches = list(Pipeline(dataset, model, BATCH, training=False))
        self.orders = []
        for seed in range(seeds):
            stream = iter(Pipeline(dataset, model, BATCH, seed=seed, training=True))
            self.orders.append([next(stream) for _ in range(steps)])

    def start(self, checkpoint):
        """Takes the weights of a checkpoint, None for random ones, and a fresh optimizer."""
        if checkpoint is None:
            self.model.set_weights(self.random)
        else:
            self.model.start_from(checkpoint)
        for variable, value in zip(self.model.optimizer.variables, self.fresh, strict=True):
            variable.assign(value)

    def losses(self):
        """The loss on each batch of the data set, as `evaluate` sees it."""
        found = []
        for images, targets in self.batches:
            self.model.reset_metrics()
            found.append(self.model.test_on_batch(images, targets, return_dict=True)["loss"])
        return np.array(found)

    def losses_from(self, checkpoint):
        """Losses of the batches before the first step."""
        self.start(checkpoint)
        return self.losses()

    def run(self, checkpoint):
        """Losses of the batches before the first step, and their means after each order's steps."""
        before, after = self.losses_from(checkpoint), []
        for order in self.orders:
            self.start(checkpoint)
            for images, targets in order:
                self.model.train_on_batch(images, targets)
            after.append(self.losses().mean())
        return before, np.array(after)


def drawn_pairs(checkpoint, count):
    """Pairs of tensors of one shape, each of all such pairs as likely as any other."""
    names = list(checkpoint)
    pairs = [
        (a, b)
        for i, a in enumerate(names)
        for b in names[i + 1 :]
        if checkpoint[a].shape == checkpoint[b].shape
    ]
    chosen = np.random.default_rng(0).choice(len(pairs), min(count, len(pairs)), replace=False)
    return [pairs[i] for i in chosen], len(pairs)


def shortened(first, second):
    """Two names without the backbone's, the second from the part on where it differs."""
    first, second = (name.removeprefix(f"{BLOCKS}/").split("/") for name in (first, second))
    same = 0
    while first[same] == second[same]:
        same += 1
    rest = second[same:] if len(first) == len(second) else second
    return f"`{'/'.join(first)}`, `{'/'.join(rest)}`"


def print_fine_tunes(tune, checkpoint):
    """One row per swap: the loss and its ratio to the right checkpoint's; in how many batches."""
    right, right_after = tune.run(checkpoint)
    print("| from | loss at the start | ratio | higher in | after the steps | ratio | higher in |")
    print("|---|---|---|---|---|---|---|")

    def row(name, *found):
        cells = [name]
        for values, reference in zip(found, (right, right_after), strict=True):
            mean = values.mean()
            higher = f"{np.sum(~(values <= reference))} of {len(values)}"  # NaN is not right either
            cells += [f"{mean:.3f}", f"{mean / reference.mean():.3f}", higher]
        print(f"| {' | '.join(cells)} |", flush=True)

    row("the right checkpoint", right, right_after)
    for pair in PAIRS:
        row(shortened(*pair), *tune.run(swapped(checkpoint, *pair)))
    row("random weights", *tune.run(None))


def print_draws(tune, checkpoint, count):
    """How many swaps of pairs drawn at random start with a higher loss."""
    pairs, among = drawn_pairs(checkpoint, count)
    right = tune.losses_from(checkpoint).mean()
    losses = [tune.losses_from(swapped(checkpoint, *pair)).mean() for pair in pairs]
    ratios = np.nan_to_num(np.array(losses) / right, nan=np.inf)
    print(f"\n{len(pairs)} pairs drawn from all {among:,} of one shape, loss at the start / right:")
    print(f"  not a number: {np.sum(np.isinf(ratios))}")
    for limit in (1.1, 1.01, 1.001):
        print(f"  above {limit:g}: {np.sum(ratios > limit)}")
    print(f"  median: {np.median(ratios):.3f}\n  lowest:")
    for i in np.argsort(ratios)[:8]:
        print(f"    {ratios[i]:.4f} {shortened(*pairs[i])}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", help="folder of coco_tiny")
    parser.add_argument("--training-steps", type=int, default=300, help="behind the checkpoint")
    parser.add_argument("--steps", type=int, default=10, help="steps of fine-tuning")
    parser.add_argument("--seeds", type=int, default=3, help="orders of the images")
    parser.add_argument("--draws", type=int, default=40, help="pairs at random")
    arguments = parser.parse_args()
    started = time.perf_counter()
    dataset = load(find_data(parser, arguments.data), split="train")
    keras.utils.set_random_seed(0)
    checkpoint = official(trained(dataset, arguments.training_steps))
    tune = FineTune(dataset, arguments.steps, arguments.seeds)
    print(
        f"Lite0 at {SIZE}, {len(dataset)} images, {arguments.training_steps} steps behind the "
        f"checkpoint ({time.perf_counter() - started:.0f} s); Keras {keras.__version__}\n"
    )
    print_fine_tunes(tune, checkpoint)
    print_draws(tune, checkpoint, arguments.draws)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak /= 2**30 if sys.platform == "darwin" else 2**20  # bytes on macOS, else kilobytes
    print(f"\n{time.perf_counter() - started:.0f} s, peak memory {peak:.2f} GiB")


if __name__ == "__main__":
    main()
