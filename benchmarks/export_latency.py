"""Times the exports of Lite0 at 320 against the Keras model: one image, two threads.

    python benchmarks/export_latency.py

Medians of one process, in turns; on a busy machine, processor time says more than wall time. The
weights are random, for 90 classes: every candidate scores above the threshold, so soft-NMS has the
most work possible.
"""

import os
import pathlib
import platform
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import importlib.metadata

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from keras_det import export
from keras_det.data import drawn_images
from keras_det.models import EfficientDet

THREADS, ROUNDS, CALLS = 2, 9, 6


def litert(path):
    """A function of one image, and the interpreter that must outlive it."""
    interpreter = Interpreter(str(path), num_threads=THREADS)
    return interpreter.get_signature_runner("serving_default"), interpreter


def contenders(model, folder):
    """Functions of uint8 `(1, 320, 320, 3)` by title."""
    raw = tf.function(lambda images: model(images, training=False))
    functions = {
        "Keras, compiled: network": raw,
        "Keras, compiled: with decoding": model.detect_function(),
    }
    export.saved_model(model, folder / "saved")
    loaded = tf.saved_model.load(str(folder / "saved"))
    functions["SavedModel: network"] = lambda images: loaded.signatures["raw"](images=images)
    functions["SavedModel: resizing and decoding"] = lambda images: loaded.signatures["images"](
        images=images
    )
    kept = [loaded]
    for quantize in ("float32", "float16"):
        for postprocess, title in (("none", "network"), ("builtin", "with decoding")):
            path = folder / f"{quantize}_{postprocess}.tflite"
            export.tflite(model, path, quantize=quantize, postprocess=postprocess)
            run, interpreter = litert(path)
            kept.append(interpreter)
            size = path.stat().st_size / 1e6
            name = f"LiteRT {quantize}, {size:.1f} MB: {title}"
            functions[name] = lambda images, run=run: run(images=images)
    return functions, kept


def measure(functions, image):
    """Milliseconds per call by title, on the clock and of both processors together.

    The contenders take turns, several calls each: the first call of a turn meets the caches and
    the spinning threads of the one before and does not count.
    """
    wall, processor = ({name: [] for name in functions} for _ in range(2))
    for turn in range(ROUNDS + 1):
        for name, function in functions.items():
            function(image)
            for _ in range(CALLS if turn else 0):
                start, busy = time.perf_counter(), time.process_time()
                function(image)
                wall[name].append(1e3 * (time.perf_counter() - start))
                processor[name].append(1e3 * (time.process_time() - busy))
    return wall, processor


def main():
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    keras.utils.set_random_seed(0)
    model = EfficientDet("lite0", num_classes=90)
    image = drawn_images(1, model.image_size)[0][None]
    print(
        f"keras {keras.__version__}, TensorFlow {tf.__version__}, ai-edge-litert "
        f"{importlib.metadata.version('ai-edge-litert')}, Python {platform.python_version()}"
    )
    with tempfile.TemporaryDirectory() as folder:
        functions, kept = contenders(model, pathlib.Path(folder))
        wall, processor = measure(functions, image)
        del kept
    for name, values in wall.items():
        median, busy = np.median(values), np.median(processor[name])
        print(f"{name}: median {median:.1f} ms, fastest {min(values):.1f}, processor {busy:.1f}")


if __name__ == "__main__":
    main()
