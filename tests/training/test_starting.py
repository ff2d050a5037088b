"""What a run starts from: said in one line, noted with its hash, refused for frozen layers."""

import hashlib
import json

import pytest

from keras_det.data import draw_shapes_dataset, load
from keras_det.errors import DataError
from keras_det.models import build_model, public_weights
from keras_det.models.public_weights import Start
from keras_det.training import run, starting, train
from keras_det.training.arguments import check_choices, check_heads_first
from keras_det.training.recipe import choose_recipe
from keras_det.training.starting import (
    check_arguments,
    check_frozen,
    model_to_train,
    take_weights,
    trained_by,
)
from keras_det.training.states import State
from keras_det.weights import LoadReport
from keras_det.weights.backbones.any_file import ONLY_BACKBONE
from keras_det.weights.download import Found

REPORT = LoadReport(["a"], {}, [])


class Model:
    """As much of a detector as is asked."""

    load_report = REPORT

    def __init__(self):
        self.given = []

    def start_from(self, weights):
        self.given.append(weights)
        return REPORT

    def get_config(self):
        return {"freeze": "none"}


@pytest.fixture
def file(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"weights")
    return tmp_path / "w.pth"


@pytest.fixture
def best(monkeypatch, file):
    """`best(kind)` makes "auto" find weights of that kind."""

    def finds(kind):
        found = None if kind == "random" else Found(file, file, "cached", None, True)
        start = Start(kind, found, found and REPORT, f"{kind}, one line")
        monkeypatch.setattr(starting, "start_from_best", lambda model: start)

    return finds


SHA256 = hashlib.sha256(b"weights").hexdigest()


@pytest.mark.parametrize("kind", ["coco", "imagenet", "random"])
def test_auto_is_said_in_one_line_and_noted(best, file, kind):
    best(kind)
    lines = []
    noted = take_weights(Model(), "auto", {}, lines.append)
    assert lines == [f"Weights: {kind}, one line"]
    known = {} if kind == "random" else {"file": str(file), "sha256": SHA256}
    assert noted == {"weights": kind, **known}


def test_paths_and_backbone_weights_are_said_and_noted(best, file):
    model, lines = Model(), []
    assert take_weights(model, str(file), {}, lines.append)["sha256"] == SHA256
    assert model.given == [str(file)] and lines == [f"Weights: {file}\n{REPORT}"]
    best("coco")
    noted = take_weights(model, "auto", {"backbone_weights": file}, lines.append)
    assert noted == {"weights": "backbone", "file": str(file), "sha256": SHA256}
    assert lines[-1].startswith(f"Weights: {file} (backbone only)\n") and len(model.given) == 1
    assert take_weights(model, None, {}, lines.append) is None and len(lines) == 2


@pytest.mark.parametrize(
    "freeze, kind, message",
    [
        ("backbone", "random", r"Received: freeze='backbone' with weights that are random, one"),
        ("neck", "random", r"Received: freeze='neck' with weights that are random, one line\."),
        ("neck", "imagenet", r"Received: freeze='neck' with weights for the backbone only\."),
        ("neck", "coco", None),
        ("backbone", "imagenet", None),
        ("none", "random", None),
    ],
)
def test_frozen_layers_must_not_be_random(best, freeze, kind, message):
    best(kind)
    check_frozen({"freeze": freeze}, "auto")
    if message is None:
        take_weights(Model(), "auto", {"freeze": freeze}, print)
        return
    with pytest.raises(DataError, match=message):
        take_weights(Model(), "auto", {"freeze": freeze}, print)


def test_frozen_layers_without_auto():
    with pytest.raises(DataError, match=r"Received: freeze='backbone' without weights\. Give we"):
        check_frozen({"freeze": "backbone"}, None)
    for weights, more in (("imagenet", {}), (None, {"backbone_weights": "x.pth"})):
        with pytest.raises(DataError, match="'neck' with weights for the backbone only"):
            check_frozen({"freeze": "neck", **more}, weights)
        check_frozen({"freeze": "backbone", **more}, weights)
    check_frozen({"freeze": "neck"}, "coco")


@pytest.mark.parametrize(
    "name, options, anchors, expected",
    [
        ("efficientdet_lite0", {}, None, {"anchor_scale": 1.5}),
        ("efficientdet_lite0", {}, "published", {}),
        ("efficientdet_lite0", {"aspect_ratios": [1]}, None, {"aspect_ratios": [1]}),
        ("cornernet_tiny", {}, None, {}),
    ],
)
def test_a_model_by_name_gets_the_anchors_of_its_weights(
    tmp_path, monkeypatch, name, options, anchors, expected
):
    found, lines = {}, []
    monkeypatch.setattr(starting, "saved_anchors", lambda weights: {"anchor_scale": 1.5})
    monkeypatch.setattr(starting, "build_model", lambda name, **given: found.update(given))
    monkeypatch.setattr(starting, "take_weights", lambda *_: None)
    settings = {"resize_mode": None, "class_names": ["cat"], "model_arguments": options}
    recipe = choose_recipe("adamw", 8, 8)
    model_to_train(
        name, None, "old.keras", settings, recipe, {"anchors": anchors}, tmp_path, lines.append
    )
    assert found == {"class_names": ["cat"], **expected}
    taken = "anchor_scale" in expected
    assert (
        lines == ["Anchors: those of old.keras, because its boxes were trained with them."] * taken
    )


def test_heads_do_not_learn_alone_on_random_layers():
    for trained, what in {"nothing": "random weights", "backbone": "weights of the back"}.items():
        with pytest.raises(DataError, match=f"Received: heads_first=2 with {what}"):
            check_heads_first("efficientdet_lite0", 2, trained)
        check_heads_first("efficientdet_lite0", None, trained)
        check_heads_first(Model(), 2, trained)
    check_heads_first("efficientdet_lite0", 2, "detector")


@pytest.mark.parametrize(
    "anchors, calibrate, message",
    [
        ("atuo", None, r"`anchors` must be one of published, auto. Received: 'atuo'\. Did you"),
        ("auto", None, "`anchors` is for models with anchors. Received: .* for cornernet_tiny"),
        (None, "no", "`calibrate` must be True or False. Received: 'no'"),
    ],
)
def test_other_choices_are_refused(anchors, calibrate, message):
    with pytest.raises(DataError, match=message):
        check_choices(anchors, calibrate, "cornernet_tiny")
    check_choices("auto", True, "efficientdet_lite0")


@pytest.mark.slow
def test_a_run_notes_what_it_has_taken_and_keeps_the_note(tmp_path, monkeypatch, file):
    draw_shapes_dataset(tmp_path / "data", num_train=2, num_val=1, image_size=64, seed=0)
    sets = load(tmp_path / "data", split="train"), None
    monkeypatch.setattr(starting, "take_weights", lambda *_: {"weights": "coco", "sha256": SHA256})
    monkeypatch.setattr(run, "fit_rest", lambda *_: None)
    monkeypatch.setattr(run, "finish", lambda *_: {})
    settings = dict(epochs=1, image_size=64, weights="auto", say=lambda line: None)
    train("efficientdet_lite0", *sets, tmp_path / "run", **settings)
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert recipe["weights"] == "auto"
    assert recipe["weights_taken"] == {"weights": "coco", "sha256": SHA256}
    names = list(sets[0].class_names)
    state = build_model("efficientdet_lite0", image_size=64, class_names=names)
    monkeypatch.setattr(run, "load_newest", lambda *_: (state, State(tmp_path, 1), {}))
    train("efficientdet_lite0", *sets, tmp_path / "run", resume=True, **settings)
    again = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert again["weights_taken"] == recipe["weights_taken"]


@pytest.mark.slow
def test_auto_that_finds_nothing_for_frozen_layers_writes_nothing(tmp_path, monkeypatch):
    draw_shapes_dataset(tmp_path / "data", num_train=2, num_val=1, image_size=64, seed=0)
    nothing = public_weights._Attempt(reason="no network")
    monkeypatch.setattr(public_weights, "_attempt", lambda *_, **__: nothing)
    frozen = {"freeze": "backbone"}
    with pytest.raises(DataError, match=r"weights that are random\. ImageNet weights are missing"):
        train(
            "efficientdet_lite0", load(tmp_path / "data", split="train"), None, tmp_path / "run",
            epochs=1, image_size=64, weights="auto", model_arguments=frozen,
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "weights, notes, filled",
    [
        ("random", (), "nothing"),
        ("imagenet", (), "backbone"),
        ("backbone", (), "backbone"),
        ("coco", (), "detector"),
        ("w.pth", (ONLY_BACKBONE,), "backbone"),
        ("w.pth", (), "detector"),
    ],
)
def test_what_the_weights_have_filled(weights, notes, filled):
    model = Model()
    model.load_report = LoadReport(["a"], {}, [], notes=list(notes))
    assert trained_by(model, {"weights": weights}) == filled


def test_what_a_detector_brings_along():
    assert trained_by(Model(), None) == "backbone"
    model = Model()
    model.load_report = None
    assert trained_by(model, None) == "nothing"


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"neck": "fpn"}, "neck='fpn' .*the saved model has 'bifpn'"),
        ({"max_level": 6.5}, "max_level=6.5 .*the saved model has 7"),
        ({"anchor_scale": float("nan")}, "anchor_scale=nan .*the saved model has 3"),
        ({"min_level": [3]}, r"min_level=\[3\] .*the saved model has 3"),
        ({"nonsense": 1}, "nonsense=1 .*the model lacks it"),
    ],
)
def test_arguments_that_were_changed_in_a_recipe_are_refused(tmp_path, arguments, message):
    model = build_model("efficientdet_lite0", num_classes=1, image_size=64, neck="bifpn")
    check_arguments({"neck": "bifpn", "max_level": 7, "freeze": "backbone"}, model, tmp_path)
    with pytest.raises(DataError, match=f"`model_arguments` of recipe.json .*{message}"):
        check_arguments(arguments, model, tmp_path)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"nonsense": 1}, "has no argument nonsense. Received: nonsense=1"),
        ({"max_level": "x"}, "must be whole numbers .*max_level='x'"),
        ({"neck": [5]}, r"`neck` must be one of .*Received: \[5\]"),
    ],
)
def test_a_model_that_a_recipe_cannot_make_is_a_sentence(tmp_path, arguments, message):
    (tmp_path / "recipe.json").write_text("{}")
    settings = {"resize_mode": None, "class_names": ["cat"], "model_arguments": arguments}
    more = (choose_recipe("adamw", 10, 10), {"anchors": None}, tmp_path, print)
    with pytest.raises(DataError, match=message):
        model_to_train("efficientdet_lite0", None, None, settings, *more)


def test_what_a_library_says_of_a_recipe_is_a_sentence(tmp_path, monkeypatch):
    def refuse(name, **arguments):
        raise TypeError("unhashable type: 'list'")

    monkeypatch.setattr(starting, "build_model", refuse)
    (tmp_path / "recipe.json").write_text("{}")
    settings = {"resize_mode": None, "class_names": ["cat"], "model_arguments": {"neck": [[]]}}
    more = (choose_recipe("adamw", 10, 10), {"anchors": None}, tmp_path, print)
    with pytest.raises(DataError, match=r"must be arguments of the model\. Received.*unhashable"):
        model_to_train("efficientdet_lite0", None, None, settings, *more)
