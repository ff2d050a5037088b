"""Times the exports of Lite0 at 320 beside the Keras model: one image, two threads.

    python benchmarks/export_latency.py

Medians of one process, in turns. Random weights and 90 classes: every candidate scores above the
threshold, so that soft-NMS works as hard as it ever does.
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

THREADS, WARM_UP, REPEATS = 2, 5, 41


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
        times = {name: [] for name in functions}
        for _ in range(WARM_UP + REPEATS):
            for name, function in functions.items():
                start = time.perf_counter()
                function(image)
                times[name].append(1e3 * (time.perf_counter() - start))
        del kept
    for name, values in times.items():
        values = values[WARM_UP:]
        print(f"{name}: median {np.median(values):.1f} ms, fastest {min(values):.1f} ms")


if __name__ == "__main__":
    main()
