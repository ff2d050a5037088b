"""What tests share: reference arrays and data sets, the check of every layer, the paint test."""

import atexit
import copy
import functools
import importlib.util
import inspect
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import keras
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


GOLDEN = ROOT / "tests" / "golden"


def load_script(path):
    """The module of a script that is in no package, such as those of benchmarks/.

    Args:
        path: of the script, relative to the checkout.
    """
    spec = importlib.util.spec_from_file_location(pathlib.Path(path).stem, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tiny_parts(**more):
    """Arguments of a very small RetinaNet: a backbone of five 1x1 convolutions with stride 2."""
    images = keras.Input((None, None, 3))
    features, levels = images, {}
    for i in range(1, 6):
        features = keras.layers.Conv2D(2, 1, strides=2, padding="same", name=f"c{i}")(features)
        levels[f"P{i}"] = features
    outputs = {name: levels[name] for name in ("P3", "P4", "P5")}
    backbone = keras.Model(images, outputs, name="tiny")
    return dict(backbone=backbone, image_size=64, neck_channels=4, head_repeats=1, **more)


def golden(name):
    """A file of tests/golden: `.npz` as a mapping of arrays, anything else as its path."""
    path = GOLDEN / name
    return np.load(path) if path.suffix == ".npz" else path


def data_set(name):
    """Folder of images: "bccd" (12 photos, VOC), "drawn" (12 synthetic, COCO), "coco" (5 of it)."""
    return GOLDEN / "data_sets" / name


@functools.cache
def d0_checkpoint():
    """Prefix of a checkpoint of EfficientDet-D0 with the variables of `net_d0.npz`, written once.

    Its folder `checkpoint_d0` holds the same files as one of the original: `model.index`,
    `model.data-00000-of-00001` and the text file `checkpoint`.
    """
    from tests.weights.efficientdet.layouts import write_tensorflow

    temporary = tempfile.TemporaryDirectory()
    atexit.register(temporary.cleanup)
    folder = pathlib.Path(temporary.name) / "checkpoint_d0"
    folder.mkdir()
    file = golden("efficientdet/net_d0.npz")
    names = [name for name in file.files if name.startswith("var/")]
    values = {name[4:]: file[name].astype("float32") for name in names}
    write_tensorflow(folder / "model", {**values, "global_step": np.int64(12345)})
    (folder / "checkpoint").write_text(
        'model_checkpoint_path: "model"\nall_model_checkpoint_paths: "model"\n'
    )
    return folder / "model"


def quantizer_or_skip():
    """Skips the test, or the file, if no package that writes 8-bit files is installed."""
    packages = ("litert_quantizer", "ai_edge_quantizer")
    if not any(map(importlib.util.find_spec, packages)):
        pytest.skip("the extra `quantize` is not installed", allow_module_level=True)


WITHOUT_TENSORFLOW = """
import sys
for name in ("tensorflow", "tensorflow_cpu"):
    sys.modules[name] = None  # importing it raises ImportError
"""


def run_on_jax(script, *arguments):
    """Runs Python code with the JAX backend where TensorFlow cannot be imported.

    The code has to end with printing "without TensorFlow". Skips where JAX is not installed.
    """
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed: pip install .[jax]")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW + script, *map(str, arguments)],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert "without TensorFlow" in done.stdout, done.stderr[-3000:]


def sum_and_gradient(function, start):
    """The sum of `function(start)` and its gradient, None if none flows; needs TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("tf.GradientTape needs the TensorFlow backend")
    import tensorflow as tf

    start = tf.constant(start)
    with tf.GradientTape() as tape:
        tape.watch(start)
        total = tf.reduce_sum(function(start))
    return total, tape.gradient(total, start)


def painted_iou(augment, seed, height=96, width=128):
    """IoU of the returned box with the painted pixels it should enclose.

    `augment(image, box) -> (image, box)`: float image `(h, w, 3)` in 0..255, box xyxy pixels.
    """
    rng = np.random.default_rng(seed)
    x1, y1 = rng.integers(20, 60), rng.integers(15, 40)
    box = np.array([x1, y1, x1 + 30, y1 + 20], "float32")
    image = np.zeros((height, width, 3), "float32")
    image[y1 : y1 + 20, x1 : x1 + 30] = 255.0
    image, (a, b, c, d) = augment(image, box)
    rows, cols = np.nonzero(np.array(image)[..., 0] > 127)
    p, q, r, s = cols.min(), rows.min(), cols.max() + 1, rows.max() + 1
    inter = max(0, min(c, r) - max(a, p)) * max(0, min(d, s) - max(b, q))
    return inter / ((c - a) * (d - b) + (r - p) * (s - q) - inter)


# ---- check_layer: what every layer must be able to do (house style, rule 22) ----


def check_layer(
    layer_class,
    init_kwargs,
    inputs,
    call_kwargs=None,
    *,
    output_dtype=None,
    half_tolerance=0.05,
    any_size=False,
    functional=True,
    gradient=True,
):
    """Puts a layer through all that Keras may ask of it; raises AssertionError, naming the step.

    Steps: config round trip, symbolic shape = real shape, `.keras` save and load, mixed_float16 and
    mixed_bfloat16, a dynamic batch in `tf.function`, a gradient for every trainable weight. Weights
    are moved off their initial values first, so that a file which loses them is noticed.

    Args:
        layer_class: the layer's class, called as `layer_class(**init_kwargs)`.
        init_kwargs: dict of constructor arguments.
        inputs: an array, or a list or dict of arrays, handed to the layer as one argument; a
            **tuple** of these is handed over as separate positional arguments. Every array has the
            batch first, at least one row. Take odd, non-square sizes.
        call_kwargs: dict, such as `{"training": True}`. Default: none.
        output_dtype: dtype that float outputs must have under the mixed policies too, "float32"
            for box arithmetic. Default: not checked.
        half_tolerance: largest difference between half and single precision, as a part of the
            largest output. None: only finite values are asked for.
        any_size: also build rank 4 inputs of unknown height and width symbolically.
        functional: False for a layer that cannot stand in a functional model (no symbolic call).
        gradient: False for a layer whose output is not differentiable on purpose.

    Returns:
        The layer, built, with its moved weights.
    """
    arguments = inputs if isinstance(inputs, tuple) else (inputs,)
    arguments = _map_arrays(_as_numpy, arguments)
    call_kwargs = dict(call_kwargs or {})
    layer = _check_config(layer_class, init_kwargs)
    outputs = _map_arrays(_to_numpy, layer(*arguments, **call_kwargs))
    _move_weights(layer)
    if layer.weights:
        outputs = _map_arrays(_to_numpy, layer(*arguments, **call_kwargs))
    if functional:
        _check_shapes(layer, arguments, call_kwargs, outputs, any_size)
        _check_saving(layer, arguments, call_kwargs)
    for policy in ("mixed_float16", "mixed_bfloat16"):
        _check_policy(layer, policy, arguments, call_kwargs, output_dtype, half_tolerance)
    if keras.backend.backend() == "tensorflow":
        _check_dynamic_batch(layer, arguments, call_kwargs, functional)
        if gradient:
            _check_gradients(layer, arguments, call_kwargs)
    return layer


def _as_numpy(array):
    array = np.asarray(array)
    return array.astype("float32") if array.dtype == np.float64 else array


def _to_numpy(tensor):
    array = keras.ops.convert_to_numpy(tensor)
    return array.astype("float32") if array.dtype.name == "bfloat16" else array


def _map_arrays(function, structure):
    return keras.tree.map_structure(function, structure)


def _move_weights(layer):
    """Adds 0.05 .. 0.15 to every float weight: variances stay positive, zeros let gradients by."""
    rng = np.random.default_rng(0)
    for weight in layer.weights:
        if "float" in keras.backend.standardize_dtype(weight.dtype):
            weight.assign(weight + rng.uniform(0.05, 0.15, weight.shape).astype("float32"))


def _check_config(layer_class, init_kwargs):
    given = copy.deepcopy(init_kwargs)
    layer = layer_class(**init_kwargs)
    assert str(init_kwargs) == str(given), "config: the constructor changed its arguments"
    config = layer.get_config()
    parameters = inspect.signature(layer_class.__init__).parameters.values()
    named = {p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    missing = named - {"self"} - set(config)
    assert not missing, f"config: get_config lacks {sorted(missing)}"
    registered = keras.saving.get_registered_name(layer_class)
    assert registered.startswith("keras_det>"), f"config: {layer_class.__name__} is not registered"
    text = json.dumps(keras.saving.serialize_keras_object(layer))
    again = keras.saving.deserialize_keras_object(json.loads(text))
    assert json.dumps(keras.saving.serialize_keras_object(again)) == text, "config: round trip"
    return layer


def _symbolic(arguments, any_size=False):
    def make(array):
        shape = array.shape[1:]
        if any_size and array.ndim == 4:
            shape = (None, None, shape[-1])
        return keras.Input(shape, dtype=array.dtype.name)

    return _map_arrays(make, arguments)


def _check_shapes(layer, arguments, call_kwargs, outputs, any_size):
    for unknown in (False, True) if any_size else (False,):
        fresh = type(layer).from_config(layer.get_config())
        symbolic = fresh(*_symbolic(arguments, unknown), **call_kwargs)
        keras.tree.assert_same_structure(symbolic, outputs)
        pairs = zip(keras.tree.flatten(symbolic), keras.tree.flatten(outputs), strict=True)
        for spec, real in pairs:
            what = f"shape: symbolic {spec.shape}, real {real.shape}, unknown size: {unknown}"
            assert len(spec.shape) == real.ndim, what
            assert all(s in (None, r) for s, r in zip(spec.shape, real.shape, strict=True)), what
            if not unknown:
                assert None not in spec.shape[1:], f"{what}: a known axis was lost"
            dtype = keras.backend.standardize_dtype(spec.dtype)
            assert dtype == real.dtype.name, f"dtype: symbolic {dtype}, real {real.dtype}"


def _check_saving(layer, arguments, call_kwargs):
    fresh = type(layer).from_config(layer.get_config())
    symbolic = _symbolic(arguments)
    model = keras.Model(symbolic, fresh(*symbolic, **call_kwargs))
    fresh.set_weights(layer.get_weights())
    expected = _map_arrays(_to_numpy, fresh(*arguments, **call_kwargs))
    fresh.set_weights(layer.get_weights())  # a layer in training mode may have moved statistics
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.keras")
        model.save(path)
        loaded = keras.saving.load_model(path)
    result = _map_arrays(_to_numpy, loaded(arguments))
    for a, b in zip(keras.tree.flatten(result), keras.tree.flatten(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5, err_msg=".keras save and load")


def _check_policy(layer, policy, arguments, call_kwargs, output_dtype, tolerance):
    fresh = type(layer).from_config({**layer.get_config(), "dtype": policy})
    single = type(layer).from_config(layer.get_config())
    single(*arguments, **call_kwargs), fresh(*arguments, **call_kwargs)
    for each in (single, fresh):
        each.set_weights(layer.get_weights())
    expected = keras.tree.flatten(single(*arguments, **call_kwargs))
    for weight in fresh.trainable_weights:
        assert weight.dtype == "float32", f"{policy}: weight {weight.path} is {weight.dtype}"
    outputs = keras.tree.flatten(fresh(*arguments, **call_kwargs))
    for half, full in zip(outputs, expected, strict=True):
        dtype = keras.backend.standardize_dtype(half.dtype)
        half, full = _to_numpy(half), _to_numpy(full)
        if "float" not in dtype:
            continue
        assert output_dtype in (None, dtype), f"{policy}: output is {dtype}, not {output_dtype}"
        assert np.isfinite(half).all(), f"{policy}: output is not finite"
        if tolerance is not None and full.size:
            off = np.abs(half.astype("float32") - full).max() / max(np.abs(full).max(), 1e-6)
            assert off <= tolerance, f"{policy}: off by {off:.3g} of the largest output"


def _check_dynamic_batch(layer, arguments, call_kwargs, functional):
    import tensorflow as tf

    def signature(array):
        return tf.TensorSpec((None, *array.shape[1:]), array.dtype)

    weights, batch = layer.get_weights(), len(keras.tree.flatten(arguments)[0])
    specs = keras.tree.flatten(layer(*_symbolic(arguments), **call_kwargs)) if functional else []
    expected = _map_arrays(_to_numpy, layer(*arguments, **call_kwargs))
    layer.set_weights(weights)
    traced = tf.function(
        lambda *tensors: layer(*tensors, **call_kwargs),
        input_signature=_map_arrays(signature, arguments),
    )
    result = _map_arrays(_to_numpy, traced(*_map_arrays(tf.convert_to_tensor, arguments)))
    for a, b in zip(keras.tree.flatten(result), keras.tree.flatten(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4, err_msg="dynamic batch")
    twice = _map_arrays(lambda array: tf.convert_to_tensor(np.concatenate([array] * 2)), arguments)
    # One trace serves another batch size.
    for a, b in zip(keras.tree.flatten(traced(*twice)), specs, strict=functional):
        if b.shape and b.shape[0] is None:
            what = f"dynamic batch: output {a.shape} for a batch of {2 * batch}"
            assert a.shape[0] == 2 * batch, what
    layer.set_weights(weights)


def _check_gradients(layer, arguments, call_kwargs):
    import tensorflow as tf

    if not layer.trainable_weights:
        return
    rng = np.random.default_rng(1)
    with tf.GradientTape() as tape:
        outputs = keras.tree.flatten(layer(*arguments, **call_kwargs))
        # Random weights: a plain sum hides the gradients of layers that normalise.
        total = sum(
            tf.reduce_sum(out * rng.normal(size=out.shape).astype("float32"))
            for out in outputs
            if out.dtype.is_floating
        )
    gradients = tape.gradient(total, [weight.value for weight in layer.trainable_weights])
    for weight, gradient in zip(layer.trainable_weights, gradients, strict=True):
        assert gradient is not None, f"gradient: none reaches {weight.path}"
        reached = np.abs(_to_numpy(gradient)).max()
        assert reached > 0, f"gradient: zero for every entry of {weight.path}"


def trainable_count(part):
    """Number of trainable parameters of a layer or model."""
    return sum(int(np.prod(weight.shape)) for weight in part.trainable_weights)
