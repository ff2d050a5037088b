"""The batches at which a training diverged: kept in a file, and computed again."""

import dataclasses
import io
import json
import os
import pathlib
import re
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import keras
import numpy as np

from keras_det.data.pipeline import Pipeline
from keras_det.errors import DataError
from keras_det.files import open_bytes, opening, write_whole
from keras_det.models import Detector
from keras_det.words import counted

CURE = "Give a diverged_….npz from the folder of a run."
# For each array of a batch: the kinds of NumPy's types, and the number of dimensions.
ARRAYS = {"images": ("uf", 4), "boxes": ("f", 3), "labels": ("i", 2), "image_index": ("iu", 1)}
STATE_NAME = re.compile(r"[\w-][\w.-]{0,99}", re.ASCII)
# What the archive may unpack to, for each of its bytes, and in any case.
MAX_RATIO, FREE = 100, 1 << 28
SHOWN = 5  # gradients, and images of a batch, that are listed


@dataclasses.dataclass
class Kept:
    """The last batches before a training diverged.

    Attributes:
        batches: for each one, dict of `images`, `boxes`, `labels`, `image_index`, as in
            `Pipeline.as_tf_dataset`.
        paths: for each batch, the files of its images; mosaic and mixup use others as well.
        place: such as "step 12 of epoch 3".
        loss: what the loss was there, by part.
        state: name of the state that the run had before, in `checkpoints/`; None without one.
        steps: for each batch, the step of the epoch, from 1.
    """

    batches: list[dict[str, np.ndarray]]
    paths: list[list[str]]
    place: str
    loss: dict[str, float]
    state: str | None
    steps: list[int]


def batches_before(pipeline: Pipeline, epoch: int, step: int) -> list[dict[str, np.ndarray]]:
    """The batch of a step of the training stream, and the one before it, computed again.

    The stream depends only on the seed, so they are the batches that the training saw.

    Args:
        pipeline: of the training.
        epoch: of the pipeline, from 0.
        step: of that epoch, from 0.
    """
    first = max(0, step - 1)
    pipeline.start(epoch, first, broken=bool(pipeline.failed))
    stream = pipeline.as_tf_dataset(training=True).take(step - first + 1).as_numpy_iterator()
    return [
        {"images": images, **{name: targets[name] for name in ARRAYS if name != "images"}}
        for images, targets, *_ in stream
    ]


def save(path: pathlib.Path, kept: Kept) -> None:
    """Writes the batches to an `.npz` file, whole."""
    about = {k: v for k, v in dataclasses.asdict(kept).items() if k != "batches"}
    about["loss"] = {name: repr(float(value)) for name, value in kept.loss.items()}
    arrays = {f"{i}_{name}": v for i, b in enumerate(kept.batches) for name, v in b.items()}
    buffer = io.BytesIO()
    text = json.dumps(about, ensure_ascii=True).encode()
    np.savez_compressed(buffer, about=np.frombuffer(text, np.uint8), allow_pickle=False, **arrays)
    write_whole(path, buffer.getvalue(), durable=True)


def read(path: str | os.PathLike) -> Kept:
    """Reads what `save` has written.

    Raises:
        DataError: the file is missing, damaged or another one.
    """
    rule = "A file to replay must be one that a training has written"
    with opening(path, rule, CURE), open_bytes(path) as file:
        _check_archive(file)
        with np.load(file, allow_pickle=False) as archive:
            about = json.loads(archive["about"].tobytes())
            _check_about(about)
            batches = [_batch(archive, i, len(paths)) for i, paths in enumerate(about["paths"])]
        loss = {name: float(value) for name, value in about.pop("loss").items()}
        return Kept(batches=batches, loss=loss, **about)


def _check_archive(file: BinaryIO) -> None:
    """ValueError for a file that is not a zip archive, or unpacks to far more than its own size."""
    if not zipfile.is_zipfile(file):
        raise ValueError("it is not a whole .npz archive")
    size = file.seek(0, os.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        unpacked, allowed = sum(each.file_size for each in archive.infolist()), MAX_RATIO * size
    if unpacked > max(FREE, allowed):
        raise ValueError(
            f"it would become {unpacked:,} bytes, more than {MAX_RATIO} times its {size:,}"
        )
    file.seek(0)


def _check_about(about: Any) -> None:
    """ValueError if the description of the batches does not have the form that training writes."""
    fields = {each.name for each in dataclasses.fields(Kept)} - {"batches"}
    if not isinstance(about, dict) or set(about) != fields:
        raise ValueError(f"its description must have {', '.join(sorted(fields))}")
    paths, steps, state, place = (about[name] for name in ("paths", "steps", "state", "place"))
    listed = isinstance(paths, list) and all(isinstance(each, list) and each for each in paths)
    if not listed or not paths or not all(isinstance(name, str) for p in paths for name in p):
        raise ValueError("its paths are not lists of names")
    whole = isinstance(steps, list) and all(type(step) is int for step in steps)
    if not whole or len(steps) != len(paths) or not isinstance(place, str):
        raise ValueError("its steps or its place have the wrong type")
    if not isinstance(about["loss"], dict):
        raise ValueError("its loss has the wrong type")
    if state is not None and not (isinstance(state, str) and STATE_NAME.fullmatch(state)):
        raise ValueError(f"its state is {state!r:.80}, not the name of a file in checkpoints/")


def _batch(archive: Mapping[str, np.ndarray], index: int, images: int) -> dict[str, np.ndarray]:
    """The arrays of a batch; ValueError if one has another shape or type."""
    batch = {name: archive[f"{index}_{name}"] for name in ARRAYS}
    for name, (kinds, ndim) in ARRAYS.items():
        array = batch[name]
        if array.dtype.kind not in kinds or array.ndim != ndim or len(array) != images:
            raise ValueError(
                f"{name} of batch {index} must be {counted(images, 'row')} of {ndim} dimensions, "
                f"not {array.dtype} {array.shape}"
            )
    wanted = (*batch["labels"].shape, 4)
    if batch["boxes"].shape != wanted:
        raise ValueError(f"boxes of batch {index} must be {wanted}, not {batch['boxes'].shape}")
    return batch


@dataclasses.dataclass
class Seen:
    """What a model computes of one batch.

    Attributes:
        losses: by part, for the whole batch.
        of_images: for each image, its losses alone, by part.
        objects: number of objects of each image.
        gradients: `(norm, path of the variable)`, the largest first; those not finite come before.
    """

    losses: dict[str, float]
    of_images: list[dict[str, float]]
    objects: list[int]
    gradients: list[tuple[float, str]]

    @property
    def finite(self) -> bool:
        norms = [norm for norm, _ in self.gradients]
        return bool(np.isfinite([*self.losses.values(), *norms]).all())


def compute(model: Detector, batch: dict[str, np.ndarray]) -> Seen:
    """Losses and gradients of a batch, with the weights of a model; the model does not change.

    The gradients are what one step of plain SGD with a rate of 1 subtracts from the weights.
    """
    copy = model.with_changes()
    copy.compile(keras.optimizers.SGD(1.0), run_eagerly=True)
    targets = {"boxes": batch["boxes"], "labels": batch["labels"]}
    images = range(len(batch["images"]))
    alone = [_losses(copy, batch["images"], targets, [i]) for i in images]
    losses = _losses(copy, batch["images"], targets, list(images))
    before = [np.array(each) for each in copy.trainable_variables]
    copy.train_on_batch(batch["images"], targets)
    norms = [
        (float(np.linalg.norm((old - np.array(new)).ravel())), new.path)
        for old, new in zip(before, copy.trainable_variables, strict=True)
    ]
    norms.sort(key=lambda each: np.inf if np.isnan(each[0]) else each[0], reverse=True)
    objects = [int((labels >= 0).sum()) for labels in batch["labels"]]
    return Seen(losses, alone, objects, norms)


def _losses(
    model: Detector, images: np.ndarray, targets: dict[str, np.ndarray], rows: Sequence[int]
) -> dict[str, float]:
    rows = list(rows)
    picked = {name: keras.ops.convert_to_tensor(value[rows]) for name, value in targets.items()}
    raw = model(keras.ops.convert_to_tensor(images[rows]), training=True)
    parts = model.losses_of(picked, raw)
    return {name: float(keras.ops.convert_to_numpy(parts[name])) for name in model.LOSSES}


def report(kept: Kept, seen: Sequence[Seen], model_name: str) -> list[str]:
    """Lines for a terminal, the main point first.

    Args:
        kept: the batches.
        seen: what the model computes of each.
        model_name: which weights they were computed with.
    """
    lines = [f"The training diverged at {kept.place}: {_numbers(kept.loss)}.", _verdict(seen)]
    lines.append(f"Computed with {model_name}:")
    for step, paths, each in zip(kept.steps, kept.paths, seen, strict=True):
        lines += ["", f"Step {step}: {_numbers(each.losses)}"]
        order = sorted(range(len(paths)), key=lambda i: -_total(each.of_images[i]))
        for i in order[:SHOWN]:
            objects = counted(each.objects[i], "object")
            lines.append(f"  {_numbers(each.of_images[i])}  {objects}  {paths[i]}")
        lines.append("  Largest gradients:")
        lines += [f"  {norm:.3g}  {path}" for norm, path in each.gradients[:SHOWN]]
    return lines


def _total(parts: dict[str, float]) -> float:
    total = sum(parts.values())
    return total if np.isfinite(total) else np.inf


def _verdict(seen: Sequence[Seen]) -> str:
    if all(each.finite for each in seen):
        return (
            "With the weights below, losses and gradients of these batches are finite: the weights "
            "had diverged before. Lower the learning rate."
        )
    return (
        "Losses or gradients of these batches are not finite with the weights below either: look "
        "at the first images of each step, and at their boxes."
    )


def _numbers(parts: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in parts.items())


def weights_for(path: pathlib.Path, kept: Kept) -> pathlib.Path:
    """The model to compute with: the state before, else `best.keras` or `last.keras`.

    Raises:
        DataError: the folder of the file has none of them.
    """
    names = [f"checkpoints/{kept.state}"] if kept.state else []
    for name in [*names, "best.keras", "last.keras"]:
        if (path.parent / name).is_file():
            return path.parent / name
    raise DataError(
        "A file to replay must lie in the folder of its run, beside checkpoints/ or best.keras. "
        f"Received: {path}. Put it back there."
    )


def replay(path: str | os.PathLike) -> list[str]:
    """Computes the kept batches again, with the state that the run had before.

    Args:
        path: a `diverged_….npz` in a run folder.

    Returns:
        Lines for a terminal; see `report`.

    Raises:
        DataError: the file or its run folder is missing or damaged.
    """
    from keras_det.models import load_model

    path = pathlib.Path(path)
    kept = read(path)
    file = weights_for(path, kept)
    model: Any = load_model(file)
    with opening(path, f"The batches of a file to replay must fit {file}", CURE):
        return report(kept, [compute(model, batch) for batch in kept.batches], str(file))
