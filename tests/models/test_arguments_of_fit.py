"""Each argument of Keras' methods is obeyed or refused; logs are of what was seen."""

import warnings

import keras
import numpy as np
import pytest

from keras_det.data import Pipeline, draw_shapes_dataset, load
from keras_det.errors import DataError
from keras_det.models import RetinaNet, build_model, load_model
from keras_det.training import EvaluateAP
from tests.export.tiny import small_backbone, tiny

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (5, 64, 64, 3)).astype("uint8")
BOXES = np.zeros((5, 2, 4), "float32")
BOXES[:, 0] = [[5, 6, 40, 45], [8, 4, 30, 60], [20, 20, 50, 50], [1, 1, 30, 30], [9, 9, 63, 33]]
TARGETS = {"boxes": BOXES, "labels": np.int32([[0, -1], [1, -1], [2, -1], [0, -1], [-1, -1]])}
PARTS = {"class_loss", "box_loss"}


@pytest.fixture(scope="module")
def model():
    """It does not learn and is not traced, so that tests can share it."""
    model = tiny(image_size=(64, 64))
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    return model


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    draw_shapes_dataset(folder, num_train=5, num_val=3, image_size=64, seed=0)
    return load(folder, split="train"), load(folder, split="val")


@pytest.fixture(scope="module")
def shapes_model(shapes):
    keras.utils.set_random_seed(0)
    model = tiny(image_size=(64, 64))
    model.class_names = list(shapes[0].class_names)
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    return model


def stream(count=5, batch_size=2, known=True, fixed=False):
    tf = pytest.importorskip("tensorflow")
    slices = (IMAGES[:count], {name: value[:count] for name, value in TARGETS.items()})
    data = tf.data.Dataset.from_tensor_slices(slices).batch(batch_size, drop_remainder=fixed)
    return data if known else data.filter(lambda *_: True)


def by_hand(model, count, batch_size):
    """The mean of the batches' losses, each by its images; positives per image."""
    sums, seen = dict.fromkeys([*PARTS, "positives_per_image"], 0.0), 0
    for first in range(0, count, batch_size):
        rows = slice(first, min(first + batch_size, count))
        targets = {name: value[rows] for name, value in TARGETS.items()}
        parts = model.losses_of(targets, model(IMAGES[rows], training=False))
        images = rows.stop - rows.start
        sums = {name: sums[name] + images * float(parts[name]) for name in sums}
        seen += images
    return {name: value / seen for name, value in sums.items()}


# A graph counts as an eager pass does, except at the end of a stream of unknown length.
@pytest.mark.parametrize(
    "known, count, batch_size, fixed, eager",
    [
        *((known, 4, 4, True, True) for known in (True, False)),
        *((known, 4, 2, True, True) for known in (True, False)),
        *((known, 5, 2, False, True) for known in (True, False)),
        (False, 4, 4, True, False),
        (False, 4, 2, True, False),
    ],
)
def test_parts_add_up_to_the_loss(model, known, count, batch_size, fixed, eager):
    traced = model if eager else tiny(image_size=(64, 64))
    if not eager:
        traced.compile()
    logs = traced.evaluate(stream(count, batch_size, known, fixed), verbose=0, return_dict=True)
    expected = by_hand(traced, count, batch_size)
    assert set(logs) == {"loss", *expected}
    for name, value in expected.items():
        assert logs[name] == pytest.approx(value, rel=1e-5), name
    assert logs["loss"] == pytest.approx(logs["class_loss"] + logs["box_loss"], rel=1e-6)


def test_parts_and_regularisers_add_up_to_the_loss_in_training_too():
    model = tiny(image_size=(64, 64))
    kernel = model.class_head.prediction.pointwise_kernel
    kernel.regularizer = keras.regularizers.L2(1e-3)
    penalty = 1e-3 * float(np.square(np.array(kernel)).sum())
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    logs = model.fit(
        stream(5, 2, known=False), verbose=0, validation_data=stream(3, 2, known=False)
    ).history
    for prefix in ("", "val_"):
        loss, *parts = (logs[prefix + name][0] for name in ("loss", *PARTS))
        assert loss == pytest.approx(sum(parts) + penalty, rel=1e-5) and penalty > 0.01 * loss
        assert logs[f"{prefix}regularization_loss"] == [pytest.approx(penalty, rel=1e-5)]
    kernel.trainable = False  # then Keras adds no penalty
    assert set(model.evaluate(stream(), verbose=0, return_dict=True)) == {
        "loss", *PARTS, "positives_per_image"
    }  # fmt: skip


def test_the_penalty_of_a_compiled_model_is_logged_and_kept_out_of_its_files(tmp_path):
    model = tiny(image_size=(64, 64))
    model.class_head.prediction.pointwise_kernel.regularizer = keras.regularizers.L2(1e-3)
    model.compile(keras.optimizers.SGD(1e-3))
    logs = model.fit(stream(4, 2), verbose=0).history
    parts = [logs[name][0] for name in (*PARTS, "regularization_loss")]
    assert logs["loss"][0] == pytest.approx(sum(parts), rel=1e-5) and min(parts) > 0
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model(IMAGES)["class_logits"], again(IMAGES)["class_logits"])


@keras.saving.register_keras_serializable(package="keras_det_tests")
class WithLoss(keras.layers.Layer):
    """Adds 0.25 to the loss, and 0.5 more in training."""

    def call(self, inputs, training=False):
        self.add_loss(keras.ops.convert_to_tensor(0.75 if training else 0.25))
        return inputs


def with_loss(only_in_training=False):
    """A detector with a layer that calls `add_loss`."""
    layer, backbone = WithLoss(), small_backbone((64, 64))
    if only_in_training:
        layer.call = lambda inputs, training=False: (
            WithLoss.call(layer, inputs, training) if training else inputs
        )
    levels = {name: layer(x) if name == "P5" else x for name, x in backbone.output.items()}
    model = keras.Model(backbone.input, levels)
    return RetinaNet(model, 3, image_size=64, neck_channels=8, head_repeats=1, normalization="tf")


@pytest.mark.parametrize("eager, only_in_training", [(False, False), (True, True)])
def test_losses_that_layers_add_are_a_part(eager, only_in_training):
    model = with_loss(only_in_training)
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=eager)
    logs = model.fit(stream(2), epochs=2, verbose=0, validation_data=stream(2)).history
    for prefix, added in (("", 0.75), ("val_", 0.0 if only_in_training else 0.25)):
        for epoch in range(2):
            loss, *parts = (logs[prefix + name][epoch] for name in ("loss", *PARTS))
            assert logs[f"{prefix}regularization_loss"][epoch] == pytest.approx(added)
            assert loss == pytest.approx(sum(parts) + added, rel=1e-5)
    listed = model.evaluate(stream(2), verbose=0)
    assert len(listed) == 1 + len(PARTS) + 2 and listed[-1] == pytest.approx(added)


@pytest.mark.parametrize(
    "argument, advice",
    [
        ({"loss": "mse"}, "`loss` must be .*constructor: `class_loss`, and `box_loss`"),
        ({"loss_weights": [1.0, 2.0]}, "`loss_weights` must be .*`box_loss_weight`"),
        ({"metrics": ["accuracy"]}, r"`metrics` must be .*keras_det.training.evaluate\(model, d"),
        ({"weighted_metrics": ["mae"]}, r"`weighted_metrics` must be .*training.EvaluateAP\(datas"),
    ],
)
def test_compile_names_the_door_of_losses_and_metrics(model, argument, advice):
    before = model.optimizer
    with pytest.raises(ValueError, match=advice):
        model.compile(**argument)
    assert model.optimizer is before


def test_files_that_were_compiled_with_metrics_still_load():
    model = tiny(image_size=(64, 64))
    model.compile_from_config({"optimizer": "sgd", "metrics": ["accuracy"], "loss": None})
    assert isinstance(model.optimizer, keras.optimizers.SGD)


def test_other_arguments_of_compile_are_obeyed():
    model = tiny(image_size=(64, 64))
    model.compile("sgd", run_eagerly=True, steps_per_execution=2, jit_compile=False)
    assert model.run_eagerly and model.steps_per_execution == 2
    model.compile(jit_compile=True)
    assert model.jit_compile
    half = tiny(image_size=(64, 64), dtype="mixed_float16")
    for scaled in (True, False):
        half.compile("sgd", auto_scale_loss=scaled)
        assert isinstance(half.optimizer, keras.optimizers.LossScaleOptimizer) is scaled


def test_class_weight_is_refused_with_what_does_it(model):
    for method in (model.fit, model.train_on_batch):
        with pytest.raises(ValueError, match=r"`class_weight` must .*class_weights=\[…\]"):
            method(IMAGES, TARGETS, class_weight={0: 1.0, 1: 2.0})


@pytest.mark.parametrize(
    "targets, message",
    [
        ({"boxes": BOXES, "classes": TARGETS["labels"]}, "Rename `classes` to `labels`"),
        ({"bounding_boxes": {}}, "form of keras_cv.*to_batches.*data.from_arrays"),
        ({"boxes": BOXES, "label": TARGETS["labels"]}, "Did you mean 'label'"),
        (None, "targets that are missing"),
        (np.zeros(5), "targets that are ndarray"),
        ({**TARGETS, "boxes": BOXES[:, :1]}, r"boxes of shape \(5, 1, 4\), labels of shape"),
    ],
)
def test_targets_of_another_form_say_how_to_convert(model, targets, message):
    rule = r"x1, y1, x2, y2 in pixels of the images, and `labels` \(batch, max_boxes\), 0-based, -1"
    for method in (model.fit, model.evaluate, model.train_on_batch):
        with pytest.raises(ValueError, match=f"{rule}.*{message}"):
            method(IMAGES, targets)


def test_batches_of_another_form_say_how_to_convert(model):
    tf = pytest.importorskip("tensorflow")
    keras_cv = {"images": IMAGES, "bounding_boxes": {"boxes": BOXES, "labels": TARGETS["labels"]}}
    data = tf.data.Dataset.from_tensor_slices(keras_cv).batch(2)
    for arguments in ({"x": data}, {"x": stream(), "validation_data": data}, {"x": keras_cv}):
        with pytest.raises(ValueError, match="A batch must be .*form of keras_cv and KerasHub"):
            model.fit(**arguments)
    classes = stream().map(lambda x, y: (x, {"boxes": y["boxes"], "classes": y["labels"]}))
    with pytest.raises(ValueError, match="Rename `classes` to `labels`"):
        model.fit(classes)
    with pytest.raises(ValueError, match="A batch must be"):
        model.fit(stream().map(lambda x, y: x))

    def generator():
        yield IMAGES, {"boxes": BOXES, "classes": TARGETS["labels"]}

    with pytest.raises(ValueError, match="Rename `classes` to `labels`"):
        model.fit(generator(), verbose=0)


@pytest.mark.parametrize(
    "argument, advice",
    [
        ({"y": TARGETS}, "yields the targets"),
        ({"batch_size": 2}, r"Pipeline\(…, batch_size=…\) sets it"),
        ({"shuffle": True}, "shuffles a pipeline"),
        ({"sample_weight": np.ones(5)}, r"Pipeline\(…, sample_weight=…\)"),
        ({"validation_split": 0.2}, "part of the data set"),
    ],
)
def test_arguments_of_arrays_are_refused_for_a_pipeline(shapes, shapes_model, argument, advice):
    pipeline = Pipeline(shapes[0], shapes_model, 2)
    (name,) = argument
    with pytest.raises(ValueError, match=f"`{name}` must be left out of `fit`.*{advice}"):
        shapes_model.fit(pipeline, **argument)
    if name in ("y", "batch_size", "sample_weight"):
        with pytest.raises(ValueError, match=f"`{name}` must be left out of `evaluate`"):
            shapes_model.evaluate(pipeline, **argument)


def test_arguments_of_arrays_are_refused_for_streams(model):
    with pytest.raises(ValueError, match="`batch_size` must be left out of `fit`.*whole batches"):
        model.fit(stream(), batch_size=2)
    with pytest.raises(ValueError, match="`shuffle` must be .*Shuffle the stream itself"):
        model.fit(stream(), shuffle=True)
    with pytest.raises(ValueError, match="`sample_weight` must be .*Yield"):
        model.evaluate(stream(), sample_weight=np.ones(5))
    with pytest.raises(ValueError, match="`validation_batch_size` must be left out"):
        model.fit(IMAGES, TARGETS, validation_data=stream(), validation_batch_size=2)
    with pytest.raises(ValueError, match="`batch_size` must be left out of `predict`"):
        model.predict(stream(), batch_size=2)


class Seen(keras.callbacks.Callback):
    """Counts what Keras calls."""

    def __init__(self):
        super().__init__()
        self.train, self.test = [], 0

    def on_train_batch_end(self, batch, logs=None):
        self.train.append(batch)

    def on_test_batch_end(self, batch, logs=None):
        self.test += 1


# Five images: of arrays each argument has its effect.
@pytest.mark.parametrize(
    "arguments, train, test",
    [
        ({"batch_size": 2}, 3, 0),
        ({"batch_size": 1}, 5, 0),
        ({"batch_size": 1, "validation_split": 0.4}, 3, 2),
        ({"validation_data": (IMAGES, TARGETS), "validation_batch_size": 2}, 1, 3),
        ({"validation_data": (IMAGES, TARGETS), "batch_size": 2, "validation_steps": 1}, 3, 1),
        ({"steps_per_epoch": 2, "batch_size": 2}, 2, 0),
        ({"epochs": 3, "initial_epoch": 1, "batch_size": 5}, 2, 0),
        (
            {"epochs": 2, "validation_freq": 2, "validation_data": (IMAGES[:1], {
                name: value[:1] for name, value in TARGETS.items()
            })}, 2, 1
        ),
    ],
)  # fmt: skip
def test_arguments_of_fit_are_obeyed_for_arrays(model, arguments, train, test):
    seen = Seen()
    model.fit(IMAGES, TARGETS, verbose=0, callbacks=seen, **arguments)
    assert (len(seen.train), seen.test) == (train, test)


def test_arrays_are_shuffled_unless_told_otherwise(model, monkeypatch):
    orders = []
    compute = type(model).compute_loss

    def noted(self, x=None, y=None, *others, **arguments):
        orders[-1] += np.array(y["boxes"])[:, 0, 0].tolist()
        return compute(self, x, y, *others, **arguments)

    monkeypatch.setattr(type(model), "compute_loss", noted)
    for shuffle in (False, None, True):
        orders.append([])
        keras.utils.set_random_seed(3)
        model.fit(IMAGES, TARGETS, batch_size=1, verbose=0, shuffle=shuffle)
    assert orders[0] == BOXES[:, 0, 0].tolist()
    assert orders[1] == orders[2] != orders[0] and sorted(orders[1]) == sorted(orders[0])


def test_a_stream_that_ends_is_refused_before_training(model):
    with pytest.raises(ValueError, match="3 batches for 2 epochs of 2.*repeat"):
        model.fit(stream(), epochs=2, steps_per_epoch=2, verbose=0)
    # A pass per epoch, and a stream that ends with an epoch, begin again.
    seen = Seen()
    model.fit(stream(), epochs=2, verbose=0, callbacks=[seen])
    model.fit(stream(), epochs=2, steps_per_epoch=3, verbose=0, callbacks=[seen])
    assert len(seen.train) == 12


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_a_stream_of_unknown_length_that_ends_is_an_error(model):
    with pytest.raises(ValueError, match="1 of 2 batches in epoch 2"):
        model.fit(stream(known=False), epochs=3, steps_per_epoch=2, verbose=0)

    def generator():
        yield IMAGES[:2], {name: value[:2] for name, value in TARGETS.items()}

    with pytest.raises(ValueError, match="must not end before .* 0 of 1 batch in epoch 2"):
        model.fit(generator(), epochs=2, steps_per_epoch=1, verbose=0)
    with pytest.raises(ValueError, match="generator yields its batches only once.*epochs=2"):
        model.fit(generator(), epochs=2, verbose=0)
    model.fit(generator(), verbose=0)
    # An epoch that a callback ends is none that ran out.
    stop = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: setattr(model, "stop_training", True)
    )
    model.fit(stream(), epochs=2, verbose=0, callbacks=[stop])


def test_warnings_of_keras_are_seen(model):
    with pytest.warns(UserWarning, match="ran out of data"):
        model.evaluate(stream(known=False), steps=9, verbose=0)


def test_a_pipeline_without_augmentation_trains_every_epoch(shapes, shapes_model):
    train, val = (Pipeline(each, shapes_model, 2) for each in shapes)
    seen = Seen()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        logs = shapes_model.fit(
            train, validation_data=val, epochs=4, verbose=0, callbacks=[seen]
        ).history
        alone = shapes_model.evaluate(val, verbose=0, return_dict=True)
        found = shapes_model.predict(val, verbose=0)
    assert seen.train == [0, 1, 2] * 4 and seen.test == 4 * 2
    assert min(logs["loss"]) > 0 and len(found["boxes"]) == 3
    assert len(set(logs["loss"])) == 4, "each epoch in an order of its own"
    assert logs["val_loss"][-1] == pytest.approx(alone["loss"], rel=1e-6)
    assert alone["loss"] == pytest.approx(alone["class_loss"] + alone["box_loss"], rel=1e-6)


def test_pipelines_for_training_are_not_evaluated_nor_the_reverse(shapes, shapes_model):
    augmented = Pipeline(shapes[0], shapes_model, 2, augment="flip")
    endless = Pipeline(shapes[0], shapes_model, 2, training=True)
    for pipeline in (augmented, endless):
        for method in (shapes_model.evaluate, shapes_model.predict):
            with pytest.raises(ValueError, match="Evaluation must see every image once, as it is"):
                method(pipeline)
        with pytest.raises(ValueError, match="Evaluation must see every image once"):
            shapes_model.fit(Pipeline(shapes[0], shapes_model, 2), validation_data=pipeline)
    with pytest.raises(ValueError, match="Received: a Pipeline with training=False. Leave out"):
        shapes_model.fit(Pipeline(shapes[0], shapes_model, 2, training=False))


def test_steps_of_a_pipeline_fit_the_steps_of_an_execution(shapes, shapes_model):
    pipeline = Pipeline(shapes[0], shapes_model, 2)
    shapes_model.steps_per_execution = 2
    try:
        with pytest.raises(ValueError, match="multiple of compile's `steps_per_execution`"):
            shapes_model.fit(pipeline)
    finally:
        shapes_model.steps_per_execution = 1
    with pytest.raises(ValueError, match="must begin at the start of an epoch of the pipeline"):
        shapes_model.fit(pipeline, initial_epoch=1, epochs=2, steps_per_epoch=2)
    shapes_model.fit(pipeline, initial_epoch=3, epochs=4, steps_per_epoch=2, verbose=0)
    assert pipeline.first.epoch == 2


def test_predict_takes_the_decoders_settings(model):
    default = model.predict(IMAGES, verbose=0)
    few = model.predict(IMAGES, verbose=0, max_detections=3, batch_size=2)
    raw = model(IMAGES)
    for found, settings in ((default, {}), (few, {"max_detections": 3})):
        expected = model.decode(raw, **settings)
        assert found["boxes"].shape == tuple(expected["boxes"].shape)
        np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-5)
    assert few["boxes"].shape == (5, 3, 4)
    again = model.predict(IMAGES, verbose=0)
    np.testing.assert_array_equal(again["boxes"], default["boxes"])
    with pytest.raises(TypeError, match=r"predict\(\) takes no argument 'max_detection'.*Did you"):
        model.predict(IMAGES, max_detection=3)
    with pytest.raises(ValueError, match="give `decoder` or settings, not both"):
        model.decode(raw, model.decoder(), sigma=0.3)


def test_detect_takes_a_batch_as_an_array(model):
    batch = IMAGES[:3]
    found, expected = model.detect(batch, batch_size=2), model.detect(list(batch), batch_size=2)
    assert isinstance(found, list) and len(found) == 3
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one["boxes"], other["boxes"])
    assert isinstance(model.detect(IMAGES[0]), dict) and model.detect(IMAGES[:0]) == []
    with pytest.raises(ValueError, match=r"must have the shape \(height, width, 3\).*\(64, 64\)"):
        model.detect(IMAGES[0, ..., 0])
    with pytest.raises(ValueError, match="`batch_size` must be at least 1. Received: 0"):
        model.detect(IMAGES, batch_size=0)


@pytest.mark.parametrize("name", ["detect", "detect_function", "decoder", "decode"])
def test_a_typo_is_named_by_the_method_that_was_called(model, name):
    data = [] if name in ("detect_function", "decoder") else [IMAGES]
    message = rf"^{name}\(\) takes no argument 'iou_treshold'.*Did you mean 'iou_threshold'"
    with pytest.raises(TypeError, match=message):
        getattr(model, name)(*data, iou_treshold=0.4)
    with pytest.raises(TypeError, match=rf"^{name}\(\) takes no argument 'corner_top_k'"):
        getattr(model, name)(*data, corner_top_k=4)


def test_models_of_other_packages_get_a_start():
    with pytest.raises(ValueError, match="'yolov8n'.* Start with 'efficientdet_lite0'"):
        build_model("yolov8n")


def test_data_sets_are_refused_before_work_with_advice(shapes, shapes_model, tmp_path):
    train, _ = shapes
    with pytest.raises(ValueError, match=r"given as a pipeline.*x as a Dataset.*Pipeline\("):
        shapes_model.fit(train)
    with pytest.raises(TypeError, match="keras_det.data.Dataset. Received: str. Load it with"):
        shapes_model.check_dataset("my_images")
    seen = Seen()
    draw_shapes_dataset(tmp_path, num_train=2, num_val=1, image_size=64, seed=0)
    other = load(tmp_path, split="val", class_names=[*reversed(train.class_names)])
    callbacks = [seen, EvaluateAP(other)]
    with pytest.raises(ValueError, match="the model's classes in the model's order"):
        shapes_model.fit(Pipeline(train, shapes_model, 2), verbose=0, callbacks=callbacks)
    assert not seen.train


def test_weights_in_a_list_are_those_of_an_array(model):
    weights = [2.0, 0.0, 1.0, 1.0, 1.0]
    arguments = {"batch_size": 5, "verbose": 0, "return_dict": True}
    found = model.evaluate(IMAGES, TARGETS, sample_weight=weights, **arguments)
    expected = model.evaluate(IMAGES, TARGETS, sample_weight=np.float32(weights), **arguments)
    assert found == expected != model.evaluate(IMAGES, TARGETS, **arguments)


# Another batch size would compile the network again.
def test_the_last_batch_of_detect_is_filled_up(monkeypatch):
    model, sizes = tiny(image_size=(64, 64)), []
    function = model.detect_function()

    def noted(images):
        sizes.append(len(images))
        return function(images)

    monkeypatch.setattr(type(model), "detect_function", lambda self, **settings: noted)
    found = model.detect(list(IMAGES), batch_size=2)
    assert sizes == [2, 2, 2]
    monkeypatch.undo()
    for each, image in zip(found, IMAGES, strict=True):
        np.testing.assert_allclose(each["scores"], model.detect(image)["scores"], atol=1e-5)


@pytest.mark.parametrize(
    "name, advice",
    [
        ("run", "Give .*best.keras"),
        ("model.tflite", "Open an exported file with keras_det.load_exported"),
        ("preset", "Load a preset with keras_det.models.Detector.from_preset"),
        ("modle.keras", "Did you mean 'model.keras'"),
    ],
)
def test_what_load_model_cannot_load_is_named(tmp_path, name, advice):
    for folder, file in (("run", "best.keras"), ("preset", "config.json")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).touch()
    for file in ("model.tflite", "model.keras"):
        (tmp_path / file).touch()
    with pytest.raises(DataError, match=rf"must be an existing .keras file.*{advice}"):
        load_model(tmp_path / name)
