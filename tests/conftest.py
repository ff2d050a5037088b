"""Settings every test runs under: quiet TensorFlow, few threads, one seed."""

import os
import pathlib
import sys
import tempfile

import pytest

# Files that take more than a minute, the longest first. One that starts last would keep one process
# busy alone, so they start first; the others follow in their order.
LONG_FILES = (
    "test_readme.py",
    "test_notebooks.py",
    "models/test_retinanet.py",
    "test_three_commands.py",
    "cli/test_train.py",
)

# Before the first import of Keras or TensorFlow, which read these once.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# No test uses the network, and none finds weights that somebody has downloaded. Those that an
# installed package holds are found: a test that trains says which weights it starts from.
os.environ["KERAS_DET_OFFLINE"] = "1"
os.environ["KERAS_HOME"] = str(pathlib.Path(tempfile.gettempdir(), "keras_det_tests"))
if "PYTEST_XDIST_WORKER" in os.environ:
    # The workers already fill the cores; more threads only wait for each other.
    for variable in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(variable, "1")


@pytest.fixture(autouse=True)
def _same_random_numbers():
    """Seeds Python, NumPy and the backend, without importing Keras where no test has."""
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)


@pytest.fixture(autouse=True)
def _graphs_as_they_are():
    """Leaves TensorFlow's graph optimisation out.

    It takes half of the time until a network runs first, and tests run most networks once. Tests of
    whole commands in processes of their own have it, as users do. So does everything with
    KERAS_DET_TESTS_OPTIMISED=1.
    """
    if "tensorflow" in sys.modules and not os.environ.get("KERAS_DET_TESTS_OPTIMISED"):
        options = {"disable_meta_optimizer": True}
        sys.modules["tensorflow"].config.optimizer.set_experimental_options(options)


def pytest_collection_modifyitems(items):
    """Puts the tests of `LONG_FILES` first."""
    tests = pathlib.Path(__file__).parent
    places = {tests / name: place for place, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_terminal_summary(terminalreporter):
    """Names at the end what was skipped, and the extra that each skip waits for."""
    from tests.skips import summary

    reports = terminalreporter.stats.get("skipped", [])
    skipped = [(r.longrepr[2], isinstance(r, pytest.CollectReport)) for r in reports]
    terminalreporter.section("Skipped")
    for line in summary(skipped):
        terminalreporter.line(line)
