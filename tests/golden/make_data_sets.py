"""Writes the small data sets of the tests into `data_sets/`.

    python tests/golden/make_data_sets.py [--bccd FOLDER] [--coco FOLDER]

`data_sets/bccd` gets a dozen images of BCCD as they are. FOLDER is the folder `BCCD` of
https://github.com/Shenggan/BCCD_Dataset with the licence in it. The dozen has every class in every
split and both boxes without area (images 338 and 343), in small files.
`data_sets/coco` gets five photos of COCO 2017, made smaller. FOLDER holds train2017/ and val2017/.
`data_sets/drawn` is drawn from seed 0 with NumPy and Pillow in the layout of COCO 2017: the ids of
its 80 categories have holes, and it has polygons, areas that differ from the box's, crowd regions,
odd sizes, a grey image and one without objects. The same Pillow gives the same files.
"""

import argparse
import json
import pathlib
import shutil

import numpy as np
from PIL import Image, ImageDraw

FOLDER = pathlib.Path(__file__).parent / "data_sets"
BCCD = {
    "train": ("00081", "00164", "00254", "00307", "00343"),
    "val": ("00055", "00066", "00338", "00389"),
    "test": ("00065", "00093", "00132"),
}
# Photos whose licence lets others change them and pass them on; README.md names the licences.
COCO = {
    "airplane": "val2017/000000208901.jpg",
    "banana": "train2017/000000458756.jpg",
    "bench": "val2017/000000349184.jpg",
    "bird": "train2017/000000425988.jpg",
    "elephant": "val2017/000000415748.jpg",
}
LONGER_SIDE = 288  # pixels
# (height, width) of the synthetic images.
SIZES = {
    "train2017": ((96, 128), (128, 96), (75, 133), (64, 64), (101, 57), (90, 120), (128, 128)),
    "val2017": ((96, 128), (61, 127), (128, 85), (72, 72), (110, 90)),
}
CROWDS = {"train2017": (1, 4), "val2017": (2,)}  # indices of the images with a crowd region
GREY, EMPTY = ("val2017", 3), ("train2017", 6)


def take_bccd(source):
    """Copies the dozen, its splits and its licence."""
    target = FOLDER / "bccd"
    shutil.rmtree(target, ignore_errors=True)
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (target / folder).mkdir(parents=True)
    shutil.copyfile(source / "LICENSE", target / "LICENSE")
    for split, numbers in {**BCCD, "trainval": sorted(BCCD["train"] + BCCD["val"])}.items():
        names = [f"BloodImage_{number}" for number in numbers]
        (target / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names) + "\n")
        for name in names:
            for file in (f"Annotations/{name}.xml", f"JPEGImages/{name}.jpg"):
                shutil.copyfile(source / file, target / file)


def take_coco(source):
    """Writes the five photos, each under the name of what it shows."""
    target = FOLDER / "coco"
    target.mkdir(parents=True, exist_ok=True)
    for name, path in COCO.items():
        image = Image.open(source / path).convert("RGB")
        image.thumbnail((LONGER_SIDE, LONGER_SIDE), Image.Resampling.LANCZOS)
        image.save(target / f"{name}.jpg", quality=85)


def polygon(rng, height, width):
    """A random triangle, quadrilateral or hexagon: points `(n, 2)` in hundredths of a pixel."""
    count, radius = int(rng.choice([3, 4, 6])), rng.uniform(0.1, 0.3) * min(height, width)
    angles = rng.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(count) / count
    stretch = rng.uniform(0.6, 1.0, 2)
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius * stretch
    centre = rng.uniform([radius, radius], [width - radius, height - radius])
    return (points + centre).round(2)


def area(points):
    """The shoelace formula."""
    x, y = points.T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


def crowd_region(rng, height, width):
    """A box of whole pixels and its mask as COCO's uncompressed run lengths, column by column."""
    x1, y1 = int(rng.integers(0, width // 2)), int(rng.integers(0, height // 2))
    w, h = width // 3, height // 3
    mask = np.zeros((height, width), bool)
    mask[y1 : y1 + h, x1 : x1 + w] = True
    flat = mask.T.ravel()
    changes = np.flatnonzero(np.diff(flat)) + 1
    edges = np.concatenate([[0] if not flat[0] else [0, 0], changes, [flat.size]])
    runs = {"counts": np.diff(edges).tolist(), "size": [height, width]}
    return [x1, y1, w, h], runs, int(mask.sum())


def draw_image(rng, size, crowd, empty):
    """An image of polygons on noise, and its annotations without ids and categories."""
    height, width = size
    noise = rng.integers(60, 110, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    draw, found = ImageDraw.Draw(image), []
    for _ in range(0 if empty else int(rng.integers(1, 6))):
        points = polygon(rng, height, width)
        draw.polygon([tuple(p) for p in points], fill=tuple(rng.integers(130, 256, 3).tolist()))
        low, high = points.min(axis=0), points.max(axis=0)
        found.append(
            {
                "segmentation": [points.ravel().tolist()],
                "area": round(area(points), 4),
                "iscrowd": 0,
                "bbox": [*low.tolist(), *(high - low).round(2).tolist()],
            }
        )
    if crowd:
        box, runs, count = crowd_region(rng, height, width)
        x1, y1, w, h = box
        draw.rectangle([x1, y1, x1 + w - 1, y1 + h - 1], fill=(200, 200, 40))
        found.append({"segmentation": runs, "area": count, "iscrowd": 1, "bbox": box})
    return image, found


def draw_split(split, stream, categories):
    """Writes the images and the annotation file of one split."""
    target = FOLDER / "drawn"
    (target / split).mkdir(parents=True)
    images, annotations = [], []
    for i, size in enumerate(SIZES[split]):
        rng = np.random.default_rng((0, stream, i))
        image, found = draw_image(rng, size, i in CROWDS[split], (split, i) == EMPTY)
        image_id = int(rng.integers(1000, 600_000))
        image = image.convert("L") if (split, i) == GREY else image
        name = f"{image_id:012d}.jpg"
        image.save(target / split / name, quality=90)
        images.append({"id": image_id, "file_name": name, "height": size[0], "width": size[1]})
        for annotation in found:
            annotation |= {"image_id": image_id, "id": 100 * stream + len(annotations) + 1}
            annotations.append(annotation | {"category_id": int(rng.choice(categories))})
    return {"images": images, "annotations": annotations}


def draw_coco():
    """Draws both splits; the categories are those that the package lists."""
    from keras_det.weights.common.coco_classes import COCO_CLASSES

    shutil.rmtree(FOLDER / "drawn", ignore_errors=True)
    (FOLDER / "drawn" / "annotations").mkdir(parents=True)
    categories = [{"id": number, "name": name} for number, name in COCO_CLASSES.items()]
    for stream, split in enumerate(SIZES, 1):
        content = draw_split(split, stream, list(COCO_CLASSES)) | {"categories": categories}
        path = FOLDER / "drawn" / "annotations" / f"instances_{split}.json"
        path.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bccd", type=pathlib.Path, help="folder of BCCD, with its LICENSE")
    parser.add_argument("--coco", type=pathlib.Path, help="folder of COCO 2017's photos")
    arguments = parser.parse_args()
    if arguments.bccd:
        take_bccd(arguments.bccd)
    if arguments.coco:
        take_coco(arguments.coco)
    draw_coco()
