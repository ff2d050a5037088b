"""What the targets of atheris share: the fuzzer writes one file of a small data set.

Run one by hand, for example `python tests/fuzz/coco.py -max_total_time=60`; `-help=1` lists the
options. A finding is written to the current folder as `crash-…`; the same command with that file
repeats it.
"""

import pathlib
import sys
import tempfile

import atheris

with atheris.instrument_imports(include=["keras_det.data"]):
    import keras_det.data  # noqa: F401

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from tests.data import every_format  # noqa: E402

SLOW = 2.0  # seconds


def check(result: every_format.Outcome) -> None:
    """Raises AssertionError for an outcome that no input may have."""
    assert result.seconds < SLOW, f"{result.seconds:.1f} s"
    if result.dataset is None:
        assert "Received: " in result.error, result.error
        return
    dataset = result.dataset
    sizes = dataset.image_sizes.repeat(dataset.row_splits[1:] - dataset.row_splits[:-1], axis=0)
    assert (dataset.boxes[:, :2] >= 0).all(), dataset.boxes
    assert (dataset.boxes[:, 2:] <= sizes[:, ::-1]).all(), dataset.boxes
    assert (dataset.boxes[:, 2:] > dataset.boxes[:, :2]).all(), dataset.boxes
    assert (dataset.area >= 0).all(), dataset.area


def fuzz(name: str, *replaced: str) -> None:
    """Fuzzes the reader of a format until the options of the command line say stop.

    Args:
        name: of the format.
        *replaced: files of the data set that the fuzzer writes; the first byte chooses one.
    """
    files = every_format.files_of(name)
    with tempfile.TemporaryDirectory() as temporary:
        folder = every_format.write(pathlib.Path(temporary) / "data", files)
        seeds = every_format.write(
            pathlib.Path(temporary) / "seeds",
            {str(i): bytes([i]) + files[file] for i, file in enumerate(replaced)},
        )

        def one_input(data: bytes) -> None:
            file = folder / replaced[data[0] % len(replaced) if data else 0]
            file.write_bytes(data[1:])
            try:
                check(every_format.outcome(folder, name))
            finally:
                file.write_bytes(files[file.name])

        given = [arg for arg in sys.argv[1:] if not arg.startswith("-")]
        atheris.Setup([*sys.argv, *([] if given else [str(seeds)])], one_input)
        atheris.Fuzz()
