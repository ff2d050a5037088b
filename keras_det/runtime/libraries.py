"""The libraries that run exported files, and the number of cores for them."""

import importlib.metadata
import os
import pathlib
from typing import Any

from keras_det.errors import DataError, install_hint


def cores() -> int:
    """Returns how many processor cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def litert_interpreter(what: object) -> type:
    """Returns LiteRT's interpreter class.

    Args:
        what: the file that needs it, for the error message.

    Raises:
        DataError: ai-edge-litert is not installed.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise DataError(
            f"A .tflite file needs the package ai-edge-litert. Received: {what}, without that "
            f"package. Install it with {install_hint('edge')}."
        ) from None
    return Interpreter


def any_interpreter() -> tuple[type, dict[str, str], list[str]]:
    """Returns LiteRT's interpreter class, or TensorFlow's if LiteRT is not installed.

    Returns:
        `(class, versions, notes)`: the library's version under "interpreter", and a note if it is
        not LiteRT, the library of phones.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        import tensorflow as tf

        note = (
            "run with TensorFlow's TFLite interpreter, which computes some convolutions with "
            "stride 4 wrongly: install ai-edge-litert"
        )
        return tf.lite.Interpreter, {"interpreter": f"tensorflow {tf.__version__}"}, [note]
    version = importlib.metadata.version("ai-edge-litert")
    return Interpreter, {"interpreter": f"ai-edge-litert {version}"}, []


def onnx_session(model: str | os.PathLike | bytes, threads: int | None = None) -> Any:
    """Opens an ONNX file in ONNX Runtime, on the processor.

    Args:
        model: path of a file, or its content.
        threads: int, or None for ONNX Runtime's default.

    Raises:
        DataError: onnxruntime is not installed, or the file is damaged.
    """
    what = "a network" if isinstance(model, bytes) else os.fspath(model)
    try:
        import onnxruntime
    except ImportError:
        raise DataError(
            f"An .onnx file needs the package onnxruntime. Received: {what}, without that "
            f"package. Install it with {install_hint('onnx')}."
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    content = model if isinstance(model, bytes) else os.fspath(model)
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # a class of its own for each reason
        raise DataError(
            f"An .onnx file must be complete and undamaged. Received: {what} ({error}). Export it "
            "again with `keras-det export`."
        ) from error


def openvino_network(model: pathlib.Path | bytes, threads: int | None = None) -> tuple[Any, Any]:
    """Opens a model in OpenVINO, on the processor, in float32.

    OpenVINO would choose bfloat16 on processors that have it. Its results differ.

    Args:
        model: path of an `.xml` or `.onnx` file, or the content of an ONNX file.
        threads: int, or None for OpenVINO's default.

    Returns:
        The model as it was read, and compiled.

    Raises:
        DataError: openvino is not installed, or a file is damaged.
    """
    what = "a network" if isinstance(model, bytes) else os.fspath(model)
    try:
        import openvino
    except ImportError:
        raise DataError(
            f"This model needs the package openvino. Received: {what}, without that package. "
            f"Install it with {install_hint('openvino')}."
        ) from None
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    try:
        core = openvino.Core()
        network = core.read_model(model)
        return network, core.compile_model(network, "CPU", settings)
    except Exception as error:  # RuntimeError for most reasons
        raise DataError(
            "A model for OpenVINO must be complete and undamaged. Received: "
            f"{what} ({_first_line(error)}). Export it again with `keras-det export`."
        ) from error


def _first_line(error: Exception) -> str:
    """What OpenVINO says, without the places in its sources."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return (told or lines or [type(error).__name__])[0].strip()
