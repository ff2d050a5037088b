"""Wrong input: one sentence that names what was wrong, exit code 2, no traceback."""

import json

import pytest

from keras_det.data.pixel_limit import MAX_PIXELS, pixel_limit


def test_unknown_command_names_the_nearest(refused):
    assert "no command 'trian'. Did you mean 'train'?" in refused("trian")


def test_missing_data_set(refused, coco):
    message = refused("train", coco.parent / "shape", "--out", coco / "run")
    assert "data set must exist" in message and "Did you mean 'shapes'?" in message
    assert not (coco / "run").exists()


def test_folder_without_annotations(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    message = refused("train", tmp_path / "empty", "--out", tmp_path / "run")
    assert "must be in one of the formats COCO" in message and "holds nothing" in message
    assert "docs/data.md" in message


def test_json_that_is_not_coco(refused, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"learning_rate": 0.1}))
    message = refused("train", tmp_path / "config.json", "--out", tmp_path / "run")
    assert "must be an object with `images`" in message and "learning_rate" in message


def test_json_that_is_not_json(refused, tmp_path):
    (tmp_path / "broken.json").write_text("{")
    assert "valid JSON" in refused("train", tmp_path / "broken.json", "--out", tmp_path / "run")


def test_label_out_of_range(refused, coco, tmp_path):
    file = coco / "annotations" / "instances_train.json"
    file.write_text(file.read_text().replace('"category_id": 3', '"category_id": 9'))
    message = refused("train", coco, "--out", tmp_path / "run")
    assert "`category_id` must be listed in `categories`. Received: 9" in message


def test_unknown_split_names_the_splits(refused, coco, tmp_path):
    message = refused("train", coco, "--val-split", "test", "--out", tmp_path / "run")
    assert "Received: 'test'" in message and "train, val" in message


@pytest.mark.parametrize(
    "size, sentence",
    [
        ("16", "at least 32 pixels. Received: 16."),
        ("320x31", "at least 32 pixels. Received: 320x31."),
        ("-320", "at least 32 pixels. Received: -320."),
        ("big", "like 320 or 320x416 (height x width). Received: big."),
        ("1x2x3", "like 320 or 320x416 (height x width). Received: 1x2x3."),
    ],
)
def test_image_size(refused, coco, tmp_path, size, sentence):
    assert sentence in refused("train", coco, "--image-size", size, "--out", tmp_path / "run")


def test_smallest_image_size_is_the_models():
    from keras_det.cli import command
    from keras_det.models import parts

    assert command.MIN_IMAGE_SIZE == parts.MIN_IMAGE_SIZE == 32


def test_image_size_is_height_by_width():
    from keras_det.cli.command import IMAGE_SIZE

    assert IMAGE_SIZE.convert("320", None, None) == (320, 320)
    assert IMAGE_SIZE.convert("320x416", None, None) == (320, 416)


def test_unknown_model_names_the_nearest(refused, coco, tmp_path):
    message = refused("train", coco, "--model", "eficientdet_lite0", "--out", tmp_path / "run")
    assert "Did you mean 'efficientdet_lite0'?" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("epochs", ["0", "-1", "many"])
def test_epochs(refused, coco, epochs):
    assert "'--epochs'" in refused("train", coco, "--epochs", epochs)


def test_output_folder_that_is_not_empty(refused, coco):
    message = refused("train", coco, "--out", coco)
    assert "--out must be a new or empty folder" in message and "not empty" in message
    assert "not empty" in refused("demo", "--out", coco)
    assert "not empty" in refused("predict", "x.keras", coco / "train", "--out", coco)


def test_output_folder_that_is_a_file(refused, coco):
    file = coco / "annotations" / "instances_val.json"
    assert "a file. Choose another folder" in refused("train", coco, "--out", file)


def test_resume_without_a_run(refused, coco, tmp_path):
    message = refused("train", coco, "--resume", "--out", tmp_path / "none")
    assert "holds recipe.json" in message
    assert "Received: None" in refused("train", coco, "--resume")


def test_missing_weights(refused, coco, tmp_path):
    message = refused("train", coco, "--weights", tmp_path / "w.keras", "--out", tmp_path / "run")
    assert "--weights must name an existing file" in message
    message = refused("train", coco, "--weights", "Coco", "--out", tmp_path / "run")
    assert "Received: Coco." in message and "Did you mean 'coco'?" in message


def test_no_freezing_of_unknown_parts(refused, coco, tmp_path):
    message = refused("train", coco, "--freeze", "heads", "--out", tmp_path / "run")
    assert "'heads' is not one of 'none', 'norm', 'early', 'backbone', 'neck'" in message


@pytest.mark.parametrize("command", ["evaluate", "predict", "export"])
def test_missing_model(refused, coco, tmp_path, command):
    (tmp_path / "model.keras").write_bytes(b"")
    more = {"evaluate": [coco], "predict": [coco / "train"], "export": []}[command]
    message = refused(command, tmp_path / "modell.keras", *more, "--out", tmp_path / "out")
    assert "MODEL must exist" in message and "Did you mean 'model.keras'?" in message
    assert not (tmp_path / "out").exists()
    message = refused(command, "efficientdet_lite0", *more, "--out", tmp_path / "out")
    assert "Received: efficientdet_lite0. This is the name of an untrained model." in message


def test_run_folder_without_a_model(refused, coco):
    message = refused("evaluate", coco, coco)
    assert "best.keras or last.keras" in message


def test_model_of_another_kind(refused, coco):
    message = refused("evaluate", coco / "train" / "a.png", coco)
    assert "MODEL must be a .keras, .tflite or .onnx file" in message


def test_keras_file_that_is_none(refused, coco, tmp_path):
    (tmp_path / "model.keras").write_bytes(b"not a zip")
    assert "not a Keras archive" in refused("evaluate", tmp_path / "model.keras", coco)


def test_missing_image(refused, tmp_path):
    message = refused("predict", "m.keras", tmp_path / "a.jpg", "--out", tmp_path / "out")
    assert "A source must exist" in message


def test_folder_without_images(refused, coco, tmp_path):
    message = refused("predict", "m.keras", coco / "annotations", "--out", tmp_path / "out")
    assert "which holds none" in message


# The images of the data set have 24 * 32 = 768 pixels. The limit ends with the command.
def test_limit_of_pixels(run, refused, coco, tmp_path):
    small = ("--max-pixels", 767)
    message = refused(
        "data", "preview", coco, *small, "--image-size", 64, "--out", tmp_path / "p.png"
    )
    assert "may have at most 767 pixels" in message and "--max-pixels" in message
    assert pixel_limit() == MAX_PIXELS
    assert "0 is not in the range x>=1" in refused("data", "preview", coco, "--max-pixels", 0)
    message = refused("doctor", "--run", tmp_path, *small)
    assert "--max-pixels has no effect without DATA. Received: --max-pixels 767" in message
    message = refused("export", tmp_path / "m.keras", "--to", "onnx", *small)
    assert "--max-pixels has no effect with --to onnx and without DATA" in message


def test_quantised_saved_model(refused):
    message = refused("export", "m.keras", "--quantize", "float16")
    assert "--quantize is for --to tflite" in message
    message = refused("export", "m.keras", "--postprocess", "mediapipe")
    assert "--postprocess mediapipe is for --to tflite. Received: --postprocess medi" in message
    message = refused("export", "m.keras", "--postprocess", "none")
    assert "--postprocess none is for --to tflite, onnx or openvino. " in message
    assert "with saved_model. Leave it out, or export --to tflite." in message
    message = refused("export", "m.keras", "--to", "onnx", "--postprocess", "builtin")
    assert "--postprocess builtin with onnx. Leave it out, or choose one of nms, none." in message
    message = refused("export", "m.keras", "--to", "tflite", "--warmup", "8")
    assert "--warmup is for --to saved_model. Received: 8" in message


def test_export_over_something(refused, coco):
    file = coco / "annotations" / "instances_val.json"
    assert "--out must not exist yet" in refused("export", "m.keras", "--out", file)


def test_debug_shows_the_traceback(run, tmp_path):
    result = run("train", tmp_path / "none", "--out", tmp_path / "run", "--debug")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr and "DataError" in result.stderr
    assert result.stderr.strip().splitlines()[-1].startswith("Error: The data set must exist")


def test_file_system_errors_name_the_file(refused, tmp_path):
    locked = tmp_path / "file"
    locked.write_text("")
    # A folder cannot be looked up below a file: the operating system's own error.
    assert str(locked) in refused("train", locked / "data", "--out", tmp_path / "run")


def test_int8_asks_for_images(refused):
    for words in (["--quantize", "int8"], ["--quantize", "dynamic", "--calibrate", "data"]):
        message = refused("export", "m.keras", "--to", "tflite", *words)
        assert "--quantize int8 and --calibrate DATA must be given together" in message


@pytest.mark.parametrize(
    "words, sentence",
    [
        ("evaluate m.keras data --sigma 1", None),
        ("evaluate m.keras data --sigma 1 --method hard", "--sigma is for --method gaussian."),
        (
            "predict m.keras {image} --iou-threshold 0.5",
            "is for --method linear or hard.",
        ),
        ("export m.keras --split test", "--split has no effect without DATA. Received: --split"),
        ("export m.keras --max-images 5", "--max-images has no effect without DATA."),
        (
            "export m.keras --calibrate-split val",
            "--calibrate-split has no effect without --calibrate. Received: --calibrate-split val.",
        ),
        ("verify m.onnx --split test", "--split has no effect without DATA. Received: --split"),
        ("verify m.onnx --max-pixels 9", "--max-pixels has no effect without DATA. Received"),
        ("export m.keras --score-threshold 0.1", "--score-threshold is for --to tflite."),
        (
            "export m.keras --to tflite --iou-threshold 0.1",
            "--iou-threshold is for --postprocess mediapipe. Received: 0.1 with builtin.",
        ),
        ("train data --no-val --val-split test", "--val-split has no effect with --no-val."),
        ("train data --no-val --split-by 0.7", "--split-by has no effect with --no-val."),
        ("train data --val-data x --split-by 0.7", "--split-by has no effect with --val-data."),
        ("train data --val-split x --split-by 0.7", "--split-by has no effect with --val-split."),
        ("export m.keras --format coco", "--format has no effect without DATA and --calibrate."),
        ("export m.keras --split-by 0.7", "--split-by has no effect without DATA and --calibrate."),
        ("train data --no-val --val-data x", "--val-data has no effect with --no-val."),
        ("train data --no-val --evaluate-every 1", "--evaluate-every has no effect with --no-val."),
    ],
)
def test_options_without_effect_are_refused(refused, coco, words, sentence):
    message = refused(*words.format(image=coco / "train" / "a.png").split())
    if sentence is None:  # no complaint about the option
        assert "MODEL must exist" in message
    else:
        assert sentence in message and "Leave it out, or" in message


def test_a_resumed_run_takes_no_other_start(refused, coco, tmp_path):
    recipe = {"model": "efficientdet_lite0", "weights": "coco", "learning_rate": 0.1}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    resumed = ("train", coco, "--out", tmp_path, "--resume")
    message = refused(*resumed, "--weights", "imagenet")
    assert "--weights has no effect with --resume. Received: --weights imagenet." in message


def test_exported_files_have_their_own_decoder(refused, coco, tmp_path, monkeypatch):
    from keras_det.cli import predict

    class Exported:
        engine, class_names = "litert", ["square"]

    monkeypatch.setattr(predict, "load_any_model", lambda path: Exported())
    image, out = coco / "train" / "a.png", tmp_path / "found"
    message = refused("predict", "m.tflite", image, "--max-detections", "5", "--out", out)
    assert "--max-detections needs a .keras model" in message and "m.tflite" in message
