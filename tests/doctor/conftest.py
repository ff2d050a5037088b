"""Good drawn data, drawn once."""

import pytest

from keras_det.data import draw_shapes_dataset
from tests.doctor.defects import Copy


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """Folder with 60 and 20 small images in COCO's layout; never write into it."""
    return draw_shapes_dataset(tmp_path_factory.mktemp("doctor") / "shapes", 60, 20, 80, seed=3)


@pytest.fixture
def copy(drawn, tmp_path):
    """A copy of the drawn data that a test may damage."""
    return Copy(drawn, tmp_path / "shapes")
