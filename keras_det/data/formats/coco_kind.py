"""Tells from its first and last bytes what kind of annotations a JSON file holds."""

import json
import os
import pathlib
import re
from typing import NamedTuple

from keras_det.files import open_bytes

# How much of the start and of the end of a file is looked at, in bytes.
PART = 1 << 16
# Kinds that other modules read.
READ_ELSEWHERE = ("labelme", "label_studio", "createml")
# Kinds of the COCO project's own files.
NO_BOXES = ("captions", "panoptic", "questions")
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]|:')
DECISIVE = {"images", "annotations", "categories", "shapes", "imagePath", "items", "regions"}
DECISIVE |= {"_via_settings", "_via_img_metadata", "image_id", "coordinates"}


class Kind(NamedTuple):
    """A kind of JSON that is not COCO's annotations of objects.

    Attributes:
        what: as messages name it.
        instead: what to do next.
    """

    what: str
    instead: str


SAME_SPLIT = "Give instances_*.json of the same split."
KINDS = {
    "captions": Kind("captions of images", SAME_SPLIT),
    "panoptic": Kind("a panoptic segmentation", SAME_SPLIT),
    "questions": Kind("questions about images", SAME_SPLIT),
    "results": Kind(
        "a list of detection results",
        "Give the file of annotations, such as instances_val2017.json.",
    ),
    "labelme": Kind(
        "LabelMe's annotation of one image",
        "Read its folder with `keras_det.data.load` (--format labelme).",
    ),
    "label_studio": Kind(
        "Label Studio's own JSON",
        "Read it with `keras_det.data.load` (--format label_studio), or export it as COCO.",
    ),
    "createml": Kind(
        "annotations for Create ML",
        "Read its folder with `keras_det.data.load` (--format createml).",
    ),
    "via": Kind(
        "annotations of the VGG Image Annotator (VIA)", "Export them there as COCO format."
    ),
    "datumaro": Kind("Datumaro's own JSON", "Export the data set as COCO."),
}


def read_text(data: bytes) -> str:
    """Decodes the start of a JSON file by its byte order mark or its zero bytes, never failing."""
    return data.decode(json.detect_encoding(data[:4]), errors="replace")


def kind_of(path: pathlib.Path) -> str:
    """Returns "coco", a key of `KINDS`, "no_json", or "other", also where it cannot be read."""
    try:
        with open_bytes(path) as file:
            head = file.read(PART)
            file.seek(max(PART, os.fstat(file.fileno()).st_size - PART))
            tail = file.read(PART)
    except (OSError, ValueError):
        return "other"
    start = read_text(head)
    text = start + (tail.decode("utf-8", errors="replace") if tail else "")
    if start.lstrip()[:1] not in ("{", "["):
        return "no_json"
    root, keys = _first_keys(start)
    return _kind_of_list(keys, text) if root == "[" else _kind_of_object(keys, text)


def _first_keys(text: str) -> tuple[str, set[str]]:
    """The first bracket of a JSON text, and the keys of the object, or of a list's first object."""
    depth, wanted, root = 0, 0, ""
    keys: set[str] = set()
    last = ""
    for match in TOKEN.finditer(text):
        token = match.group()
        if not root:
            if token not in ("{", "["):
                return "", keys
            root, wanted = token, 1 if token == "{" else 2
        if token in ("{", "["):
            depth += 1
        elif token in ("}", "]"):
            depth -= 1
            if depth < wanted:
                break
        elif token == ":" and depth == wanted:
            keys.add(last)
            if last in DECISIVE and root == "{":
                break
        last = token[1:-1]
    return root, keys


def _kind_of_list(keys: set[str], text: str) -> str:
    if "coordinates" in keys or ("annotations" in keys and _has("coordinates", text)):
        return "createml"
    if keys & {"annotations", "completions", "predictions"} or _has("rectanglelabels", text):
        return "label_studio"
    if "annotation_id" in keys and "annotator" in keys:  # its short form
        return "label_studio"
    if "image_id" in keys and keys & {"bbox", "score", "segmentation", "category_id", "keypoints"}:
        return "results"
    return "other"


def _kind_of_object(keys: set[str], text: str) -> str:
    if keys & {"shapes", "imagePath"}:
        return "labelme"
    if any(key.startswith("_via_") for key in keys):
        return "via"
    if "items" in keys and "images" not in keys:
        return "datumaro"
    if keys & {"images", "annotations", "categories"}:
        return _kind_of_coco(text)
    if _has("regions", text) and _has("filename", text):
        return "via"
    return "other"


def _kind_of_coco(text: str) -> str:
    """What a file with `images`, `annotations` or `categories` holds."""
    if _has("items", text) and not _has("images", text):
        return "datumaro"
    if _has("bbox", text):
        return "coco"
    if _has("segments_info", text):
        return "panoptic"
    if _has("caption", text):
        return "captions"
    if _has("question", text):
        return "questions"
    if _has("images", text) or _has("image_id", text):
        return "coco"
    if _has("result", text) and _has("data", text):
        return "label_studio"
    return "other"


def _has(key: str, text: str) -> bool:
    return re.search(f'"{key}"\\s*:', text) is not None
