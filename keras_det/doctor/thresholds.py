"""The limits of the doctor's checks, in one table, each with its reason."""

from typing import NamedTuple


class Threshold(NamedTuple):
    """One limit: its value, and why it is this one."""

    value: float
    reason: str


THRESHOLDS: dict[str, Threshold] = {
    # Images
    "tiny-image": Threshold(32, "pixels of the shorter side; no detector here takes less"),
    "huge-image": Threshold(40e6, "pixels; decoding takes about 0.3 s and objects shrink tenfold"),
    "image-aspect": Threshold(4, "longer by shorter side; letterbox leaves 3/4 of the input empty"),
    "uniform": Threshold(2, "standard deviation in 0..255; JPEG's own noise stays below"),
    "uniform-contrast": Threshold(12, "in 0..255; a small object on a plain background has more"),
    "dark": Threshold(16, "mean in 0..255; people recognise nothing in darker images"),
    "bright": Threshold(243, "mean in 0..255; paper scans have 235, overexposed images over 243"),
    "blurred": Threshold(15, "variance within 2x2 pixels at 128 pixels; 99% of COCO have over 20"),
    "blurred-among": Threshold(0.1, "of the median of all images, which may all be smooth"),
    "grey": Threshold(8, "largest difference of channels; JPEG's colour noise stays below 4"),
    "grey-share": Threshold(0.5, "of images; above it, grey is the rule and not the exception"),
    "near-bits": Threshold(8, "of 64 bits of the perceptual hash; different images: 14 and more"),
    "near-pixels": Threshold(10, "mean difference of 16x16 thumbnails in 0..255; after resaving 1"),
    # Classes
    "few-objects": Threshold(10, "objects for training; below, a class is hardly ever found"),
    "some-objects": Threshold(50, "objects for training; below, AP still rises with every image"),
    "imbalance": Threshold(20, "times as many objects; worth knowing"),
    "strong-imbalance": Threshold(100, "times as many objects; rare classes are hardly learned"),
    "alike-letters": Threshold(5, "letters; shorter names differ in one letter by chance"),
    # Boxes
    "tiny-box": Threshold(3, "pixels of the shorter side; below, an error of one pixel is a third"),
    "tiny-share": Threshold(0.02, "of objects; COCO has 1%"),
    "whole-image": Threshold(0.95, "of the image's area"),
    "whole-share": Threshold(0.3, "of objects; COCO has 2%, classification data has 100%"),
    "box-aspect": Threshold(12, "longer by shorter side; COCO has 0.5%, anchors reach 3"),
    "box-aspect-share": Threshold(0.05, "of objects; ten times COCO's share"),
    "same-box": Threshold(0.98, "IoU; two people do not draw a box so exactly alike"),
    "overlap": Threshold(0.9, "IoU; non-maximum suppression keeps only one of such objects"),
    "overlap-share": Threshold(0.005, "of objects; the few in COCO and BCCD are isolated mistakes"),
    "nested-sides": Threshold(1, "pixels; sides that agree within it are the same side"),
    "border-share": Threshold(0.5, "of boxes; COCO has 25%"),
    "default-box": Threshold(8, "images with exactly the same box; fewer happen by chance"),
    "default-share": Threshold(0.05, "of objects; in fixed cameras fewer stand still"),
    "same-size-share": Threshold(0.5, "of objects of one size, as points expanded to boxes have"),
    "max-boxes": Threshold(100, "objects in an image; the pipeline's max_boxes keeps this many"),
    "outlier": Threshold(10, "quartile distances above the upper quartile of objects per image"),
    "empty-share": Threshold(0.1, "of images without objects; COCO has 1%"),
    "mostly-empty": Threshold(0.5, "of images without objects; often files that were not labelled"),
    "crowd-share": Threshold(0.2, "of objects marked as crowd or difficult; COCO has 1%"),
    "centre-share": Threshold(0.9, "of boxes centred in the middle ninth; even spread gives 0.11"),
    "min-objects": Threshold(50, "objects; with fewer, shares of objects say nothing"),
    # Splits
    "tiny-split": Threshold(10, "images; AP then moves by chance by ten points and more"),
    "small-split": Threshold(100, "images; AP then moves by chance by a few points"),
    "leak-share": Threshold(0.01, "of the images measured on; below, AP moves by less than 0.01"),
    "class-shift": Threshold(0.15, "half the sum of differences between class frequencies"),
    "size-shift": Threshold(0.2, "largest difference between the distributions of box sizes"),
    "shift-by-chance": Threshold(1.3, "times what 95% of random splits of these images show"),
}


def limit(name: str) -> float:
    """The value of a threshold."""
    return THRESHOLDS[name].value
