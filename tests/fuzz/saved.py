"""Damaged model files, presets and exports, and the outcomes of opening them.

`python -m tests.fuzz.saved` makes a tiny model in every kind of file, damages each in turn and
prints the outcomes. The exit code is 1 if there was a traceback, a hang or a crash.
"""

import argparse
import io
import pathlib
import random
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from keras_det.weights.common.whole_archive import check_whole as check_whole
from tests.fuzz import mutators
from tests.fuzz.harness import Counts, Limits, attempt
from tests.fuzz.readers import PLACES, Damaged, write

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
# The files that may be damaged of each kind, relative to the folder that holds all of it.
KINDS = {
    "keras": ["m.keras"],
    "weights": ["m.weights.h5"],
    "preset": ["preset/config.json", "preset/metadata.json", f"preset/{WEIGHTS}"],
    "tflite": ["m.tflite", "m.tflite.certificate.json"],
    "onnx": ["m.onnx"],
    "saved_model": [
        *("served/saved_model.pb", "served/assets/labels.txt"),
        *("served/variables/variables.index", "served/variables/variables.data-00000-of-00001"),
        *("served/assets.extra/score_thresholds.json", "served.certificate.json"),
    ],
}
LIMITS = Limits(seconds=40.0, wall=60.0)


class Kind(NamedTuple):
    """Files of one kind, and the function that opens them."""

    files: dict[str, bytes]
    open: Callable[[pathlib.Path], tuple[str, str]]


def build(folder: pathlib.Path, kinds: list[str]) -> None:
    """Writes a tiny model in every kind of file. Runs in a process of its own."""
    from keras_det import export
    from tests.export.tiny import tiny

    model = tiny((64, 64))
    model.score_thresholds = [0.3, 0.4, 0.5]
    model.compile()
    model.save(folder / "m.keras")
    model.save_weights(folder / "m.weights.h5")
    model.save_to_preset(folder / "preset")
    makers = {"tflite": export.tflite, "onnx": export.onnx, "saved_model": export.saved_model}
    for kind in set(kinds) & set(makers):
        makers[kind](model, folder / KINDS[kind][0].partition("/")[0])


def image() -> np.ndarray:
    """A drawn image."""
    pixels = np.full((60, 80, 3), 90, np.uint8)
    pixels[10:40, 20:60] = (200, 40, 40)
    return pixels


def weights_of(path: pathlib.Path) -> list[np.ndarray]:
    """The arrays of a model, by the entry point for its kind of file."""
    from keras_det import load_model
    from keras_det.models import Detector
    from tests.export.tiny import tiny

    if path.name == "preset":
        return Detector.from_preset(path).get_weights()
    if path.suffix == ".keras":
        return load_model(path).get_weights()
    model = tiny((64, 64), seed=1)
    model.start_from(path)
    return model.get_weights()


def found_by(path: pathlib.Path) -> list[np.ndarray]:
    """What an exported file finds in the image."""
    from keras_det import load_exported

    found = load_exported(path).detect(image())
    return [found[name] for name in ("boxes", "scores", "labels")]


def compared(path: pathlib.Path, expected: pathlib.Path) -> tuple[str, str]:
    """Opens a damaged file; returns the outcome."""
    values = found_by if path.name in ("m.tflite", "m.onnx", "served") else weights_of
    arrays = values(path)
    with np.load(expected) as file:
        same = len(arrays) == len(file) and all(
            np.array_equal(array, file[f"arr_{i}"]) for i, array in enumerate(arrays)
        )
    return ("right" if same else "silent"), ""


def kept(arrays: list[np.ndarray], file: pathlib.Path) -> tuple[str, str]:
    """Writes the arrays of the undamaged file, to compare with."""
    np.savez(file, *arrays)
    return "right", ""


def rezipped(data: bytes, changes: dict[str, bytes | None]) -> bytes:
    """A `.keras` file with members replaced, added or (None) removed, and right checksums."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(target, "w") as new:
        members = {name: old.read(name) for name in old.namelist()}
        for name, content in {**members, **changes}.items():
            if content is not None:
                new.writestr(name, content)
    return target.getvalue()


def member(data: bytes, name: str) -> bytes:
    """One member of a `.keras` file."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(name)


def with_value(data: bytes, value: float) -> bytes:
    """The weights of a model with one number replaced."""
    import h5py

    file = io.BytesIO(data)
    with h5py.File(file, "r+") as content:
        arrays: list[h5py.Dataset] = []
        content.visititems(lambda _, item: arrays.append(item) if hasattr(item, "dtype") else None)
        largest = max(arrays, key=lambda item: item.size)
        largest[(0,) * largest.ndim] = value
    return file.getvalue()


def changed_archive(data: bytes, rng: random.Random) -> bytes:
    """A whole `.keras` file with other content."""
    config, weights = member(data, CONFIG), member(data, WEIGHTS)
    way = rng.randrange(8)
    if way < 4:
        return rezipped(data, {CONFIG: mutators.changed_json(config, rng)})
    if way == 4:
        return rezipped(data, {rng.choice([CONFIG, WEIGHTS, "metadata.json"]): None})
    if way == 5:
        return rezipped(data, {CONFIG: mutators.damaged(".json", config, rng)})
    if way == 6:
        return rezipped(data, {WEIGHTS: mutators.damaged(".h5", weights, rng)})
    return rezipped(data, {WEIGHTS: with_value(weights, rng.choice([np.nan, np.inf, -np.inf]))})


def damages(kind: str, files: dict[str, bytes], count: int, seed: int) -> Iterator[Damaged]:
    """Damaged copies of the files of a kind."""
    for number in range(count):
        rng = random.Random(f"{kind} {seed} {number}")
        name = rng.choice(KINDS[kind])
        data, way = files[name], rng.randrange(8)
        changed: bytes | str = mutators.damaged(name, data, rng)
        if way == 0:
            changed = rng.choice(PLACES)
        elif way in (1, 2):
            changed = mutators.flipped_bit(data, rng)
        elif kind == "keras" and way > 3:
            changed = changed_archive(data, rng)
        elif name.endswith(".h5") and way > 5:
            changed = with_value(data, rng.choice([np.nan, np.inf]))
        label = f"{kind} {number}: {name}"
        yield Damaged(kind, {**files, name: changed}, label)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.saved", description=__doc__)
    parser.add_argument("--inputs", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--model", type=pathlib.Path, help="folder to keep the model in")
    parser.add_argument("--build", type=pathlib.Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.build:
        build(given.build, given.kinds)
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        base = given.model or pathlib.Path(temporary) / "model"
        return tried_all(given, base, pathlib.Path(temporary))


def tried_all(given: argparse.Namespace, base: pathlib.Path, temporary: pathlib.Path) -> int:
    """Builds the model where there is none, tries every damaged file and prints the table."""
    if not base.exists():
        base.mkdir(parents=True)
        command = [sys.executable, "-m", "tests.fuzz.saved", "--build", str(base), "--kinds"]
        subprocess.run([*command, *given.kinds], check=True)
    import tests.export.tiny  # noqa: F401  # loaded once, for all forks

    counts = Counts()
    for kind in given.kinds:
        names = [path for path in base.rglob("*") if path.is_file()]
        start = KINDS[kind][0].partition("/")[0]
        mine = {str(p.relative_to(base)): p.read_bytes() for p in names}
        files = {name: data for name, data in mine.items() if name.startswith(start)}
        expected = temporary / f"{kind}.npz"
        write(temporary / "data", Damaged(kind, {**files}, kind))
        opened = temporary / "data" / start
        values = found_by if kind in ("tflite", "onnx", "saved_model") else weights_of
        first = attempt(lambda: kept(values(opened), expected), LIMITS)  # noqa: B023
        assert first.outcome == "right", first
        for case in damages(kind, files, given.inputs // len(given.kinds), given.seed):
            write(temporary / "data", case)
            tried = attempt(lambda: compared(opened, expected), LIMITS)  # noqa: B023
            counts.add(kind, case.name, tried)
            print(
                f"{case.name}: {tried.outcome}: {' '.join(tried.text.split())[-300:]}", flush=True
            )
    print(counts.table())
    for kind, findings in counts.kinds():
        print(f"\n{len(findings)} times, first {findings[0][1]}: {kind}\n{findings[0][2].text}")
    return 1 if counts.findings else 0


if __name__ == "__main__":
    sys.exit(main())
