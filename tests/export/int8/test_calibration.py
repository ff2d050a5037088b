"""Images of the calibration: which are taken, how they are resized, what is measured on them."""

import numpy as np
import pytest
from PIL import Image

from keras_det.data import draw_shapes_dataset, load
from keras_det.data.resize import resize_image
from keras_det.errors import DataError
from keras_det.export.int8 import calibration
from keras_det.export.int8.calibration import calibration_pixels
from tests.export.tiny import tiny


@pytest.fixture(scope="module")
def model():
    return tiny(image_size=(64, 96))


def grey(value, size=(40, 30)):
    return np.full((*size, 3), value, np.uint8)


def test_images_are_resized_as_the_model_says_and_extremes_are_added(model):
    image = np.random.default_rng(0).integers(0, 255, (50, 40, 3), np.uint8)
    pixels, notes = calibration_pixels([image], model)
    expected, _ = resize_image(image, model.resize_policy, model.normalization.fill_color)
    np.testing.assert_array_equal(pixels[0], expected[None])
    assert [each.shape for each in pixels] == [(1, 64, 96, 3)] * 3
    assert (pixels[1].min(), pixels[1].max()) == (0, 0)
    assert (pixels[2].min(), pixels[2].max()) == (255, 255) and notes == []


def test_many_images_are_thinned_out_evenly(model, monkeypatch):
    monkeypatch.setattr(calibration, "NUM_IMAGES", 4)
    pixels, _ = calibration_pixels([grey(i) for i in range(10)], model)
    # 10 / 4 = 2.5: images 0, 2, 5 and 7. The right half of a letterboxed picture is padding.
    assert [int(each[0, 0, 0, 0]) for each in pixels] == [0, 2, 5, 7, 0, 255]


def test_data_sets_paths_and_bytes(model, tmp_path):
    draw_shapes_dataset(tmp_path / "data", num_train=3, num_val=1, image_size=64)
    dataset = load(tmp_path / "data", split="train")
    of_set, _ = calibration_pixels(dataset, model)
    given = [dataset.image_paths[0], open(dataset.image_paths[1], "rb").read()]
    of_list, _ = calibration_pixels([*given, str(dataset.image_paths[2])], model)
    for a, b in zip(of_set, of_list, strict=True):
        np.testing.assert_array_equal(a, b)


def test_images_that_do_not_decode_are_left_out(model, tmp_path):
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    Image.fromarray(grey(7)).save(good)
    bad.write_bytes(b"no picture")
    pixels, notes = calibration_pixels([good, bad], model)
    assert len(pixels) == 1 + 2 and len(notes) == 1 and "bad.png" in notes[0]
    with pytest.raises(DataError, match="must be readable. Received: 1 image; left out.*bad.png"):
        calibration_pixels([bad], model)
