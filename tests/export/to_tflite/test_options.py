"""Options of `export.tflite` that would be ignored or misread are refused."""

import pytest

from keras_det.errors import DataError
from keras_det.export.to_tflite.options import Options


def options(**changed):
    given = {"quantize": "float32", "postprocess": "builtin", "metadata": None, "channels": 3}
    given |= {"calibration": None, "score_threshold": None, "iou_threshold": None}
    return Options(**{**given, **changed})


def test_progress_is_of_int8_only():
    for quantize in ("float32", "float16"):
        with pytest.raises(DataError, match='only used with quantize="int8".*Leave `on_progress`'):
            options(quantize=quantize, on_progress=print)
    assert options().on_progress is None


@pytest.mark.parametrize("channels", ["3", 3.0, True, 2, None])
def test_channels_are_a_whole_number(channels):
    message = "`channels` must be the integer 3 or 1. Received: .*Use channels=3"
    with pytest.raises(ValueError, match=message):
        options(channels=channels)
    assert options(channels=1).channels == 1
