"""Warm-up requests: what the file holds, that they run, and what happens without the package."""

import shutil
import sys

import numpy as np
import pytest

from keras_det import export
from keras_det.errors import DataError
from keras_det.export.to_saved_model import saved_model, warmup
from keras_det.files import tree_digest
from tests.export.conftest import WARMUP
from tests.export.tiny import tiny

pytestmark = pytest.mark.slow
FILE = "assets.extra/tf_serving_warmup_requests"


@pytest.fixture(scope="module")
def folder(exported):
    pytest.importorskip("tensorflow_serving", reason="needs the extra `serving`")
    return exported[1]


def test_requests_cover_every_signature_and_both_batch_sizes(folder):
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    found = {}
    # Read here with the package's own classes, not with ours.
    for record in tf.data.TFRecordDataset(str(folder / FILE)).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        ((name, value),) = request.inputs.items()
        found.setdefault(request.model_spec.signature_name, []).append((name, value))
    assert set(found) == {"serving_default", "images", "raw"}
    for signature, inputs in found.items():
        arrays = [tf.make_ndarray(value) for _, value in inputs]
        assert [len(array) for array in arrays] == [1, WARMUP]
        if signature == "serving_default":
            assert {name for name, _ in inputs} == {"image_bytes"}
            assert tf.io.decode_jpeg(arrays[1][WARMUP - 1]).shape[-1] == 3
        else:
            assert {name for name, _ in inputs} == {"images"}
            assert arrays[0].dtype == np.uint8 and arrays[0].shape == (1, 96, 128, 3)
            assert arrays[1].min() == arrays[1].max() == warmup.GREY
    assert (folder / FILE).stat().st_size < 100_000, "pixels are stored once, not each"


def test_requests_replay_on_the_loaded_model(folder):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    for name, inputs in warmup.read_warmup(folder):
        (size,) = {len(value) for value in inputs.values()}
        outputs = loaded.signatures[name](**{k: tf.constant(v) for k, v in inputs.items()})
        assert {len(value) for value in outputs.values()} == {size}
        if name == "serving_default":
            assert outputs["valid"].numpy().all() and outputs["num_detections"].numpy().all()


def test_export_fails_where_a_request_fails(exported, folder, tmp_path, monkeypatch):
    import tensorflow as tf

    def write(model, target, largest):
        shutil.copytree(folder, target)
        warmup.write_warmup(model, target, largest)

    def wrong(model, size):
        return {"raw": {"images": tf.make_tensor_proto(1, tf.uint8, (size, 200, 200, 3))}}

    monkeypatch.setattr(saved_model, "write", write)
    monkeypatch.setattr(warmup, "_inputs", wrong)
    with pytest.raises(tf.errors.InvalidArgumentError):
        export.saved_model(exported[0], tmp_path / "1", warmup=1)
    assert list(tmp_path.iterdir()) == []


def test_certificate_covers_the_requests(exported, folder):
    _, _, report = exported
    assert report.settings == {"signatures": 1, "warmup": WARMUP}
    assert report.sha256 == tree_digest(folder)
    content = (folder / FILE).read_bytes()
    try:
        (folder / FILE).write_bytes(content[:-1])
        assert tree_digest(folder) != report.sha256
    finally:
        (folder / FILE).write_bytes(content)


def test_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_serving", None)
    with pytest.raises(DataError, match=r"tensorflow-serving-api.*pip install .*\[serving\]"):
        export.saved_model(tiny(), tmp_path / "1", warmup=8)
    assert list(tmp_path.iterdir()) == []
    assert warmup.check_warmup(0) == 0


@pytest.mark.parametrize("value", [-1, True, 2.0, None, "8"])
def test_wrong_batch_sizes(value):
    with pytest.raises(ValueError, match="`warmup` must be the largest batch size.*Received"):
        warmup.check_warmup(value)
