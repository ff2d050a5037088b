"""The numbers of `benchmarks/soak.py`."""

import mmap

import numpy as np
import pytest

from tests.helpers import load_script


@pytest.fixture(scope="module")
def soak():
    return load_script("benchmarks/soak.py")


def test_slope_of_a_line_and_of_noise(soak):
    rise, error = soak.slope(1e6 + 250.0 * np.arange(400))
    np.testing.assert_allclose([rise, error], [250, 0], atol=1e-6)
    noise = np.random.default_rng(0).normal(0, 1000, 400)
    rise, error = soak.slope(noise)
    assert abs(rise) < 3 * error and 0 < error < 1000 * 12**0.5 / 400**1.5 * 3


@pytest.mark.parametrize(
    "step, files, word",
    [(0, 0, "flat"), (50, 0, "flat"), (500, 0, "GROWS"), (0, 0.1, "GROWS"), (-500, 0, "flat")],
)
def test_what_counts_as_growth(soak, step, files, word):
    calls = np.arange(300)
    noted = {"memory": 5e8 + step * calls, "files": [int(8 + files * call) for call in calls]}
    assert soak.line("a", noted, least=100).endswith(f"| {word} |")


def test_noted_is_what_the_process_holds(soak):
    before, files = soak.resident(), soak.open_files()
    with mmap.mmap(-1, 50_000_000) as block, open(__file__):  # new pages, not those freed before
        block.write(b"1" * 50_000_000)
        assert soak.open_files() == files + 1
        assert 40e6 < soak.resident() - before < 120e6
