"""`keras-det bench predict` and `bench FILE…`: models and exported files."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import click

from keras_det.cli.bench_output import JSON, check_json, echo_sentences, progress, save_json
from keras_det.cli.bench_process import Measured, measure_files
from keras_det.cli.command import PATH, PIXELS_KEY, Command, echo, max_pixels_option, user_input
from keras_det.cli.evaluated import known_ap
from keras_det.cli.files import find_model
from keras_det.cli.numbers import MAX_BATCH, Whole
from keras_det.words import counted

MOST_IMAGES = 16  # they stay in memory
CALLS = click.option(
    "--calls",
    type=Whole(1, 100_000),
    show_default="50, or as many as 20 seconds allow",
    help="Timed calls per file.",
)


@click.command(
    cls=Command,
    examples=(
        "keras-det bench predict run/ photos/",
        "keras-det bench predict model.tflite",
        "keras-det bench predict model.keras photos/ --batch-size 8 --json speed.json",
    ),
)
@click.argument("model", type=PATH)
@click.argument("images", nargs=-1, type=PATH)
@click.option(
    "--batch-size",
    type=Whole(1, MAX_BATCH),
    default=8,
    help="Images per batch, timed besides single images; 1: single images only.",
)
@CALLS
@max_pixels_option()
@JSON
@click.pass_context
def predict(
    ctx: click.Context,
    model: str,
    images: tuple[str, ...],
    batch_size: int,
    calls: int | None,
    json_file: str | None,
) -> None:
    """Measures how long MODEL takes to find objects in an image.

    MODEL is a .keras file, a run folder, a preset folder or an exported file. IMAGES are files,
    folders, or the annotation file of a data set; up to 16 images are used. Without IMAGES,
    synthetic images of 640x480 pixels are used. A separate process loads the model, and the memory
    of this process is measured.

    Preprocessing is resizing. The network of an exported file includes its decoder. Post-processing
    is decoding and non-maximum suppression. "-" marks a part that cannot be timed separately. The
    last lines say what limits the speed.
    """
    check_json(json_file)
    find_model(model)
    paths = image_paths(images)
    with progress() as say:
        limit = ctx.meta.get(PIXELS_KEY)
        (found,) = measure_files([model], paths, calls, say, limit, True, batch_size)
    from keras_det.profiling.verdict import detection_verdict, disturbed

    verdict = detection_verdict(times_of(found))
    echo(describe(found))
    echo_sentences([*verdict.lines(), disturbed(found.others)])
    content = {"command": "predict", **found.as_json(), "verdict": dataclasses.asdict(verdict)}
    save_json(json_file, content)


@click.command(
    cls=Command,
    examples=(
        "keras-det bench model.keras exports/model_float32.tflite exports/model.onnx",
        "keras-det bench exports/* --images photos/ --json table.json",
    ),
)
@click.argument("files", nargs=-1, required=True, type=PATH, metavar="FILE…")
@click.option(
    "--images",
    type=PATH,
    multiple=True,
    show_default="synthetic images",
    help="Images to run on: a file, a folder, or an annotation file. May be repeated.",
)
@CALLS
@max_pixels_option()
@JSON
@click.pass_context
def models(
    ctx: click.Context,
    files: tuple[str, ...],
    images: tuple[str, ...],
    calls: int | None,
    json_file: str | None,
) -> None:
    """Compares model files in one table.

    FILE is a .keras file, a run folder, a preset folder or an exported file. Each is loaded by a
    separate process and called on single images, in turn with the others. The AP comes from the
    metrics that `keras-det evaluate` wrote beside the file. Files that belong to an export, such as
    its certificate, are left out.
    """
    check_json(json_file)
    files = without_companions(files)
    for file in files:
        find_model(file)
    paths = image_paths(images)
    with progress() as say:
        found = measure_files(files, paths, calls, say, ctx.meta.get(PIXELS_KEY))
    from keras_det.profiling.bench_text import file_table
    from keras_det.profiling.verdict import disturbed

    known = [known_ap(file) for file in files]
    rows = [
        row_of(name, each, ap.value)
        for name, each, ap in zip(names_of(files), found, known, strict=True)
    ]
    shown = counted(found[0].opened["images"], "image" if paths else "synthetic image")
    echo(f"{shown}, one at a time\n\n{file_table(rows)}\n")
    measured_on = sorted({ap.where for ap in known if ap.where})
    notes = [f"AP measured on: {' / '.join(measured_on)}."] if measured_on else []
    if len(measured_on) > 1:
        notes.append("The APs were measured on different images and cannot be compared.")
    notes += [ap.note for ap in known if ap.note]
    echo_sentences([*notes, disturbed(max(each.others for each in found))])
    each_json = [
        {**each.as_json(), "AP": ap.value, "AP_measured_on": ap.where or None}
        for each, ap in zip(found, known, strict=True)
    ]
    save_json(json_file, {"command": "models", "files": each_json})


def image_paths(given: tuple[str, ...]) -> list[str]:
    """Up to 16 images, spread evenly over those that the arguments name."""
    from keras_det.data.image import IMAGE_SUFFIXES
    from keras_det.video.sources import find_images

    paths: list[str] = []
    for each in given:
        path = pathlib.Path(each)
        if path.is_file() and path.suffix.lower() not in IMAGE_SUFFIXES:
            from keras_det.data import load

            with user_input():
                paths += map(str, load(path, None).image_paths)
        else:
            paths += map(str, find_images([each]))
    count = min(MOST_IMAGES, len(paths))
    return [paths[i * len(paths) // count] for i in range(count)]


def times_of(found: Measured) -> Any:
    """The `DetectionTimes` of a measured file."""
    from keras_det.profiling.verdict import DetectionTimes

    parts = {name: found.part(name) for name in ("prepare", "network", "finish")}
    macs = found.opened["multiply_adds"]
    return DetectionTimes(
        found.latency.median, found.read, **parts, multiply_adds=macs, peak=found.peak
    )


def describe(found: Measured) -> str:
    """The table of one file."""
    from keras_det.profiling.bench_text import latency_table, memory_line
    from keras_det.profiling.verdict import Latency

    height, width = found.opened["image_size"]
    parts = {name: Latency.of(each) for name, each in found.parts.items() if each}
    rows = {
        "one image": found.latency,
        "  preprocessing": parts.get("prepare"),
        "  network": parts.get("network"),
        "  post-processing": parts.get("finish"),
    }
    sizes = {"one image": 1}
    if found.opened["read"]:
        rows["reading the file"] = Latency.of(found.opened["read"])
    if found.batch_size > 1:
        name = f"batch of {found.batch_size}"
        rows[name] = Latency.of(found.batches) if found.batches else None
        sizes[name] = found.batch_size
    kind = "image" if found.opened["read"] else "synthetic image"
    images = counted(found.opened["images"], kind)
    title = f"{pathlib.Path(found.path).name}: {found.opened['engine']}, {height}x{width}"
    table = latency_table(rows, sizes)
    last = memory_line(found.size, found.memory, found.opened["memory_before"])
    return f"{title}; {images}\n\n{table}\n\n{last}"


def without_companions(files: Sequence[str]) -> tuple[str, ...]:
    """The files without those that accompany another one of them: `exports/*` has both.

    Their names start with its whole name: `a.tflite.certificate.json`, `a.tflite.tail.tflite`.
    """
    return tuple(x for x in files if not any(x.startswith(f"{other}.") for other in files))


def names_of(files: Sequence[str]) -> list[str]:
    """The names of the files if all differ, else the paths as they were given."""
    names = [pathlib.Path(os.path.normpath(file)).name for file in files]
    return names if len(set(names)) == len(names) else list(files)


def row_of(name: str, found: Measured, ap: float | None) -> dict[str, Any]:
    """The figures of one line of the table of files."""
    return {
        "name": name,
        "size": found.size,
        "median": found.latency.median,
        "p95": found.latency.p95,
        "rate": 1 / found.latency.mean,
        "memory": found.memory,
        "ap": ap,
    }
