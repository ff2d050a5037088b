"""The reference files themselves: small, without pickles, described."""

import numpy as np

from tests.helpers import GOLDEN, data_set

LARGEST = 25_000_000  # bytes: every clone carries them


def files(pattern="*"):
    return [path for path in GOLDEN.rglob(pattern) if path.is_file()]


def test_they_stay_small():
    assert sum(path.stat().st_size for path in files()) <= LARGEST


def test_no_array_needs_pickle():
    for path in files("*.npz"):
        with np.load(path, allow_pickle=False) as arrays:
            assert arrays.files, path
            # Reading the header refuses an array of objects.
            for name in arrays.files:
                with arrays.zip.open(f"{name}.npy") as file:
                    version = np.lib.format.read_magic(file)
                    read = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
                    assert not read(file)[2].hasobject, f"{path}: {name}"


def test_the_readme_names_every_folder():
    text = (GOLDEN / "README.md").read_text()
    for path in files():
        top, *rest = path.relative_to(GOLDEN).parts
        if path.name == "README.md" or path.suffix == ".pyc":
            continue
        name = f"{top}/{rest[0]}" if top == "data_sets" else top
        assert name in text, f"{path} is not described in tests/golden/README.md"


def test_the_photographs_come_with_their_notice():
    notice = (data_set("bccd") / "LICENSE").read_text()
    assert notice.startswith("MIT License") and "Copyright (c) 2017 shenggan" in notice
