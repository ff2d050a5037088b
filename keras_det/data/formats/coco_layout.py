"""Where COCO files and their images lie in the folder of a data set."""

import pathlib
import re
from collections.abc import Iterable, Iterator

from keras_det.data.formats.coco_kind import KINDS, kind_of
from keras_det.data.listing import folders_in, names_in

# Folders of annotation files and of images, in lower case.
ANNOTATION_FOLDERS = ("annotations", "annotation", "labels", "anns", "ann")
IMAGE_FOLDERS = ("images", "data", "image", "imgs", "img", "jpegimages")
# More files than this in one folder are one file for each image, which COCO never has; so many
# folders are not splits.
MANY = 40
# Files of the COCO project that hold other things than all objects.
OTHERS = ("captions_", "person_keypoints_", "panoptic_", "stuff_")
PREFIXES = re.compile(r"(?:instances|image_info|person_keypoints|captions)_(.+)$")
SPLIT = re.compile(
    r"(?:^|[-_. ])((?:train|training|trainval|val|valid|validation|minival|test-dev|test|testing)"
    r"(?:[-_]?\d+)?)(?=$|[-_. ])",
    re.IGNORECASE,
)


def split_of(file: pathlib.Path) -> str | None:
    """The split in the name of a file: `instances_val2017.json` -> "val2017"."""
    if file.name == "_annotations.coco.json":
        return file.parent.name
    match = PREFIXES.match(file.stem)
    if match:
        return match[1]
    match = SPLIT.search(file.stem) or SPLIT.fullmatch(file.parent.name)
    return match[1] if match else None


def names_a_split(name: str) -> bool:
    """True for names such as "train2017", "valid" or "test"."""
    return SPLIT.fullmatch(name) is not None


def coco_splits(root: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns `{split: annotation file}` of a folder, empty where it holds no COCO file."""
    inside = _folders(root)
    places = [folder for folder in inside if folder.name.lower() in ANNOTATION_FOLDERS]
    # COCO's archives unpack into annotations/, some programs make annotations_trainval2017/ of it.
    places += [each / "annotations" for each in inside if each.name.startswith("annotations_")]
    return (
        _named_as_in_coco([*places, root])
        or _in_folders_of_splits(root, inside)
        or _any_name([*places, root])
    )


def _folders(root: pathlib.Path) -> list[pathlib.Path]:
    try:
        return [each for each in folders_in(root) if not each.name.startswith((".", "__"))]
    except OSError:
        return []


def _json_files(folder: pathlib.Path) -> list[pathlib.Path]:
    try:
        names = [name for name in names_in(folder) if name.lower().endswith(".json")]
        files = [folder / name for name in names if not name.startswith(".")]
        return [file for file in files if file.is_file()]
    except OSError:
        return []


def _named_as_in_coco(places: Iterable[pathlib.Path]) -> dict[str, pathlib.Path]:
    """instances_*.json and image_info_*.json, and Roboflow's files in folders of splits."""
    found: dict[str, pathlib.Path] = {}
    places = list(places)
    for folder in places:
        for prefix in ("image_info_", "instances_"):
            for file in _json_files(folder):
                if file.name.startswith(prefix):
                    found[file.stem.removeprefix(prefix)] = file
    for folder in _folders(places[-1]):
        file = folder / "_annotations.coco.json"
        if file.is_file():
            found.setdefault(folder.name, file)
    return found


def _in_folders_of_splits(
    root: pathlib.Path, inside: Iterable[pathlib.Path]
) -> dict[str, pathlib.Path]:
    """One COCO file of any name in the folder of each split, or in its annotations/."""
    found = {}
    inside = list(inside)
    for folder in inside if len(inside) <= MANY else []:
        if folder.name.lower() in (*ANNOTATION_FOLDERS, *IMAGE_FOLDERS):
            continue
        places = [folder, *(folder / name for name in ANNOTATION_FOLDERS)]
        files = [file for place in places if place.is_dir() for file in coco_files(place)]
        if len(files) == 1:
            found[folder.name] = files[0]
    return found


def coco_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """The COCO files of a folder by their content; keypoints only where there is nothing else."""
    files = _json_files(folder)
    if len(files) > MANY:
        return []
    files = [file for file in files if kind_of(file) == "coco"]
    return [file for file in files if not file.name.startswith(OTHERS)] or [
        file for file in files if file.name.startswith("person_keypoints_")
    ]


def _any_name(places: Iterable[pathlib.Path]) -> dict[str, pathlib.Path]:
    """COCO files of any name, in the first folder that holds some."""
    for folder in places:
        files = coco_files(folder)
        named = {split_of(file) or file.stem: file for file in files}
        if files:
            return named if len(named) == len(files) else {file.stem: file for file in files}
    return {}


def other_files(root: pathlib.Path) -> Iterator[tuple[pathlib.Path, str]]:
    """Files of a folder and its annotations/ that look like COCO's but hold another kind."""
    places = [each for each in _folders(root) if each.name.lower() in ANNOTATION_FOLDERS]
    for folder in [*places, root]:
        for file in _json_files(folder)[:MANY]:
            kind = kind_of(file)
            if kind in KINDS or kind == "no_json":
                yield file, kind


def image_folders(path: pathlib.Path, split: str | None) -> list[pathlib.Path]:
    """Folders in which the images of a COCO file may lie, the most likely first."""
    folder = path.parent
    last = path.stem.split("_")[-1]
    parts = [part for part in dict.fromkeys((last, split, split_of(path))) if part]
    own = folder.name.lower() in ANNOTATION_FOLDERS
    roots = [folder.parent, folder] if own else [folder]
    if own and folder.parent.name.startswith("annotations_"):
        roots.insert(0, folder.parent.parent)
    found = [
        root / sub
        for root in roots
        for part in parts
        for sub in (part, f"images/{part}", f"{part}/images", f"{part}/data", f"data/{part}")
    ]
    found += [root / sub for root in roots for sub in ("images", "data", "")]
    found += [root / sub for root in roots for sub in IMAGE_FOLDERS[2:]]
    above = folder.parent
    if above.name.lower() in ANNOTATION_FOLDERS:  # annotations/train/x.json
        found += [above.parent / "images" / folder.name, above.parent / folder.name]
    elif not own:  # train/x.json beside images/
        found += [above / "images" / folder.name, above / "images"]
    return list(dict.fromkeys(found))
