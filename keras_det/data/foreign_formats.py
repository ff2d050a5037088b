"""Says which other tool's or data set's annotations a folder holds, and what converts them."""

import os
import pathlib
import re
from collections.abc import Callable, Iterator

from keras_det.data.formats.plain_text import start_of
from keras_det.data.image import IMAGE_SUFFIXES

DEPTH, MAX_FOLDERS, LOOKED_AT = 6, 60, 4
START = 1 << 14
ROW = "write one CSV row for each box: filename,class,{}."
CORNERS = ROW.format("xmin,ymin,xmax,ymax")
CSV = CORNERS[0].upper() + CORNERS[1:]
COCO = f"Convert them to COCO, or {CORNERS}"
DATUM = (
    "Convert them with Datumaro: `datum convert -if {} -i FOLDER -f coco_instances -o NEW -- "
    "--save-media`."
)
VIA = f"In VIA, export them as COCO, or {CORNERS}"
VOTT = "In VoTT, export them as Pascal VOC or CSV."
DRAW = "A detector needs boxes. Draw them, for example in CVAT, Label Studio or LabelMe."
# Words that the start of a JSON file of each tool holds, all of them.
JSON_TOOLS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("_via_settings",), "a project of the VGG Image Annotator (VIA)", VIA),
    (("shape_attributes",), "annotations of the VGG Image Annotator (VIA)", VIA),
    (("securityToken", "assets"), "annotations of VoTT", VOTT),
    (("asset", "regions", "boundingBox"), "annotations of VoTT", VOTT),
    (
        ("classTitle", "objects"),
        "annotations of Supervisely",
        "In Supervisely, export them as COCO, Pascal VOC or YOLO.",
    ),
    (("label_id", "items"), "annotations of Datumaro", DATUM.format("datumaro")),
    (("dm_format_version",), "annotations of Datumaro", DATUM.format("datumaro")),
    (("box2d", "category"), "annotations of BDD100K or Scalabel", COCO),
    (("data_row",), "annotations of Labelbox", COCO),
    (("slots", "slot_names"), "annotations of V7 Darwin", "In V7, export them as COCO."),
    (("source-ref",), "a manifest of SageMaker Ground Truth", CSV),
    (("gtboxes", "fbox"), "annotations of CrowdHuman", CSV),
    (("imgHeight", "polygon"), "annotations of Cityscapes", COCO),
)
NUMBER = r"-?\d+(?:\.\d*)?(?:e-?\d+)?"
IMAGE = r"\S.*\.(?:jpe?g|png|bmp|webp)"
# How the text file of each data set or tool begins.
TEXT_KINDS: tuple[tuple[str, str, str], ...] = (
    (
        rf"[A-Za-z_]\w*(?: {NUMBER}){{14,15}}",
        "annotations of KITTI: a class and 14 numbers a line",
        DATUM.format("kitti"),
    ),
    (
        rf"{IMAGE}\n\d+\n(?:\d+ ){{9}}.*",
        "annotations of WIDER FACE: the name of an image, the number of its boxes, and the boxes",
        DATUM.format("wider_face"),
    ),
    (
        rf"{IMAGE}(?: \d+,\d+,\d+,\d+,\d+)+",
        "annotations of keras-yolo3: the name of an image, and `xmin,ymin,xmax,ymax,class` of each "
        "box",
        CSV,
    ),
    (
        r"(?:-?\d+,){7}-?\d+,?",
        "annotations of VisDrone: `left,top,width,height,score,class,truncation,occlusion` a line",
        ROW.format("x,y,width,height").capitalize().replace("csv", "CSV")
        + " Leave out the classes 0 and 11.",
    ),
    (
        r"(?:\d+,){8}.+",
        "annotations of ICDAR: four corners and a text a line",
        DATUM.format("icdar_text_localization"),
    ),
    (
        rf"(?:imagesource:.*\n)?(?:gsd:.*\n)?(?:{NUMBER} ){{8}}[A-Za-z][\w-]* \d",
        "annotations of DOTA: four corners, a class and a difficulty a line",
        f"Take the box around the corners, and {CORNERS}",
    ),
    (
        r"[^\W\d](?=.* \d{2,}(?:[. ]|$)).*?(?: \d+\.?\d*){4}",
        "annotations of OIDv4_ToolKit: a class and `xmin ymin xmax ymax` a line",
        CSV,
    ),
)
SEQUENCE = re.compile(rf"\d+,-?\d+(?:,\s*{NUMBER}){{4,8}}")
# Files that may hold annotations, if they are not named so.
ANNOTATIONS = (".json", ".xml", ".csv", ".txt", ".mat", ".pkl", ".npy", ".npz", ".tsv", ".jsonl")
OTHER_TEXTS = re.compile(
    r"readme|licen|requirements|class|notes|labels\.txt|((train|val|valid|test|trainval|images).*\.txt)",
    re.IGNORECASE,
)
# Images that TensorFlow and browsers do not open.
OTHER_IMAGES = (".ppm", ".pgm", ".jp2", ".heic", ".avif", ".dcm", ".dng", ".nii", ".svs")


def other_tool(path: pathlib.Path) -> str | None:
    """Says which tool or data set a folder or file that cannot be read comes from.

    Args:
        path: exists.

    Returns:
        Sentences with the first such file, what it looks like and what to do; None if unknown.
    """
    if path.is_file():
        return _of_file(str(path), path.name)
    for folder, names in _folders(str(path)):
        looked: dict[str, int] = {}
        for name in names:
            suffix = os.path.splitext(name)[1].lower()
            looked[suffix] = looked.get(suffix, 0) + 1
            if suffix in KINDS and looked[suffix] <= LOOKED_AT:
                file = os.path.join(folder, name)
                found = _of_file(file, os.path.relpath(file, path))
                if found is not None:
                    return found
    return None


def without_boxes(path: pathlib.Path) -> str | None:
    """Says that a folder holds images without boxes: masks, classes of whole images, or neither.

    Args:
        path: of a folder in no known format.

    Returns:
        Sentences with what to do; None where there are no images.
    """
    images = inside = 0
    masks = False
    unknown = strange = None
    for folder, names in _folders(str(path)):
        pictures = [name for name in names if name.lower().endswith(IMAGE_SUFFIXES)]
        images += len(pictures)
        inside += len(pictures) if folder != str(path) else 0
        masks = masks or any(re.search(r"[-_]masks?\.png$", name, re.I) for name in pictures)
        closed = [name for name in names if name.lower().endswith(OTHER_IMAGES)]
        strange = strange or (closed[0] if closed else None)
        others = [name for name in names if name.lower().endswith(ANNOTATIONS)]
        others = [name for name in others if not OTHER_TEXTS.match(name)]
        if others and unknown is None:
            unknown = os.path.relpath(os.path.join(folder, others[0]), path)
    if masks:
        return (
            "It holds masks of pixels. A detector needs boxes. Export the annotations as COCO, or "
            "make them from the masks: `labelformat convert --task instance-segmentation "
            "--input-format maskpair`."
        )
    if not images and strange is not None:
        return f"{strange} is an image that is not read: convert such images to JPEG or PNG."
    if not images:
        return None
    if unknown is not None:
        return f"If {unknown} holds annotations, convert them to COCO, or {CORNERS}"
    if inside == images:
        return f"It holds images in sub-folders, but no annotations of boxes. {DRAW}"
    return f"It holds images, but no annotations. {DRAW}"


def _folders(top: str) -> Iterator[tuple[str, list[str]]]:
    """`(folder, names of its files)` of a folder and those below it, without hidden ones."""
    count = 0
    for folder, below, names in os.walk(top):
        deep = os.path.relpath(folder, top).count(os.sep) + 1 >= DEPTH
        seen = sorted(name for name in below if name[0] != "." and name != "__MACOSX")
        below[:] = [] if deep else seen
        yield folder, sorted(name for name in names if name[0] != ".")
        count += 1
        if count >= MAX_FOLDERS:
            return


def _of_file(path: str, shown: str) -> str | None:
    kind = KINDS.get(os.path.splitext(path)[1].lower())
    text = "" if kind is None else start_of(path, START).lstrip("\ufeff").replace("\r", "")
    found = None if kind is None or not text else kind(os.path.basename(path).lower(), text)
    return None if found is None else f"{shown} looks like {found[0]}. {found[1]}"


def _json(name: str, text: str) -> tuple[str, str] | None:
    for words, what, instead in JSON_TOOLS:
        if all(f'"{word}"' in text for word in words):
            return what, instead
    return None


def _csv(name: str, text: str) -> tuple[str, str] | None:
    header = text.partition("\n")[0].lower()
    if "region_shape_attributes" in header:
        return "annotations of the VGG Image Annotator (VIA)", VIA
    if name == "_classes.csv" and header.startswith("filename"):
        return "a list of classes of whole images", DRAW
    if name == "_classes.csv" and header.startswith("pixel value"):
        return "a list of classes of masks", "In Roboflow, export the data set as COCO."
    return None


def _text(name: str, text: str) -> tuple[str, str] | None:
    text = text.lstrip()
    if name in ("gt.txt", "det.txt") and SEQUENCE.match(text):
        what = "annotations of the MOT Challenge: `frame,track,left,top,width,height` a line"
        return what, DATUM.format("mot_seq")
    for pattern, what, instead in TEXT_KINDS:
        if re.match(rf"(?:{pattern})\s*(?:\n|$)", text):
            return what, instead
    return None


def _without_suffix(name: str, text: str) -> tuple[str, str] | None:
    if "." not in name and text.lstrip().startswith("<annotation"):
        return "a file of Pascal VOC without its suffix", "Rename these files to *.xml."
    return None


def _vott(name: str, text: str) -> tuple[str, str]:
    return "a project of VoTT", VOTT


KINDS: dict[str, Callable[[str, str], tuple[str, str] | None]] = {
    ".json": _json,
    ".ndjson": _json,
    ".jsonl": _json,
    ".manifest": _json,
    ".odgt": _json,
    ".csv": _csv,
    ".txt": _text,
    ".vott": _vott,
    "": _without_suffix,
}
