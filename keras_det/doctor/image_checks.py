"""Checks of the image files: what does not decode, what looks odd, what is not annotated."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterator

import numpy as np

from keras_det.data.failures import MAX_FAILED
from keras_det.data.image import IMAGE_SUFFIXES
from keras_det.doctor.collection import Collection, about_images, counted_of, share_of
from keras_det.doctor.copies import check_copies
from keras_det.doctor.finding import Finding, Harm
from keras_det.doctor.scan import Look, Scan
from keras_det.doctor.thresholds import limit

FORMATS_OF = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jfif": "JPEG",
    ".jpe": "JPEG",
    ".png": "PNG",
    ".bmp": "BMP",
    ".webp": "WEBP",
    ".gif": "GIF",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".avif": "AVIF",
}
SAY = {"missing": "no such file", "empty": "0 bytes"}
# JPEG files of cameras with a second picture inside.
SAME_FORMAT = {"MPO": "JPEG"}
# Title and cure of each finding on pixels.
OF_PIXELS = {
    "images-one-colour": (
        "has only one colour|have only one colour",
        "Look at the files: they are probably empty or damaged. Replace them, or leave them out.",
    ),
    "images-dark": (
        "is nearly black|are nearly black",
        "Look at the pictures. Leave them out if a person sees nothing in them.",
    ),
    "images-bright": (
        "is nearly white|are nearly white",
        "Look at the pictures. Leave them out if a person sees nothing in them.",
    ),
    "images-blurred": (
        "is blurred|are blurred",
        "Look at the pictures. Leave them out, unless the model will also see such images in use.",
    ),
    "images-grey": (
        "is grey, while most are in colour|are grey, while most are in colour",
        "Nothing to do if the model will also see such images in use.",
    ),
}
DEEP_MODES = ("I", "F")


def check_images(data: Collection, scan: Scan) -> list[Finding]:
    """Checks what the scan saw.

    Args:
        data: all splits.
        scan: the looks at `data.paths`.
    """
    looks = [Look() if look is None else look for look in scan.looks]
    seen = np.array([look is not None for look in scan.looks], bool)
    found = [*_broken(data, looks), *_headers(data, looks), *_sizes(data, looks)]
    if scan.pixels:
        good = seen & np.array([look.thumbnail is not None for look in looks], bool)
        found += [*_pixels(data, looks, good), *check_copies(data, looks, good)]
    return found


def _where(looks: list[Look], test: Callable[[Look], bool]) -> np.ndarray:
    return np.array([i for i, look in enumerate(looks) if test(look)], np.int64)


def _broken(data: Collection, looks: list[Look]) -> Iterator[Finding]:
    """Files that cannot be read, or only in part."""
    broken = _where(looks, lambda look: look.problem not in ("", "ends-early"))
    many = share_of(len(broken), len(looks)) > MAX_FAILED
    harm: Harm = "error" if many else "warning"
    so = "Training stops when so many images are broken." if many else "Training skips such images."
    for problem, code, title in (
        ("missing", "images-missing", "cannot be opened"),
        ("empty", "images-empty-file", "is an empty file|are empty files"),
        ("unreadable", "images-unreadable", "does not decode|do not decode"),
        ("truncated", "images-truncated", "is cut off|are cut off"),
    ):
        rows = _where(looks, lambda look, problem=problem: look.problem == problem)  # type: ignore[misc]
        cure = f"Replace the file or leave it out. {so}"
        yield from about_images(
            data, code, harm, title, cure, rows, lambda i: looks[i].message or SAY[looks[i].problem]
        )
    yield from about_images(
        data,
        "images-end-early",
        "note",
        "lacks its last bytes, but has all its pixels|lack their last bytes, but have all their "
        "pixels",
        "keras_det reads such files. Other programs may refuse them: save them again.",
        _where(looks, lambda look: look.problem == "ends-early"),
    )


def _headers(data: Collection, looks: list[Look]) -> Iterator[Finding]:
    """What headers say: content and suffix, depth, transparency, orientation."""

    def other_content(i: int) -> str:
        return f"is {looks[i].format}"

    suffixes = [os.path.splitext(path)[1].lower() for path in data.paths]
    wrong = [
        i
        for i, (look, suffix) in enumerate(zip(looks, suffixes, strict=True))
        if look.format and FORMATS_OF.get(suffix, "") != SAME_FORMAT.get(look.format, look.format)
    ]
    yield from about_images(
        data,
        "images-suffix",
        "note",
        "is not in the format that its suffix says|are not in the format that their suffix says",
        "Training goes by the content, so this does no harm. Rename the file for other programs.",
        np.array(wrong, np.int64),
        other_content,
    )
    yield from about_images(
        data,
        "images-deep",
        "note",
        "has more than 8 bits per value|have more than 8 bits per value",
        "They are converted to 8 bits. Look at the pictures: if they are all black or white, "
        "convert the files yourself.",
        _where(looks, lambda look: look.mode.startswith(DEEP_MODES)),
        lambda i: looks[i].mode.partition("+")[0],
    )
    yield from about_images(
        data,
        "images-transparent",
        "note",
        "is partly transparent|are partly transparent",
        "Transparency is dropped, so hidden colours become visible. Look at the pictures; if they "
        "look wrong, save the files with an opaque background.",
        _where(looks, lambda look: look.mode.endswith("+alpha")),
    )
    yield from _orientations(data, looks)


def _orientations(data: Collection, looks: list[Look]) -> Iterator[Finding]:
    """Images with an EXIF orientation."""

    def fits_both(look: Look) -> bool:
        return look.orientation in (2, 3, 4) or (
            look.orientation > 4 and look.size[0] == look.size[1]
        )

    def number(i: int) -> str:
        return f"orientation {looks[i].orientation}"

    yield from about_images(
        data,
        "images-turned-unclear",
        "warning",
        "has an EXIF orientation that does not change its size|have an EXIF orientation that does "
        "not change their size",
        "The size does not show whether the boxes were drawn before or after rotation. Look at the "
        "pictures: if the boxes do not lie on the objects, rotate the pixels and remove the EXIF "
        "orientation, or annotate again.",
        _where(looks, fits_both),
        number,
    )
    yield from about_images(
        data,
        "images-turned",
        "note",
        "is rotated by its EXIF orientation|are rotated by their EXIF orientation",
        "An annotated size shows whether the boxes were drawn before or after rotation. Without "
        "one, as in YOLO, look at the pictures.",
        _where(looks, lambda look: look.orientation > 4 and not fits_both(look)),
        number,
    )


def _sizes(data: Collection, looks: list[Look]) -> Iterator[Finding]:
    """Sizes: other than annotated, and odd ones."""

    def size(i: int) -> str:
        return "{1}x{0}".format(*looks[i].size)

    sizes = np.array([look.size for look in looks], np.int64).reshape(-1, 2)
    known = sizes.min(axis=1) > 0
    turned = np.array([look.orientation > 4 for look in looks], bool)
    equal = (sizes == data.sizes).all(axis=1)
    equal |= turned & (sizes[:, ::-1] == data.sizes).all(axis=1)
    yield from about_images(
        data,
        "images-size-mismatch",
        "error",
        "has another size than annotated|have another size than annotated",
        "Restore the images that were annotated. Or give sizes='scale' (--sizes scale) if they "
        "were resized, or sizes='file' (--sizes file) if only the annotated size is wrong.",
        np.flatnonzero(known & ~equal),
        lambda i: f"{size(i)}, annotated {data.sizes[i, 1]}x{data.sizes[i, 0]}",
    )
    yield from _odd_sizes(data, sizes, known)


def _odd_sizes(data: Collection, sizes: np.ndarray, known: np.ndarray) -> Iterator[Finding]:
    """Images that are tiny, huge, or long."""

    def size(i: int) -> str:
        return f"{sizes[i, 1]}x{sizes[i, 0]}"

    short, long = sizes.min(axis=1), sizes.max(axis=1)
    yield from about_images(
        data,
        "images-tiny",
        "warning",
        f"has a side below {limit('tiny-image'):.0f} pixels|have a side below "
        f"{limit('tiny-image'):.0f} pixels",
        "Check whether these are thumbnails or icons. Replace them with the originals, or leave "
        "them out.",
        np.flatnonzero(known & (short < limit("tiny-image"))),
        size,
    )
    yield from about_images(
        data,
        "images-huge",
        "note",
        f"has more than {limit('huge-image') / 1e6:.0f} megapixels|have more than "
        f"{limit('huge-image') / 1e6:.0f} megapixels",
        "Small objects vanish when the image is resized, and reading is slow. Cut the images into "
        "tiles.",
        np.flatnonzero(known & (sizes.prod(axis=1) > limit("huge-image"))),
        size,
    )
    yield from about_images(
        data,
        "images-long",
        "note",
        f"is more than {limit('image-aspect'):.0f} times as long as wide|are more than "
        f"{limit('image-aspect'):.0f} times as long as wide",
        "Most of the network's input is then padding. Cut the images into tiles, or choose an "
        "image size with a similar aspect ratio.",
        np.flatnonzero(known & (long > limit("image-aspect") * short)),
        size,
    )


def _pixels(data: Collection, looks: list[Look], good: np.ndarray) -> Iterator[Finding]:
    """What pixels look like: one colour, dark, bright, blurred, grey."""
    names = ("mean", "deviation", "contrast", "sharpness", "colour")
    table = np.array([[getattr(look, name) for name in names] for look in looks], np.float64)
    mean, deviation, contrast, sharpness, colour = table.reshape(-1, len(names)).T
    flat = good & (deviation < limit("uniform")) & (contrast < limit("uniform-contrast"))
    lit = good & ~flat
    middle = float(np.median(sharpness[lit])) if lit.any() else 0.0
    blurred = min(limit("blurred"), limit("blurred-among") * middle)
    grey = good & (colour < limit("grey"))
    some_grey = grey & (share_of(int(grey.sum()), int(good.sum())) < limit("grey-share"))
    masks = {
        "images-one-colour": flat,
        "images-dark": lit & (mean < limit("dark")),
        "images-bright": lit & (mean > limit("bright")),
        "images-blurred": lit & (sharpness < blurred),
        "images-grey": some_grey & ~flat,
    }
    for code, mask in masks.items():
        title, cure = OF_PIXELS[code]
        harm: Harm = "warning" if code == "images-one-colour" else "note"
        yield from about_images(data, code, harm, title, cure, np.flatnonzero(mask))


def check_folders(data: Collection) -> list[Finding]:
    """Looks for image files in the folders of the splits that are in no split."""
    used: dict[str, set[str]] = defaultdict(set)
    for path in data.places:
        folder, name = os.path.split(path)
        used[folder].add(name)
    left, total = [], 0
    for folder, names in sorted(used.items()):
        try:
            files = sorted(name for name in os.listdir(folder) if name[:2] != "._")  # of a Mac
        except OSError:
            continue
        images = [name for name in files if name.lower().endswith(IMAGE_SUFFIXES)]
        total += len(images)
        left += [os.path.join(folder, name) for name in images if name not in names]
    if not left:
        return []
    alone = len(data.names) == 1
    title = "has no annotation|have no annotation" if alone else "is in no split|are in no split"
    return [
        Finding(
            code="images-not-used",
            harm="warning",
            title=counted_of(len(left), total, "image file", title),
            cure=(
                "They are used neither for training nor for evaluation. Annotate them and "
                "add them to a split, or move them away."
            ),
            count=len(left),
            total=total,
            examples=tuple(
                os.path.relpath(path, data.folder) if data.folder else path for path in left[:8]
            ),
        )
    ]
