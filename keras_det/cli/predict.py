"""`keras-det predict MODEL SOURCES…`: annotated pictures and videos, and detections as files."""

import pathlib
from typing import Any

import click

from keras_det.cli.command import PATH, Command, echo, max_pixels_option, user_input
from keras_det.cli.decoding import check_for_model, decoder_options, decoder_settings
from keras_det.cli.files import ENGINES, find_model, load_any_model, new_folder
from keras_det.cli.numbers import Real, Whole
from keras_det.cli.predicting import FORMATS, Job, predict_all
from keras_det.cli.views import check_scales, described, in_views, taken_from, view_options
from keras_det.errors import DataError

EXAMPLES = (
    "keras-det predict run/ photos/ --out found/",
    "keras-det predict model.keras a.jpg b.jpg --score-threshold 0.5 --out found/",
    "keras-det predict run/ clip.mp4 --track --write pictures --write csv",
    "keras-det predict run/ photos/ --engine litert",
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("model", type=PATH)
@click.argument("sources", nargs=-1, required=True, type=PATH)
@click.option("--out", type=PATH, default="predictions", help="New or empty folder.")
@click.option(
    "--write",
    "formats",
    type=click.Choice(FORMATS),
    multiple=True,
    default=("pictures", "json"),
    show_default="pictures and json",
    help="What to write. Repeat the option for several formats.",
)
@click.option("--every", type=Whole(1), show_default="1", help="Take every N-th frame of a video.")
@click.option("--track", is_flag=True, help="Track objects: each keeps its ID through a video.")
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
    sources: tuple[str, ...],
    out: str,
    formats: tuple[str, ...],
    every: int | None,
    track: bool,
    score_threshold: float | None,
    engine: str,
    **decoder: Any,
) -> None:
    """Finds objects in SOURCES and draws them.

    MODEL is a .keras file, a run folder, a preset folder or an exported file. SOURCES are images,
    videos, folders of these, patterns such as "photos/*.jpg", or the index of a camera. Videos,
    cameras and --track need the extra `video`.

    Each image and each video is written with its boxes, under the same name; videos have no sound.
    detections.json has the detections in COCO's format for results. --write csv writes
    detections.csv. --write coco writes coco.json, a data set in COCO's format. --write yolo writes
    labels/*.txt. For videos, rows have the frame, counted from 0, and its time in seconds.

    Without --score-threshold, each class has the threshold that was best on the validation set of
    its training, in exports too. If no score is above it, the picture shows the best box faintly.
    In detections.json, bbox is [x, y, width, height] in pixels of the image, category_id
    is the index of the class, and image_id counts the images and frames from 0. The exit code is 1
    if a picture, a video or a label file could not be written. After Ctrl-C, all files hold what
    was found so far.

    LiteRT, ONNX Runtime and OpenVINO run a Keras model faster and find the same objects. Converting
    the model takes seconds; the result is kept in a folder beside MODEL.
    """
    from keras_det.video.stream import check_packages

    views = taken_from(decoder)
    folder, settings = new_folder(out), decoder_settings(decoder)
    found = find_given(sources)
    if every is not None and all(source.kind == "image" for source in found):
        raise DataError(
            f"--every has no effect on images. Received: --every {every} without a video. Leave it "
            "out."
        )
    check_packages(found, track)
    loaded = load_any_model(model)
    thresholds = thresholds_of(loaded, score_threshold)
    if not hasattr(loaded, "engine"):
        engine = check_scales(views, engine)
    job = Job(found, folder, formats, every or 1, track, thresholds, settings)
    detector, sentence = choose_engine(loaded, model, engine, job.expected or 1, settings)
    if score_threshold is not None and hasattr(detector, "check_threshold"):
        with user_input():
            detector.check_threshold(score_threshold)
    detector = in_views(detector, views)
    echo(f"{sentence}{described(views)}")
    measured = getattr(loaded, "score_thresholds", None) is not None
    if not predict_all(detector, job, measured):
        click.get_current_context().exit(1)


def find_given(given: tuple[str, ...]) -> list[Any]:
    """The images, videos and cameras that the arguments mean; a number is a camera."""
    from keras_det.video.sources import find_sources

    return find_sources([int(each) if _is_camera(each) else each for each in given])


def _is_camera(given: str) -> bool:
    return given.isascii() and given.isdigit() and not pathlib.Path(given).exists()


def thresholds_of(detector: Any, score_threshold: float | None) -> list[float]:
    """The score threshold of each class: the one given, else the model's own, else 0.3."""
    from keras_det.video.stream import thresholds_for

    own = getattr(detector, "score_thresholds", None)
    return list(thresholds_for(score_threshold, own, len(detector.class_names)))


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
