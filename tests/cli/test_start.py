"""Standard error is put away while Keras starts, and comes back whatever happens."""

import os

import pytest

from keras_det.cli.start import _standard_error_in_a_file


def test_lines_written_inside_are_kept(capfd):
    with _standard_error_in_a_file() as lines:
        os.write(2, b"I0000 noise\nW0000 a library is missing\n")
    os.write(2, b"after\n")
    assert lines == ["I0000 noise", "W0000 a library is missing"]
    assert capfd.readouterr().err == "after\n"


def test_lines_written_before_an_error_are_shown(capfd):
    with pytest.raises(ImportError, match="broken"), _standard_error_in_a_file():
        os.write(2, b"why it is broken\n")
        raise ImportError("broken")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "why it is broken\nafter\n"
