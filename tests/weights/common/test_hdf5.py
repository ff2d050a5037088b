"""The importers of public HDF5 files refuse those that read other files."""

import h5py
import numpy as np
import pytest
from h5py import h5pl

from keras_det.errors import DataError
from keras_det.weights.backbones.any_file import holds_backbone
from keras_det.weights.backbones.keras_applications import _file_values
from keras_det.weights.common import hdf5
from keras_det.weights.common.hdf5 import check_hdf5, open_hdf5, without_plugins
from keras_det.weights.efficientdet.files import _open_h5


@pytest.fixture
def hostile(tmp_path):
    """A file whose only data set lies in another file, which holds a secret."""
    (tmp_path / "secret").write_bytes(np.full(4, 7.0, "<f4").tobytes())
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        place = [(str(tmp_path / "secret"), 0, 16)]
        file.create_dataset("stem_conv/stem_conv/kernel:0", (4,), "f4", external=place)
    with h5py.File(path) as file:
        assert file["stem_conv/stem_conv/kernel:0"][0] == 7, "the attack itself does not work"
    return path


@pytest.mark.parametrize("read", [_file_values, check_hdf5, lambda path: _open_h5(str(path))])
def test_importers_read_no_other_file(read, hostile):
    with pytest.raises(
        DataError, match=r"all its data itself.*weights\.h5, with a data set in another"
    ):
        read(hostile)
    assert not holds_backbone(hostile)


def test_a_link_to_a_group_of_the_file_itself_is_read_once(tmp_path):
    with h5py.File(tmp_path / "ring.h5", "w") as file:
        file["a/b"] = np.zeros(3)
        file["a/ring"] = file["a"]  # a hard link
    check_hdf5(tmp_path / "ring.h5")


def test_objects_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5, "MAX_OBJECTS", 5)
    with h5py.File(tmp_path / "many.h5", "w") as file:
        for i in range(7):
            file.create_group(f"{i}")
    with pytest.raises(DataError, match="with more than 5 objects"):
        check_hdf5(tmp_path / "many.h5")


def test_filters_are_looked_for_nowhere():
    before = [h5pl.get(i) for i in range(h5pl.size())]
    h5pl.append(b"/tmp/plugins")
    try:
        with without_plugins():
            assert h5pl.size() == 0
        assert [h5pl.get(i) for i in range(h5pl.size())] == [*before, b"/tmp/plugins"]
    finally:
        h5pl.remove(h5pl.size() - 1)


@pytest.mark.parametrize("damage", ["cut", "bits", "text"])
def test_damage_is_a_sentence(damage, tmp_path):
    path, random = tmp_path / "weights.h5", np.random.RandomState(0)
    with h5py.File(path, "w") as file:
        for i in range(20):
            file[f"layer{i}/kernel:0"] = np.zeros((3, 3))
    content = path.read_bytes()
    for _ in range(40):
        changed = bytearray(content)
        if damage == "cut":
            del changed[random.randint(len(content)) :]
        elif damage == "bits":
            for place in random.randint(0, len(content), 20):
                changed[place] = random.randint(256)
        else:
            changed = bytearray(b"no HDF5")
        path.write_bytes(changed)
        try:
            with open_hdf5(path) as file:
                file.visititems(lambda name, item: None)
        except (DataError, *hdf5.DAMAGE):
            pass
        try:
            check_hdf5(path)
        except DataError as error:
            assert "Received: " in str(error) and str(path) in str(error)
