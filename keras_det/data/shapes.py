"""Draws synthetic images, coloured shapes on textured backgrounds, for demos and tests."""

import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterable
from typing import Any

import numpy as np

from keras_det.errors import DataError
from keras_det.types import ImageSize, Size

CLASS_NAMES = ("circle", "square", "triangle")
MAX_OBJECTS = 6
MAX_OVERLAP = 0.1  # intersection over the smaller box, so that every shape stays visible
OVERSAMPLING = 2  # shapes are drawn larger and averaged, which smooths their edges


def draw_shapes_dataset(
    out_dir: str | os.PathLike,
    num_train: int = 200,
    num_val: int = 40,
    image_size: int = 256,
    seed: int = 0,
) -> pathlib.Path:
    """Draws a data set in COCO's layout: `train/`, `val/`, `annotations/instances_*.json`.

    The folder appears complete or not at all. Equal seeds give equal files.

    Args:
        out_dir: folder to make, new or empty.
        num_train: int, images of the training split.
        num_val: int, images of the validation split.
        image_size: int, longer side in pixels; the other side is 60 to 100% of it.
        seed: int.

    Returns:
        The path of the folder, for `load(folder, split="train")`.

    Raises:
        DataError: something exists at `out_dir`.
    """
    out_dir = pathlib.Path(out_dir)
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise DataError(
            f"`out_dir` must be a new or empty folder. Received: {out_dir}, which exists. Choose "
            "another folder."
        )
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    building = pathlib.Path(tempfile.mkdtemp(prefix=f".{out_dir.name}-", dir=out_dir.parent))
    try:
        (building / "annotations").mkdir()
        for stream, (split, count) in enumerate({"train": num_train, "val": num_val}.items()):
            _write_split(building, split, count, image_size, (seed, stream))
        building.chmod(0o755)
        if out_dir.exists():
            out_dir.rmdir()
        building.rename(out_dir)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return out_dir


def drawn_images(n: int, size: ImageSize = 256, seed: int = 0) -> list[np.ndarray]:
    """Draws synthetic images without writing files.

    Args:
        n: int, number of images.
        size: int, the longer side in pixels (the other is 60 to 100% of it), or the exact
            `(height, width)`.
        seed: int. Equal seeds give equal images.

    Returns:
        List of uint8 arrays `(height, width, 3)`, RGB.
    """
    return [draw_image(size, np.random.default_rng((seed, 2, i)))[0] for i in range(n)]


def draw_image(
    size: ImageSize, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draws one image.

    Args:
        size: as of `drawn_images`.
        rng: source of the random numbers.

    Returns:
        `(image uint8 (height, width, 3), boxes float32 (n, 4) xyxy pixels, labels int32 (n,), area
        float32 (n,) square pixels)`. Boxes enclose the shapes to a fraction of a pixel; n is 1 to
        6.
    """
    height, width = _draw_size(size, rng)
    image = _background(height, width, rng)
    boxes: list[np.ndarray] = []
    labels, areas = [], []
    for _ in range(int(rng.integers(1, MAX_OBJECTS + 1))):
        side = min(height, width) * np.exp(rng.uniform(np.log(0.12), np.log(0.5)))
        x, y = rng.uniform(0, width - side), rng.uniform(0, height - side)
        box = np.array([x, y, x + side, y + side])
        label = int(rng.integers(len(CLASS_NAMES)))
        color = _contrasting(image, box, rng)
        if any(_overlap(box, other) > MAX_OVERLAP for other in boxes):
            continue
        image, area = _paint(image, box, label, color)
        boxes.append(box)
        labels.append(label)
        areas.append(area)
    return (
        image,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(labels, np.int32),
        np.array(areas, np.float32),
    )


def _draw_size(size: ImageSize, rng: np.random.Generator) -> Size:
    if isinstance(size, Iterable):
        height, width = size
        return int(height), int(width)
    shorter = max(1, int(round(size * rng.uniform(0.6, 1.0))))
    return (int(size), shorter) if rng.random() < 0.5 else (shorter, int(size))


def _background(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Soft blotches of colour with fine noise."""
    from PIL import Image

    coarse = rng.integers(40, 216, (4, 5, 3), dtype=np.uint8)
    blotches = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    noise = rng.integers(-12, 13, (height, width, 1))
    return np.clip(np.asarray(blotches, np.int16) + noise, 0, 255).astype(np.uint8)


def _contrasting(image: np.ndarray, box: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random colour that differs from the image inside the box."""
    x1, y1, x2, y2 = box.astype(int)
    under = image[y1 : y2 + 1, x1 : x2 + 1].reshape(-1, 3).mean(axis=0)
    colors = rng.integers(0, 256, (8, 3))
    return colors[np.argmax(np.abs(colors - under).sum(axis=1))]


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    smaller = min((a[2] - a[0]) ** 2, (b[2] - b[0]) ** 2)
    return float(np.prod(np.maximum(sides, 0)) / smaller)


def _paint(
    image: np.ndarray, box: np.ndarray, label: int, color: np.ndarray
) -> tuple[np.ndarray, float]:
    """Returns the image with one shape on it, and the shape's area in pixels."""
    from PIL import Image, ImageDraw

    height, width = image.shape[:2]
    mask = Image.new("L", (width * OVERSAMPLING, height * OVERSAMPLING))
    x1, y1, x2, y2 = (box * OVERSAMPLING).tolist()
    # Pillow includes the far corner.
    corners = [x1, y1, x2 - 1, y2 - 1]
    draw = ImageDraw.Draw(mask)
    if CLASS_NAMES[label] == "circle":
        draw.ellipse(corners, fill=255)
    elif CLASS_NAMES[label] == "square":
        draw.rectangle(corners, fill=255)
    else:
        draw.polygon([((x1 + x2 - 1) / 2, y1), (x1, y2 - 1), (x2 - 1, y2 - 1)], fill=255)
    share = np.asarray(mask.reduce(OVERSAMPLING), np.float32)[..., None] / 255
    return (image * (1 - share) + color * share + 0.5).astype(np.uint8), float(share.sum())


def _write_split(
    root: pathlib.Path, split: str, count: int, image_size: int, seed: tuple[int, int]
) -> None:
    from PIL import Image

    (root / split).mkdir()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for i in range(count):
        pixels, boxes, labels, areas = draw_image(image_size, np.random.default_rng((*seed, i)))
        name = f"{i:06d}.jpg"
        Image.fromarray(pixels).save(root / split / name, quality=92)
        height, width = pixels.shape[:2]
        images.append({"id": i + 1, "file_name": name, "height": height, "width": width})
        for (x1, y1, x2, y2), label, area in zip(
            boxes.tolist(), labels.tolist(), areas.tolist(), strict=True
        ):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i + 1,
                    "category_id": label + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": area,
                    "iscrowd": 0,
                }
            )
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(CLASS_NAMES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    with open(root / "annotations" / f"instances_{split}.json", "w", encoding="utf-8") as file:
        json.dump(content, file)
