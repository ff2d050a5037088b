"""The graph of several images: each part is built once, called where needed, and never copied."""

import collections
import sys

import pytest
import tensorflow as tf

from keras_det.data import Flip, MixUp, Mosaic, Pipeline
from keras_det.data.augmenting import engine
from keras_det.data.pipeline_source import Files
from tests.data.augmenting.test_steps import run, sample_of
from tests.data.test_pipeline import make_dataset


@pytest.fixture
def callers(monkeypatch):
    """Files of the code that drew a window, one for each window in the graphs."""
    files = []

    def noted(*arguments):
        files.append(sys._getframe(1).f_code.co_filename)
        return draw_view(*arguments)

    draw_view = engine.draw_view
    monkeypatch.setattr(engine, "draw_view", noted)
    return files


# One window of an image alone, one of a quarter: for both pictures of the mixup the same.
def test_a_pipeline_builds_each_part_once_from_our_own_source(tmp_path, callers):
    Pipeline(make_dataset(tmp_path, 1), 16, 1, [Mosaic(0.5), MixUp(0.5)]).as_tf_dataset()
    assert callers == [engine.__file__] * 2


def test_a_pipeline_without_mixes_is_not_rewritten(tmp_path, callers):
    Pipeline(make_dataset(tmp_path, 1), 16, 1, [Flip()]).as_tf_dataset()
    assert callers == [engine.__file__]


def test_a_step_alone_is_not_rewritten_either(callers):
    run(Flip(), sample_of([[[0, 0, 0]]], [], slots=1), 0, [], in_graph=True)
    assert callers == [engine.__file__]


# Four quarters in each picture of the mixup, and two pictures.
def test_shared_parts_are_called_and_not_copied(tmp_path):
    pipeline = Pipeline(make_dataset(tmp_path, 1), 16, 1, [Mosaic(0.5), MixUp(0.5)])
    made = engine.Engine(pipeline.augment, (16, 16), "letterbox", 0, Files(pipeline))
    signature = [tf.TensorSpec((), tf.int64), tf.TensorSpec((2,), tf.int64)]
    function = tf.function(made.input, input_signature=signature, autograph=False)
    graph = function.get_concrete_function().graph.as_graph_def()
    functions = graph.library.function
    nodes = [*graph.node, *(node for each in functions for node in each.node_def)]
    calls = collections.Counter(node.attr["f"].func.name for node in nodes if "f" in node.attr)
    kept = [each.signature.name for each in functions if each.attr["_noinline"].b]
    kept = [name for name in kept if "make" in name]  # the others check a decoded image
    assert sorted(calls[name] for name in kept) == [2, 4]


# A canvas of 640 x 640 takes 1.2 MB: it must not be written into the graph of every padding.
def test_the_canvas_is_no_constant_of_the_graph(tmp_path):
    pipeline = Pipeline(make_dataset(tmp_path, 1), 640, 1, [Flip()])
    made = engine.Engine(pipeline.augment, (640, 640), "letterbox", 0, Files(pipeline))
    signature = [tf.TensorSpec((), tf.int64), tf.TensorSpec((2,), tf.int64)]
    function = tf.function(made.input, input_signature=signature, autograph=False)
    assert function.get_concrete_function().graph.as_graph_def().ByteSize() < 640 * 640
