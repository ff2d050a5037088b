"""The importer of public weights: every variable once, averages first, nothing by halves."""

import numpy as np
import pytest

from keras_det.errors import DataError
from keras_det.models import EfficientDet
from keras_det.weights import checkpoint_info, load_efficientdet
from keras_det.weights.efficientdet.files import AVERAGE, open_checkpoint
from keras_det.weights.efficientdet.names import Properties, fusion_names, variable_names
from tests.helpers import d0_checkpoint
from tests.weights.common.torch_writer import write_torch_file
from tests.weights.efficientdet import layouts

NAME = "resample_p6/conv2d/bias"
PREDICTION = "class_net/class-predict"


@pytest.fixture(scope="module")
def prefix():
    return d0_checkpoint()


@pytest.fixture(scope="module")
def values(prefix):
    checkpoint = open_checkpoint(prefix)
    return {name: checkpoint.array(name) for name in checkpoint.tensors}


@pytest.fixture(scope="module")
def built():
    model = EfficientDet("d0", num_classes=90, image_size=64)
    return model, model.get_weights()


@pytest.fixture
def model(built):
    model, weights = built
    model.set_weights(weights)
    return model


@pytest.fixture(scope="module")
def three():
    """A model with two of COCO's classes and one that it does not have."""
    return EfficientDet("d0", class_names=["toothbrush", "rocket", "person"], image_size=64)


def assert_holds(model, values):
    """Every variable equals the golden array, box channels permuted."""
    for name, variable in variable_names(model).items():
        array = values[name]
        if name in ("box_net/box-predict/bias", "box_net/box-predict/pointwise_kernel"):
            array = array.reshape(*array.shape[:-1], 9, 4)[..., [1, 0, 3, 2]].reshape(array.shape)
        np.testing.assert_array_equal(variable.numpy(), array, err_msg=name)
    for names, variable in fusion_names(model):
        np.testing.assert_array_equal(variable.numpy(), [values[name] for name in names])


def assert_unchanged(model, before):
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def refuse(model, source, match, **arguments):
    before = model.get_weights()
    with pytest.raises(DataError, match=match):
        load_efficientdet(model, source, **arguments)
    assert_unchanged(model, before)


def write(kind, folder, values):
    """One file in a layout; returns what to hand to the importer."""
    if kind == "objects":
        keys = {layouts.object_name(name) + layouts.VALUE: value for name, value in values.items()}
        layouts.write_tensorflow(folder / "objects", {**keys, "save_counter" + layouts.VALUE: 1})
        return folder / "objects.index"
    if kind == "h5":
        layouts.write_h5(folder / "model.h5", values)
        return folder / "model.h5"
    state = layouts.torch_values(values)
    if kind == "safetensors":
        writer = pytest.importorskip("safetensors.numpy")
        state = {name: np.ascontiguousarray(value) for name, value in state.items()}
        writer.save_file(state, folder / "model.safetensors")
        return folder / "model.safetensors"
    write_torch_file(folder / "model.pth", state)
    return folder / "model.pth"


# ---- every format gives the same variables (whose outputs tests/models compares) ----


def test_every_variable_of_the_official_checkpoint_is_used(model, prefix, values):
    report = load_efficientdet(model, prefix)
    assert len(report.loaded) == 709
    assert set(report.skipped) <= {"global_step", "_CHECKPOINTABLE_OBJECT_GRAPH"}
    assert set(report.skipped.values()) <= {"belongs to the training, not to the network"}
    assert report.missing == [] and report.averaged == []
    assert_holds(model, values)


FORMATS = {
    "objects": (709, "tensorflow-objects"),
    "h5": (709, "keras-h5"),
    # 24 vectors of fusion weights in place of 57 scalars.
    "pth": (676, "pytorch"),
    "safetensors": (676, "pytorch"),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_fills_every_variable(model, values, tmp_path, kind):
    path = write(kind, tmp_path, values)
    report = load_efficientdet(model, path)
    assert (len(report.loaded), report.missing) == (FORMATS[kind][0], [])
    assert set(report.skipped.values()) <= {
        "belongs to the training, not to the network",
        "counts training steps",
    }
    assert_holds(model, values)
    info = checkpoint_info(path, EfficientDet.variants)
    assert info[:3] == (("d0",), 90, FORMATS[kind][1])


def test_object_names_are_those_of_the_original_code():
    # Lines of the listing that the original code prints for a D0.
    for name, theirs in {
        "efficientnet-b0/blocks_0/tpu_batch_normalization/beta": "backbone/_blocks/0/_bn1/beta",
        "efficientnet-b0/blocks_1/conv2d/kernel": "backbone/_blocks/1/_expand_conv/kernel",
        "class_net/class-0-bn-3/gamma": "class_net/bns/0/0/gamma",
        "box_net/box-predict/bias": "box_net/boxes/bias",
    }.items():
        assert layouts.object_name(name) == theirs


def test_torch_files_of_training_have_prefixes_and_anchors(model, values, tmp_path):
    state = layouts.torch_values(values)
    state = {f"module.model.{name}": value for name, value in state.items()}
    state["module.anchors.boxes"] = np.zeros((9, 4), "float32")
    write_torch_file(tmp_path / "model.pth", state)
    report = load_efficientdet(model, tmp_path / "model.pth")
    assert report.missing == [] and "computed" in report.skipped["anchors.boxes"]
    assert_holds(model, values)


def test_the_average_wins_and_slots_are_ignored(model, values):
    source = {**values, NAME + AVERAGE: values[NAME] + 1, f"{NAME}/Momentum": values[NAME]}
    report = load_efficientdet(model, source)
    np.testing.assert_array_equal(variable_names(model)[NAME].numpy(), values[NAME] + 1)
    assert report.averaged == [NAME + AVERAGE] and NAME + AVERAGE in report.loaded
    assert report.skipped[NAME] == "its moving average is loaded"
    assert report.skipped[f"{NAME}/Momentum"] == "belongs to the training, not to the network"


def test_a_checkpoint_of_averages_and_slots_alone_is_read(model, values, tmp_path):
    doubled = {name + AVERAGE: 2 * value for name, value in values.items()}
    slots = {f"{NAME}/Momentum": values[NAME], "global_step": np.int64(3)}
    layouts.write_tensorflow(tmp_path / "model.ckpt-3", {**values, **doubled, **slots})
    report = load_efficientdet(model, tmp_path)
    assert len(report.averaged) == len(report.loaded) == 709 and len(report.skipped) == 711
    assert_holds(model, {name: 2 * value for name, value in values.items()})


def test_averages_of_an_object_checkpoint_win(model, values, tmp_path):
    keys = {layouts.object_name(name) + layouts.VALUE: value for name, value in values.items()}
    slot = layouts.object_name(NAME) + "/.OPTIMIZER_SLOT/optimizer/"
    keys[slot + "average" + layouts.VALUE] = values[NAME] + 1
    keys[slot + "momentum" + layouts.VALUE] = values[NAME] + 2
    keys = {f"model/{key}": value for key, value in keys.items()}
    layouts.write_tensorflow(tmp_path / "ckpt", keys)
    report = load_efficientdet(model, tmp_path / "ckpt")
    assert report.averaged == [f"model/{slot}average{layouts.VALUE}"]
    assert report.skipped[f"model/{slot}momentum{layouts.VALUE}"].startswith("belongs")
    assert_holds(model, {**values, NAME: values[NAME] + 1})


@pytest.mark.parametrize("ending", ["", ".index", ".data-00000-of-00001"])
def test_a_checkpoint_goes_by_prefix_and_by_its_files(prefix, ending):
    info = checkpoint_info(f"{prefix}{ending}", EfficientDet.variants)
    assert info.format == "tensorflow-names" and info.variants == ("d0",)


# ---- partial loads ----


def test_a_partial_load_is_refused_and_changes_nothing(model, values):
    less = {name: value for name, value in values.items() if "box-2-bn-7/" not in name}
    refuse(model, less, r"no 'box_net/box-2-bn-7/\w+' and 3 more .*partial=True")
    more = {**values, "resample_p6/conv2d/scale": values[NAME]}
    refuse(
        model, more, r"1 tensor of another model, first 'resample_p6/conv2d/scale', .*partial=True"
    )
    before = variable_names(model)["box_net/box-2-bn-7/gamma"]
    before.assign(before + 1)
    kept = before.numpy()
    report = load_efficientdet(model, {**less, "resample_p6/conv2d/scale": 0.0}, partial=True)
    assert len(report.missing) == 4 and before.path in report.missing
    assert report.skipped["resample_p6/conv2d/scale"] == "the model has no such variable"
    np.testing.assert_array_equal(before.numpy(), kept)


def test_a_backbone_alone_is_a_partial_load(model, values):
    backbone = {name: value for name, value in values.items() if name.startswith("efficientnet-")}
    refuse(model, backbone, "must hold every variable")
    before = model.class_head.prediction.bias.numpy()
    report = load_efficientdet(model, backbone, partial=True)
    assert len(report.loaded) == len(backbone) and report.classes == {}
    np.testing.assert_array_equal(model.class_head.prediction.bias.numpy(), before)
    assert model.class_head.prediction.pointwise_kernel.path in report.missing


# ---- classes ----


def logits_columns(layer, num_classes):
    """(kernel, bias) of a prediction as arrays (channels, anchors, classes), (anchors, classes)."""
    kernel, bias = layer.pointwise_kernel.numpy(), layer.bias.numpy()
    return kernel.reshape(-1, 9, num_classes), bias.reshape(9, num_classes)


def test_classes_are_filled_by_name_and_the_prior(three, values):
    before, _ = logits_columns(three.class_head.prediction, 3)
    prediction = three.class_head.prediction
    prediction.bias.assign(prediction.bias + 1)
    report = load_efficientdet(three, values)
    kernel, bias = logits_columns(prediction, 3)
    theirs = values[f"{PREDICTION}/pointwise_kernel"].reshape(-1, 9, 90)
    # Ids 90 and 1 are outputs 89 and 0; the kernel of the class that is new stays as it was.
    np.testing.assert_array_equal(kernel[..., 0], theirs[..., 89])
    np.testing.assert_array_equal(kernel[..., 2], theirs[..., 0])
    np.testing.assert_array_equal(kernel[..., 1], before[..., 1])
    np.testing.assert_array_equal(bias[:, 2], values[f"{PREDICTION}/bias"].reshape(9, 90)[:, 0])
    np.testing.assert_allclose(bias[:, 1], -np.log(99), rtol=1e-6)
    assert report.missing == [] and len(report.loaded) == 709
    assert report.classes == {"toothbrush": "toothbrush", "rocket": None, "person": "person"}
    assert "classes from the prior: 1: rocket" in str(report)
    names = variable_names(three)
    for name in ("class_net/class-2/pointwise_kernel", f"{PREDICTION}/depthwise_kernel"):
        np.testing.assert_array_equal(names[name].numpy(), values[name])


def test_classes_unknown_to_the_file_start_anew(three, values):
    names = [f"thing {k}" for k in range(90)]
    prediction = three.class_head.prediction
    before = prediction.pointwise_kernel.numpy()
    report = load_efficientdet(three, values, source_class_names=names)
    assert set(report.classes.values()) == {None}
    assert report.missing == [prediction.pointwise_kernel.path, prediction.bias.path]
    assert "has to be trained" in report.skipped[f"{PREDICTION}/bias"]
    assert len(report.loaded) == 707
    np.testing.assert_array_equal(prediction.pointwise_kernel.numpy(), before)
    np.testing.assert_allclose(prediction.bias.numpy(), -np.log(99), rtol=1e-6)


def test_a_file_says_its_classes_by_argument(three, values):
    names = ["rocket", *[None] * 89]
    load_efficientdet(three, values, source_class_names=names)
    kernel, _ = logits_columns(three.class_head.prediction, 3)
    theirs = values[f"{PREDICTION}/pointwise_kernel"].reshape(-1, 9, 90)
    np.testing.assert_array_equal(kernel[..., 1], theirs[..., 0])
    refuse(
        three, values, "for each class output of the file .90 in all", source_class_names=["rocket"]
    )


def test_class_outputs_that_are_no_multiple_of_the_anchors_are_refused(model, values):
    broken = {**values, f"{PREDICTION}/bias": np.zeros(811, "float32")}
    refuse(model, broken, r"shape \(810,\) .*Received: \(811,\).* 9 anchors per cell")
    other = np.zeros((1, 1, 64, 801), "float32")
    refuse(model, {**values, f"{PREDICTION}/pointwise_kernel": other}, r"shape \(1, 1, 64, 810\)")


# ---- other anchors and blends ----


@pytest.fixture
def pretend(monkeypatch):
    """Changes attributes of a part for one test: building another D0 takes seconds."""

    def change(part, **attributes):
        for name, value in attributes.items():
            monkeypatch.setattr(part, name, value)

    return change


def test_outputs_follow_the_models_order_of_aspect_ratios(model, values, pretend):
    load_efficientdet(model, values)
    published = [head.prediction.bias.numpy() for head in (model.class_head, model.box_head)]
    pretend(model.anchor_generator, aspect_ratios=(0.5, 1.0, 1.9))
    load_efficientdet(model, values)
    for head, before in zip((model.class_head, model.box_head), published, strict=True):
        # (scale, ratio, output): theirs are 1, 2, 0.5 wide.
        before, now = before.reshape(3, 3, -1), head.prediction.bias.numpy().reshape(3, 3, -1)
        np.testing.assert_array_equal(now[:, 0], before[:, 2])
        np.testing.assert_array_equal(now[:, 1], before[:, 0])
        np.testing.assert_array_equal(now[:, 2], before[:, 1])
    pretend(model.anchor_generator, aspect_ratios=(1.0,), num_octaves=9)
    refuse(model, values, r"3 aspect ratios at each of 3 scales.* Received: .*with 1 at 9")
    backbone = {name: value for name, value in values.items() if name.startswith("efficientnet-")}
    report = load_efficientdet(model, backbone, partial=True)
    assert set(report.loaded) == set(backbone)


def test_a_neck_that_blends_otherwise_is_refused(model, values, pretend):
    pretend(model.neck, fusion="softmax")
    refuse(model, values, r"fusion fast.*has fusion softmax\..* published d0\. Leave out")


# ---- wrong files ----


@pytest.mark.slow
def test_another_variant_is_named(values):
    lite = EfficientDet("lite0", num_classes=90, image_size=64)
    match = r"backbone b0, channels 64, .*has backbone lite0, fusion sum.*EfficientDet\(\"d0\"\)"
    refuse(lite, values, match)
    refuse(lite, values, match, partial=True)


def test_a_network_that_was_never_published_is_described(model, values):
    shallow = {name: value for name, value in values.items() if "cell_2" not in name}
    refuse(model, shallow, r"neck cells 2, .*has neck cells 3\. The file fits none of \['d0'")


@pytest.mark.slow
def test_a_model_that_was_changed_is_told_to_be_as_published(values):
    other = EfficientDet("d0", 90, image_size=64, max_level=6)
    refuse(other, values, r"P3 to P7.*has levels P3 to P6\. .*published d0. Leave out")


def test_d6_and_d7_are_one_network():
    seen = Properties("b6", 384, 8, 5, "sum", (3, 7), 9)
    rows = EfficientDet.variants.items()
    assert [name for name, row in rows if seen.fits(row)] == ["d6", "d7"]
    eight = seen._replace(backbone="b7", levels=(3, 8))
    assert [name for name, row in rows if eight.fits(row)] == ["d7x"]


@pytest.mark.slow
def test_another_neck_is_refused(values):
    other = EfficientDet("lite0", 90, image_size=64, neck="fpn")
    refuse(other, values, r"neck BiFPN.* Received: the neck FPN")


def test_a_shape_that_does_not_fit_is_refused(model, values):
    refuse(model, {**values, NAME: values[NAME][:5]}, r"'resample_p6/conv2d/bias' .*shape \(64,\)")


ALIEN = {
    "ResNet": {"layer1.0.conv1.weight": np.zeros((4, 4, 3, 3), "float32")},
    "RetinaNet": {"backbone.body.conv1.weight": np.zeros((4, 3, 7, 7), "float32")},
}


@pytest.mark.parametrize("network", ALIEN)
def test_another_architecture_is_refused(model, tmp_path, network):
    write_torch_file(tmp_path / "other.pth", ALIEN[network])
    refuse(
        model, tmp_path / "other.pth", rf"those of an EfficientDet.*{next(iter(ALIEN[network]))}"
    )


def test_effdets_other_models_are_told_apart(model, values, tmp_path):
    state = layouts.torch_values(values)
    state = {n: v for n, v in state.items() if not n.endswith("conv_pw.bias") or "predict" in n}
    write_torch_file(tmp_path / "model.pth", state)
    refuse(
        model,
        tmp_path / "model.pth",
        r"without tf_ in their name are other networks: they lack biases",
    )


def test_a_pickle_that_asks_to_run_code_is_refused(model, tmp_path):
    (tmp_path / "model.pth").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    refuse(model, tmp_path / "model.pth", r"Received: os\.system")


def test_a_missing_file_says_what_can_be_read(model, tmp_path):
    refuse(model, tmp_path / "absent", r"existing file, or the prefix.* Received.*tf_efficientdet")


@pytest.mark.parametrize(
    "name, content, match",
    [
        ("notes.txt", b"epochs: 3", r"known kind.*notes\.txt, which starts with b'epochs: '"),
        ("efficientdet-d0.tar.gz", b"\x1f\x8b\x08", r"not be an archive.* Unpack it.*\.index"),
        ("efficientdet-d0.zip", b"PK\x03\x04", r"not be an archive"),
    ],
)
def test_files_of_other_kinds_are_told_apart(model, tmp_path, name, content, match):
    (tmp_path / name).write_bytes(content)
    refuse(model, tmp_path / name, match)


def test_a_folder_holds_exactly_one_checkpoint(model, values, tmp_path):
    refuse(model, tmp_path, r"exactly one checkpoint.*with 0 of them\. Give")
    (tmp_path / "last.keras").write_bytes(b"")
    refuse(model, tmp_path, r"exactly one checkpoint.*with 0 of them, \['last\.keras'\]")
    (tmp_path / "efficientdet-d0").mkdir()
    layouts.write_tensorflow(tmp_path / "efficientdet-d0" / "model", {NAME: values[NAME]})
    assert open_checkpoint(tmp_path).format == "tensorflow-names"
    layouts.write_h5(tmp_path / "model.h5", {NAME: values[NAME]})
    refuse(model, tmp_path, r"with 2 of them, \['efficientdet-d0/model\.index', 'model\.h5'\]")


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("broken", ["index", "data-00000-of-00001", "absent data", "flipped"])
def test_a_broken_tensorflow_checkpoint_loads_nothing(model, values, tmp_path, broken):
    layouts.write_tensorflow(tmp_path / "model", values)
    data = tmp_path / "model.data-00000-of-00001"
    if broken == "absent data":
        data.unlink()
    elif broken == "flipped":
        whole = bytearray(data.read_bytes())
        whole[len(whole) // 2] ^= 255
        data.write_bytes(whole)
    else:
        truncate(tmp_path / f"model.{broken}")
    refuse(model, tmp_path / "model", r"must be complete.* Received.*compare its size")


@pytest.mark.parametrize("kind", ["h5", "pth"])
def test_a_truncated_file_loads_nothing(model, values, tmp_path, kind):
    path = write(kind, tmp_path, values)
    truncate(path)
    refuse(model, path, r"weights file must be .* Received.*compare its size")


def test_numbers_that_are_none_are_refused(model, values, tmp_path):
    path = write("h5", tmp_path, {**values, NAME: np.full(64, b"x")})
    refuse(model, path, r"as numbers.*no numbers at .*resample_p6/conv2d/bias:0")
