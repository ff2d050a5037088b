import numpy as np
import pytest

from keras_det.data import draw_shapes_dataset, drawn_images, load
from keras_det.data.shapes import CLASS_NAMES, draw_image
from keras_det.errors import DataError


def test_data_set_reads_back(tmp_path):
    root = draw_shapes_dataset(tmp_path / "shapes", 6, 2, image_size=64, seed=3)
    train, val = load(root, "train"), load(root, "val")
    assert (len(train), len(val)) == (6, 2)
    assert train.class_names == val.class_names == CLASS_NAMES
    assert not train.notes and all(len(sample.labels) for sample in train)
    for sample in train:
        assert sample.read().shape == (*sample.original_size, 3)
        assert max(sample.original_size) == 64
    assert len({sample.original_size for sample in train}) > 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["shapes"]


def test_same_seed_same_files(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        draw_shapes_dataset(tmp_path / name, 2, 1, image_size=32, seed=seed)
    read = lambda name: [p.read_bytes() for p in sorted((tmp_path / name).rglob("*.j*g"))]  # noqa: E731
    assert read("a") == read("b") != read("c")


def test_boxes_enclose_the_shapes():
    """Each shape has one colour; its pixels must fill its box to within a pixel."""
    for seed in range(20):
        image, boxes, labels, areas = draw_image((90, 120), np.random.default_rng(seed))
        assert image.shape == (90, 120, 3) and image.dtype == np.uint8
        for box, label, area in zip(boxes, labels, areas, strict=True):
            width, height = box[2:] - box[:2]
            # Circle pi/4, square 1, triangle 1/2 of the box.
            share = {0: np.pi / 4, 1: 1.0, 2: 0.5}[int(label)]
            assert abs(area / (width * height) - share) < 0.12
            x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
            color = image[int(y), int(x)]
            same = np.abs(image.astype(int) - color).max(axis=-1) <= 1
            inside = same[int(box[1]) : int(box[3]) + 1, int(box[0]) : int(box[2]) + 1]
            rows, cols = np.nonzero(inside)
            assert abs(np.ptp(cols) + 1 - width) < 3 and abs(np.ptp(rows) + 1 - height) < 5


def test_drawn_images():
    images = drawn_images(3, 40, seed=1)
    assert all(max(image.shape[:2]) == 40 for image in images)
    np.testing.assert_array_equal(images[2], drawn_images(3, 40, seed=1)[2])
    assert drawn_images(1, (20, 30))[0].shape == (20, 30, 3)


def test_folder_in_use_is_refused(tmp_path):
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(DataError, match="must be a new or empty folder. Received: .* which exists"):
        draw_shapes_dataset(tmp_path, 1, 1)


def test_number_size_and_seed_of_drawn_images():
    images = drawn_images(3, 50, seed=1)
    assert len(images) == 3 and {max(image.shape[:2]) for image in images} == {50}
    assert {image.shape for image in drawn_images(2, (20, 30))} == {(20, 30, 3)}
    first, same, other = (drawn_images(1, (20, 30), seed=seed)[0] for seed in (1, 1, 2))
    assert (first == same).all() and (first != other).any()
