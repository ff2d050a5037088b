"""A detector and what it was exported to, for all tests of a file."""

import pytest


@pytest.fixture(scope="module")
def model():
    from tests.export.tiny import tiny

    return tiny(image_size=(96, 128))
