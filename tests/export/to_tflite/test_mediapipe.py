"""TFLite files for MediaPipe: the operator beside Keras, the metadata, and MediaPipe itself."""

import io
import json
import tempfile
import warnings
import zipfile

import keras
import numpy as np
import pytest

from keras_det import CornerNet, export
from keras_det.backbones import Hourglass
from keras_det.data import drawn_images
from keras_det.data.resize import resize_image
from keras_det.decode import AnchorDecoder
from keras_det.errors import DataError
from keras_det.export.network.graph import save
from keras_det.export.tflite_file.float16 import with_float16_kernels
from keras_det.export.tflite_file.metadata import detector_metadata, with_metadata
from keras_det.export.tflite_file.operators import check_operators, operator_counts
from keras_det.export.tflite_file.outputs import hide_outputs
from keras_det.export.to_tflite.conversion import convert
from keras_det.export.to_tflite.decoders import OPERATOR, OperatorDecoder, make_decoder
from keras_det.runtime.detections import OPERATOR_OUTPUTS, as_detections
from tests.export.tflite_file.reading import metadata_of, thresholds_in
from tests.export.tiny import tiny

pytestmark = pytest.mark.slow
interpreter = pytest.importorskip("ai_edge_litert.interpreter")
HARD = {"method": "hard", "class_agnostic": True}
SIZE = (96, 128)


@pytest.fixture(scope="module")
def model():
    return tiny(image_size=SIZE, resize_mode="mediapipe")


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """A file with the operator and metadata, and its report."""
    return export_stretching(model, tmp_path_factory, "mediapipe")


@pytest.fixture(scope="module")
def exported_builtin(model, tmp_path_factory):
    """A file with soft-NMS and metadata, and its report."""
    return export_stretching(model, tmp_path_factory, "builtin")


def export_stretching(model, tmp_path_factory, postprocess):
    path = tmp_path_factory.mktemp(postprocess) / "tiny.tflite"
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        report = export.tflite(model, path, postprocess=postprocess, metadata="mediapipe")
    return path, report


def runner(content):
    loaded = interpreter.Interpreter(model_content=content)
    run = loaded.get_signature_runner("serving_default")
    run.keep = loaded
    return run


def run_operator(decoder, logits, deltas, anchors):
    """The decoder alone as a TFLite file, run on raw outputs."""
    import tensorflow as tf

    inputs = {"a": logits, "b": deltas}
    signature = [tf.TensorSpec(x.shape, tf.float32, name=name) for name, x in inputs.items()]

    @tf.function(input_signature=signature)
    def function(a, b):
        return decoder(a, b, anchors)

    with tempfile.TemporaryDirectory() as folder:
        save(tf.Module(), folder, {"serving_default": function})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.allow_custom_ops = True
        content = converter.convert()
    assert operator_counts(content)[OPERATOR] == 1
    return runner(content)(**inputs)


def logit(p):
    return np.log(p / (1 - p))


# Anchors of 10 x 20 pixels in an image of 40 x 80 (height x width), deltas 0 unless said:
# 0  x 10..20, y 10..30, class 1 at 0.9                  -> first
# 1  x 12..22: common 8 * 20, union 240, IoU 0.667, class 0 at 0.8: suppressed across classes
# 2  x 15..25: common 5 * 20 = 100, union 300, IoU 0.333 with 0, class 2 at 0.7 -> second
# 3  x 75..85 reaches out of the image: clipped to 75..80, class 0 at 0.6  -> third
# 4  x 90..100, all outside: no detection, class 1 at 0.95
# 5  x 40..50, class 1 at 0.5, which is the threshold: no detection
# 6  x 60..70, dw = 10, clamped at ln(62.5): 625 wide, clipped to 0..80; y 10..30, class 0 at 0.55:
#    of its 80 * 20 pixels the others overlap at most 200                -> fourth
LEFT = [10, 12, 15, 75, 90, 40, 60]
BEST = [(1, 0.9), (0, 0.8), (2, 0.7), (0, 0.6), (1, 0.95), (1, 0.5), (0, 0.55)]
EXPECTED = {
    "boxes": [[10, 10, 20, 30], [15, 10, 25, 30], [75, 10, 80, 30], [0, 10, 80, 30]],
    "labels": [1, 2, 0, 0],
    "scores": [0.9, 0.7, 0.6, 0.55],
}


def by_hand():
    anchors = np.float32([[x, 10, x + 10, 30] for x in LEFT])
    logits = np.full((1, len(LEFT), 3), -9, "float32")
    for i, (label, score) in enumerate(BEST):
        logits[0, i, label] = logit(score)
    deltas = np.zeros((1, len(LEFT), 4), "float32")
    deltas[0, 6, 2] = 10
    return logits, deltas, anchors


def test_operator_does_what_was_computed_by_hand():
    found = run_operator(OperatorDecoder((40, 80), 3, score_threshold=0.5), *by_hand())
    locations = np.float32(EXPECTED["boxes"])[:, [1, 0, 3, 2]] / np.float32([40, 80, 40, 80])
    np.testing.assert_allclose(found["locations"][0, :4], locations, atol=1e-6)
    assert found["num_detections"].tolist() == [4.0]
    assert found["classes"][0, :4].tolist() == EXPECTED["labels"]
    detections = as_detections(found, (40, 80))
    assert detections["num_detections"].tolist() == [4]
    for name, expected in EXPECTED.items():
        np.testing.assert_allclose(detections[name][0, :4], expected, atol=1e-4)
    assert detections["labels"].dtype == np.int32 and set(detections["labels"][0, 4:]) == {-1}
    assert not detections["boxes"][0, 4:].any() and not detections["scores"][0, 4:].any()


@pytest.mark.parametrize("thresholds", [(0.7, 0.001), (0.3, 0.001), (0.5, 0.5), (0.5, 0.0)])
def test_thresholds_are_those_of_detect(thresholds):
    settings = dict(zip(("iou_threshold", "score_threshold"), thresholds, strict=True))
    logits, deltas, anchors = by_hand()
    decoder = OperatorDecoder((40, 80), 3, **settings)
    found = as_detections(run_operator(decoder, logits, deltas, anchors), (40, 80))
    assert decoder.reference_settings() == {**decoder.reference_settings(), **settings, **HARD}
    reference = AnchorDecoder((40, 80), **decoder.reference_settings())(logits, deltas, anchors)
    for name, expected in reference.items():
        np.testing.assert_allclose(found[name], expected, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("end", ["exported", "exported_builtin"])
def test_file_agrees_with_detect(model, end, request):
    path, report = request.getfixturevalue(end)
    settings = HARD if end == "exported" else {}
    assert report.passed and report.comparison.matched_detections > 100
    assert report.comparison.box_error_max < 1e-3 and report.comparison.score_error_max < 1e-5
    assert report.decoding == {**report.decoding, **settings}
    assert report.signatures == {"serving_default": sorted(OPERATOR_OUTPUTS)}
    run, total = runner(path.read_bytes()), 0
    for image in drawn_images(3, (90, 170), seed=9):
        pixels, _ = resize_image(image, model.resize_policy, (0, 0, 0))
        found = run(images=pixels[None])
        reference = model.detect_function(**settings)(pixels[None])
        reference = {name: np.array(value) for name, value in reference.items()}
        for name, value in as_detections(found, SIZE).items():
            np.testing.assert_allclose(value, reference[name], atol=1e-3, err_msg=name)
        total += int(found["num_detections"][0])
    assert total > 100


@pytest.mark.parametrize("end", ["exported", "exported_builtin"])
def test_outputs_stand_in_the_order_of_the_operator(end, request):
    from tensorflow.lite.python import schema_py_generated as schema

    exported = request.getfixturevalue(end)
    graph = schema.Model.GetRootAsModel(exported[0].read_bytes(), 0).Subgraphs(0)
    tensors = [graph.Tensors(i) for i in graph.OutputsAsNumpy()]
    shapes = [tensor.ShapeAsNumpy().tolist() for tensor in tensors]
    assert shapes == [[1, 100, 4], [1, 100], [1, 100], [1]]
    details = runner(exported[0].read_bytes()).get_output_details()
    assert {d["index"]: name for name, d in details.items()} == dict(
        zip(map(int, graph.OutputsAsNumpy()), OPERATOR_OUTPUTS, strict=True)
    )
    assert all(detail["dtype"] == np.float32 for detail in details.values())


def test_other_thresholds_and_float16_are_checked_too(model, tmp_path):
    path = tmp_path / "half.tflite"
    settings = {"score_threshold": 0.2, "iou_threshold": 0.3}
    report = export.tflite(model, path, quantize="float16", postprocess="mediapipe", **settings)
    assert report.passed and report.comparison.matched_detections > 10
    written = json.loads(path.with_name("half.tflite.certificate.json").read_text())
    assert {name: written["decoding"][name] for name in settings} == settings
    found = runner(path.read_bytes())(images=drawn_images(1, SIZE, seed=1)[0][None])
    assert as_detections(found, SIZE)["scores"][0, 0] > 0.2
    assert not zipfile.is_zipfile(path), "no metadata unless asked for"


def test_another_file_than_the_models_is_found_out(model, tmp_path, monkeypatch):
    """Thresholds that the file does not hold must not pass."""
    monkeypatch.setattr(OperatorDecoder, "reference_settings", lambda self: {"method": "gaussian"})
    with pytest.raises(export.ExportError, match="only the (Keras model|export) finds label"):
        export.tflite(model, tmp_path / "x.tflite", postprocess="mediapipe")
    assert list(tmp_path.iterdir()) == []


def test_only_this_operator_is_admitted_and_only_where_asked_for(model):
    content = convert(model, make_decoder(model, "mediapipe"))
    assert check_operators(content, OPERATOR)[OPERATOR] == 1
    with pytest.raises(export.ExportError, match=f"only builtin operators. Received: {OPERATOR}"):
        check_operators(content)
    with pytest.raises(export.ExportError, match=f"only builtin operators. Received: {OPERATOR}"):
        check_operators(content, "AnotherOperator")
    with pytest.raises(
        export.ExportError, match="must contain the operator .* exactly once. Received: 0"
    ):
        check_operators(convert(model), OPERATOR)


def test_metadata_changes_no_bit_of_the_outputs(model):
    opened = with_float16_kernels(convert(model, make_decoder(model, "mediapipe")))
    content = hide_outputs(opened, model.output, OPERATOR_OUTPUTS)
    marked = with_metadata(content, name="tiny", class_names=model.class_names)
    assert operator_counts(marked) == operator_counts(content)
    # The metadata's buffer, the archive and what the flatbuffer pads.
    assert 0 < len(marked) - len(content) < 4000
    runs = [runner(each) for each in (content, marked)]
    for image in drawn_images(2, SIZE, seed=3):
        before, after = (run(images=image[None]) for run in runs)
        for name in OPERATOR_OUTPUTS:
            np.testing.assert_array_equal(after[name], before[name])
    assert marked == with_metadata(content, name="tiny", class_names=model.class_names)


def test_labels_are_an_uncompressed_archive_behind_the_file(exported):
    with zipfile.ZipFile(io.BytesIO(exported[0].read_bytes())) as archive:
        (entry,) = archive.infolist()
        assert entry.filename == "labels.txt" and entry.compress_type == zipfile.ZIP_STORED
        assert archive.read(entry).decode() == "cat\ndog\ncow\n"


def test_metadata_starts_as_mediapipe_expects(exported):
    found = metadata_of(exported[0].read_bytes())
    assert found == detector_metadata("tiny") and found[4:8] == b"M001"


def test_metadata_holds_the_lowest_threshold_of_the_classes(exported, model):
    assert thresholds_in(metadata_of(exported[0].read_bytes())) == {}
    more = {"name": "tiny", "class_names": model.class_names}
    content = exported[0].read_bytes()
    marked = with_metadata(convert(model), **more, score_thresholds=[0.5, 0.25, 0.75])
    assert thresholds_in(metadata_of(marked)) == {b"score": 0.25}
    assert metadata_of(content) == detector_metadata("tiny")


def test_metadata_in_the_words_of_mediapipes_schema(exported):
    schema = pytest.importorskip("mediapipe.tasks.metadata.metadata_schema_py_generated")
    content = metadata_of(exported[0].read_bytes())
    root = schema.ModelMetadata.GetRootAsModelMetadata(content, 0)
    model = schema.ModelMetadataT.InitFromObj(root)
    assert (model.name, model.minParserVersion) == (b"tiny", b"1.0.0")
    (graph,) = model.subgraphMetadata
    (image,) = graph.inputTensorMetadata
    assert image.content.contentProperties.colorSpace == schema.ColorSpaceType.RGB
    (unit,) = image.processUnits
    assert unit.optionsType == schema.ProcessUnitOptions.NormalizationOptions
    assert (unit.options.mean.tolist(), unit.options.std.tolist()) == ([0.0], [1.0])
    assert (image.stats.min.tolist(), image.stats.max.tolist()) == ([0.0], [255.0])
    names = [tensor.name for tensor in graph.outputTensorMetadata]
    assert names == [b"location", b"category", b"score", b"number of detections"]
    location, category, score, number = (each.content for each in graph.outputTensorMetadata)
    box = location.contentProperties
    assert isinstance(box, schema.BoundingBoxPropertiesT) and box.index.tolist() == [1, 0, 3, 2]
    assert box.type == schema.BoundingBoxType.BOUNDARIES
    assert box.coordinateType == schema.CoordinateType.RATIO
    for content in (category, score, number):
        assert isinstance(content.contentProperties, schema.FeaturePropertiesT)
    assert (location.range.min, location.range.max) == (2, 2) and number.range is None
    (labels,) = graph.outputTensorMetadata[1].associatedFiles
    assert labels.name == b"labels.txt"
    assert labels.type == schema.AssociatedFileType.TENSOR_VALUE_LABELS
    (group,) = graph.outputTensorGroups
    assert group.name == b"detection_result" and group.tensorNames == names[:3]


def test_letterboxed_model_warns(tmp_path):
    path = tmp_path / "x.tflite"
    arguments = {"postprocess": "mediapipe", "metadata": "mediapipe"}
    with pytest.warns(UserWarning, match='stretches images .*resize_mode="mediapipe"') as caught:
        report = export.tflite(tiny(image_size=(64, 64)), path, **arguments)
    assert caught[0].filename == __file__
    assert any('resize_mode="mediapipe"' in note for note in report.notes)
    assert 'resize_mode=\\"mediapipe\\"' in path.with_name("x.tflite.certificate.json").read_text()


def test_a_stretching_model_is_checked_as_mediapipe_resizes(model, tmp_path):
    stretching = model.with_changes(resize_mode="stretch")
    report = export.tflite(stretching, tmp_path / "x.tflite", metadata="mediapipe")
    assert report.preprocessing["resize_mode"] == "mediapipe"
    assert any("half-pixel" in note for note in report.notes)
    assert stretching.resize_policy["mode"] == "stretch"


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"metadata": "mediapipe", "postprocess": "none"}, "returns detections. Received: .*none"),
        (
            {"iou_threshold": 0.4, "postprocess": "none"},
            "`iou_threshold` is only used with .*Received: .*none",
        ),
        ({"postprocess": "mediapipe", "metadata": "mediapip"}, "Did you mean 'mediapipe'"),
        ({"postprocess": "mediapipe", "iou_threshold": 2.0}, "`iou_threshold` must"),
        ({"postprocess": "mediapipe", "score_threshold": -1.0}, "`score_threshold` must"),
    ],
)
def test_wrong_arguments(model, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        export.tflite(model, tmp_path / "x.tflite", **arguments)
    assert list(tmp_path.iterdir()) == []


def corner_net():
    """A CornerNet whose heat maps and embeddings vary, as trained ones do."""
    keras.utils.set_random_seed(0)
    backbone = Hourglass(2, (8, 12), (1, 1), 4)
    model = CornerNet(backbone, 2, image_size=(39, 47), resize_mode="mediapipe")
    for head in model.heads:
        for prediction in head.predictions:
            prediction.kernel.assign(prediction.kernel * 6.0)
    return model


def test_cornernet_has_no_boxes_for_the_operator(tmp_path):
    model = corner_net()
    with pytest.raises(DataError, match="needs a detector with anchors.*Received: CornerNet"):
        export.tflite(model, tmp_path / "x.tflite", postprocess="mediapipe")


def test_cornernet_with_metadata(tmp_path):
    model = corner_net()
    path = tmp_path / "x.tflite"
    report = export.tflite(model, path, metadata="mediapipe")
    assert report.comparison.matched_detections > 10
    with opened_by_mediapipe(model_asset_path=str(path)) as detector:
        images = drawn_images(2, model.image_size, seed=1)
        pairs, total = matched(model, detector, images, 2, 1e-4, {})
    assert pairs == total > 10


def opened_by_mediapipe(**where):
    python = pytest.importorskip("mediapipe.tasks.python")
    options = python.vision.ObjectDetectorOptions(base_options=python.BaseOptions(**where))
    return python.vision.ObjectDetector.create_from_options(options)


def found_by_mediapipe(detector, image, class_names):
    """MediaPipe's detections as `Detector.detect` gives them; its boxes are whole pixels."""
    import mediapipe

    pixels = np.ascontiguousarray(image)
    pixels = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)
    boxes, scores, labels = [], [], []
    for each in detector.detect(pixels).detections:
        box = each.bounding_box
        left, top = box.origin_x, box.origin_y
        for category in each.categories:  # several where boxes are equal
            boxes.append([left, top, left + box.width, top + box.height])
            scores.append(category.score)
            labels.append(class_names.index(category.category_name))
    return np.reshape(np.float32(boxes), (-1, 4)), np.array(scores), np.array(labels)


def matched(model, detector, images, box_tolerance, score_tolerance, settings):
    """How many detections above 0.05 of the model MediaPipe finds, and how many there are."""
    pairs = total = 0
    for image in images:
        boxes, scores, labels = found_by_mediapipe(detector, image, model.class_names)
        reference = model.detect(image, score_threshold=0.05, **settings)
        for i in range(reference["num_detections"]):
            near = np.abs(boxes - reference["boxes"][i]).max(axis=-1) <= box_tolerance
            near &= np.abs(scores - reference["scores"][i]) <= score_tolerance
            pairs += bool((near & (labels == reference["labels"][i])).any())
        total += reference["num_detections"]
    return pairs, total


@pytest.mark.parametrize("end", ["exported", "exported_builtin"])
def test_mediapipe_finds_the_same(model, end, request):
    path, settings = request.getfixturevalue(end)[0], HARD if end == "exported" else {}
    with opened_by_mediapipe(model_asset_path=str(path)) as detector:
        images = drawn_images(4, SIZE, seed=4)
        pairs, total = matched(model, detector, images, 2, 1e-5, settings)
        assert pairs == total > 50
        images = [
            image
            for size in ((90, 170), (300, 260), (150, 80), (480, 640))
            for image in drawn_images(4, size, seed=4)
        ]
        pairs, total = matched(model, detector, images, 2, 0.02, settings)
        assert pairs >= 0.95 * total and total > 150, f"{pairs} of {total}"


def test_mediapipe_stretches_from_the_corner(model, exported):
    """Output pixel i of MediaPipe's image is input pixel `i * scale`, not `(i + 0.5) * scale`."""
    (image,) = drawn_images(1, (5 * SIZE[0], 5 * SIZE[1]), seed=4)
    with opened_by_mediapipe(model_asset_path=str(exported[0])) as detector:
        boxes, scores, labels = found_by_mediapipe(detector, image, model.class_names)
    reference = model.detect(image[::5, ::5], **HARD)
    np.testing.assert_allclose(scores, reference["scores"], atol=1e-5)
    np.testing.assert_allclose(boxes, reference["boxes"] * 5, atol=2)
    np.testing.assert_array_equal(labels, reference["labels"])


def test_mediapipe_refuses_integer_labels(model):
    """Which is why `metadata` changes the outputs of the builtin end."""
    pytest.importorskip("mediapipe")
    content = convert(model, make_decoder(model, "builtin"))
    order = ("boxes", "labels", "scores", "num_detections")
    content = hide_outputs(content, model.output, order)
    content = with_metadata(content, name="tiny", class_names=model.class_names)
    with pytest.raises(ValueError, match="UINT8 or FLOAT32, found INT32"):
        opened_by_mediapipe(model_asset_buffer=content)
