"""8-bit files of a CornerNet, whose raw outputs are computed by kernels, not joined from levels."""

import keras
import numpy as np
import pytest

from keras_det import CornerNet
from keras_det.backbones import Hourglass
from keras_det.export.int8.calibration import calibration_pixels, observed_ranges
from keras_det.export.int8.float_file import FloatFile
from keras_det.export.network.graph import exportable
from keras_det.export.tflite_file.operators import operator_counts
from keras_det.export.to_tflite.conversion import convert
from keras_det.export.to_tflite.decoders import make_decoder
from tests.export.int8.test_int8 import calibration, opened, types_by_layer
from tests.helpers import quantizer_or_skip

quantizer_or_skip()
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model():
    """Of a size whose maps, 10 x 12, need padding in the blocks of corner pooling."""
    keras.utils.set_random_seed(0)
    net = CornerNet(Hourglass(2, (8, 12), (1, 1), 4), 2, image_size=(40, 47))
    for head in net.heads:  # maps that vary, as trained ones do
        for prediction in head.predictions:
            prediction.kernel.assign(prediction.kernel * 6.0)
    return exportable(net)[0]


@pytest.mark.parametrize("postprocess", ["none", "builtin"])
def test_corner_pooling_is_in_int8_and_the_maps_are_near_the_model(model, postprocess):
    decoder = make_decoder(model, "builtin") if postprocess == "builtin" else None
    file = FloatFile(convert(model, decoder, dtype="float32"), model)
    assert set(model.output) <= set(file.layers)
    pixels, _ = calibration_pixels(calibration(size=(40, 47)), model)
    content = file.int8(observed_ranges(file.content, file.tensors, file.pixels, pixels))
    before, after = operator_counts(file.content), operator_counts(content)
    for name in ("PACK", "UNPACK", "MAXIMUM", "CONV_2D"):
        assert after[name] == before[name]
    assert types_by_layer(content)["stack_1_head/top_left"] == {"int8"}
    _, run = opened(content)
    for image in pixels[:2]:
        found = run(images=image.astype("uint8"))
        for name, expected in model(image.astype("float32"), training=False).items():
            expected = np.asarray(expected)
            error = np.sqrt(np.mean((found[name] - expected) ** 2))
            limit = 0.35 * expected.std() + 0.02  # the heat maps of a random network hardly vary
            assert error < limit, name
        if decoder is not None:
            assert found["boxes"].shape == (1, 100, 4) and np.isfinite(found["scores"]).all()
