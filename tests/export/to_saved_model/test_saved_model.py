"""The SavedModel: in this process, in one without keras_det, and on rows that are no images."""

import io
import json
import os
import shutil
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
from PIL import Image, ImageOps

from keras_det import export
from keras_det.data import drawn_images, read_image
from keras_det.errors import DataError
from keras_det.export.to_saved_model import saved_model
from keras_det.export.to_saved_model.rows import decode_image, decode_transparent_image, upright
from keras_det.export.to_saved_model.saved_model import SIGNATURES_VERSION
from tests.data.huge_files import hollow_jpeg, plain_png
from tests.export.tiny import tiny
from tests.export.to_saved_model.pictures import encoded, with_transparency

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def signatures(exported):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(exported[1]))
    # The functions die with the object they came from.
    yield loaded.signatures
    del loaded


def expected(model, image):
    """What the Keras model finds, in pixels of the image."""
    found = model.detect(encoded(image))
    return {name: found[name] for name in ("boxes", "scores", "labels")}


def assert_row(outputs, row, reference):
    count = int(outputs["num_detections"][row])
    assert count == len(reference["scores"]) > 0
    for name, tolerance in (("boxes", 1e-3), ("scores", 1e-5), ("labels", 0)):
        value = outputs[name][row].numpy()
        np.testing.assert_allclose(value[:count], reference[name], atol=tolerance)
    np.testing.assert_array_equal(outputs["labels"][row, count:], -1)


def test_report_says_what_was_checked(exported):
    model, path, report = exported
    found = report.comparison
    assert report.passed and found.num_images == 8 and report.image_source == "synthetic"
    assert found.matched_detections == found.total_detections > 50
    assert found.box_error_max < 0.01 and found.score_error_max < 1e-5
    assert max(found.raw_error_max.values()) < 1e-4
    text = str(report)
    assert "passed: raw outputs and detections agree" in text
    assert "images: 8 synthetic" in text and "checked on synthetic images" in text
    content = json.loads(path.with_name("1.certificate.json").read_text())
    assert content["passed"] and content["sha256"] == report.sha256
    assert content["class_names"] == model.class_names
    assert content["preprocessing"]["resize_mode"] == "letterbox"
    assert content["preprocessing"]["fill_color"] == [120, 115, 100]
    assert content["decoding"]["method"] == "gaussian"
    assert content["settings"]["signatures"] == SIGNATURES_VERSION == 1
    assert json.loads((path / "assets.extra" / "signatures.json").read_text()) == {"signatures": 1}
    assert set(content["versions"]) == {"keras_det", "keras", "tensorflow", "python"}
    assert content["size_bytes"] == sum(
        file.stat().st_size for file in path.rglob("*") if file.is_file()
    )


def test_nothing_but_the_artefact_is_left(exported):
    _, path, _ = exported
    assert sorted(p.name for p in path.parent.iterdir()) == ["1", "1.certificate.json"]
    assert (path / "assets" / "labels.txt").read_text() == "cat\ndog\ncow\n"
    assert oct(path.stat().st_mode & 0o777) != "0o700", "the server could not read it"


def test_mixed_sizes_and_formats_in_one_batch(exported, signatures):
    model = exported[0]
    tall, wide = drawn_images(2, 200, seed=3)
    wide = np.ascontiguousarray(wide.transpose(1, 0, 2))
    rows = [encoded(tall), encoded(wide, "bmp"), encoded(tall, "jpeg"), encoded(wide, "gif")]
    outputs = signatures["serving_default"](image_bytes=np.array(rows, object))
    assert outputs["valid"].numpy().all()
    assert_row(outputs, 0, expected(model, tall))
    assert_row(outputs, 1, expected(model, wide))
    for row in (2, 3):  # the readers agree on lossy formats too
        decoded = np.array(Image.open(io.BytesIO(rows[row])).convert("RGB"))
        assert_row(outputs, row, expected(model, decoded))


# 8,000x12,000 pixels: 96 million, of 98 kB. The frame of the JPEG says 13,000x13,000.
def test_rows_of_too_many_pixels_are_not_decoded(signatures):
    good = encoded(drawn_images(1, 200, seed=3)[0])
    rows = [plain_png(8_000, 12_000), hollow_jpeg(13_000, 13_000), good]
    outputs = signatures["serving_default"](image_bytes=np.array(rows, object))
    assert outputs["valid"].numpy().tolist() == [False, False, True]
    assert outputs["num_detections"].numpy()[:2].tolist() == [0, 0]


def test_the_limit_of_pixels_is_a_setting(tmp_path):
    import tensorflow as tf

    saved_model.write(tiny(), tmp_path / "served", 0, max_pixels=40 * 50)
    rows = [encoded(np.zeros((height, 50, 3), np.uint8)) for height in (40, 41)]
    loaded = tf.saved_model.load(str(tmp_path / "served"))
    outputs = loaded.signatures["serving_default"](image_bytes=np.array(rows, object))
    assert outputs["valid"].numpy().tolist() == [True, False]
    with pytest.raises(ValueError, match="`max_pixels` must be at least 1"):
        export.saved_model(tiny(), tmp_path / "other", max_pixels=0)


def test_webp_rows_equal_pillow(exported, signatures):
    model = exported[0]
    tall, wide = drawn_images(2, 150, seed=7)
    tall = np.ascontiguousarray(tall[:, :80])
    clear = with_transparency(wide)
    animation = {"save_all": True, "append_images": [Image.fromarray(255 - clear)]}
    rows = [
        encoded(tall, "webp", lossless=True),
        encoded(wide, "webp", quality=80),
        encoded(clear, "webp", lossless=True, exact=True),
        encoded(clear, "webp", lossless=True, exact=True, **animation),
        encoded(tall, "jpeg"),
    ]
    outputs = signatures["serving_default"](image_bytes=np.array(rows, object))
    assert outputs["valid"].numpy().all()
    for row, content in enumerate(rows):
        assert_row(outputs, row, expected(model, read_image(content)))
    assert_row(outputs, 0, expected(model, tall))
    assert_row(outputs, 2, expected(model, wide))


def test_opaque_webp_animation_is_refused_and_harms_nothing(exported, signatures):
    # TensorFlow 2.21.0 writes past its buffer when asked for as many channels as there are.
    image = drawn_images(1, 150, seed=7)[0]
    others = [Image.fromarray(255 - image)]
    animation = encoded(image, "webp", lossless=True, save_all=True, append_images=others)
    rows = [animation, encoded(image), animation[:60], encoded(image, "webp", lossless=True)[:-9]]
    outputs = signatures["serving_default"](image_bytes=np.array(rows, object))
    assert outputs["valid"].numpy().tolist() == [False, True, False, False]
    assert outputs["num_detections"].numpy()[[0, 2, 3]].tolist() == [0, 0, 0]
    assert_row(outputs, 1, expected(exported[0], image))


@pytest.mark.parametrize(
    "kind, options, transparent",
    [
        ("png", {}, False),
        ("png", {}, True),
        ("bmp", {}, False),
        ("webp", {"lossless": True}, False),
        ("webp", {"quality": 70}, False),
        ("webp", {"lossless": True}, True),
        ("webp", {"quality": 70}, True),
        ("jpeg", {}, False),
    ],
)
def test_decoders_give_the_pixels_of_pillow(kind, options, transparent):
    image = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)
    content = encoded(with_transparency(image) if transparent else image, kind, **options)
    decode = decode_transparent_image if transparent else decode_image
    pixels = np.array(Image.open(io.BytesIO(content)).convert("RGB"))
    np.testing.assert_array_equal(decode(content).numpy(), pixels)
    if kind == "webp" and options == {"lossless": True} and not transparent:
        np.testing.assert_array_equal(pixels, image)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_rows_are_upright_as_pillow_turns_them(kind, orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    contents = encoded(drawn_images(1, 40, seed=1)[0][:30], kind, exif=tags)
    pixels = upright(contents, decode_image)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(contents)).convert("RGB"))
    np.testing.assert_array_equal(pixels, expected)
    np.testing.assert_array_equal(pixels, read_image(contents))


def test_rows_are_upright_in_the_served_model(exported, signatures):
    tags = Image.Exif()
    tags[0x0112] = 6
    contents = encoded(drawn_images(1, 60, seed=1)[0][:40], "JPEG", exif=tags)
    rows = [contents, contents[:-2]]
    outputs = signatures["serving_default"](image_bytes=np.array(rows, object))
    assert outputs["valid"].numpy().tolist() == [True, True]
    for row in range(2):
        assert_row(outputs, row, expected(exported[0], read_image(contents)))


def test_rubbish_and_truncated_rows_leave_the_others_alone(exported, signatures):
    model = exported[0]
    image = drawn_images(1, 150, seed=4)[0]
    jpeg = encoded(image, "jpeg")
    rows = [encoded(image), b"no image at all", jpeg[: len(jpeg) // 2], b"", encoded(image)]
    outputs = signatures["serving_default"](image_bytes=np.array(rows, object))
    np.testing.assert_array_equal(outputs["valid"], [True, False, False, False, True])
    np.testing.assert_array_equal(outputs["num_detections"][1:4], [0, 0, 0])
    for name, empty in (("boxes", 0), ("scores", 0), ("labels", -1)):
        np.testing.assert_array_equal(outputs[name][1:4], np.full_like(outputs[name][1:4], empty))
    for row in (0, 4):
        assert_row(outputs, row, expected(model, image))


def test_images_signature_takes_any_batch_and_size(exported, signatures):
    model = exported[0]
    for size, count in (((70, 150), 3), ((96, 128), 1)):
        images = np.stack(drawn_images(count, size, seed=5))
        outputs = signatures["images"](images=images)
        for row, image in enumerate(images):
            assert_row(outputs, row, expected(model, image))


def test_boxes_are_clipped_to_the_original_image(signatures):
    image = drawn_images(1, (40, 160), seed=6)[0]  # letterboxed: over half of the input is padding
    boxes = signatures["images"](images=image[None])["boxes"].numpy()
    assert boxes[..., [0, 2]].max() <= 160 and boxes[..., [1, 3]].max() <= 40 and boxes.min() >= 0


def test_runs_where_keras_det_cannot_be_imported(exported, tmp_path):
    _, path, _ = exported
    moved = tmp_path / "elsewhere" / "7"
    moved.parent.mkdir()
    shutil.copytree(path, moved)
    image = drawn_images(1, 150, seed=4)[0]
    (tmp_path / "a.png").write_bytes(encoded(image))
    np.save(tmp_path / "a.npy", image)
    program = """
        import sys
        sys.modules["keras_det"] = None
        sys.modules["keras"] = None
        import numpy as np, tensorflow as tf
        try:
            import keras_det
        except ImportError:
            pass
        else:
            raise SystemExit("keras_det can be imported")
        folder, png, npy = sys.argv[1:]
        loaded = tf.saved_model.load(folder)
        good = open(png, "rb").read()
        rows = tf.constant([good, b"rubbish", good[:500], good])
        served = loaded.signatures["serving_default"](image_bytes=rows)
        image = np.load(npy)[None]
        direct = loaded.signatures["images"](images=tf.constant(image))
        raw = loaded.signatures["raw"](images=tf.zeros((2, 96, 128, 3), tf.uint8))
        assert served["valid"].numpy().tolist() == [True, False, False, True]
        assert served["num_detections"].numpy()[[1, 2]].tolist() == [0, 0]
        assert direct["num_detections"].numpy()[0] > 0
        assert np.allclose(served["boxes"][3], direct["boxes"][0], atol=1e-4)
        assert sorted(raw) == ["box_deltas", "class_logits"], sorted(raw)
        labels = loaded.labels.asset_path.numpy().decode()
        assert labels.startswith(folder) and open(labels).read().split() == ["cat", "dog", "cow"]
        print("scores", *served["scores"].numpy()[0, :3])
    """
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(moved)]
        + [str(tmp_path / "a.png"), str(tmp_path / "a.npy")],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    scores = [float(word) for word in done.stdout.split()[1:]]
    np.testing.assert_allclose(scores, expected(exported[0], image)["scores"][:3], atol=1e-5)


def test_untrained_model_rests_on_raw_outputs(tmp_path):
    report = export.saved_model(tiny(finds=False), tmp_path / "empty")
    assert report.comparison.total_detections == 0
    assert report.passed and report.verdict.startswith("passed on raw outputs only")
    assert "detections: not judged, 0 matched above 0.05" in str(report)


def test_stretch_and_given_images(tmp_path):
    model = tiny(image_size=(128, 64), resize_mode="stretch")
    images = drawn_images(2, 180, seed=8)
    (tmp_path / "a.png").write_bytes(encoded(images[0]))
    given = [tmp_path / "a.png", encoded(images[1]), images[1]]
    report = export.saved_model(model, tmp_path / "stretched", images=given)
    assert report.comparison.num_images == 3 and report.image_source == "given"
    assert report.comparison.total_detections > 10 and "synthetic" not in str(report)


def test_mixed_precision_is_exported_in_float32(tmp_path):
    report = export.saved_model(tiny(dtype="mixed_bfloat16"), tmp_path / "mixed")
    assert report.passed and report.comparison.score_error_max < 1e-5
    assert any("mixed_bfloat16" in note and "float32" in note for note in report.notes)


def test_existing_artefact_is_not_overwritten(exported):
    model, path, _ = exported
    with pytest.raises(
        DataError, match="must not exist yet.*Choose another name, or move the existing"
    ):
        export.saved_model(model, path)


def test_failed_check_leaves_nothing(exported, tmp_path, monkeypatch):
    written = exported[1]  # writing it again would only take time
    monkeypatch.setattr(
        saved_model, "write", lambda model, path, *_: shutil.copytree(written, path)
    )
    narrow = export.Budget(box_pixels=1e-9, score=1e-12, raw=1e-12, raw_largest=1, rounding=0)
    with pytest.raises(export.ExportError, match="standard deviations.*Nothing was kept") as error:
        images = drawn_images(1, 150, seed=0)
        export.saved_model(exported[0], tmp_path / "served" / "1", images=images, budget=narrow)
    assert not error.value.report.passed
    assert list((tmp_path / "served").iterdir()) == []


@pytest.mark.parametrize(
    "arguments, kind, message",
    [
        ({"images": []}, DataError, "at least one image"),
        ({"images": ["missing.jpg"]}, DataError, "must exist"),
        ({"budget": 0.5}, TypeError, "keras_det.export.Budget"),
    ],
)
def test_wrong_arguments(exported, tmp_path, arguments, kind, message):
    with pytest.raises(kind, match=message):
        export.saved_model(exported[0], tmp_path / "x", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_other_models_and_backends_are_refused(exported, tmp_path, monkeypatch):
    with pytest.raises(TypeError, match="must be a detector of keras_det"):
        export.saved_model(keras.Sequential(), tmp_path / "x")
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="TensorFlow backend. Received: KERAS_BACKEND=jax"):
        export.saved_model(exported[0], tmp_path / "x")
