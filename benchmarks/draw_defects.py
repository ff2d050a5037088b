"""Draws a data set unlike photos: wide images of a rough surface with small and thin defects.

    python benchmarks/draw_defects.py defects/
    keras-det train defects/ --out run/

110 images of 1280x420 (width x height) in COCO's form. Pits are 10 to 22 pixels wide, scratches are
2 to 5 pixels thick and up to 300 long, stains cover up to a tenth of the image. At the size that
`recipe="auto"` chooses for Lite0 (192x512), a pit has 4 to 9 pixels, and seven of eight objects
overlap no anchor with an IoU of 0.5.
"""

import argparse
import json
import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT, IMAGES = 1280, 420, 110
NAMES = ("scratch", "pit", "stain")


def surface(rng):
    """Grey noise of two scales."""
    coarse = np.kron(rng.normal(0, 1, (HEIGHT // 4, WIDTH // 4, 3)), np.ones((4, 4, 1)))
    noise = 14 * coarse + rng.uniform(90, 150) + rng.normal(0, 8, (HEIGHT, WIDTH, 3))
    image = Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8))
    return image.filter(ImageFilter.GaussianBlur(1.2))


def scratch(image, rng):
    """A line, nearly horizontal or vertical. Returns its box."""
    length, thick = rng.uniform(60, 300), int(rng.integers(2, 6))
    angle = rng.choice([0, np.pi / 2]) + rng.normal(0, 0.15)
    x, y = rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT)
    dx, dy = np.cos(angle) * length / 2, np.sin(angle) * length / 2
    grey = int(rng.choice([40, 215]))
    ends = (x - dx, y - dy, x + dx, y + dy)
    ImageDraw.Draw(image).line(ends, fill=(grey, grey, grey + 10), width=thick)
    half = thick / 2
    return (
        *(min(ends[0], ends[2]) - half, min(ends[1], ends[3]) - half),
        *(max(ends[0], ends[2]) + half, max(ends[1], ends[3]) + half),
    )


def pit(image, rng):
    """A dark disc. Returns its box."""
    radius = rng.uniform(5, 11)
    x, y = rng.uniform(radius, WIDTH - radius), rng.uniform(radius, HEIGHT - radius)
    box = (x - radius, y - radius, x + radius, y + radius)
    ImageDraw.Draw(image).ellipse(box, fill=(int(rng.integers(20, 60)),) * 3)
    return box


def stain(image, rng):
    """A large, half transparent ellipse. Returns its box."""
    wide, high = rng.uniform(70, 220), rng.uniform(50, 130)
    x, y = rng.uniform(wide, WIDTH - wide), rng.uniform(high, HEIGHT - high)
    box = (x - wide, y - high, x + wide, y + high)
    over = Image.new("RGBA", image.size)
    ImageDraw.Draw(over).ellipse(box, fill=(90, 60, 20, 110))
    image.paste(Image.alpha_composite(image.convert("RGBA"), over).convert("RGB"))
    return box


def draw(folder, seed=0):
    """Writes images/ and annotations.json."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for i in range(IMAGES):
        image = surface(rng)
        made = [(1, scratch(image, rng)) for _ in range(rng.integers(0, 5))]
        made += [(2, pit(image, rng)) for _ in range(rng.integers(0, 12))]
        made += [(3, stain(image, rng))] if rng.random() < 0.25 else []
        image.save(folder / "images" / f"{i:04}.jpg", quality=88)
        about = {"id": i + 1, "file_name": f"{i:04}.jpg", "width": WIDTH, "height": HEIGHT}
        images.append(about)
        for category, box in made:
            x1, x2 = np.clip(box[::2], 0, WIDTH).tolist()
            y1, y2 = np.clip(box[1::2], 0, HEIGHT).tolist()
            if x2 - x1 > 3 and y2 - y1 > 3:
                about = {"id": len(annotations) + 1, "image_id": i + 1, "category_id": category}
                shape = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
                annotations.append({**about, **shape, "iscrowd": 0})
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(NAMES)]
    content = {"images": images, "categories": categories, "annotations": annotations}
    (folder / "annotations.json").write_text(json.dumps(content))
    print(f"{folder}: {len(images)} images, {len(annotations)} objects")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    draw(given.folder, given.seed)
