"""Names of models without Keras: the table of parameters, and advice for names that are wrong."""

import pytest

from keras_det.cli.model_names import NAMES, PARAMETERS, check_model_name, in_millions
from keras_det.errors import DataError


def test_names_are_those_of_the_models():
    from keras_det.models import MODEL_NAMES

    assert NAMES == MODEL_NAMES


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_those_of_the_model(name):
    from keras_det.models import build_model

    assert build_model(name, num_classes=90).count_params() == PARAMETERS[name]


def test_parameters_of_d0_are_the_published_ones():
    # 3.9 M in table 2 of https://arxiv.org/abs/1911.09070, 3.2 M for Lite0 in its README.
    assert in_millions(PARAMETERS["efficientdet_d0"]) == "3.9"


def advice(name):
    with pytest.raises(DataError, match="one that `keras-det info` lists") as error:
        check_model_name(name)
    return str(error.value)


@pytest.mark.parametrize(
    "name, meant",
    [
        ("eficientdet_lite0", "efficientdet_lite0"),
        ("EfficientDet-D3", "efficientdet_d3"),
        ("d0", "efficientdet_d0"),
        ("D7", "efficientdet_d7"),
        ("resnet50", "retinanet_resnet50"),
        ("tiny", "cornernet_tiny"),
    ],
)
def test_the_model_that_was_meant_is_named(name, meant):
    assert f"Did you mean '{meant}'?" in advice(name)


@pytest.mark.parametrize(
    "name, millions, near",
    [
        ("yolov8n", 3, "efficientdet_lite0 with 3.3 million"),
        ("yolo11n", 3, "efficientdet_lite0 with 3.3 million"),
        ("yolov8s", 10, "efficientdet_lite3x with 9.4 million"),
        ("yolov5s6", 10, "efficientdet_lite3x with 9.4 million"),
        ("YOLOX-S", 10, "efficientdet_lite3x with 9.4 million"),
        ("yolox_nano", 3, "efficientdet_lite0 with 3.3 million"),
        ("yolov8l", 45, "retinanet_resnet50 with 38.2 million"),
    ],
)
def test_a_yolo_is_answered_with_the_model_of_its_size(name, millions, near):
    message = advice(name)
    assert "YOLO models are not included." in message
    assert f"Nearest in size (about {millions} million parameters) is {near}." in message


@pytest.mark.parametrize("name", ["faster_rcnn", "yolox", "", "efficientdet"])
def test_other_names_are_answered_with_the_families(name):
    message = advice(name)
    assert "Did you mean" not in message and "Nearest" not in message
    for family in (
        "cornernet_tiny to cornernet_hourglass104",
        "efficientdet_lite0 to efficientdet_d7x",
        "retinanet_resnet18 to retinanet_resnet152",
    ):
        assert family in message


@pytest.mark.parametrize("command", ["train", "demo", "info"])
def test_commands_answer_so(refused, coco, tmp_path, command):
    given = {"train": [coco, "--model"], "demo": ["--model"], "info": []}[command]
    out = [] if command == "info" else ["--out", tmp_path / "run"]
    assert "efficientdet_lite0 with 3.3 million" in refused(command, *given, "yolov8n", *out)
    assert not (tmp_path / "run").exists()
