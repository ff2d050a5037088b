"""Mistakes to put into copies of good drawn data, each with the code the doctor gives it."""

import json
import shutil

import numpy as np
from PIL import Image, ImageFilter


class Copy:
    """A copy of a drawn data set whose annotations and images can be damaged.

    Attributes:
        root: its folder.
        train, val: contents of the COCO files; `save` writes them.
    """

    def __init__(self, source, root):
        shutil.copytree(source, root)
        self.root = root
        for split in ("train", "val"):
            setattr(self, split, json.loads(self.file(split).read_text()))

    def file(self, split):
        return self.root / "annotations" / f"instances_{split}.json"

    def save(self):
        for split in ("train", "val"):
            if self.file(split).exists():
                self.file(split).write_text(json.dumps(getattr(self, split)))

    def path(self, index=0, split="train"):
        return self.root / split / getattr(self, split)["images"][index]["file_name"]

    def pixels(self, index=0, split="train"):
        return np.asarray(Image.open(self.path(index, split)))

    def write(self, pixels, index=0, split="train", name=None, **options):
        """Replaces an image, its annotated size, and its name where one is given."""
        entry = getattr(self, split)["images"][index]
        if name is not None:
            self.path(index, split).unlink()
            entry["file_name"] = name
        image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
        image.save(self.path(index, split), **options)
        entry["width"], entry["height"] = image.size

    def objects(self, split="train"):
        return getattr(self, split)["annotations"]

    def of_image(self, index, split="train"):
        number = getattr(self, split)["images"][index]["id"]
        return [each for each in self.objects(split) if each["image_id"] == number]

    def add(self, index, bbox, category=1, split="train", **more):
        """Adds an object."""
        objects = self.objects(split)
        number = getattr(self, split)["images"][index]["id"]
        objects.append(
            {
                "id": max((each["id"] for each in objects), default=0) + 1,
                "image_id": number,
                "category_id": category,
                "bbox": list(bbox),
                "area": bbox[2] * bbox[3],
                "iscrowd": 0,
                **more,
            }
        )

    def keep(self, test, split="train"):
        """Keeps the objects that pass a test."""
        getattr(self, split)["annotations"] = [o for o in self.objects(split) if test(o)]


def unreadable(copy):
    copy.path(3).write_bytes(b"<html>404 Not Found</html>")


def truncated(copy):
    content = copy.path(3).read_bytes()
    copy.path(3).write_bytes(content[: len(content) // 2])


def empty_file(copy):
    copy.path(3).write_bytes(b"")


def many_unreadable(copy):
    for index in range(8):
        copy.path(index).write_bytes(b"\xff\xd8\xff\xe0 no image")


def other_content(copy):
    Image.open(copy.path()).save(copy.path(), format="PNG")


def tiny_image(copy):
    copy.keep(lambda each: each["image_id"] != 1)
    copy.write(copy.pixels()[:20, :20])


def huge_image(copy):
    copy.write(Image.new("1", (8000, 5100)), name="huge.png")


def long_image(copy):
    copy.keep(lambda each: each["image_id"] != 1)
    copy.write(np.tile(copy.pixels()[:40], (1, 5, 1)))


def grey_image(copy):
    copy.write(Image.open(copy.path()).convert("L"))


def transparent_image(copy):
    copy.write(Image.open(copy.path()).convert("RGBA"), name="clear.png")


def deep_image(copy):
    grey = np.asarray(Image.open(copy.path()).convert("L"), np.uint16)
    copy.write(grey * 256, name="deep.png")


def turned_unclear(copy):
    exif = Image.Exif()
    exif[0x0112] = 3
    copy.write(Image.open(copy.path()).copy(), exif=exif)


def turned(copy):
    exif = Image.Exif()
    exif[0x0112] = 6
    copy.keep(lambda each: each["image_id"] != 1)
    copy.write(copy.pixels()[:60, :80], exif=exif)


def one_colour(copy):
    copy.write(np.full_like(copy.pixels(), 130))


def dark(copy):
    copy.write(copy.pixels() // 12)


def bright(copy):
    copy.write(255 - copy.pixels() // 12)


def blurred(copy):
    copy.write(Image.open(copy.path()).filter(ImageFilter.GaussianBlur(5)))


def copy_in_split(copy):
    copy.write(copy.pixels(), 5)
    shutil.copy(copy.path(5), copy.path(9))
    size = {key: copy.train["images"][5][key] for key in ("width", "height")}
    copy.train["images"][9] |= size
    copy.keep(lambda each: each["image_id"] != 10)


def copy_across_splits(copy):
    shutil.copy(copy.path(5), copy.path(2, "val"))
    size = {key: copy.train["images"][5][key] for key in ("width", "height")}
    copy.val["images"][2] |= size
    copy.keep(lambda each: each["image_id"] != 3, "val")


def saved_again_across_splits(copy):
    copy.keep(lambda each: each["image_id"] != 3, "val")
    copy.write(copy.pixels(5), 2, "val", quality=60)


def frames_across_splits(copy):
    copy.keep(lambda each: each["image_id"] != 3, "val")
    copy.write(np.roll(copy.pixels(5), 1, axis=1), 2, "val", quality=90)


def listed_in_two_splits(copy):
    for index in range(4):
        entry = dict(copy.train["images"][index], id=100 + index)
        entry["file_name"] = f"../train/{entry['file_name']}"
        copy.val["images"].append(entry)


def roboflow_copies(copy):
    for split, letter in (("train", "a"), ("val", "b")):
        entry = getattr(copy, split)["images"][0]
        old = copy.path(0, split)
        entry["file_name"] = f"street_jpg.rf.{letter}0123456789.jpg"
        old.rename(copy.path(0, split))


def not_annotated(copy):
    shutil.copy(copy.path(), copy.root / "train" / "forgotten.jpg")


def lost_image(copy):
    copy.path(4).unlink()


def other_size(copy):
    Image.open(copy.path()).resize((50, 50)).save(copy.path())


def not_in_train(copy):
    copy.keep(lambda each: each["category_id"] != 2)


def not_in_val(copy):
    copy.keep(lambda each: each["category_id"] != 2, "val")


def add_class(copy, name, number=9):
    for split in (copy.train, copy.val):
        split["categories"].append({"id": number, "name": name})


def empty_class(copy):
    add_class(copy, "hexagon")


def few_objects(copy):
    add_class(copy, "hexagon")
    for index in range(5):
        copy.of_image(index)[0]["category_id"] = 9


def imbalance(copy):
    seen = []
    for each in copy.objects():
        if each["category_id"] == 3:
            seen.append(each)
            each["category_id"] = 3 if len(seen) <= 2 else 1


def names_of_two_spellings(copy):
    add_class(copy, "Circle")
    for each in copy.objects()[:30]:
        each["category_id"] = 9 if each["category_id"] == 1 else each["category_id"]


def plural_name(copy):
    add_class(copy, "triangles")
    for each in copy.objects():
        if each["category_id"] == 3 and each["id"] % 2:
            each["category_id"] = 9


def background_class(copy):
    add_class(copy, "background")


def numbers_for_names(copy):
    for split in (copy.train, copy.val):
        for number, each in enumerate(split["categories"]):
            each["name"] = f"class_{number}"


def outside(copy):
    each = copy.objects()[0]
    each["bbox"][0] = -30.0
    each["bbox"][2] = 60.0


def without_area(copy):
    copy.objects()[0]["bbox"][2] = 0


def tiny_boxes(copy):
    for index in range(8):
        copy.add(index, (3 + index, 5, 2, 2))


def whole_images(copy):
    for index, entry in enumerate(copy.train["images"]):
        number = entry["id"]
        copy.keep(lambda each, number=number: each["image_id"] != number)
        copy.add(index, (0, 0, entry["width"], entry["height"]), 1 + index % 3)


def long_boxes(copy):
    for index in range(15):
        copy.add(index, (2, 3 + index, 55, 3.5), 1 + index % 3)


def annotated_twice(copy):
    each = copy.objects()[0]
    copy.add(0, each["bbox"], each["category_id"])


def two_classes(copy):
    each = copy.of_image(0)[0]
    copy.add(0, each["bbox"], each["category_id"] % 3 + 1)


def overlapping(copy):
    for index in range(6):
        each = copy.of_image(index)[0]
        x, y, width, height = each["bbox"]
        copy.add(index, (x, y, width * 0.97, height), each["category_id"])


def nested(copy):
    for index in range(3):
        each = copy.of_image(index)[0]
        x, y, width, height = each["bbox"]
        copy.add(index, (x, y, width, height / 2), each["category_id"])


def at_border(copy):
    for split in ("train", "val"):
        for each in copy.objects(split):
            each["bbox"][0] = 0


def in_the_middle(copy):
    for split in ("train", "val"):
        sizes = {e["id"]: (e["width"], e["height"]) for e in getattr(copy, split)["images"]}
        for each in copy.objects(split):
            width, height = sizes[each["image_id"]]
            side = each["bbox"][2] / 3
            shift = each["id"] % 5
            each["bbox"] = [width / 2 - side / 2 + shift, height / 2 - side / 2, side, side + shift]


def default_box(copy):
    for index in range(16):
        copy.add(index, (10, 10, 25, 25), 1 + index % 3)


def one_size(copy):
    for split in ("train", "val"):
        for each in copy.objects(split):
            each["bbox"][2:] = [16, 16]
            each["bbox"][0] = min(each["bbox"][0], 30 + each["id"] % 7)
            each["bbox"][1] = min(each["bbox"][1], 30 + each["id"] % 5)


def too_many(copy):
    for k in range(110):
        copy.add(0, (k % 11 * 4, k // 11 * 4, 4 + k % 3, 4 + k % 5), 1 + k % 3)


def unusually_many(copy):
    for k in range(60):
        copy.add(0, (k % 11 * 4, k // 11 * 4, 4 + k % 3, 4 + k % 5), 1 + k % 3)


def mostly_empty(copy):
    copy.keep(lambda each: each["image_id"] <= 12)
    copy.keep(lambda each: each["image_id"] <= 6, "val")


def many_crowd(copy):
    for split in ("train", "val"):
        for each in copy.objects(split):
            each["iscrowd"] = int(each["id"] % 2)


def no_validation(copy):
    copy.file("val").unlink()
    shutil.rmtree(copy.root / "val")


def few_images(copy):
    copy.val["images"] = copy.val["images"][:5]
    copy.keep(lambda each: each["image_id"] <= 5, "val")


def nothing_annotated(copy):
    copy.train["annotations"] = []


def only_crowd(copy):
    for each in copy.objects():
        each["iscrowd"] = 1


def classes_shifted(copy):
    for each in copy.objects("val"):
        each["category_id"] = 3 if each["id"] % 8 else each["category_id"]


def sizes_shifted(copy):
    for each in copy.objects("val"):
        each["bbox"][2] /= 3
        each["bbox"][3] /= 3


def broken_json(copy):
    copy.train = "lost"


def unlisted_image(copy):
    copy.objects()[3]["image_id"] = 4711


def listed_twice(copy):
    entry = dict(copy.train["images"][0], id=500)
    copy.train["images"].append(entry)


# The mistake, what the doctor calls it, how much it harms.
DEFECTS = [
    (unreadable, "images-unreadable", "warning"),
    (truncated, "images-truncated", "warning"),
    (empty_file, "images-empty-file", "warning"),
    (many_unreadable, "images-unreadable", "error"),
    (other_content, "images-suffix", "note"),
    (tiny_image, "images-tiny", "warning"),
    (huge_image, "images-huge", "note"),
    (long_image, "images-long", "note"),
    (grey_image, "images-grey", "note"),
    (transparent_image, "images-transparent", "note"),
    (deep_image, "images-deep", "note"),
    (turned_unclear, "images-turned-unclear", "warning"),
    (turned, "images-turned", "note"),
    (one_colour, "images-one-colour", "warning"),
    (dark, "images-dark", "note"),
    (bright, "images-bright", "note"),
    (blurred, "images-blurred", "note"),
    (copy_in_split, "images-repeated", "warning"),
    (copy_across_splits, "images-in-two-splits", "error"),
    (saved_again_across_splits, "images-alike-across-splits", "warning"),
    (frames_across_splits, "images-alike-across-splits", "warning"),
    (listed_in_two_splits, "images-listed-in-two-splits", "error"),
    (roboflow_copies, "copies-in-two-splits", "error"),
    (not_annotated, "images-not-used", "warning"),
    (lost_image, "annotations-without-image", "warning"),
    (not_in_train, "class-not-in-train", "warning"),
    (not_in_val, "class-not-in-val", "note"),
    (empty_class, "class-empty", "warning"),
    (few_objects, "class-few-objects", "warning"),
    (imbalance, "class-imbalance", "note"),
    (names_of_two_spellings, "class-names-alike", "warning"),
    (plural_name, "class-names-alike", "warning"),
    (background_class, "class-dummy", "warning"),
    (numbers_for_names, "class-numbers", "note"),
    (outside, "boxes-outside", "warning"),
    (without_area, "boxes-without-area", "warning"),
    (tiny_boxes, "boxes-tiny", "warning"),
    (whole_images, "boxes-whole-image", "warning"),
    (long_boxes, "boxes-long", "warning"),
    (annotated_twice, "boxes-repeated", "warning"),
    (two_classes, "boxes-two-classes", "warning"),
    (overlapping, "boxes-overlap", "warning"),
    (nested, "boxes-nested", "note"),
    (at_border, "boxes-at-border", "note"),
    (in_the_middle, "boxes-in-the-middle", "note"),
    (default_box, "boxes-default", "warning"),
    (one_size, "boxes-one-size", "warning"),
    (too_many, "too-many-objects", "warning"),
    (unusually_many, "many-objects", "note"),
    (mostly_empty, "images-without-objects", "warning"),
    (many_crowd, "many-crowd", "warning"),
    (no_validation, "no-validation", "note"),
    (few_images, "split-small", "warning"),
    (nothing_annotated, "split-without-objects", "error"),
    (only_crowd, "split-all-crowd", "error"),
    (classes_shifted, "classes-shifted", "warning"),
    (sizes_shifted, "sizes-shifted", "warning"),
    (broken_json, "unreadable-data", "error"),
    (unlisted_image, "annotations-of-unlisted-images", "warning"),
    (listed_twice, "images-listed-twice", "warning"),
]
