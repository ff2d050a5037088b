"""Reading TensorFlow 2 checkpoints by their objects."""

import numpy as np
import pytest

from keras_det.errors import DataError
from keras_det.weights.common.object_checkpoint import ROOT, ObjectCheckpoint

tf = pytest.importorskip("tensorflow")


def saved(folder):
    """Object `net` holds one variable under two names, the second as Keras numbers all layers."""
    net, inner = tf.Module(), tf.Module()
    inner.kernel = tf.Variable([1.0, 2.0])
    setattr(net, "layer-3", inner)
    net.first = inner
    net.bias = tf.Variable(5.0)
    return tf.train.Checkpoint(net=net).save(f"{folder}/ckpt")


def test_variables_are_named_by_the_attributes_that_hold_them(tmp_path):
    checkpoint = ObjectCheckpoint(saved(tmp_path))
    keys = dict(checkpoint.variables(checkpoint.child(ROOT, "net"), "net"))
    assert sorted(keys) == ["net/bias", "net/first/kernel"]
    np.testing.assert_array_equal(checkpoint.value(keys["net/first/kernel"]), [1.0, 2.0])
    assert checkpoint.child(ROOT, "absent") is None
    assert set(keys.values()) <= set(checkpoint.keys)
    assert not any("OBJECT_GRAPH" in key for key in checkpoint.keys)


def test_a_folder_means_its_newest_checkpoint(tmp_path):
    first = saved(tmp_path)
    assert "net" in ObjectCheckpoint(tmp_path).children(ROOT)
    (tmp_path / "checkpoint").unlink()  # unpacked from an archive: only one .index says which
    assert "net" in ObjectCheckpoint(tmp_path).children(ROOT)
    assert "net" in ObjectCheckpoint(f"{first}.index").children(ROOT)


def test_a_folder_names_no_checkpoint_elsewhere(tmp_path):
    (tmp_path / "inside").mkdir()
    for place in (saved(tmp_path / "outside"), "../outside/ckpt-1"):
        (tmp_path / "inside" / "checkpoint").write_text(f'model_checkpoint_path: "{place}"\n')
        with pytest.raises(DataError, match=r"in this folder.*inside, where it names .*outside/ck"):
            ObjectCheckpoint(tmp_path / "inside")


def test_a_missing_checkpoint_says_how_to_name_it(tmp_path):
    with pytest.raises(DataError, match=r"named by its prefix.*Received: .*absent"):
        ObjectCheckpoint(tmp_path / "absent")


def test_a_checkpoint_without_objects_is_refused(tmp_path):
    prefix = str(tmp_path / "old")
    tf.raw_ops.SaveV2(
        prefix=prefix, tensor_names=["a"], shape_and_slices=[""], tensors=[tf.constant(1.0)]
    )
    with pytest.raises(DataError, match=r"one of TensorFlow 2.*without a description"):
        ObjectCheckpoint(prefix)
