"""Tiny data sets on disk for the tests of the readers and the pipeline."""

import json

import numpy as np
from PIL import Image


def write_image(path, height=6, width=8, value=100):
    """Writes an image of one grey value; the suffix says the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), value, np.uint8)).save(path)
    return path


def write_files(root, files):
    """Writes text files and images: `{path: text, or None for an image}`."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            write_image(path)
        else:
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def annotation(number, image_id, bbox, category_id=7, **more):
    return {"id": number, "image_id": image_id, "bbox": bbox, "category_id": category_id, **more}


def coco_content(annotations=(), num_images=2, height=6, width=8):
    """Images a0.png, a1.png, … with ids 10, 11, …; categories 7 "cat" and 3 "dog"."""
    images = [
        {"id": 10 + i, "file_name": f"a{i}.png", "height": height, "width": width}
        for i in range(num_images)
    ]
    categories = [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}]
    return {"images": images, "annotations": list(annotations), "categories": categories}


def write_coco(root, content, split="train2017", images=True):
    """Writes COCO's layout and returns the path of the annotation file."""
    path = root / "annotations" / f"instances_{split}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    for entry in content["images"] if images else ():
        write_image(root / split / entry["file_name"], entry["height"], entry["width"])
    return path


def voc_xml(objects, height=6, width=8):
    """An annotation; objects are `(name, xmin, ymin, xmax, ymax, difficult)`."""
    body = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{a}</xmin>"
        f"<ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for name, a, b, c, d, difficult in objects
    )
    size = f"<size><width>{width}</width><height>{height}</height></size>"
    return f"<annotation><filename>x</filename>{size}{body}</annotation>"


def write_voc(root, objects_of, splits=None):
    """Writes VOC's layout: `{stem: objects}` and `{split: stems}`."""
    (root / "Annotations").mkdir(parents=True, exist_ok=True)
    for stem, objects in objects_of.items():
        (root / "Annotations" / f"{stem}.xml").write_text(voc_xml(objects))
        write_image(root / "JPEGImages" / f"{stem}.jpg")
    for split, stems in (splits or {}).items():
        file = root / "ImageSets" / "Main" / f"{split}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(stems) + "\n")
    return root
