"""Reports on what accelerators take, and resizes in the place of gathers."""

import tempfile

import numpy as np
import pytest

from keras_det.export.tflite_file.delegates import DELEGATES, delegate_report, describe_delegates
from keras_det.export.tflite_file.operators import operator_counts
from keras_det.export.tflite_file.upsampling import with_resizes
from keras_det.layers.resample import nearest_upsample

pytestmark = pytest.mark.slow
interpreter = pytest.importorskip("ai_edge_litert.interpreter")


def converted(function, *shape, dtype="float32", int8=False):
    """A TFLite file of a function of one tensor."""
    import tensorflow as tf

    traced = tf.function(
        lambda images: {"x": function(images)},
        input_signature=[tf.TensorSpec(shape, dtype, name="images")],
    )
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(tf.Module(), folder, signatures={"serving_default": traced})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if int8:
            rng = np.random.default_rng(0)
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.int8
            converter.representative_dataset = lambda: (
                {"images": rng.random(shape, "float32")} for _ in range(3)
            )
        return converter.convert()


def run(content, images):
    loaded = interpreter.Interpreter(model_content=content)
    return loaded.get_signature_runner()(images=images)["x"]


@pytest.mark.parametrize("small, large", [((3, 2), (5, 3)), ((5, 5), (5, 7)), ((13, 7), (25, 9))])
def test_a_resize_repeats_the_rows_that_the_gathers_take(small, large):
    content = converted(lambda x: nearest_upsample(x, large), 1, *small, 4)
    assert operator_counts(content)["GATHER"] >= 1
    changed = with_resizes(content)
    counts = operator_counts(changed)
    images = np.random.default_rng(1).random((1, *small, 4), "float32")
    rows = [i * small[0] // large[0] for i in range(large[0])]
    columns = [i * small[1] // large[1] for i in range(large[1])]
    np.testing.assert_array_equal(run(changed, images), images[:, rows][:, :, columns])
    assert counts == {"RESIZE_NEAREST_NEIGHBOR": 1}


def test_gathers_of_other_rows_stay():
    import tensorflow as tf

    def backwards(x):
        return tf.gather(tf.gather(x, [2, 1, 0], axis=1), [0, 0, 1, 1], axis=2)

    content = converted(backwards, 1, 3, 2, 4)
    assert with_resizes(content) == content
    # 26 to 44 rows: 22 * float32(26 / 44) falls below 13 = 22 * 26 / 44.
    rows = np.floor(np.arange(44, dtype="float32") * np.float32(26 / 44)).astype(int)
    assert rows[22] != 13
    content = converted(lambda x: nearest_upsample(x, (44, 44)), 1, 26, 26, 1)
    assert with_resizes(content) == content


def conv(width, x):
    import tensorflow as tf

    kernel = np.random.default_rng(0).normal(size=(3, width, 4, 1)).astype("float32")
    return tf.nn.depthwise_conv2d(x, tf.constant(kernel), [1, 1, 1, 1], "SAME")


def test_delegates_for_eight_bits_refuse_floats():
    report = delegate_report(converted(lambda x: conv(3, x), 1, 8, 8, 4))
    assert report["gpu"]["refused"] == {}
    for name in ("hexagon_npu", "edge_tpu"):
        assert report[name]["refused"] == {"on FLOAT32": report[name]["operators"]}
    report = delegate_report(converted(lambda x: conv(3, x), 1, 8, 8, 4, int8=True))
    assert all(found["refused"] == {} for found in report.values())


def test_a_wide_kernel_is_refused_where_the_list_says_so():
    report = delegate_report(converted(lambda x: conv(5, x), 1, 8, 8, 4, int8=True))
    assert report["hexagon_npu"]["refused"] == {"DEPTHWISE_CONV_2D (5 wide)": 1}
    assert report["edge_tpu"]["refused"] == {} == report["gpu"]["refused"]
    lines = describe_delegates(report)
    assert lines[0].startswith("delegate gpu supports 1 of 1 operator")
    assert lines[1].endswith("on the processor: 1 DEPTHWISE_CONV_2D (5 wide)")


def test_operators_that_no_accelerator_has_are_named():
    import tensorflow as tf

    def function(x):
        best = tf.math.top_k(tf.reshape(tf.cast(x, tf.float32), [-1]), 3)[0]
        return tf.sqrt(best)

    report = delegate_report(converted(function, 1, 4, 4, 1, dtype="uint8"))
    assert report["gpu"]["refused"] == {"CAST (UINT8)": 1, "TOPK_V2": 1}
    assert report["edge_tpu"]["refused"]["TOPK_V2"] == 1
    assert report["edge_tpu"]["refused"]["SQRT"] == 1


def test_lists_name_operators_of_tflite_and_their_source():
    from tensorflow.lite.python.schema_py_generated import BuiltinOperator

    for delegate in DELEGATES:
        assert delegate.operators <= set(vars(BuiltinOperator)), delegate.name
        assert delegate.source and delegate.date.startswith("20")
