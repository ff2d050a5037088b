"""Times our exported files against effdet's network in ONNX Runtime, in turns in one process.

    python benchmarks/artefacts.py --peer-python peers/bin/python [--variants lite0,d0] [--keep DIR]

`peer_effdet.py` and `peer_effdet_onnx.py` say how to make the peer's environment. One image,
float32, two threads, 90 classes, random weights (those of BiFPN's nodes differ, so that they do not
cancel). Every candidate scores above the threshold, so NMS has the most work possible. Engines take
turns of a few calls, of which the first does not count. The ratio is the median over rounds of
(median of a turn / median of the reference's turn in the same round), so slow periods of the
machine affect both. `--processor` measures the processor time of the process with one thread: other
jobs on the machine hardly change it, while an engine with two threads waits for the slower one.
`--keep` writes the files to a folder, and reuses those that are there already.
"""

import argparse
import contextlib
import importlib.metadata
import os
import pathlib
import platform
import subprocess
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import onnxruntime
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from keras_det import export
from keras_det.data import drawn_images
from keras_det.export.int8.calibration import calibration_pixels, observed_ranges
from keras_det.export.int8.float_file import FloatFile
from keras_det.export.to_tflite.conversion import convert
from keras_det.models import EfficientDet

CALLS = 5
# ONNX Runtime's threads wait for more work by spinning, on the core of whoever comes next.
PAUSE = 0.1
SIZES = {"lite0": 320, "d0": 512}
PEER, KERAS = "effdet, ONNX Runtime", "Keras, tf.function: network"
PACKAGES = ("ai-edge-litert", "onnxruntime", "tf2onnx")


def detector(variant):
    """A model whose nodes weigh their inputs differently."""
    keras.utils.set_random_seed(0)
    model, rng = EfficientDet(variant, num_classes=90), np.random.default_rng(0)
    for weight in model.weights:
        if "fusion_weights" in weight.path:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return model


def write_int8(model, path):
    """Full int8, with no layer in float, to measure speed: its accuracy is not checked."""
    file = FloatFile(convert(model, dtype="float32"), model)
    pixels, _ = calibration_pixels(drawn_images(16, model.image_size, seed=1), model)
    path.write_bytes(file.int8(observed_ranges(file.content, file.tensors, file.pixels, pixels)))


def write(model, variant, folder):
    """Our files that do not exist yet, by kind."""
    writers = {
        "raw.onnx": lambda path: export.onnx(model, path, postprocess="none"),
        "nms.onnx": lambda path: export.onnx(model, path),
        "raw.tflite": lambda path: export.tflite(model, path, postprocess="none"),
        "builtin.tflite": lambda path: export.tflite(model, path),
        "int8.tflite": lambda path: write_int8(model, path),
        "saved": lambda path: export.saved_model(model, path),
    }
    for name, writer in writers.items():
        if not (folder / f"{variant}_{name}").exists():
            writer(folder / f"{variant}_{name}")
    return {name: folder / f"{variant}_{name}" for name in writers}


def in_onnxruntime(path, image, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs = {session.get_inputs()[0].name: image}
    return lambda: session.run(None, inputs)


def in_litert(path, image, threads):
    interpreter = Interpreter(str(path), num_threads=threads)
    interpreter.allocate_tensors()
    index = interpreter.get_input_details()[0]["index"]

    def run():
        interpreter.set_tensor(index, image)
        interpreter.invoke()

    return run


def contenders(model, variant, folder, threads):
    """Two groups of functions by title, each with its reference first."""
    files, size = write(model, variant, folder), model.image_size
    image = drawn_images(1, size)[0][None]
    planes = np.random.default_rng(0).normal(size=(1, 3, *size)).astype("float32")
    edge = {
        PEER: in_onnxruntime(folder / f"effdet_{variant}.onnx", planes, threads),
        "ONNX: network": in_onnxruntime(files["raw.onnx"], image, threads),
        "ONNX: with hard NMS": in_onnxruntime(files["nms.onnx"], image, threads),
        "LiteRT: network": in_litert(files["raw.tflite"], image, threads),
        "LiteRT: with soft-NMS": in_litert(files["builtin.tflite"], image, threads),
        "LiteRT, int8: network": in_litert(files["int8.tflite"], image, threads),
    }
    network = tf.function(lambda images: model(images, training=False))
    served = tf.saved_model.load(str(files["saved"]))
    one, four = (tf.constant(np.repeat(image, n, axis=0)) for n in (1, 4))
    raw, whole = served.signatures["raw"], served.signatures["images"]
    server = {
        KERAS: lambda: network(one),
        "SavedModel: network": lambda: raw(images=one),
        "SavedModel: resizing, soft-NMS": lambda: whole(images=one),
    }
    batch = {
        f"{KERAS}, batch 4": lambda: network(four),
        "SavedModel: network, batch 4": lambda: raw(images=four),
        "SavedModel: resizing, soft-NMS, batch 4": lambda: whole(images=four),
    }
    return (edge, server, batch), served


def in_turns(functions, rounds, clock):
    """Medians of every turn in milliseconds, `(rounds,)` by title."""
    turns = {name: [] for name in functions}
    for turn in range(rounds + 1):
        for name, function in functions.items():
            time.sleep(PAUSE)
            function()
            times = []
            for _ in range(CALLS):
                start = clock()
                function()
                times.append(1e3 * (clock() - start))
            if turn:
                turns[name].append(np.median(times))
    return {name: np.array(values) for name, values in turns.items()}


def report(variant, functions, rounds, clock):
    turns = in_turns(functions, rounds, clock)
    reference = next(iter(turns.values()))
    for name, values in turns.items():
        ratio = np.median(values / reference)
        low, high = np.percentile(values / reference, (25, 75))
        print(
            f"| {variant} | {name} | {np.median(values):.1f} | {values.min():.1f} | {ratio:.2f} "
            f"({low:.2f}-{high:.2f}) |",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--variants", default="lite0,d0")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--processor", action="store_true")
    parser.add_argument("--keep", type=pathlib.Path)
    arguments = parser.parse_args()
    threads, clock = (1, time.process_time) if arguments.processor else (2, time.perf_counter)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    print(
        f"keras {keras.__version__}, TensorFlow {tf.__version__}, {versions}, Python "
        f"{platform.python_version()}"
    )
    with contextlib.ExitStack() as stack:
        made = arguments.keep or stack.enter_context(tempfile.TemporaryDirectory())
        folder = pathlib.Path(made)
        folder.mkdir(exist_ok=True)
        variants = arguments.variants.split(",")
        missing = [v for v in variants if not (folder / f"effdet_{v}.onnx").exists()]
        if missing:
            script = pathlib.Path(__file__).with_name("peer_effdet_onnx.py")
            wanted = [f"{variant}:{SIZES[variant]}" for variant in missing]
            command = [arguments.peer_python, str(script), str(folder), *wanted]
            subprocess.run(command, check=True, capture_output=True)
        print("\n| | what | ms | fastest | ratio (quartiles) |\n|---|---|---|---|---|")
        for variant in variants:
            groups, kept = contenders(detector(variant), variant, folder, threads)
            for functions in groups:
                report(variant, functions, arguments.rounds, clock)
            del kept


if __name__ == "__main__":
    main()
