"""`keras-det predict MODEL IMAGES…`: annotated pictures and detections.json."""

import io
import pathlib

import click

from keras_det.cli.command import Command, user_input
from keras_det.cli.files import ENGINES, find_model, load_any_model, new_folder, say_where
from keras_det.errors import DataError
from keras_det.files import write_json, write_whole

EXAMPLES = (
    "keras-det predict run/ photos/ --out found/",
    "keras-det predict model.keras a.jpg b.jpg --score-threshold 0.5 --out found/",
    "keras-det predict run/ photos/ --engine litert",
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("model", type=click.Path())
@click.argument("images", nargs=-1, required=True, type=click.Path())
@click.option("--out", type=click.Path(), default="predictions", help="New or empty folder.")
@click.option("--score-threshold", type=click.FloatRange(0, 1), default=0.3)
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default="auto",
    help="What computes the network of a Keras model; auto: what is fastest here.",
)
def predict(model, images, out, score_threshold, engine):
    """Finds objects in IMAGES and draws them.

    MODEL is a .keras file, a run folder or an export; IMAGES are files or folders. LiteRT and ONNX
    Runtime compute the network of a Keras model faster, once it is converted to them: that takes
    seconds and is kept in a folder beside the file. The detections are the same. Writes an
    annotated picture per image, under the image's own name, and detections.json in COCO's form for
    results: boxes are [x, y, width, height] in pixels of the image, category_id is the index of the
    class, image_id the place of the image in the list, from 0.
    """
    folder = new_folder(out)
    paths = find_images(images)
    names = picture_names(paths)
    detector, sentence = choose_engine(model, engine, len(paths))
    if hasattr(detector, "check_threshold"):
        with user_input():
            detector.check_threshold(score_threshold)
    click.echo(sentence)
    folder.mkdir(parents=True, exist_ok=True)
    rows, failed = [], []
    with click.progressbar(list(zip(paths, names, strict=True)), label="Detecting") as bar:
        for image_id, (path, name) in enumerate(bar):
            try:
                picture, found = detect_and_draw(detector, path, score_threshold)
            except DataError as error:
                failed.append(error)
                continue
            write_whole(folder / name, encoded(picture, name))
            rows += coco_results(found, image_id, path)
    for error in failed:
        click.echo(f"Note: left out: {error}", err=True)
    if len(failed) == len(paths):
        raise DataError(f"At least one of the {len(paths)} images must decode. {failed[0]}")
    write_json(folder / "detections.json", rows)
    say_where(f"Objects: {len(rows)}, images: {len(paths) - len(failed)}, results", folder)


def choose_engine(model: str, engine: str, num_images: int):
    """The detector that MODEL means, on an engine, and a sentence on which one that is."""
    from keras_det.runtime.engines import with_engine

    detector = load_any_model(model)
    is_exported = hasattr(detector, "engine")
    path = pathlib.Path(model) if is_exported else find_model(model)
    return with_engine(detector, engine, path, num_images, convert)


def convert(detector, engine: str) -> bytes:
    """The network of a detector for an engine; loads what converts only where it is needed."""
    from keras_det.export.engine_networks import network_for

    return network_for(detector, engine)


def detect_and_draw(detector, path: pathlib.Path, score_threshold: float):
    """Returns the annotated picture and the detections of one image file."""
    from keras_det.data import read_image
    from keras_det.report.draw import draw_detections

    image = read_image(path)
    found = detector.detect(image, score_threshold=score_threshold)
    picture = draw_detections(image, found, detector.class_names, score_threshold)
    return picture, found


def find_images(given) -> list[pathlib.Path]:
    """The image files that the arguments mean, folders searched to the bottom, in sorted order."""
    from keras_det.data.image import IMAGE_SUFFIXES

    paths = []
    for path in map(pathlib.Path, given):
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
            if not inside:
                raise DataError(
                    f"A folder of IMAGES must hold images ({', '.join(IMAGE_SUFFIXES)}). Received: "
                    f"{path}, which holds none. Check the folder."
                )
            paths += inside
        elif path.exists():
            paths.append(path)
        else:
            raise DataError(f"IMAGES must exist. Received: {path}. Check the path.")
    return paths


def picture_names(paths) -> list[str]:
    """File names for the pictures: the images' own, with a number where two would be the same."""
    names, taken = [], set()
    for path in paths:
        suffix = ".jpg" if path.suffix.lower() in (".jpg", ".jpeg") else ".png"
        name, number = path.stem + suffix, 1
        while name in taken:
            number += 1
            name = f"{path.stem}-{number}{suffix}"
        taken.add(name)
        names.append(name)
    return names


def encoded(picture, name: str) -> bytes:
    """The bytes of a uint8 RGB picture in the format that its name says."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG" if name.endswith(".jpg") else "PNG", quality=92)
    return file.getvalue()


def coco_results(found: dict, image_id: int, path: pathlib.Path) -> list[dict]:
    """Detections of one image as rows of COCO's form for results, with names."""
    rows = []
    for (x1, y1, x2, y2), score, label, name in zip(
        found["boxes"].tolist(),
        found["scores"].tolist(),
        found["labels"].tolist(),
        found["class_names"],
        strict=True,
    ):
        rows.append(
            {
                "image_id": image_id,
                "file_name": str(path),
                "category_id": label,
                "category_name": name,
                "bbox": [round(side, 2) for side in (x1, y1, x2 - x1, y2 - y1)],
                "score": round(score, 5),
            }
        )
    return rows
