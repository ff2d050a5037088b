"""`keras-det predict MODEL IMAGES…`: annotated pictures and detections.json."""

import contextlib
import io
import os
import pathlib
import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from keras_det.cli.command import (
    PATH,
    Command,
    echo,
    max_pixels_option,
    user_input,
)
from keras_det.cli.decoding import check_for_model, decoder_options, decoder_settings
from keras_det.cli.files import ENGINES, find_model, load_any_model, new_folder, say_where
from keras_det.cli.numbers import Real
from keras_det.cli.views import check_scales, described, in_views, taken_from, view_options
from keras_det.errors import DataError
from keras_det.files import other_kind, reason_of, write_json, write_whole
from keras_det.names import DEFAULT_THRESHOLD
from keras_det.words import counted

if TYPE_CHECKING:
    import numpy as np

EXAMPLES = (
    "keras-det predict run/ photos/ --out found/",
    "keras-det predict model.keras a.jpg b.jpg --score-threshold 0.5 --out found/",
    "keras-det predict run/ photos/ --engine litert",
)

# Bytes of a picture's name without its suffix. File systems allow 255, `write_whole` adds to it.
LONGEST_STEM = 200
LOWEST = 0.001  # score of a detection that may be drawn faintly


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("model", type=PATH)
@click.argument("images", nargs=-1, required=True, type=PATH)
@click.option("--out", type=PATH, default="predictions", help="New or empty folder.")
@click.option(
    "--score-threshold",
    type=Real(0, 1),
    show_default="the best of each class, else 0.3",
    help="Lowest score of a detection.",
)
@decoder_options
@view_options
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default="auto",
    help="Engine that runs the network of a Keras model; auto: the fastest on this machine.",
)
@max_pixels_option()
def predict(
    model: str,
    images: tuple[str, ...],
    out: str,
    score_threshold: float | None,
    engine: str,
    **decoder: Any,
) -> None:
    """Finds objects in IMAGES and draws them.

    MODEL is a .keras file, a run folder, a preset folder or an exported file. IMAGES are files or
    folders.

    The output folder gets one picture for each image, under the image's name, and detections.json
    in COCO's format for results. Without --score-threshold, each class has the threshold that was
    best on the validation set of its training, in exports too. Where nothing scores above it, the
    picture shows the best box faintly. In detections.json, bbox is [x, y, width, height] in pixels
    of the image, category_id is the index of the class, and image_id counts the images from 0. The
    exit code is 1 if a picture could not be written.

    LiteRT and ONNX Runtime run a Keras model faster and find the same objects. Converting the model
    takes seconds; the result is kept in a folder beside MODEL.
    """
    views = taken_from(decoder)
    folder, settings = new_folder(out), decoder_settings(decoder)
    paths = find_images(images)
    names = picture_names(paths)
    loaded = load_any_model(model)
    thresholds = thresholds_of(loaded, score_threshold)
    if not hasattr(loaded, "engine"):
        engine = check_scales(views, engine)
    detector, sentence = choose_engine(loaded, model, engine, len(paths), settings)
    if score_threshold is not None and hasattr(detector, "check_threshold"):
        with user_input():
            detector.check_threshold(score_threshold)
    detector = in_views(detector, views)
    echo(f"{sentence}{described(views)}")
    folder.mkdir(parents=True, exist_ok=True)
    shown = Shown(detector, thresholds)
    failed, unwritten = detect_all(shown, paths, names, folder, settings)
    echo(shown.sentence(getattr(loaded, "score_thresholds", None) is not None))
    found = len(shown.rows)
    say_where(f"Detections: {found}, images: {len(paths) - len(failed)}, results", folder)
    if unwritten:
        click.get_current_context().exit(1)


def detect_all(
    shown: "Shown",
    paths: list[pathlib.Path],
    names: list[str],
    folder: pathlib.Path,
    settings: dict[str, Any],
) -> tuple[list[str], list[str]]:
    """Detects in all images; writes the pictures, and the results of all that could be read.

    Args:
        shown: detects and draws.
        paths: of the images.
        names: of the pictures.
        folder: to write to.
        settings: of the decoder.

    Returns:
        Why images could not be read, one sentence each, and which pictures could not be written,
        and why. Both are also printed.

    Raises:
        DataError: no image is readable.
    """
    failed: list[str] = []
    unwritten: list[str] = []
    try:
        with click.progressbar(list(zip(paths, names, strict=True)), label="Detecting") as bar:
            for image_id, (path, name) in enumerate(bar):
                try:
                    picture = shown.detect_and_draw(path, image_id, settings)
                except (DataError, OSError, MemoryError) as error:
                    failed.append(unreadable(path, error))
                    continue
                try:
                    write_whole(folder / name, encoded(picture, name))
                except OSError as error:
                    unwritten.append(f"{folder / name} ({reason_of(error)})")
    finally:  # after Ctrl-C, what was found so far
        if shown.found:
            write_json(folder / "detections.json", shown.rows)
    none = len(failed) == len(paths)
    for problem in failed[none:]:  # the error repeats the first
        echo(f"Note: left out: {problem}", err=True)
    if unwritten:
        echo(
            f"Note: {len(unwritten)} of {counted(len(paths), 'picture')} could not be written. "
            f"All detections are in detections.json. First: {unwritten[0]}.",
            err=True,
        )
    if none:
        with contextlib.suppress(OSError):  # where somebody else has written to it
            folder.rmdir()
        raise DataError(f"At least one image must be readable. {failed[0]}")
    return failed, unwritten


def unreadable(path: pathlib.Path, error: Exception) -> str:
    """The sentence for an image that cannot be read."""
    if isinstance(error, DataError):
        return str(error)
    return f"An image must be readable. Received: {path} ({reason_of(error)}). Leave it out."


def thresholds_of(detector: Any, score_threshold: float | None) -> list[float]:
    """The score threshold of each class: the one given, else the model's own, else 0.3."""
    if score_threshold is None:
        own = getattr(detector, "score_thresholds", None)
        if own is not None:
            return list(own)
    value = DEFAULT_THRESHOLD if score_threshold is None else score_threshold
    return [value] * len(detector.class_names)


class Shown:
    """Detects and draws, and collects what was found.

    Args:
        detector: a model, or an exported file.
        thresholds: the score threshold of each class.

    Attributes:
        rows: of `detections.json`: the detections above the thresholds.
        found: all detections of each image.
        sizes: (height, width, channels) of each image.
    """

    def __init__(self, detector: Any, thresholds: list[float]) -> None:
        self.detector, self.thresholds = detector, thresholds
        self.rows: list[dict[str, Any]] = []
        self.found: list[dict[str, Any]] = []
        self.sizes: list[tuple[int, ...]] = []

    def detect_and_draw(
        self, path: pathlib.Path, image_id: int, settings: dict[str, Any]
    ) -> "np.ndarray":
        """Returns the annotated picture of one image file."""
        from keras_det.data import read_image
        from keras_det.metrics.score_facts import above_threshold
        from keras_det.report.draw import draw_detections

        image = read_image(path)
        # An exported file keeps what its own decoder has found.
        lowest = {"score_threshold": min([LOWEST, *self.thresholds])}
        given = {} if hasattr(self.detector, "path") else lowest
        found = self.detector.detect(image, **settings, **given)
        self.found.append(found)
        self.sizes.append(image.shape)
        self.rows += coco_results(found, above_threshold(found, self.thresholds), image_id, path)
        names = self.detector.class_names
        return draw_detections(image, found, names, self.thresholds, show_best=True)

    def sentence(self, measured: bool) -> str:
        """The highest score, and how many objects are above the threshold; or what is wrong.

        Args:
            measured: whether the training of the model has found that it has learned.
        """
        from keras_det.metrics.score_facts import FEWEST_IMAGES, OWN, score_facts

        facts = score_facts(self.found, self.sizes, self.thresholds)
        if not facts.highest:
            lowest = getattr(self.detector, "score_threshold", None) or LOWEST
            return (
                f"No detections: no score is above {lowest:g}, the lowest threshold that the model "
                "takes."
            )
        same = len(set(self.thresholds)) == 1
        words = f"the threshold {self.thresholds[0]:.2g}" if same else OWN
        # Few images may hold no object.
        doubt = facts.images >= FEWEST_IMAGES and (not measured or facts.constant)
        text = facts.sentence(words) if doubt else facts.count(words)
        if facts.passing:
            return text
        # One digit below the highest score.
        example = float(f"{0.8 * facts.highest:.1g}")
        return (
            f"{text} The best box of each image is drawn faintly; --score-threshold {example:g} "
            "shows more."
        )


def choose_engine(
    detector: Any, model: str, engine: str, num_images: int, settings: dict[str, Any]
) -> tuple[Any, str]:
    """Returns the detector of MODEL on an engine, and a sentence that names the engine."""
    from keras_det.runtime.engines import with_engine

    check_for_model(detector, model, settings)
    is_exported = hasattr(detector, "engine")
    path = pathlib.Path(model) if is_exported else find_model(model)
    return with_engine(detector, engine, path, num_images, convert)


def convert(detector: Any, engine: str) -> bytes:
    """Converts the network of a detector for an engine; imports the converter only here."""
    from keras_det.export.engine_networks import network_for

    return network_for(detector, engine)


def find_images(given: Iterable[str]) -> list[pathlib.Path]:
    """The image files that the arguments mean; folders are searched whole, in sorted order."""
    from keras_det.data.image import IMAGE_SUFFIXES

    paths: list[pathlib.Path] = []
    for path in map(pathlib.Path, given):
        if path.is_dir():
            inside = sorted(p for p in _files_in(path) if _is_image(p))
            if not inside:
                raise DataError(
                    f"A folder of IMAGES must hold images ({', '.join(IMAGE_SUFFIXES)}). Received: "
                    f"{path}, which holds none. Check the folder."
                )
            paths += inside
        elif path.exists():
            if kind := other_kind(path.stat().st_mode):
                raise DataError(
                    f"IMAGES must be regular files or folders. Received: {path}, which is {kind}. "
                    "Leave it out."
                )
            paths.append(path)
        else:
            raise DataError(f"IMAGES must exist. Received: {path}. Check the path.")
    return paths


def _is_image(path: pathlib.Path) -> bool:
    """Whether a path is a regular file with the suffix of an image; see `other_kind`."""
    from keras_det.data.image import IMAGE_SUFFIXES

    return path.suffix.lower() in IMAGE_SUFFIXES and not (
        path.exists() and other_kind(path.stat().st_mode)
    )


def _files_in(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """The files in a folder and below it. Warns of a folder that cannot be read."""

    def left_out(error: OSError) -> None:
        text = f"A folder cannot be read and is left out: {error.filename} ({error.strerror})."
        warnings.warn(text, stacklevel=2)

    for place, _, names in os.walk(folder, onerror=left_out):
        yield from (pathlib.Path(place, name) for name in names)


def picture_names(paths: Iterable[pathlib.Path]) -> list[str]:
    """File names for the pictures: the images' own, with a number where two would be the same."""
    from keras_det.data.image import JPEG_SUFFIXES

    names: list[str] = []
    taken: set[str] = set()
    for path in paths:
        suffix = ".jpg" if path.suffix.lower() in JPEG_SUFFIXES else ".png"
        stem = shortened(path.stem)
        name, number = stem + suffix, 1
        while name in taken:
            number += 1
            name = f"{stem}-{number}{suffix}"
        taken.add(name)
        names.append(name)
    return names


def shortened(stem: str) -> str:
    """The beginning of a name, no longer than a file system allows."""
    data = os.fsencode(stem)
    return stem if len(data) <= LONGEST_STEM else data[:LONGEST_STEM].decode(errors="ignore")


def encoded(picture: "np.ndarray", name: str) -> bytes:
    """The bytes of a uint8 RGB picture in the format that its name says."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG" if name.endswith(".jpg") else "PNG", quality=92)
    return file.getvalue()


def coco_results(
    found: Any, kept: "np.ndarray", image_id: int, path: pathlib.Path
) -> list[dict[str, Any]]:
    """Detections of one image that are kept, as rows of COCO's format for results, with names."""
    from keras_det.runtime.results import to_coco

    rows = []
    names = found["class_names"]
    for row, name, keep in zip(to_coco(found, image_id), names, kept.tolist(), strict=True):
        if keep:
            rows.append({**row, "file_name": str(path), "category_name": name})
    return rows
