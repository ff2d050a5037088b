"""The same small data set in each annotation format, and ways to spoil its files."""

import functools
import io
import json
import pathlib
import random
import time
import warnings
from typing import NamedTuple
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from PIL import Image

from keras_det.data import load
from keras_det.data.dataset import Dataset
from keras_det.errors import DataError

NAMES = ("ant", "cat")


class Picture(NamedTuple):
    """An image: its file name, sides, and objects `(label, x1, y1, x2, y2)` in whole pixels."""

    name: str
    width: int
    height: int
    objects: tuple[tuple[int, int, int, int, int], ...]


PICTURES = (
    Picture("a.png", 40, 50, ((0, 2, 3, 12, 23), (1, 10, 20, 40, 50))),
    Picture("b.png", 60, 44, ((1, 0, 0, 25, 17), (1, 30, 4, 55, 40), (0, 5, 20, 28, 43))),
)


@functools.cache
def image_bytes(width, height, suffix="png"):
    """An image of one grey value."""
    file = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), 100, np.uint8)).save(file, suffix)
    return file.getvalue()


def coco(pictures):
    images = [
        {"id": i + 1, "file_name": p.name, "width": p.width, "height": p.height}
        for i, p in enumerate(pictures)
    ]
    every = [(i + 1, *each) for i, p in enumerate(pictures) for each in p.objects]
    annotations = [
        {
            "id": number + 1,
            "image_id": image,
            "category_id": label + 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "iscrowd": 0,
        }
        for number, (image, label, x1, y1, x2, y2) in enumerate(every)
    ]
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(NAMES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    return {"_annotations.coco.json": json.dumps(content)}


def voc(pictures):
    """With pixels counted from 1, the last one inside the box."""
    files = {}
    for p in pictures:
        objects = "".join(
            f"<object><name>{NAMES[label]}</name><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin>"
            f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
            for label, x1, y1, x2, y2 in p.objects
        )
        size = f"<size><width>{p.width}</width><height>{p.height}</height></size>"
        head = f"<annotation><filename>{escape(p.name)}</filename>"
        files[f"{pathlib.PurePath(p.name).stem}.xml"] = f"{head}{size}{objects}</annotation>"
    return files


def yolo(pictures):
    files = {"data.yaml": f"train: .\nnames: [{', '.join(NAMES)}]\n"}
    for p in pictures:
        files[f"{pathlib.PurePath(p.name).stem}.txt"] = "".join(
            f"{label} {(x1 + x2) / 2 / p.width!r} {(y1 + y2) / 2 / p.height!r} "
            f"{(x2 - x1) / p.width!r} {(y2 - y1) / p.height!r}\n"
            for label, x1, y1, x2, y2 in p.objects
        )
    return files


def csv(pictures):
    lines = ["filename,width,height,class,xmin,ymin,xmax,ymax"]
    for p in pictures:
        for label, *corners in p.objects:
            row = [p.name, p.width, p.height, NAMES[label], *corners]
            lines.append(",".join(map(str, row)))
    return {"annotations.csv": "\n".join(lines) + "\n"}


def createml(pictures):
    content = [
        {
            "image": p.name,
            "annotations": [
                {
                    "label": NAMES[label],
                    "coordinates": {
                        "x": (x1 + x2) / 2,
                        "y": (y1 + y2) / 2,
                        "width": x2 - x1,
                        "height": y2 - y1,
                    },
                }
                for label, x1, y1, x2, y2 in p.objects
            ],
        }
        for p in pictures
    ]
    return {"_annotations.createml.json": json.dumps(content)}


def labelme(pictures):
    files = {}
    for p in pictures:
        shapes = [
            {"label": NAMES[k], "points": [[a, b], [c, d]], "shape_type": "rectangle", "flags": {}}
            for k, a, b, c, d in p.objects
        ]
        content = {"version": "5.0", "flags": {}, "shapes": shapes, "imagePath": p.name}
        content |= {"imageData": None, "imageHeight": p.height, "imageWidth": p.width}
        files[f"{pathlib.PurePath(p.name).stem}.json"] = json.dumps(content)
    return files


def label_studio(pictures):
    tasks = []
    for number, p in enumerate(pictures):
        results = [
            {
                "from_name": "label",
                "to_name": "image",
                "type": "rectanglelabels",
                "original_width": p.width,
                "original_height": p.height,
                "image_rotation": 0,
                "value": {
                    "x": 100 * x1 / p.width,
                    "y": 100 * y1 / p.height,
                    "width": 100 * (x2 - x1) / p.width,
                    "height": 100 * (y2 - y1) / p.height,
                    "rotation": 0,
                    "rectanglelabels": [NAMES[label]],
                },
            }
            for label, x1, y1, x2, y2 in p.objects
        ]
        done = [{"id": 9, "was_cancelled": False, "result": results}]
        tasks.append({"id": number + 1, "annotations": done, "data": {"image": p.name}})
    return {"project.json": json.dumps(tasks)}


def cvat(pictures):
    labels = "".join(f"<label><name>{n}</name><type>any</type></label>" for n in NAMES)
    images = ""
    for number, p in enumerate(pictures):
        boxes = "".join(
            f'<box label="{NAMES[k]}" occluded="0" xtl="{a}" ytl="{b}" xbr="{c}" ybr="{d}"></box>'
            for k, a, b, c, d in p.objects
        )
        head = f'<image id="{number}" name={quoteattr(p.name)} width="{p.width}"'
        images += f'{head} height="{p.height}">{boxes}</image>'
    meta = f"<meta><task><labels>{labels}</labels></task></meta>"
    return {"annotations.xml": f"<annotations><version>1.1</version>{meta}{images}</annotations>"}


FORMATS = {
    "coco": coco,
    "voc": voc,
    "yolo": yolo,
    "csv": csv,
    "createml": createml,
    "labelme": labelme,
    "label_studio": label_studio,
    "cvat": cvat,
}


def write(folder, files):
    """Writes texts and bytes: `{name: content}`."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def files_of(name, pictures=PICTURES):
    """All files of the data set in a format, as bytes: annotations and images."""
    texts = {file: text.encode() for file, text in FORMATS[name](pictures).items()}
    return texts | {p.name: image_bytes(p.width, p.height) for p in pictures}


class Outcome(NamedTuple):
    """What came of reading: a data set, or the text of a DataError, and the seconds it took."""

    dataset: Dataset | None
    error: str
    seconds: float


def outcome(folder, name):
    """Reads a folder; any other exception than a DataError passes through."""
    first = {"voc_first_pixel": 1} if name == "voc" else {}
    start = time.process_time()
    dataset, error = None, ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = load(folder, format=name, **first)
        except DataError as caught:
            error = str(caught)
    return Outcome(dataset, error, time.process_time() - start)


def objects_by_image(dataset):
    """`{file name: sorted (class name, x1, y1, x2, y2)}`, rounded to thousandths."""
    found = {}
    for i, path in enumerate(dataset.image_paths):
        rows = range(*dataset.row_splits[i : i + 2].tolist())
        found[pathlib.Path(path).name] = sorted(
            (dataset.class_names[dataset.labels[r]], *np.round(dataset.boxes[r], 3).tolist())
            for r in rows
        )
    return found


def expected(pictures=PICTURES):
    """What `objects_by_image` must return."""
    return {
        p.name: sorted((NAMES[k], *map(float, corners)) for k, *corners in p.objects)
        for p in pictures
    }


# --- Spoiling -------------------------------------------------------------------------------------

# No values that could be another right value of the same field.
JUNK = (None, [], {}, True, float("nan"), float("inf"), -1e12, 10**400, [[]], {"a": None}, "\0")
WORDS = (b"nan", b"inf", b"-1e12", b"9" * 400, b"", b"x", b"\xff\xfe", b"1e999", b"\0", b"\xe2\x80")


def spoiled_bytes(data, rng):
    """Bytes with a part cut, doubled or overwritten, a bit turned, or the end missing."""
    if not data:
        return b"\0"
    a, b = sorted(rng.randrange(len(data)) for _ in range(2))
    bit = bytes([data[a] ^ 1 << rng.randrange(8)])
    return rng.choice(
        [
            data[:a],
            data[:a] + data[b:],
            data[:b] + data[a:],
            data[:a] + rng.randbytes(5) + data[a + 5 :],
            data[:a] + bit + data[a + 1 :],
        ]
    )


def spoiled_number(data, rng):
    """A text with one number replaced by a word that is none."""
    spans, start = [], None
    for i, byte in enumerate(data + b" "):
        number = chr(byte) in "0123456789.-" if byte < 128 else False
        if number and start is None:
            start = i
        if not number and start is not None:
            spans.append((start, i))
            start = None
    a, b = rng.choice(spans) if spans else (0, 0)
    return data[:a] + rng.choice(WORDS) + data[b:]


def places(value, path=()):
    """The path of every value inside a JSON value."""
    inside = enumerate(value) if isinstance(value, list) else ()
    for key, each in value.items() if isinstance(value, dict) else inside:
        yield (*path, key)
        yield from places(each, (*path, key))


def spoiled_json(data, rng):
    """JSON with one value replaced, or one key of an object removed."""
    content = json.loads(data)
    *path, last = rng.choice(list(places(content)))
    inside = content
    for key in path:
        inside = inside[key]
    if rng.random() < 0.3 and isinstance(last, str):
        del inside[last]
    else:
        inside[last] = rng.choice(JUNK)
    return json.dumps(content).encode()


def spoiled(files, rng):
    """A copy of `{name: bytes}` with one file spoiled or missing; its name; how it was spoiled."""
    name = rng.choice(sorted(files))
    if rng.random() < 0.04:
        return {key: value for key, value in files.items() if key != name}, name, None
    ways = [spoiled_bytes]
    if not name.endswith(".png"):
        ways += [spoiled_number, spoiled_number]
    if name.endswith(".json"):
        ways += [spoiled_json, spoiled_json]
    way = rng.choice(ways)
    return files | {name: way(files[name], rng)}, name, way


def random_of(*parts):
    """A generator of random numbers for these parts."""
    return random.Random(repr(parts))
