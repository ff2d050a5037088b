"""ONNX files: run by ONNX Runtime beside the Keras model; hard NMS inside, any batch."""

import dataclasses
import json
import sys

import keras
import numpy as np
import pytest

from keras_det import CornerNet, export
from keras_det.backbones import Hourglass
from keras_det.data import drawn_images
from keras_det.errors import DataError
from keras_det.export.to_onnx.conversion import convert
from keras_det.export.to_onnx.suppression import append_suppression
from tests.export.test_retinanet import detector
from tests.export.tiny import tiny

pytestmark = pytest.mark.slow
onnx = pytest.importorskip("onnx", reason="the extra `onnx` is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
pytest.importorskip("tf2onnx", reason="the extra `onnx` is not installed")


def run(content, **inputs):
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A letterboxing model, its file and the report."""
    model = tiny(image_size=(96, 128))
    path = tmp_path_factory.mktemp("anywhere") / "new" / "tiny.onnx"
    return model, path, export.onnx(model, path)


def test_detections_are_those_of_hard_nms(exported):
    model, path, report = exported
    assert report.passed and report.comparison.matched_detections > 50
    assert report.comparison.box_error_max < 1e-3 and report.comparison.score_error_max < 1e-5
    # Three images at once, without the code of the check: images of the network's size.
    images = np.stack(drawn_images(3, (96, 128), seed=4))
    found = run(str(path), images=images)
    reference = model.detect_function(method="hard")(images)
    assert {k: v.shape for k, v in found.items()} == {
        k: tuple(v.shape) for k, v in reference.items()
    }
    for name, value in reference.items():
        assert found[name].dtype == np.asarray(value).dtype
        np.testing.assert_allclose(found[name], value, atol=1e-4)
    assert (found["num_detections"] > 10).all()


def test_soft_nms_would_be_seen(exported):
    model, path, _ = exported
    images = np.stack(drawn_images(2, (96, 128), seed=4))
    reference = model.detect_function()(images)
    assert np.abs(run(str(path), images=images)["scores"] - reference["scores"]).max() > 0.05


def test_file_describes_itself(exported):
    model, path, _ = exported
    session = onnxruntime.InferenceSession(str(path))
    properties = session.get_modelmeta().custom_metadata_map
    content = {name: json.loads(value) for name, value in properties.items()}
    assert content["class_names"] == ["cat", "dog", "cow"]
    assert content["preprocessing"]["image_size"] == [96, 128]
    assert content["preprocessing"]["resize_mode"] == "letterbox"
    assert content["preprocessing"]["fill_color"] == [120, 115, 100]
    assert content["decoding"]["method"] == "hard"
    (images,) = session.get_inputs()
    assert (images.name, images.type) == ("images", "tensor(uint8)")
    assert images.shape == ["batch", 96, 128, 3]
    shapes = {output.name: (output.type, output.shape) for output in session.get_outputs()}
    assert shapes == {
        "boxes": ("tensor(float)", ["batch", 100, 4]),
        "scores": ("tensor(float)", ["batch", 100]),
        "labels": ("tensor(int32)", ["batch", 100]),
        "num_detections": ("tensor(int32)", ["batch"]),
    }


def test_files_beside_the_artefact(exported):
    _, path, report = exported
    names = ["tiny.onnx", "tiny.onnx.certificate.json", "tiny.onnx.labels.txt"]
    assert sorted(p.name for p in path.parent.iterdir()) == names
    assert path.with_name(names[2]).read_text() == "cat\ndog\ncow\n"
    content = json.loads(path.with_name(names[1]).read_text())
    assert content["format"] == "onnx" and content["sha256"] == report.sha256
    assert content["versions"]["interpreter"].startswith("onnxruntime")


def test_nothing_is_computed_twice(exported):
    model = exported[0]
    graph = convert(model).graph
    counts = {}
    for node in graph.node:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    # The backbone's 5, 8 nodes of 2 kernels, 2 heads * 5 levels * (1 hidden + 1 prediction) of 2.
    assert counts["Conv"] == 5 + 8 * 2 + 20 * 2
    # Weights of nodes as in `test_tflite`; pixels only lose their mean.
    assert counts["Mul"] == 4 * 2 + 3 * 3 + 2 and counts["Sub"] == 1
    assert not {"BatchNormalization", "Div", "Tile", "Loop"} & set(counts)
    assert [node.op_type for node in graph.node][:3] == ["Transpose", "Cast", "Sub"]
    # One for the pixels, one per level and head, two around each of 2 odd enlargements (P7, P6).
    assert counts["Transpose"] <= 1 + 10 + 4
    modes = [
        onnx.helper.get_node_attr_value(node, "coordinate_transformation_mode")
        for node in graph.node
        if node.op_type == "Resize"
    ]
    assert modes == [b"asymmetric"] * 3


def test_raw_outputs_and_another_size(tmp_path):
    model = tiny(image_size=(96, 128), resize_mode="stretch", dtype="mixed_float16")
    path = tmp_path / "raw.onnx"
    report = export.onnx(model, path, postprocess="none", image_size=(64, 100))
    assert report.passed and report.comparison.matched_detections > 0 and report.decoding == {}
    assert any("mixed_float16" in note for note in report.notes)
    smaller = model.with_changes(dtype="float32", image_size=(64, 100))
    pixels = np.stack(drawn_images(2, (64, 100), seed=2))
    found, reference = run(str(path), images=pixels), smaller(pixels)
    assert set(found) == {"class_logits", "box_deltas"}
    for name, value in found.items():
        np.testing.assert_allclose(value, reference[name], atol=1e-4)


@pytest.mark.parametrize("neck", ["fpn", "pafpn"])
def test_retinanet_agrees(tmp_path, neck):
    report = export.onnx(detector(neck=neck), tmp_path / "model.onnx")
    assert report.passed and report.comparison.matched_detections > 0, str(report)


def test_cornernet_agrees(tmp_path):
    keras.utils.set_random_seed(0)
    model = CornerNet(Hourglass(2, (8, 12), (1, 1), 4), 2, image_size=(40, 47))
    for head in model.heads:
        for prediction in head.predictions:
            prediction.kernel.assign(prediction.kernel * 6.0)
    report = export.onnx(model, tmp_path / "model.onnx", images=drawn_images(4, size=80, seed=1))
    assert report.passed and report.comparison.matched_detections > 10, str(report)


def suppression(decoder, batch):
    """A file that is only the appended end, run on candidates `(batch, 4)` of one number type."""
    helper, kinds = onnx.helper, onnx.TensorProto
    values = {
        name: helper.make_tensor_value_info(f"candidate_{name}", kind, ["batch", 4, *tail])
        for name, kind, tail in (
            ("tiles", kinds.FLOAT, [4]),
            ("boxes", kinds.FLOAT, [4]),
            ("scores", kinds.FLOAT, []),
            ("labels", kinds.INT32, []),
        )
    }
    graph = helper.make_graph([], "end", list(values.values()), list(values.values()))
    append_suppression(onnx, graph, decoder)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    proto.ir_version = 8
    return run(proto.SerializeToString(), **{f"candidate_{k}": v for k, v in batch.items()})


def test_suppression_by_hand():
    decoder = tiny().decoder(exported=True, method="hard", max_detections=3)
    # Two boxes that overlap by 8/12 > 0.5, one by 6/14 < 0.5 with the first, one far away.
    boxes = np.float32([[0, 0, 10, 10], [2, 0, 12, 10], [4, 0, 14, 10], [50, 0, 60, 10]])
    rows = np.float32([[0.9, 0.8, 0.7, 0.6], [0, 0, 0, 0], [0.2, 0.3, 0, 0.001]])
    labels = np.int32([[0, 1, 2, 0], [0, 0, 0, 0], [1, 2, 1, 0]])
    batch = {"tiles": np.stack([boxes] * 3), "scores": rows, "labels": labels}
    found = suppression(decoder, {**batch, "boxes": np.stack([boxes + 100] * 3)})
    # Image 0: the second falls to the first. Image 1: nothing. Image 2: the second one first; it
    # suppresses the first; 0.001 does not exceed 0.001.
    assert found["num_detections"].tolist() == [3, 0, 1]
    expected = np.float32([[0.9, 0.7, 0.6], [0, 0, 0], [0.3, 0, 0]])
    np.testing.assert_array_equal(found["scores"], expected)
    assert found["labels"].tolist() == [[0, 2, 0], [-1, -1, -1], [2, -1, -1]]
    np.testing.assert_array_equal(found["boxes"][0], boxes[[0, 2, 3]] + 100)
    np.testing.assert_array_equal(found["boxes"][2, 0], boxes[1] + 100)
    assert not found["boxes"][1].any() and not found["boxes"][2, 1:].any()


def test_a_wrong_file_is_not_kept(exported, tmp_path, monkeypatch):
    model = exported[0]

    def swapped(*arguments):
        proto = convert(*arguments)
        # The class head's prediction: 9 anchors of 3 classes.
        tensor = next(t for t in proto.graph.initializer if len(t.dims) == 4 and t.dims[0] == 27)
        values = onnx.numpy_helper.to_array(tensor)[::-1]
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.copy(), tensor.name))
        return proto

    monkeypatch.setattr("keras_det.export.to_onnx.onnx.convert", swapped)
    with pytest.raises(export.ExportError, match="`class_logits` differs by"):
        export.onnx(model, tmp_path / "wrong.onnx")
    assert list(tmp_path.iterdir()) == []


def test_the_budget_decides(exported, tmp_path):
    narrow = dataclasses.replace(export.BUDGETS["float32"], raw=1e-12, raw_largest=1e-12)
    narrow = dataclasses.replace(narrow, rounding=0.0)
    with pytest.raises(export.ExportError, match="standard deviations.*Nothing was kept"):
        export.onnx(exported[0], tmp_path / "x.onnx", budget=narrow)
    assert list(tmp_path.iterdir()) == []


def test_wrong_arguments(exported, tmp_path):
    model, path, _ = exported
    with pytest.raises(ValueError, match="`postprocess` must be one of nms, none. Received: 'nm'"):
        export.onnx(model, tmp_path / "x.onnx", postprocess="nm")
    with pytest.raises(DataError, match="must not exist yet"):
        export.onnx(model, path)
    assert list(tmp_path.iterdir()) == []


def test_missing_package_is_named(exported, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(DataError, match=r"pip install -e \".*\[onnx\]\""):
        export.onnx(exported[0], tmp_path / "x.onnx")
