"""Finds the annotations, images and splits in a folder of Pascal VOC."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from keras_det.data.formats.voc_file import UnreadableError, read_file
from keras_det.data.formats.voc_lists import is_class_list
from keras_det.data.image import IMAGE_SUFFIXES
from keras_det.data.listing import entries, is_folder, names_in
from keras_det.files import open_bytes

# In lower case; any case is found.
ANNOTATION_FOLDERS = ("annotations", "annotation", "labels", "label", "xmls", "xml", "ann", "anns")
IMAGE_FOLDERS = ("jpegimages", "images", "image", "imgs", "img", "data", "jpegs", "pictures")
SPLIT = re.compile(
    r"(train|training|trainval|val|valid|validation|dev|test|testing)([-_]?\d+)?([-_](zip|set|data))?",
    re.IGNORECASE,
)
# A folder is recognised by its first XML files, in its first subfolders.
LOOKED_AT = 20
DEPTH = 3
MANY = 50
ANNOTATION = re.compile(rb"<(?:\w+:)?annotation[\s/>]")
OTHER_ROOT = re.compile(rb"<([A-Za-z_][\w.:-]*)")


class Part(NamedTuple):
    """One folder of XML files with its images.

    Attributes:
        home: folder of its data set.
        folder: the XML files lie in it and in its subfolders.
        prefix: in front of the names where several parts are read, such as "train/".
        images: folders of the images, the most likely first.
        split: name of the split that the part is; None where lists say it.
        lists: `{split: path of the list}`.
    """

    home: str
    folder: str
    prefix: str
    images: tuple[str, ...]
    split: str | None
    lists: Mapping[str, str]


class Content(NamedTuple):
    """Sub-folders and files of a folder, `{name in lower case: name}`."""

    folders: dict[str, str]
    files: dict[str, str]


def content(folder: str) -> Content:
    """Lists a folder, without hidden entries; empty where it cannot be listed."""
    found = Content({}, {})
    try:
        for entry in entries(folder):
            if not _is_hidden(entry.name):
                kind = found.folders if is_folder(entry) else found.files
                kind[entry.name.lower()] = entry.name
    except OSError:
        pass
    return found


def xml_files(folder: str) -> list[tuple[str, str]]:
    """`(name without suffix, path)` of the XML files in a folder and below it, sorted."""
    found = []
    seen = set()
    for above, folders, files in os.walk(folder, followlinks=True):
        place = os.path.realpath(above)
        folders[:] = [] if place in seen else [name for name in folders if not _is_hidden(name)]
        if place in seen:  # a link to a folder above
            continue
        seen.add(place)
        inside = os.path.relpath(above, folder).replace(os.sep, "/")
        prefix = "" if inside == "." else inside + "/"
        for name in files:
            if name[-4:].lower() == ".xml" and not _is_hidden(name):
                found.append((prefix + name[:-4], f"{above}{os.sep}{name}"))
    return sorted(found)


def find_parts(root: str) -> list[Part]:
    """The parts of a data set; an empty list where the folder is not in Pascal VOC's layout."""
    inside = content(root)
    folder = _annotation_folder(root, inside)
    if folder is not None:
        return _by_sub_folder(root, folder, inside)
    below = sorted(inside.folders.values())
    parts = _split_parts(root, below) or _splits_below(root, below)
    parts = parts or _named([part for name in below[:MANY] for part in _inner(root, name)])
    if not parts and kind_of(root) == "voc":
        images, lists = _image_folders(root, root, inside), _lists(root, root, inside)
        parts = [Part(root, root, "", images, None, lists)]
    return parts


def _inner(root: str, name: str, depth: int = 1) -> list[Part]:
    """The parts of data sets in a subfolder, such as VOC2007 in VOCdevkit."""
    path = os.path.join(root, name)
    below = _xml_and_folders(path)[1]
    folder = _annotation_folder(path, Content({each.lower(): each for each in below}, {}))
    if folder is not None:
        found = _by_sub_folder(path, folder, content(path))
    else:
        below = below[:MANY] if depth else []
        found = [part for each in below for part in _inner(path, each, depth - 1)]
    return [part._replace(prefix=f"{name}/{part.prefix}") for part in found]


def _named(parts: list[Part]) -> list[Part]:
    """The parts without the folders that all their prefixes share."""
    shared = os.path.commonprefix([part.prefix.split("/")[:-1] for part in parts])
    return [
        part._replace(
            prefix="".join(f"{name}/" for name in part.prefix.split("/")[len(shared) : -1])
        )
        for part in parts
    ]


def _annotation_folder(root: str, inside: Content) -> str | None:
    """The folder with the XML files in a data set; None if there is none."""
    unreadable = None
    for name in ANNOTATION_FOLDERS:
        if name in inside.folders:
            folder = os.path.join(root, inside.folders[name])
            kind = kind_of(folder)
            if kind == "voc":
                return folder
            if kind == "unreadable" and name.startswith("annotation"):
                unreadable = unreadable or folder
    return unreadable


def _by_sub_folder(root: str, folder: str, inside: Content) -> list[Part]:
    """One part, or one for each of Annotations/train/ and Annotations/val/."""
    lists = _lists(root, folder, inside)
    below = content(folder)
    names = [name for name in sorted(below.folders.values()) if kind_of(f"{folder}/{name}") != ""]
    own = any(name.endswith(".xml") for name in below.files)
    images = _image_folders(root, folder, inside)
    if lists or own or not names or not all(SPLIT.fullmatch(name) for name in names):
        return [Part(root, folder, "", images, None, lists)]
    return [
        Part(
            root,
            os.path.join(folder, name),
            name + "/",
            (*(os.path.join(image, name) for image in images), *images),
            name,
            {},
        )
        for name in names
    ]


def _split_parts(root: str, below: list[str]) -> list[Part]:
    """The parts in the folders that are named as splits, such as train/ and test/."""
    splits = [_split_part(root, name) for name in below if SPLIT.fullmatch(name)]
    return [part for part in splits if part is not None]


def _splits_below(root: str, below: list[str]) -> list[Part]:
    """The parts in images/train/ and images/test/; none where two folders hold such parts."""
    found = []
    for name in below[:MANY]:
        path = os.path.join(root, name)
        parts = _split_parts(path, _xml_and_folders(path)[1])
        if parts:
            found.append(parts)
    return found[0] if len(found) == 1 else []


def _split_part(root: str, name: str) -> Part | None:
    """The part in a folder named as a split: XML files beside the images, or in Annotations/."""
    path = os.path.join(root, name)
    inside = content(path)
    folder = _annotation_folder(path, inside) or (path if kind_of(path) == "voc" else None)
    if folder is None:
        return None
    above = _image_folders(root, root, content(root))
    images = (*_image_folders(path, folder, inside), *(os.path.join(i, name) for i in above))
    return Part(path, folder, name + "/", (*images, *above), name, {})


def _image_folders(root: str, annotations: str, inside: Content) -> tuple[str, ...]:
    """Folders in which the images may lie, the most likely first."""
    known = [inside.folders[name] for name in IMAGE_FOLDERS if name in inside.folders]
    others = [name for name in sorted(inside.folders.values()) if name not in known][:20]
    found = [os.path.join(root, name) for name in (*known, "", *others)]
    found = [path.rstrip(os.sep) or os.sep for path in found]
    if annotations == root:  # XML files beside the images, or the folder Annotations/ itself
        found.insert(0, root)
        beside, own = os.path.split(os.path.abspath(root))
        names = content(beside).folders
        above = [os.path.join(beside, names[name]) for name in IMAGE_FOLDERS if name in names]
        found += [os.path.join(folder, own) for folder in above] + above
    return tuple(dict.fromkeys([*found, annotations]))


def _lists(root: str, folder: str, inside: Content) -> dict[str, str]:
    """The lists of splits, `{split: path}`: ImageSets/Main/*.txt, ImageSets/*.txt, train.txt."""
    found: dict[str, str] = {}
    sets = inside.folders.get("imagesets")
    if sets is not None:
        sets = os.path.join(root, sets)
        below = content(sets)
        for name in ("main", "", "segmentation"):
            found = found or _texts(os.path.join(sets, below.folders.get(name, name)))
    found = found or {name: path for name, path in _texts(root).items() if SPLIT.fullmatch(name)}
    doubtful = [name for name in found if "_" in name]
    classes = _some_classes(folder) if doubtful else set()
    return {
        name: path
        for name, path in sorted(found.items())
        if name not in doubtful or not is_class_list(path, classes)
    }


def _texts(folder: str) -> dict[str, str]:
    files = content(folder).files.values()
    return {name[:-4]: os.path.join(folder, name) for name in files if name[-4:].lower() == ".txt"}


def _some_classes(folder: str) -> set[str]:
    found = set()
    for path in _first_xml(folder, 50):
        try:
            found |= {each.name.strip() for each in read_file(path).objects}
        except UnreadableError:
            continue
    return found


def kind_of(folder: str) -> str:
    """What the first XML files of a folder are: "voc", "other", "unreadable", "" without any."""
    kinds = set()
    for path in _first_xml(folder, LOOKED_AT):
        root = root_of(path)
        if root == "annotation":
            return "voc"
        kinds.add("other" if root else "unreadable")
    return "unreadable" if "unreadable" in kinds else "other" if kinds else ""


def root_of(path: str) -> str | None:
    """The name of the root element as the first bytes of a file show it; None if they do not."""
    try:
        with open_bytes(path) as file:
            head = file.read(4096).replace(b"\0", b"")
    except OSError:
        return None
    head = re.sub(rb"<!--.*?-->", b"", head, flags=re.DOTALL)
    root = OTHER_ROOT.search(head)
    if root is None:
        return None
    name = root.group(1).rpartition(b":")[2].decode("ascii", "replace")
    return name


def _first_xml(folder: str, count: int) -> Iterator[str]:
    """Paths of the first XML files in a folder and below it, those of upper folders first."""
    waiting = [(folder, 0)]
    listed = 0
    while waiting and count > 0 and listed < MANY:
        above, depth = waiting.pop(0)
        listed += 1
        names, below = _xml_and_folders(above)
        for name in names[:count]:
            yield os.path.join(above, name)
        count -= len(names)
        if depth < DEPTH:
            waiting += [(os.path.join(above, name), depth + 1) for name in below]


def _xml_and_folders(folder: str) -> tuple[list[str], list[str]]:
    """Names of the XML files and of the subfolders, sorted."""
    names, below = [], []
    try:
        for entry in entries(folder):
            name = entry.name
            if name[-4:].lower() == ".xml":
                if not _is_hidden(name):
                    names.append(name)
            elif is_folder(entry) and not _is_hidden(name):
                below.append(name)
    except OSError:
        pass
    return sorted(names), sorted(below)


def what_is_missing(root: str) -> str | None:
    """What a folder lacks to be Pascal VOC's; None where it is not like it."""
    if os.path.isfile(root):
        if root[-4:].lower() == ".xml" and root_of(root) == "annotation":
            return "is the annotation of one image; give the folder that holds it"
        return None
    inside = content(root)
    if kind_of(root) == "other":
        path = next(_first_xml(root, 1))
        shown = os.path.relpath(path, root)
        return (
            f"has {shown}, which starts with <{root_of(path)}>, not with <annotation>: convert "
            "such files to Pascal VOC, COCO or CSV"
        )
    known = {"jpegimages", "imagesets"} & set(inside.folders)
    if known and "annotations" in inside.folders:
        return f"has {inside.folders['annotations']}/ but no *.xml in it"
    if known:
        return f"has {inside.folders[max(known)]}/ but no Annotations/*.xml"
    if os.path.basename(os.path.abspath(root)).lower() == "jpegimages":
        return "holds images without annotations; give the folder above, with Annotations/"
    return None


def image_home(part: Part) -> str:
    """The folder of a part's images: the first that holds an image, itself or one below it."""
    return next((folder for folder in part.images if _has_images(folder)), part.images[0])


def _has_images(folder: str) -> bool:
    if images_in(folder):
        return True
    below = _xml_and_folders(folder)[1][:LOOKED_AT]
    return any(images_in(os.path.join(folder, name)) for name in below)


def images_in(folder: str) -> list[str]:
    """Names of the images in a folder, sorted."""
    try:
        names = [name for name in names_in(folder) if name.lower().endswith(IMAGE_SUFFIXES)]
    except OSError:
        return []
    return [name for name in names if not _is_hidden(name)]


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
